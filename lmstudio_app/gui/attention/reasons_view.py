"""The view of reasons: what an answer of the model owes to each token, by three methods side by side."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Progress
from lmstudio_app.gui import theme
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.attention import reasons_texts
from lmstudio_app.gui.attention.reasons_note import SourcedNote
from lmstudio_app.gui.attention.reasons_table import AGAINST, FOR, ReasonsTable, signed_text
from lmstudio_app.gui.attention.state_label import StateLabel
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.attention.text_flow import FlowArea, TextFlow
from lmstudio_app.gui.job_runner import JobRunner
from lmstudio_app.gui.text import error_texts, progress_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.mode_bar import ModeBar
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.scaled_label import Heading, Hint, ScaledLabel
from lmstudio_app.gui.widgets.try_candidates import share_text
from lmstudio_app.inspection.attribution import (
    ATTENTION,
    GRADIENT,
    INTEGRATED,
    Attribution,
    AttributionRequest,
    attribute,
)
from lmstudio_app.inspection.attribution_inputs import input_of

_STRONGEST = 0.5  # of the colour on the paper: the text keeps a contrast of 4.5 to 1 on it
_FAINTEST = 0.06  # of the strongest token's share: less is not tinted
_ORDER = (GRADIENT, ATTENTION, INTEGRATED)  # the quick ones first, so that there is something to see


class ReasonsView(QWidget):
    """Works while it is seen, in a runner of its own: it may take a minute, and must not hold up the other views."""

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._studio = studio
        self._settings = studio.services.settings
        self._methods = reasons_texts.methods()
        self._found: Attribution | None = None
        self._todo: list[str] = []
        self._refused: dict[str, str] = {}  # why a method gave nothing
        self._position: int | None = None
        self._answer: str | None = None
        self._is_stale = True
        self._is_new = True  # nothing has come of the newest question
        self._line: QLineEdit | None = None
        self._runner = JobRunner(self, "reasons")
        self.asker = Asker(self._runner, self)
        self._make_widgets()
        self._lay_out()
        self.asker.succeeded.connect(self._on_found)
        self.asker.failed.connect(self._on_failed)
        self.asker.stopped.connect(self._on_stopped)
        self.asker.events.connect(self._on_events)
        studio.reading_changed.connect(self._on_reading)

    def _make_widgets(self) -> None:
        self.mode = ModeBar(self.tr("Method"), [(title, tip) for _, title, tip in self._methods], self)
        names = [name for name, _, _ in self._methods]
        wanted = self._settings.get("attention.reasons.method", INTEGRATED)
        self.mode.setCurrentIndex(names.index(wanted) if wanted in names else 0)
        self.mode.currentChanged.connect(self._on_mode)
        self.answers = QuietCombo(
            self.tr("Answer to explain"), self.tr("Explain another label or word than the model's own"), self
        )
        self.answers.activated.connect(self._on_answer)
        self.next = make_button(
            self.tr("Next token"), self.tr("Explain again what the model would write next"), self, self._on_next
        )
        self.stop = make_button(self.tr("Stop"), self.tr("Explain no further"), self, self._on_stop)
        self.question = Heading("", self, scale=1.1)
        self.question.setWordWrap(True)
        self.hint = Hint("", self)
        self.flow = TextFlow(self.tr("Text, tinted by what each token says for or against the answer"), self)
        self.flow.setToolTip(self.tr("Blue speaks for the answer, orange against it"))
        self.flow.clicked.connect(self._on_token)
        self.flow.pointed.connect(self._on_pointed)
        self.area = FlowArea(self.flow, self)
        self.legend = ScaledLabel("", self, scale=0.88)
        self.readout = ElidedLabel(self)
        self.table = ReasonsTable(self._methods, self)
        self.table.token_chosen.connect(self._on_row)
        self.sum = Hint("", self)
        self.progress = ElidedLabel(self)
        self.state = StateLabel(self)
        self.note = SourcedNote(
            self.tr("What can these methods tell?"),
            reasons_texts.note(),
            self._settings,
            "attention.reasons.note",
            self,
        )

    def _lay_out(self) -> None:
        gap = theme.em(self, 0.4)
        numbers = QWidget(self)
        lower = QVBoxLayout(numbers)
        lower.setContentsMargins(0, 0, 0, 0)
        lower.setSpacing(gap)
        notes = QHBoxLayout()
        notes.addWidget(self.legend)
        notes.addWidget(self.readout, 1)
        lower.addLayout(notes)
        lower.addWidget(self.table, 1)
        halves = QSplitter(Qt.Orientation.Vertical, self)
        halves.setChildrenCollapsible(False)
        halves.addWidget(self.area)
        halves.addWidget(numbers)
        halves.setStretchFactor(0, 0)
        halves.setStretchFactor(1, 1)
        self._halves = halves
        content = QWidget(self)
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(gap)
        head = QHBoxLayout()
        head.addWidget(self.question, 1)
        head.addWidget(self.next)
        head.addWidget(self.answers)
        column.addLayout(head)
        column.addWidget(self.hint)
        column.addWidget(halves, 1)
        column.addWidget(self.sum)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(content)
        self._stack.addWidget(self.state)
        bar = QHBoxLayout()
        bar.addWidget(self.mode)
        bar.addWidget(self.progress, 1)
        bar.addWidget(self.stop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(gap)
        layout.addLayout(bar)
        layout.addWidget(self._stack, 1)
        layout.addWidget(self.note)
        self.setFocusProxy(self.flow)
        self._set_busy(False)
        self._show_state(self.tr("Type a text to see what an answer of the model owes to each word."))

    # --- asking

    @property
    def attribution(self) -> Attribution | None:
        return self._found

    @property
    def method(self) -> str:
        return self._methods[self.mode.currentIndex()][0]

    def explain(self, position: int | None = None, answer: str | None = None) -> None:
        """Ask about a token or an answer; without both about what the model says by itself."""
        self._position, self._answer = position, answer
        self._refused.clear()
        self._todo = list(_ORDER)
        self._is_stale = False
        self._is_new = True
        self._go_on()

    def _go_on(self) -> None:
        reading = self._studio.reading
        if reading is None or not self._todo:
            self._set_busy(False)
            return
        method = self._todo[0]
        request = AttributionRequest(input_of(reading.request), (method,), self._position, self._answer)
        title = next(title for name, title, _ in self._methods if name == method)
        self.progress.setText(self.tr("{method}…").format(method=title))
        if self._found is None:
            self._show_state(self.tr("Asking the model…"))
        self._set_busy(True)
        self.asker.ask(partial(attribute, reading.loaded), request, title=title)

    def _on_found(self, found: Attribution) -> None:
        is_first, self._is_new = self._is_new, False
        before = self._found
        if not is_first and before is not None:
            kept = {**before.scores, **found.scores}
            if found.baseline is None:
                found = replace(before, scores=kept)
            else:
                found = replace(before, scores=kept, baseline=found.baseline, error=found.error, steps=found.steps)
        self._found = found
        self._todo.pop(0)
        if is_first:
            self._show_text(found)
        self._draw()
        self._go_on()

    def _on_failed(self, error: UserError) -> None:
        message, remedy = error_texts(error)
        text = f"{message} {remedy}".strip()
        if self._is_new:  # the answer itself cannot be explained
            self._todo = []
            self._set_busy(False)
            if self._found is not None and (self._answer is not None or self._position is not None):
                self.progress.setText(text)  # what was explained before is still true
                self._position, self._answer = self._found.explained, self._found.answer
                self._show_answers(self._found)
                return
            self._found = None
            self._show_state(text)
            return
        self._refused[self._todo.pop(0)] = text
        self._draw()
        self._go_on()

    def _on_stop(self) -> None:
        self._todo = self._todo[:1]  # it may be through before it is stopped
        self.asker.stop()

    def _on_stopped(self) -> None:
        self._todo = []
        self._set_busy(False)
        self.progress.setText(self.tr("Stopped."))
        if self._found is None:
            self._show_state(self.tr("Stopped before there was anything to show."))
        else:
            self._draw()

    def _on_events(self, events: list[Event]) -> None:
        last = next((event for event in reversed(events) if isinstance(event, Progress)), None)
        if last is not None and self._todo:
            title = next(title for name, title, _ in self._methods if name == self._todo[0])
            self.progress.setText(self.tr("{method}: {progress}").format(method=title, progress=progress_text(last)))

    def _set_busy(self, busy: bool) -> None:
        self.stop.setVisible(busy)
        if not busy:
            self.progress.setText("")

    # --- showing

    def _show_state(self, text: str) -> None:
        self.state.setText(text)
        self._stack.setCurrentIndex(1)

    def _show_text(self, found: Attribution) -> None:
        self._stack.setCurrentIndex(0)
        self.flow.set_tokens(found.tokens)
        self.question.setText(reasons_texts.question(found))
        hint = reasons_texts.hint(found)
        self.hint.setText(hint)
        self.hint.setVisible(bool(hint))
        # of a model that reads from left to right
        self.next.setVisible(found.seen == found.explained and all(found.choosable[1:]))
        self._show_answers(found)
        self.readout.setText("")
        self._fit_text()

    def _fit_text(self) -> None:
        """The text gets the height it needs, up to a good third; whoever drags the border has another say."""
        height = self._halves.height()
        wanted = self.flow.heightForWidth(max(1, self.area.viewport().width())) + theme.em(self, 0.6)
        wanted = min(wanted, round(0.4 * height))
        self._halves.setSizes([wanted, max(1, height - wanted)])

    def _show_answers(self, found: Attribution) -> None:
        """The likeliest ones, and a field for another word."""
        self.answers.blockSignals(True)
        self.answers.clear()
        self.answers.setEditable(found.kind in ("word", "next"))
        names = [name for name, _ in found.candidates]
        candidates = list(found.candidates)
        if found.answer not in names and found.probability is not None:
            candidates.insert(0, (found.answer, found.probability))
        for name, share in candidates:
            self.answers.addItem(self.tr("{answer}  {share}").format(answer=name, share=share_text(share)), name)
        self.answers.setCurrentIndex(self.answers.findData(found.answer))
        line = self.answers.lineEdit()
        if line is not None and line is not self._line:  # a new one each time that the box becomes editable
            self.answers.setInsertPolicy(QuietCombo.InsertPolicy.NoInsert)
            line.returnPressed.connect(self._on_typed)
        self._line = line
        self.answers.setVisible(found.kind in ("label", "word", "next"))
        self.answers.blockSignals(False)

    def _draw(self) -> None:
        found = self._found
        if found is None:
            return
        method = self.method
        self.table.set_scores(found.tokens.labels, found.seen, found.scores, method)
        self.flow.set_tints(self._tints(found), found.explained, range(found.seen, len(found.tokens)))
        if method in found.scores:
            self.sum.setText(reasons_texts.sum_text(found, method))
        elif method in self._refused:
            self.sum.setText(self._refused[method])
        else:
            self.sum.setText(self.tr("Still at work…") if self._todo else self.tr("Not worked out."))
        colours = theme.chart_colours(self.palette())
        swatch = '<span style="background-color: {colour}">&nbsp;{text}&nbsp;</span>'
        base = self.palette().color(QPalette.ColorRole.Base)
        parts = [(FOR, self.tr("for the answer"))]
        if method != ATTENTION:
            parts.append((AGAINST, self.tr("against it")))
        else:
            parts = [(FOR, self.tr("used for the answer"))]
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setText(
            " ".join(
                swatch.format(colour=theme.blend(colours.series[side], base, _STRONGEST).name(), text=text)
                for side, text in parts
            )
        )

    def _tints(self, found: Attribution) -> list[QColor | None]:
        scores = found.scores.get(self.method)
        if scores is None:
            return [None] * len(found.tokens)
        largest = float(abs(scores).max(initial=0))
        colours, base = theme.chart_colours(self.palette()), self.palette().color(QPalette.ColorRole.Base)
        tints: list[QColor | None] = []
        for score in scores.tolist():
            share = abs(score) / largest if largest else 0.0
            side = FOR if score > 0 else AGAINST
            tints.append(theme.blend(colours.series[side], base, _STRONGEST * share) if share >= _FAINTEST else None)
        return tints

    # --- hands

    def _on_mode(self) -> None:
        self._settings.set("attention.reasons.method", self.method)
        self._draw()

    def _on_answer(self, index: int) -> None:
        answer = self.answers.itemData(index)
        if answer is not None and self._found is not None and answer != self._found.answer:
            self.explain(self._position, str(answer))

    def _on_typed(self) -> None:
        text = self.answers.currentText().strip()
        if text and self.answers.findText(text) < 0:
            self.explain(self._position, text)

    def _on_next(self) -> None:
        self.explain()

    def _on_token(self, index: int) -> None:
        if self._found is not None and self._found.choosable[index] and index != self._found.explained:
            self.explain(index)
        self.table.show_token(index)

    def _on_row(self, token: int) -> None:
        self.area.show_token(token)
        self._on_pointed(token)

    def _on_pointed(self, index: int | None) -> None:
        found = self._found
        if found is None or index is None:
            self.readout.setText("")
            return
        if index >= found.seen:
            self.readout.setText(self.tr("“{token}”: comes later").format(token=found.tokens.labels[index]))
            return
        values = [
            self.tr("{method} {value}").format(method=title, value=signed_text(float(found.scores[name][index])))
            for name, title, _ in self._methods
            if name in found.scores
        ]
        self.readout.setText(
            self.tr("“{token}”: {values}").format(token=found.tokens.labels[index], values=", ".join(values))
        )

    # --- coming and going

    def _on_reading(self) -> None:
        self.asker.drop()
        self._todo = []
        self._found = None
        self._is_stale = True
        self._position = self._answer = None
        self._set_busy(False)
        if self.isVisible():
            self._refresh()

    def _refresh(self) -> None:
        if self._studio.reading is None:
            self._show_state(self.tr("Type a text to see what an answer of the model owes to each word."))
        elif self._is_stale:
            self.explain()
        else:
            self._go_on()  # where it was left

    def showEvent(self, event: QEvent) -> None:
        super().showEvent(event)  # type: ignore[arg-type]
        self._refresh()

    def hideEvent(self, event: QEvent) -> None:
        super().hideEvent(event)  # type: ignore[arg-type]
        self.asker.drop()
        self._set_busy(False)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "note"):
            QTimer.singleShot(0, self, self._draw)  # Qt is in the middle of restyling everything

    def shutdown(self) -> Any:
        self.asker.drop()
        return self._runner.shutdown()
