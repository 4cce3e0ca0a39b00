"""One text at a time: two languages, two texts, what else each sentence may be."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QSplitter, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.events import Status
from lmstudio_app.gui import theme
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.exporting import export_text
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import error_texts, number_text, status_text
from lmstudio_app.gui.translation_queries import (
    Draft,
    PieceTranslated,
    TextAnswer,
    TextCut,
    TextQuestion,
    TranslatorStudy,
    study_translator,
    translate_whole,
    with_languages,
    write_alternatives,
)
from lmstudio_app.gui.widgets.answer_bar import AnswerBar
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.translation_alternatives import AlternativesCard
from lmstudio_app.gui.widgets.translation_languages import LanguageBar
from lmstudio_app.gui.widgets.translation_pairs import TranslationPairs
from lmstudio_app.gui.widgets.translation_settings import TranslationSettings

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel
    from lmstudio_app.tasks.translators import TranslateOptions
    from lmstudio_app.tasks.writing import Hypothesis

_ALTERNATIVES = 6
_LONGEST = 20_000  # characters of a text that the settings keep
_TYPING_PAUSE = 500  # milliseconds without a key before the text is kept


class TranslationBody(QWidget):
    """``languages`` stands above it, since whole files are translated between them, too."""

    inspect_requested = Signal(str)

    def __init__(self, services: Services, languages: LanguageBar, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.languages = languages
        self._services = services
        self._settings = services.settings
        self._loaded: LoadedModel | None = None
        self._studying: JobHandle | None = None
        self._study: TranslatorStudy | None = None
        self._draft: Draft | None = None
        self._asked: TextQuestion | None = None
        self._chosen = -1
        self._sample_languages: dict[str, str] = {}
        self._asker = Asker(services.answer_runner, self)
        self._alternatives = Asker(services.answer_runner, self)
        self._keep_timer = QTimer(self)
        self._keep_timer.setSingleShot(True)
        self._keep_timer.setInterval(_TYPING_PAUSE)
        self._keep_timer.timeout.connect(self._keep_text)
        self._build()
        self._connect()
        self.pairs.source.setPlainText(str(self._settings.get("translation.text", "")))
        self._settle()

    # --- what others use

    def set_model(self, loaded: LoadedModel | None) -> None:
        """Ask this model from now on. What another one wrote stays to be read."""
        if loaded is self._loaded:
            return
        self._asker.drop()
        self._alternatives.drop()
        self._loaded, self._study = loaded, None
        self.pairs.set_asking(False)
        self.bar.set_busy(False)
        if loaded is not None:
            self._studying = handle = self._services.query_runner.start(study_translator, loaded, quiet=True)
            handle.succeeded.connect(lambda study: self._on_studied(handle, study))
            handle.failed.connect(lambda error: self._on_study_failed(handle, error))
        self._settle()

    def translate(self) -> None:
        """Translate the text that is there."""
        text = self.pairs.source.toPlainText()
        if self._loaded is None or self._study is None or not text.strip():
            return
        try:
            options = self.options()
        except UserError as error:
            self._show_problem(error)
            return
        self._keep_text()
        self._alternatives.drop()
        self._chosen = -1
        self._draft = None
        self.notice.set_text("")
        self.card.clear()
        self.pairs.forget()
        self.pairs.set_asking(False)
        self._asked = TextQuestion(self._loaded, text, options)
        source, target = self.languages.languages
        inputs = {"text": text, "source_language": source, "target_language": target}
        self.settings.history.add("translation", {name: value for name, value in inputs.items() if value})
        self._asker.ask(translate_whole, self._asked, title=self.tr("Translating"))

    def options(self, **others: Any) -> TranslateOptions:
        """What the page shows, as the prediction takes it. Raises :class:`UserError`."""
        return with_languages(self.settings.form.config("options"), *self.languages.languages, **others)

    def set_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Show a text, choose its languages, and translate it."""
        text = str(inputs.get("text", ""))
        source = str(inputs.get("source_language") or self._sample_languages.get(text, ""))
        self.languages.choose(source, str(inputs.get("target_language", "")))
        self.pairs.source.setPlainText(text)
        self.translate()

    def shutdown(self) -> None:
        self._studying = None
        self._keep_timer.stop()
        self._asker.drop()
        self._alternatives.drop()
        self.pairs.forget()

    # --- building

    def _build(self) -> None:
        self.pairs = TranslationPairs(self._services, self)
        self.bar = AnswerBar(self.tr("Translate"), self.tr("Translate the text on the left"), self)
        self.notice = Notice(self)
        self.settings = TranslationSettings(self._settings, self)
        self.card = AlternativesCard(self)
        upper = QFrame(self)
        upper.setProperty("card", True)
        pad = theme.em(self, 0.8)
        inside = QVBoxLayout(upper)
        inside.setContentsMargins(pad, theme.em(self, 0.6), pad, theme.em(self, 0.6))
        inside.setSpacing(theme.em(self, 0.5))
        inside.addWidget(self.pairs, 1)
        inside.addWidget(self.notice)
        inside.addWidget(self.bar)
        examples = QFrame(self)
        examples.setProperty("card", True)
        below = QVBoxLayout(examples)
        below.setContentsMargins(pad, theme.em(self, 0.4), pad, theme.em(self, 0.6))
        below.addWidget(self.settings)
        lower = QSplitter(Qt.Orientation.Horizontal, self)
        lower.setChildrenCollapsible(False)
        lower.setHandleWidth(theme.em(self, 0.5))
        lower.addWidget(examples)
        lower.addWidget(self.card)
        lower.setSizes([1000, 1000])
        self.splitter = QSplitter(Qt.Orientation.Vertical, self)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(theme.em(self, 0.5))
        self.splitter.addWidget(upper)
        self.splitter.addWidget(lower)
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 2)
        self.splitter.setSizes([600, 400])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.splitter)

    def _connect(self) -> None:
        self.bar.run_requested.connect(self.translate)
        self.bar.stop_requested.connect(self._on_stop)
        self.bar.copy_requested.connect(self._on_copy)
        self.bar.export_requested.connect(self._on_export)
        self.languages.swapped.connect(self._on_swapped)
        self.settings.inputs_chosen.connect(self.set_inputs)
        self.pairs.source.textChanged.connect(self._on_typed)
        self.pairs.sentence_chosen.connect(self._on_sentence)
        self.card.chosen.connect(self._on_alternative)
        self.card.inspect_requested.connect(self._on_inspect)
        self._asker.busy_changed.connect(self._on_busy)
        self._asker.events.connect(self._on_events)
        self._asker.succeeded.connect(self._on_answer)
        self._asker.failed.connect(self._show_problem)
        self._asker.stopped.connect(self._on_stopped)
        self._alternatives.succeeded.connect(self._on_alternatives)
        self._alternatives.failed.connect(self._on_alternatives_failed)

    def _settle(self) -> None:
        has_text = bool(self.pairs.source.toPlainText().strip())
        self.bar.set_ready(self._study is not None and has_text)
        self.bar.set_has_answer(self._draft is not None and self._draft.done > 0)

    # --- the model

    def _on_studied(self, handle: JobHandle, study: TranslatorStudy) -> None:
        if handle is not self._studying:
            return
        self._studying, self._study = None, study
        self.languages.set_offer(study.offer)
        known = [sample for sample in study.samples if study.offer.allows(sample.language, "")]
        self._sample_languages = {str(sample.inputs["text"]): sample.language for sample in known}
        self.settings.samples.set_samples(known)
        self.card.set_aligns(study.aligns)
        self._settle()

    def _on_study_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._studying:
            self._studying = None
            self._show_problem(error)

    # --- translating

    def _on_typed(self) -> None:
        self._keep_timer.start()
        self._settle()

    def _keep_text(self) -> None:
        self._keep_timer.stop()
        text = self.pairs.source.toPlainText()
        if len(text) <= _LONGEST:
            self._settings.set("translation.text", text)

    def _on_busy(self, busy: bool) -> None:
        self.bar.set_busy(busy)
        self.pairs.set_asking(not busy and self._study is not None and self._study.aligns)
        self._settle()

    def _on_stop(self) -> None:
        self.bar.set_stopping()
        self._asker.stop()

    def _on_events(self, events: Sequence[Any]) -> None:
        done: dict[int, tuple[str, float]] = {}
        for event in events:
            if isinstance(event, TextCut) and self._asked is not None:
                self._draft = Draft(event.plan)
                self.pairs.begin(self._draft, self._asked.loaded, lambda options=self._asked.options: options)
            elif isinstance(event, PieceTranslated):
                best = event.hypotheses[0]
                done[event.number] = (best.text, best.probability)
            elif isinstance(event, Status) and event.warning:
                self.notice.set_text(status_text(event))
        if self._draft is None:
            return
        if done:
            self._draft.put(done)
            self.pairs.refresh()
            self._settle()
        total = len(self._draft.plan.spans)
        if total > 1 and not self._asker.stopping:
            text = self.tr("Translating… {done} of {total} sentences")
            self.bar.set_note(text.format(done=number_text(self._draft.done), total=number_text(total)))

    def _on_answer(self, answer: TextAnswer) -> None:
        self.bar.set_busy(False)
        self.bar.set_result(answer.seconds, answer.tokens)
        if self._draft is not None and not self._draft.plan.spans:  # numbers and signs only
            self.pairs.target.show_text(answer.translation.text)
        self._settle()

    def _on_stopped(self) -> None:
        self.bar.set_busy(False)
        done = self._draft.done if self._draft is not None else 0
        total = len(self._draft.plan.spans) if self._draft is not None else 0
        text = self.tr("Stopped after {done} of {total} sentences") if done else self.tr("Stopped")
        self.bar.set_note(text.format(done=number_text(done), total=number_text(total)))

    def _show_problem(self, error: UserError) -> None:
        self.notice.set_text(" ".join(text for text in error_texts(error) if text))

    def _on_swapped(self) -> None:
        """The translation becomes the text, and is translated back."""
        if self._draft is not None and self._draft.done == len(self._draft.plan.spans) and self.pairs.is_current:
            text = self._draft.joined_text
            self.pairs.source.setPlainText(text)
            self.translate()

    # --- other translations of a sentence

    def _on_sentence(self, number: int) -> None:
        if self._draft is None or self._asked is None:
            return
        self._chosen = number
        self.pairs.choose(number)
        self.card.show_searching(self._draft.source(number))
        if self._loaded is not self._asked.loaded:
            self.card.show_problem(
                self.tr("Another model wrote this. Translate the text again to see what else it says.")
            )
            return
        if self._asker.busy:
            self.card.show_problem(self.tr("The model is still translating. Click again when it is done."))
            return
        try:
            options = with_languages(
                self.settings.form.config("options"),
                self._asked.options.source_language,
                self._asked.options.target_language,
                alternatives=_ALTERNATIVES,
            )
        except UserError as error:
            self._on_alternatives_failed(error)
            return
        piece = " ".join(self._draft.source(number).split())
        self._alternatives.ask(write_alternatives, TextQuestion(self._loaded, piece, options))

    def _on_alternatives(self, found: list[Hypothesis]) -> None:
        if self._draft is not None and self._chosen >= 0:
            self.card.show_alternatives(found, self._draft.piece(self._chosen))

    def _on_alternatives_failed(self, error: UserError) -> None:
        self.card.show_problem(" ".join(text for text in error_texts(error) if text))

    def _on_alternative(self, text: str, probability: float) -> None:
        if self._draft is not None and self._chosen >= 0:
            self._draft.put({self._chosen: (text, probability)})
            self.pairs.refresh()

    def _on_inspect(self) -> None:
        if self._draft is not None and self._chosen >= 0:
            self.inspect_requested.emit(" ".join(self._draft.source(self._chosen).split()))

    # --- keeping it

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(self.pairs.target.toPlainText())

    def _on_export(self) -> None:
        if self._draft is None:
            return
        titles = self.languages.titles
        texts = {
            ".txt": self._draft.joined_text,
            ".csv": as_table(self._draft, titles),
            ".jsonl": as_lines(self._draft),
        }
        export_text(self, self._settings, self._services.query_runner, self.tr("translation"), texts)


def as_table(draft: Draft, titles: Sequence[str]) -> str:
    """Both languages beside each other, a sentence a row."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(titles)
    writer.writerows((row["source"], row["text"]) for row in draft.rows())
    return file.getvalue()


def as_lines(draft: Draft) -> str:
    """A sentence a line, as JSON."""
    rows = [{key: value for key, value in row.items() if not _is_nan(value)} for row in draft.rows()]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
