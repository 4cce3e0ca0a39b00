"""A question about one text of your own: the reader marks the answer in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QApplication, QFrame, QLabel, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.exporting import export_text
from lmstudio_app.gui.forms import DataclassForm
from lmstudio_app.gui.kb_queries import TextQuestion, ask_text
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.try_queries import Reply, Sample
from lmstudio_app.gui.widgets.answer_bar import AnswerBar
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.sample_list import SampleList
from lmstudio_app.gui.widgets.try_history import QuestionHistory
from lmstudio_app.gui.widgets.try_inputs import InputFields
from lmstudio_app.gui.widgets.try_panes import fill_with_cards
from lmstudio_app.gui.widgets.try_views import AnswerView
from lmstudio_app.tasks.answer_search import ASK

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_INPUTS, _OPTIONS = "knowledge.text.inputs", "knowledge.text.options"
_UNLIMITED = 16_777_215  # Qt's own
_LONGEST = 20_000  # characters of a text that the settings keep


class OwnTextPane(QWidget):
    starter_requested = Signal()

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._reader: LoadedModel | None = None
        self._inputs: dict[str, Any] = {}
        self._row: dict[str, Any] | None = None
        self.asker = Asker(services.answer_runner, self)
        self._build()
        self.asker.succeeded.connect(self._on_reply)
        self.asker.failed.connect(self._on_failed)
        self.asker.stopped.connect(lambda: self.bar.set_note(self.tr("Stopped")))
        self.asker.busy_changed.connect(self._on_busy)
        self._settle()

    def _build(self) -> None:
        left, right = QFrame(self), QFrame(self)
        self.fields = InputFields(ASK, left)
        kept = self._settings.get(_INPUTS, {})
        if isinstance(kept, dict):
            self.fields.set_inputs({key: str(value) for key, value in kept.items()})
        self.fields.edits["context"].setMaximumHeight(_UNLIMITED)
        self.fields.changed.connect(self._settle)
        self.fields.submitted.connect(self.ask)
        self.samples = SampleList(left)
        self.samples.chosen.connect(self._on_chosen)
        self.options = Disclosure(self.tr("Options"), self.tr("How the reader is asked"), left)
        self.form = DataclassForm({"options": ASK.options}, parent=self.options.body)
        values = self._settings.get(_OPTIONS, {})
        self.form.set_values(values if isinstance(values, dict) else {})
        self.form.changed.connect(lambda: self._settings.set(_OPTIONS, self.form.values()))
        inside = QVBoxLayout(self.options.body)
        inside.setContentsMargins(theme.em(self, 1), 0, 0, 0)
        inside.addWidget(self.form)
        before = QLabel(self.tr("Asked before"), left)
        before.setForegroundRole(before.palette().ColorRole.PlaceholderText)
        self.history = QuestionHistory(self._settings, str, left, key="knowledge.text.history")
        self.history.asked.connect(lambda _, inputs: self._on_chosen(inputs))
        self.history.show_for((ASK.name,))
        _fill(left, (self.fields, 3), (self.samples, 0), (self.options, 0), (before, 0), (self.history, 1))
        self.bar = AnswerBar(self.tr("Ask"), self.tr("Let the reader mark the answer"), right)
        self.bar.run_requested.connect(self.ask)
        self.bar.stop_requested.connect(self._on_stop)
        self.bar.copy_requested.connect(lambda: QApplication.clipboard().setText(self.view.copied_text()))
        self.bar.export_requested.connect(self._on_export)
        self.notice = Notice(right)
        self.view = AnswerView(right)
        self.blank = QLabel(right)
        self.blank.setWordWrap(True)
        self.blank.setAlignment(self.blank.alignment().AlignCenter)
        self.blank.setForegroundRole(self.blank.palette().ColorRole.PlaceholderText)
        self.stack = QStackedWidget(right)
        self.stack.addWidget(self.blank)
        self.stack.addWidget(self.view)
        _fill(right, (self.bar, 0), (self.notice, 0), (self.stack, 1))
        fill_with_cards(self, left, right, self._settings, "knowledge.text.splitter")

    # --- what others use

    def set_reader(self, reader: LoadedModel | None) -> None:
        self.asker.drop()
        self._reader = reader
        self._settle()

    def set_samples(self, samples: list[Sample]) -> None:
        self.samples.set_samples(samples)

    def ask(self) -> None:
        self.notice.set_text("")
        if self._reader is None:
            return
        try:
            inputs = self.fields.inputs()
            options = self.form.config("options")
        except UserError as error:
            self._show_problem(error)
            return
        self._settings.set(_INPUTS, {key: value[:_LONGEST] for key, value in inputs.items()})
        self._inputs = inputs
        question = TextQuestion(self._reader, inputs["question"], inputs["context"], options)
        self.asker.ask(ask_text, question, title=self.tr("Looking for the answer"))

    def shutdown(self) -> None:
        self.asker.drop()
        self._reader = None

    # --- within

    def _settle(self) -> None:
        self.bar.set_ready(
            self._reader is not None and all(e.toPlainText().strip() for e in self.fields.edits.values())
        )
        self.blank.setText(
            self.tr("Choose a reader above: a question answering model that marks the answer in a text.")
            if self._reader is None
            else self.tr("Type a question and a text, or take an example. The answer is marked here.")
        )

    def _on_busy(self, busy: bool) -> None:
        self.bar.set_busy(busy, self.tr("Reading the text…") if busy else "")

    def _on_stop(self) -> None:
        self.bar.set_stopping()
        self.asker.stop()

    def _on_chosen(self, inputs: Any) -> None:
        self.fields.set_inputs(inputs)
        self.ask()

    def _on_reply(self, reply: tuple[Any, float]) -> None:
        found, seconds = reply
        self.view.show_reply(self._inputs, Reply(found, seconds))
        self.stack.setCurrentWidget(self.view)
        self._row = {**self._inputs, **found.to_row()}
        self.bar.set_result(seconds)
        self.bar.set_has_answer(True)
        self.history.add(ASK.name, self._inputs)

    def _on_failed(self, error: UserError) -> None:
        self._show_problem(error)

    def _show_problem(self, error: UserError) -> None:
        self.notice.set_text(" ".join(text for text in error_texts(error) if text))
        self.bar.set_note("")

    def _on_export(self) -> None:
        import json

        if self._row is not None:
            texts = {".txt": self.view.copied_text() + "\n", ".jsonl": json.dumps(self._row, ensure_ascii=False) + "\n"}
            export_text(self, self._settings, self._services.model_runner, self.tr("answer"), texts)


def _fill(card: QFrame, *widgets: tuple[QWidget, int]) -> None:
    card.setProperty("card", True)
    pad = theme.em(card, 0.8)
    layout = QVBoxLayout(card)
    layout.setContentsMargins(pad, pad, pad, pad)
    layout.setSpacing(theme.em(card, 0.5))
    for widget, stretch in widgets:
        layout.addWidget(widget, stretch)
