"""One text on the Summarise page: the text on the left, its summary on the right, and the threads between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Progress
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.chat_replies import EngineHolder
from lmstudio_app.gui.exporting import export_text
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.summary_queries import (
    DraftWritten,
    OpenedText,
    SummaryAnswer,
    SummaryQuestion,
    SupportQuestion,
    TextLook,
    TextLooker,
    export_texts,
    first_words,
    open_text,
    summarize_text,
    support_summary,
)
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.try_queries import Study
from lmstudio_app.gui.widgets.answer_bar import AnswerBar
from lmstudio_app.gui.widgets.summary_result import SummaryResult
from lmstudio_app.gui.widgets.summary_source import PREDICTION, SummarySource
from lmstudio_app.gui.widgets.summary_text import STRONG, WEAK, SpanMark
from lmstudio_app.gui.widgets.try_panes import fill_with_cards
from lmstudio_app.tasks.summary_support import Support
from lmstudio_app.tasks.summary_writers import SummaryOptions

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

TYPING_PAUSE = 300  # milliseconds without a key before the text is measured
ENCODER = "starter:encoder"


class SummaryBody(QWidget):
    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._model: LoadedModel | None = None
        self._looker: TextLooker | None = None
        self._looking: JobHandle | None = None
        self._studying: JobHandle | None = None
        self._opening: JobHandle | None = None
        self._fetching: JobHandle | None = None
        self._answer: SummaryAnswer | None = None
        self._spans: list[tuple[int, int]] = []  # of the text, that support anything
        self._pinned: tuple[str, int] | None = None  # "summary" or "source", and its sentence
        self._holder = EngineHolder()
        self._asker = Asker(services.answer_runner, self)
        self._supporter = Asker(services.answer_runner, self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(TYPING_PAUSE)
        self._timer.timeout.connect(self._look)
        self._build()
        self._connect()
        self._settle()

    # --- what others use

    def set_model(self, loaded: LoadedModel | None) -> None:
        """Ask another model from now on; what another one has written stays to be read."""
        if loaded is not self._model:
            self._asker.drop()
            self._holder.close()
        self._model = loaded
        self._looker = None if loaded is None else TextLooker(loaded)
        self.source.show_plan(None)
        self._settle()
        if loaded is not None:
            self._look()
            if self._looker is not None:
                self._studying = handle = self._services.query_runner.start(self._looker.study, None, quiet=True)
                handle.succeeded.connect(lambda study: self._on_studied(handle, study))

    def options(self) -> SummaryOptions:
        return self.source.options()

    @property
    def answer(self) -> SummaryAnswer | None:
        """The summary that is shown, once it is done."""
        return self._answer

    @property
    def busy(self) -> bool:
        return self._asker.busy

    def open_file(self, path: Path) -> None:
        """Put the text of a file into the field."""
        if self._opening is not None:
            self._opening.cancel()
        self.source.show_problem("")
        self.bar.set_note(self.tr("Reading {name}…").format(name=path.name))
        title = self.tr("Reading {name}").format(name=path.name)
        self._opening = handle = self._services.batch_runner.start(open_text, path, title=title, quiet=True)
        handle.succeeded.connect(lambda opened: self._on_opened(handle, opened))
        handle.failed.connect(lambda error: self._on_open_failed(handle, error))

    def ask(self) -> None:
        """Summarise what is in the field; a summary that is being written is dropped."""
        text = self.source.text()
        if self._model is None or not text.strip():
            return
        try:
            options = self.options()
        except UserError as error:
            self._show_problem(error)
            return
        self._supporter.drop()
        self._forget_answer()
        self.source.show_problem("")
        self.result.begin()
        self.source.history.add(PREDICTION, {"text": text})
        question = SummaryQuestion(self._model, text, options, self._holder)
        self._asker.ask(summarize_text, question, title=self.tr("Summarising"))
        self._settle()

    def stop(self) -> None:
        """End here; what is written stays."""
        if self._asker.busy:
            self._asker.stop()
            self.bar.set_stopping()

    def shutdown(self) -> None:
        self._timer.stop()
        self._looking = self._studying = self._fetching = None
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        self._asker.drop()
        self._supporter.drop()
        self._holder.close()

    # --- building

    def _build(self) -> None:
        self.source = SummarySource(self._settings, self)
        self.result = SummaryResult(self, by_meaning=bool(self._settings.get("summarization.meaning", True)))
        self.bar = AnswerBar(self.tr("Summarise"), self.tr("Say in few sentences what the text says"), self)
        self.source.add_bar(self.bar)
        self.splitter = fill_with_cards(self, self.source, self.result, self._settings, "summarization.splitter")

    def _connect(self) -> None:
        self.source.changed.connect(self._on_changed)
        self.source.file_chosen.connect(self.open_file)
        self.source.ask_requested.connect(self.ask)
        self.source.edit.pointed.connect(lambda index: self._point("source", index))
        self.source.edit.chosen.connect(lambda index: self._pin("source", index))
        self.result.pointed.connect(lambda index: self._point("summary", index))
        self.result.chosen.connect(lambda index: self._pin("summary", index))
        self.result.part_chosen.connect(self._on_part)
        self.result.meaning_changed.connect(self._on_meaning)
        self.bar.run_requested.connect(self.ask)
        self.bar.stop_requested.connect(self.stop)
        self.bar.copy_requested.connect(self._on_copy)
        self.bar.export_requested.connect(self._on_export)
        self._asker.events.connect(self._on_events)
        self._asker.succeeded.connect(self._on_answer)
        self._asker.failed.connect(self._on_failed)
        self._asker.stopped.connect(self._on_stopped)
        self._asker.busy_changed.connect(self.bar.set_busy)
        self._supporter.succeeded.connect(self._on_support)
        self._supporter.failed.connect(self._on_support_failed)

    def _settle(self) -> None:
        ready = self._model is not None and bool(self.source.text().strip())
        self.bar.set_ready(ready)
        self.bar.set_has_answer(self._answer is not None and bool(self._answer.summary.text))

    # --- the text

    def _on_changed(self) -> None:
        self._timer.start()
        if self._answer is not None and self.source.text() != self._answer.text:
            self._spans = []  # they were of another text
            self.source.edit.set_sentences("", [])
        self._settle()

    def _look(self) -> None:
        """Count words and tokens, and see in how many parts the text will be read; not in the window's thread."""
        self._timer.stop()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        text = self.source.text()
        if self._looker is None or not text.strip():
            self.source.show_plan(None)
            return
        try:
            look = TextLook(text, self.options())
        except UserError as error:
            self._show_problem(error)
            return
        self._looking = handle = self._services.query_runner.start(self._looker.look, look, quiet=True)
        handle.succeeded.connect(lambda plan: handle is self._looking and self.source.show_plan(plan))
        handle.failed.connect(lambda error: handle is self._looking and self._show_problem(error))

    def _on_studied(self, handle: JobHandle, study: Study) -> None:
        if handle is self._studying:
            self.source.set_samples(study.samples.get(PREDICTION, []))

    def _on_opened(self, handle: JobHandle, opened: OpenedText) -> None:
        if handle is not self._opening:
            return
        self._opening = None
        self.source.set_text(opened.text)
        self.bar.set_note(self.tr("Text of {name}").format(name=opened.path.name))
        notes = [template.format(**parameters) for template, parameters in opened.notes]
        self.source.show_problem(" ".join(notes))

    def _on_open_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._opening:
            self._opening = None
            self.bar.set_note("")
            self._show_problem(error)

    def _show_problem(self, error: UserError) -> None:
        self.source.show_problem(" ".join(text for text in error_texts(error) if text))

    # --- the summary

    def _on_events(self, events: list[Event]) -> None:
        newest: dict[tuple[int, int], DraftWritten] = {}
        for event in events:
            if isinstance(event, DraftWritten):
                place = (event.draft.round, event.draft.index)
                newest.pop(place, None)
                newest[place] = event
            elif isinstance(event, Progress):
                self.result.show_progress(event.done, event.total)
        for event in newest.values():
            self.result.show_draft(event.draft)

    def _on_answer(self, answer: SummaryAnswer) -> None:
        self._answer = answer
        self.result.end()
        self.result.show_answer(answer)
        self.bar.set_result(answer.seconds, answer.summary.tokens)
        self._show_sources(answer.support)
        self._settle()
        if self.result.meaning.isChecked():
            self._compare_meanings()

    def _on_failed(self, error: UserError) -> None:
        self._forget_answer()
        self.result.end()
        self._show_problem(error)
        self._settle()

    def _on_stopped(self) -> None:
        self.result.end()
        self.bar.set_note(self.tr("Stopped"))
        self._settle()

    def _forget_answer(self) -> None:
        self._answer, self._pinned, self._spans = None, None, []
        self.source.edit.set_sentences("", [])
        self.result.clear()

    def _on_copy(self) -> None:
        if self._answer is not None:
            QApplication.clipboard().setText(self._answer.summary.text)

    def _on_export(self) -> None:
        if self._answer is not None:
            support = self.result.support or self._answer.support
            name = self.tr("Summary of {text}").format(text=_file_name(first_words(self._answer.text)))
            export_text(self, self._settings, self._services.query_runner, name, export_texts(self._answer, support))

    # --- what supports it

    def _on_meaning(self, wanted: bool) -> None:
        self._settings.set("summarization.meaning", wanted)
        self.result.set_method_note("")
        if self._answer is None:
            return
        if wanted:
            self._compare_meanings()
        else:
            self._fetching = None
            self._supporter.drop()
            self._on_support(self._answer.support)

    def _compare_meanings(self) -> None:
        """Look for sources again, by the vectors of an encoder, when it is on this computer."""
        if self._answer is None or not self._answer.summary.text or self._answer.summary.is_text:
            return
        self._fetching = handle = self._services.shelf.take(ENCODER, head="base")
        handle.succeeded.connect(lambda encoder: self._on_encoder(handle, encoder))
        handle.failed.connect(lambda error: handle is self._fetching and self._on_support_failed(error))

    def _on_encoder(self, handle: JobHandle, encoder: Any) -> None:
        if handle is self._fetching and self._answer is not None:
            question = SupportQuestion(self._answer.text, self._answer.summary.text, encoder)
            self._supporter.ask(support_summary, question, title=self.tr("Looking for sources"))

    def _on_support(self, support: Support) -> None:
        if self._answer is not None:
            self.result.show_support(self._answer, support)
            self._show_sources(support)

    def _on_support_failed(self, error: UserError) -> None:
        reason = " ".join(text for text in error_texts(error) if text)
        self.result.set_method_note(self.tr("By meaning it did not work: {reason}").format(reason=reason))

    def _show_sources(self, support: Support) -> None:
        """Make the supporting sentences of the text such that one can point at them."""
        self._pinned = None
        if self._answer is None or self.source.text() != self._answer.text or self._answer.summary.is_text:
            return
        found = {(source.start, source.end) for sentence in support.sentences for source in sentence.sources}
        self._spans = sorted(found)
        self.source.edit.set_sentences(self._answer.text, self._spans)
        self._point("summary", -1)

    def _links(self) -> list[list[int]]:
        """For each sentence of the summary the numbers of those of the text, the best first."""
        support = self.result.support
        number = {span: index for index, span in enumerate(self._spans)}
        return [
            [number[(source.start, source.end)] for source in sentence.sources if (source.start, source.end) in number]
            for sentence in (support.sentences if support else ())
        ]

    def _point(self, side: str, index: int) -> None:
        """Show what goes with a sentence of either side, or what is pinned, or all there is."""
        if index < 0 and self._pinned is not None:
            side, index = self._pinned
        links = self._links()
        if side == "summary":
            chosen = [index]
            sources = links[index] if 0 <= index < len(links) else []
        else:
            sources = [index] if 0 <= index < len(self._spans) else []
            chosen = [number for number, linked in enumerate(links) if index in linked]
        weak = [SpanMark(number, WEAK) for number in range(len(self._spans)) if number not in sources]
        self.source.edit.set_marks([*weak, *(SpanMark(number, STRONG) for number in sources)])
        self.result.mark(*chosen)
        if side == "summary" and sources:
            self.source.edit.scroll_to(sources[0])
        elif side == "source" and chosen:
            self.result.text.scroll_to(chosen[0])

    def _pin(self, side: str, index: int) -> None:
        """A click keeps a sentence marked; one beside all of them lets it go."""
        self._pinned = (side, index) if index >= 0 else None
        self._point(side, index)

    def _on_part(self, start: int, end: int) -> None:
        """Show the beginning of a part of the text."""
        if self._answer is None or self.source.text() == self._answer.text:
            self.source.edit.select(self.source.text(), start, end)


def _file_name(text: str) -> str:
    """Without the characters that no file may have in its name."""
    return "".join(" " if character in '\\/:*?"<>|' or ord(character) < 32 else character for character in text).strip()
