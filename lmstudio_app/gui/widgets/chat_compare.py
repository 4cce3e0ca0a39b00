"""Two models side by side: one question and two replies, one after the other, so that each has its own time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.chat_replies import EngineHolder, PieceWritten, ReplyRequest, write_reply
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.suitable_queries import Choice, find_choices
from lmstudio_app.gui.text import error_texts, model_title
from lmstudio_app.gui.widgets.chat_body import CodeColours
from lmstudio_app.gui.widgets.chat_input import ChatInput
from lmstudio_app.gui.widgets.chat_transcript import Transcript
from lmstudio_app.gui.widgets.chat_turn import CUT, FAILED, STOPPED, WHOLE, WRITING, Turn
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.model_picker import ModelPicker

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_STATES = {"end": WHOLE, "stop text": WHOLE, "length": CUT, "stopped": STOPPED}


class _Column(QWidget):
    """What one of the models was asked, and said."""

    def __init__(self, colours: CodeColours, parent: QWidget) -> None:
        super().__init__(parent)
        self.loaded: LoadedModel | None = None
        self.holder = EngineHolder()
        self.turns: list[Turn] = []
        self.name = ElidedLabel(self)
        self.transcript = Transcript(colours, self, actions=("copy",))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.3))
        layout.addWidget(self.name)
        layout.addWidget(self.transcript, 1)

    def set_model(self, loaded: LoadedModel | None) -> None:
        if loaded is not self.loaded:
            self.loaded = loaded
            self.name.setText(model_title(loaded))
            if loaded is None:
                self.holder.close()

    def messages(self) -> list[dict[str, str]]:
        return [{"role": turn.role, "content": turn.text} for turn in self.turns if turn.text]

    def show_turns(self) -> None:
        self.transcript.set_turns(self.turns)

    def replace_last(self, turn: Turn) -> None:
        self.turns[-1] = turn
        self.transcript.update_turn(turn)


class ComparePane(QFrame):
    """The page's model on the left, another one on the right. Nothing of it is kept when the app ends."""

    sure_changed = Signal(bool)
    step_requested = Signal(str)  # name of the page to go to

    def __init__(
        self, services: Services, options: Callable[[], Any], colours: CodeColours, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._services = services
        self._options = options
        self._looking: JobHandle | None = None
        self._choices: list[Choice] | None = None
        self._loading: JobHandle | None = None
        self._waiting: list[int] = []  # the columns that are still to be asked
        self._current = -1
        self._began = 0.0
        self._count = 0
        self._asker = Asker(services.answer_runner, self)
        self._asker.events.connect(self._on_events)
        self._asker.succeeded.connect(lambda report: self._on_ended(_STATES.get(report.ending, WHOLE), report))
        self._asker.stopped.connect(lambda: self._on_ended(STOPPED, None))
        self._asker.failed.connect(self._on_failed)
        self.picker = ModelPicker(self, title=self.tr("&Compare with"))
        self.picker.combo.setMinimumContentsLength(16)
        self.picker.others_button.hide()  # the page has one for both
        self.picker.others_requested.connect(lambda: self.step_requested.emit("model"))
        self.picker.chosen.connect(self.use_model)
        self.sure_box = QCheckBox(self.tr("Show how sure they were"), self)
        self.sure_box.setAccessibleName(self.tr("Show how sure they were"))
        self.sure_box.setToolTip(
            self.tr("Tint each token by its probability; point at one to see what else it might be")
        )
        self.sure_box.toggled.connect(self._on_sure)
        self.over_button = QPushButton(self.tr("Start over"), self)
        self.over_button.setAccessibleName(self.tr("Start over"))
        self.over_button.setToolTip(self.tr("Forget what was said to both and begin anew"))
        self.over_button.clicked.connect(self.clear)
        self.columns = [_Column(colours, self) for _ in range(2)]
        split = QSplitter(Qt.Orientation.Horizontal, self)
        split.setChildrenCollapsible(False)
        for column in self.columns:
            split.addWidget(column)
        blank = QLabel(
            self.tr(
                "Ask two models the same: a small and a large one, or one before and after your training. They answer "
                "one after the other, each with its time."
            ),
            self,
        )
        blank.setWordWrap(True)
        blank.setAlignment(Qt.AlignmentFlag.AlignCenter)
        blank.setForegroundRole(blank.palette().ColorRole.PlaceholderText)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(blank)
        self._stack.addWidget(split)
        self.input = ChatInput(self)
        self.input.submitted.connect(self.send)
        self.input.stop_requested.connect(self.stop)
        row = QHBoxLayout()
        row.addWidget(self.sure_box)
        row.addStretch(1)
        row.addWidget(self.over_button)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.6)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.45))
        layout.addWidget(self.picker)
        layout.addLayout(row)
        layout.addWidget(self._stack, 1)
        layout.addWidget(self.input)
        self._settle()

    # --- what others use

    def set_model(self, loaded: LoadedModel | None) -> None:
        """The model of the page: the left column."""
        if loaded is not self.columns[0].loaded:
            self.stop()
            self.columns[0].set_model(loaded)
            if self.isVisible():
                self._choose_second()
            self._settle()

    def use_model(self, reference: str) -> None:
        """Load the other model."""
        self._services.settings.set("chat.compare", reference)
        self.picker.choose(reference)
        self.picker.set_problem("")
        self.picker.set_loading(self.tr("Loading…"))
        self._loading = handle = self._services.shelf.take(reference)
        handle.succeeded.connect(lambda loaded: self._on_loaded(handle, loaded))
        handle.failed.connect(lambda error: self._on_load_failed(handle, error))

    def refresh(self) -> None:
        """Look which models there are."""
        self._looking = handle = self._services.query_runner.start(find_choices, "chat", quiet=True)
        handle.succeeded.connect(lambda choices: self._on_choices(handle, choices))

    def set_sure(self, sure: bool) -> None:
        self.sure_box.setChecked(sure)

    def _on_sure(self, sure: bool) -> None:
        self.sure_changed.emit(sure)
        for column in self.columns:
            column.transcript.set_sure(sure)

    def clear(self) -> None:
        self._drop()
        for column in self.columns:
            column.turns = []
            column.show_turns()
        self._settle()

    @property
    def busy(self) -> bool:
        return self._current >= 0

    def send(self, text: str) -> None:
        """Ask both, one after the other."""
        if self.busy or any(column.loaded is None for column in self.columns):
            return
        try:
            self._options()
        except UserError as error:
            self.picker.set_problem(" ".join(part for part in error_texts(error) if part))
            return
        self.picker.set_problem("")
        self.input.set_text("")
        for column in self.columns:
            column.turns.append(Turn(len(column.turns), "user", text))
            column.turns.append(
                Turn(len(column.turns), "assistant", "", state=WRITING, model=model_title(column.loaded))
            )
            column.show_turns()
        self._waiting = [0, 1]
        self._ask_next()

    def stop(self) -> None:
        """End both replies where they are."""
        if self.busy:
            for number in self._waiting:
                column = self.columns[number]
                column.replace_last(dataclasses.replace(column.turns[-1], state=STOPPED))
            self._waiting = []
            self._asker.stop()
            self.input.set_busy(True, stopping=True)

    def shutdown(self) -> None:
        self._looking = self._loading = None
        self._drop()
        for column in self.columns:
            column.loaded = None
            column.holder.close()

    # --- asking

    def _drop(self) -> None:
        self._waiting, self._current = [], -1
        self._asker.drop()
        self._settle()

    def _ask_next(self) -> None:
        self._current = self._waiting.pop(0) if self._waiting else -1
        self._settle()
        if self._current < 0:
            return
        column = self.columns[self._current]
        self._began = time.monotonic()
        assert column.loaded is not None
        request = ReplyRequest(column.holder, column.loaded, column.messages(), self._options())
        self._asker.ask(write_reply, request)

    def _on_events(self, events: Sequence[Any]) -> None:
        pieces = [event.piece for event in events if isinstance(event, PieceWritten)]
        if pieces and self._current >= 0:
            column = self.columns[self._current]
            turn = column.turns[-1]
            first = turn.first if turn.first is not None else time.monotonic() - self._began
            text = (turn.text + "".join(piece.text for piece in pieces)).lstrip()
            column.replace_last(dataclasses.replace(turn, text=text, pieces=[*turn.pieces, *pieces], first=first))

    def _on_ended(self, state: str, report: Any, problem: str = "") -> None:
        if self._current < 0:
            return
        column = self.columns[self._current]
        turn = dataclasses.replace(column.turns[-1], state=state, problem=problem)
        if report is not None:
            turn = dataclasses.replace(
                turn,
                tokens=report.new_tokens,
                seconds=report.seconds,
                first=report.first_seconds if report.new_tokens else None,
            )
        else:
            turn = dataclasses.replace(turn, tokens=len(turn.pieces), seconds=time.monotonic() - self._began)
        column.replace_last(turn)
        self._ask_next()

    def _on_failed(self, error: UserError) -> None:
        self._on_ended(FAILED, None, " ".join(text for text in error_texts(error) if text))

    # --- models

    def _on_choices(self, handle: JobHandle, choices: list[Choice]) -> None:
        if handle is not self._looking:
            return
        self._choices = choices
        self.picker.set_choices(choices)
        self._choose_second()

    def _choose_second(self) -> None:
        """Another one than the page's, and so not before that is known."""
        first = self.columns[0].loaded
        if first is None or self._choices is None:
            return
        remembered = self._services.settings.get("chat.compare", "")
        others = [choice.reference for choice in self._choices if choice.reference != first.reference]
        if self.columns[1].loaded is not None:
            self.picker.choose(self.columns[1].loaded.reference)
        elif others and self._loading is None:
            self.use_model(remembered if remembered in others else others[0])
        elif self._loading is None:
            self.picker.set_problem(self.tr("There is no second model that can chat yet. Find one, or train this one."))

    def _on_loaded(self, handle: JobHandle, loaded: LoadedModel) -> None:
        if handle is self._loading:
            self._loading = None
            self.picker.set_loaded(loaded)
            self.picker.set_loading("")
            self.columns[1].set_model(loaded)
            self._settle()

    def _on_load_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._loading:
            self._loading = None
            self.picker.set_loading("")
            self.picker.set_problem(" ".join(text for text in error_texts(error) if text))

    def _settle(self) -> None:
        has_both = all(column.loaded is not None for column in self.columns)
        self.input.set_ready(has_both)
        self.input.set_busy(self.busy)
        said = any(column.turns for column in self.columns)
        self._stack.setCurrentIndex(1 if said else 0)
        self.over_button.setEnabled(said)
