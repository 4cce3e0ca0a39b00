"""A question to a knowledge base and what comes of it: examples before, both answers after, each source in its text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Status, TextChunk
from lmstudio_app.gui import theme
from lmstudio_app.gui.forms import DataclassForm
from lmstudio_app.gui.job_runner import JobRunner
from lmstudio_app.gui.text import error_texts, number_text, status_text
from lmstudio_app.gui.try_queries import Sample
from lmstudio_app.gui.widgets.answer_bar import AnswerBar
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.gui.widgets.kb_answer import AnswerPanel
from lmstudio_app.gui.widgets.kb_passage import PassageView
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.sample_list import SampleList
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.gui.widgets.try_history import QuestionHistory
from lmstudio_app.knowledge.answering import AskOptions
from lmstudio_app.knowledge.asking import AnswerMarked, PassagesFound
from lmstudio_app.settings import Settings

if TYPE_CHECKING:
    from lmstudio_app.knowledge.answers import Source, Span
    from lmstudio_app.knowledge.asking import BothAnswers

_OPTIONS = "knowledge.options"


class AskPane(QWidget):
    ask_requested = Signal(str, object)  # question, AskOptions
    stop_requested = Signal()
    copy_requested = Signal()
    export_requested = Signal()

    def __init__(self, settings: Settings, runner: JobRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._folder: Path | None = None
        self._is_ready = False
        self._probability = 0.0
        self._reader = self._writer = ""
        self.both: BothAnswers | None = None
        self._build(runner)
        self.show_start()

    def _build(self, runner: JobRunner) -> None:
        self.question = QLineEdit(self)
        self.question.setPlaceholderText(self.tr("Ask a question"))
        self.question.setAccessibleName(self.tr("Question"))
        self.question.setToolTip(self.tr("A whole question finds more than single words (Enter asks)"))
        self.question.setClearButtonEnabled(True)
        self.question.setMaxLength(2000)
        self.question.setText(str(self._settings.get("knowledge.question", "")))
        self.question.textChanged.connect(self._on_typed)
        self.question.returnPressed.connect(self.ask)
        self.start_button = make_button(
            self.tr("Examples and history"), self.tr("Show example questions, and those asked before"), self
        )
        self.start_button.clicked.connect(self.show_start)
        top = QHBoxLayout()
        top.setSpacing(theme.em(self, 0.5))
        top.addWidget(self.question, 1)
        top.addWidget(self.start_button)
        self.bar = AnswerBar(self.tr("Ask"), self.tr("Look for the answer"), self)
        self.bar.run_requested.connect(self.ask)
        self.bar.stop_requested.connect(self.stop_requested)
        self.bar.copy_requested.connect(self.copy_requested)
        self.bar.export_requested.connect(self.export_requested)
        self.notice = Notice(self)
        self.options = Disclosure(self.tr("Options"), self.tr("How much is looked at, and what counts as found"), self)
        self.form = DataclassForm({"options": AskOptions}, parent=self.options.body)
        kept = self._settings.get(_OPTIONS, {})
        self.form.set_values(kept if isinstance(kept, dict) else {})
        self.form.changed.connect(lambda: self._settings.set(_OPTIONS, self.form.values()))
        inside = QVBoxLayout(self.options.body)
        inside.setContentsMargins(theme.em(self, 1), 0, 0, 0)
        inside.addWidget(self.form)

        self.samples = SampleList(self)
        self.samples.chosen.connect(self._on_chosen)
        self.history = QuestionHistory(self._settings, str, self, key="knowledge.history")
        self.history.asked.connect(lambda _, inputs: self._on_chosen(inputs))
        self.welcome = Hint("", self)
        before = QLabel(self.tr("Asked before"), self)
        before.setForegroundRole(before.palette().ColorRole.PlaceholderText)
        self.start = QWidget(self)
        column = QVBoxLayout(self.start)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.em(self, 0.5))
        for widget in (self.welcome, self.samples, before):
            column.addWidget(widget)
        column.addWidget(self.history, 1)

        self.answer = AnswerPanel(self)
        self.answer.source_chosen.connect(self._on_source)
        self.answer.anyway_requested.connect(lambda: self.ask(least=0.0))
        self.passage = PassageView(runner, self)
        self.passage.back_requested.connect(lambda: self.stack.setCurrentWidget(self.answer))
        self.stack = QStackedWidget(self)
        for widget in (self.start, self.answer, self.passage):
            self.stack.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(top)
        layout.addWidget(self.bar)
        layout.addWidget(self.notice)
        layout.addWidget(self.options)
        layout.addWidget(self.stack, 1)

    # --- what others use

    def show_base(self, folder: Path | None, welcome: str, samples: Sequence[Sample], *, is_ready: bool) -> None:
        """Ask this knowledge base from now on; ``is_ready``: it can be asked."""
        if folder != self._folder:
            self._folder = folder
            self.both = None
            self.notice.set_text("")
            self.answer.clear()
            self.bar.set_has_answer(False)
            self.bar.set_note("")
            self.history.show_for((str(folder),))  # each knowledge base has its own
            self.show_start()
        self._is_ready = is_ready
        self.welcome.setText(welcome)
        self.samples.set_samples(samples)
        self._settle()

    def show_start(self) -> None:
        self.stack.setCurrentWidget(self.start)

    def ask(self, *, least: float | None = None) -> None:
        """Ask what is in the line; ``least`` in place of the option of this name."""
        question = self.question.text().strip()
        if not question or not self._is_ready:
            return
        self.notice.set_text("")
        try:
            values = self.form.config("options")
        except UserError as error:
            self.show_problem(error)
            return
        if least is not None:
            import dataclasses

            values = dataclasses.replace(values, min_probability=least)
        self.ask_requested.emit(question, values)

    def begin(self, reader: str, writer: str) -> None:
        """The question is on its way; ``reader`` and ``writer`` are what the models are called, empty: none."""
        self._reader, self._writer = reader, writer
        self.both = None
        self.notice.set_text("")
        self.bar.set_has_answer(False)
        self.bar.set_busy(True, self.tr("Looking for passages…"))

    def wait_for(self, text: str) -> None:
        """Something else has to be done first."""
        self.bar.set_busy(True, text)

    def show_events(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, PassagesFound):
                self._probability = event.probability
                self.answer.show_passages(event.passages)
                self.stack.setCurrentWidget(self.answer)
            elif isinstance(event, AnswerMarked):
                self.answer.show_marked(event.answer, self._probability, self._reader)
                if self._writer and event.answer.is_found:
                    self.answer.begin_writing(self._writer)
            elif isinstance(event, TextChunk):
                self.answer.add_text(event.text)
            elif isinstance(event, Status) and not event.warning:
                self.bar.set_busy(True, status_text(event))

    def show_result(self, both: BothAnswers) -> None:
        self.both = both
        self.answer.end(both)
        note = ""
        if both.tokens_per_second:
            note = self.tr("{rate} tokens/s").format(rate=number_text(both.tokens_per_second, 1))
        self.bar.set_result(both.seconds, note=note)
        self.bar.set_has_answer(True)
        self.history.add(str(self._folder), {"question": both.question})

    def end(self) -> None:
        """Whatever came of it: nothing runs any longer."""
        self.bar.set_busy(False)
        if self.both is None:
            self.answer.end(None)

    def show_stopped(self) -> None:
        self.bar.set_busy(False)
        self.bar.set_note(self.tr("Stopped"))

    def show_problem(self, error: UserError) -> None:
        self.notice.set_text(" ".join(text for text in error_texts(error) if text))
        self.bar.set_note("")

    def shutdown(self) -> None:
        self._settings.set("knowledge.question", self.question.text())
        self.passage.shutdown()

    # --- within

    def _settle(self) -> None:
        self.bar.set_ready(self._is_ready and bool(self.question.text().strip()))

    def _on_typed(self) -> None:
        self._settle()

    def _on_chosen(self, inputs: Any) -> None:
        self.question.setText(inputs["question"])
        self.ask()

    def _on_source(self, source: Source, span: Span | None) -> None:
        if self._folder is not None:
            self.passage.show_source(self._folder, source, span)
            self.stack.setCurrentWidget(self.passage)
