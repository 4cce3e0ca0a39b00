"""One text, and what the model makes of it while you type."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QKeyEvent
from PySide6.QtWidgets import QApplication, QFrame, QLabel, QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.exporting import export_text
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.predictions import TextQuestion, WordsQuestion, explain_text, judge_text
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.try_queries import Question, Reply, Study, ask_model, study_model
from lmstudio_app.gui.try_texts import prediction_title
from lmstudio_app.gui.widgets.answer_bar import AnswerBar
from lmstudio_app.gui.widgets.judgement_pane import JudgementPane
from lmstudio_app.gui.widgets.own_labels import OwnLabels
from lmstudio_app.gui.widgets.sample_list import SampleList
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.gui.widgets.try_history import QuestionHistory
from lmstudio_app.gui.widgets.try_panes import fill_with_cards
from lmstudio_app.tasks import find_prediction
from lmstudio_app.tasks.sentiment import JUDGE
from lmstudio_app.tasks.zero_shot import ZERO_SHOT, zero_shot_method

if TYPE_CHECKING:
    from lmstudio_app.inspection.saliency import Saliency
    from lmstudio_app.models.loading import LoadedModel
    from lmstudio_app.tasks.outputs import Label

TYPING_PAUSE = 250  # milliseconds without a key before the model is asked
WORDS_PAUSE = 350  # and after its answer, before it is asked about the words
_KEPT = 20_000  # characters of a text that the settings keep


class TextJudge(QWidget):
    """By sentiment it asks the query runner, which answers at once; by labels of one's own the one for long answers."""

    inspect_requested = Signal(str)

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._model: LoadedModel | None = None
        self._mode = JUDGE.name
        self._asked: Any = None  # what the running or last answer is about
        self._keep = False
        self._was_busy = False
        self._may_explain = True  # until the answer is stopped
        self._is_stale = False  # what was asked about has changed while the answer was on its way
        self._study: JobHandle | None = None
        self._quick = Asker(services.query_runner, self)
        self._slow = Asker(services.answer_runner, self)
        self._words = Asker(services.query_runner, self)  # as the judgements: they share the model's tokenizer
        self._timer = self._make_timer(TYPING_PAUSE, self.judge)
        self._words_timer = self._make_timer(WORDS_PAUSE, self._explain)
        self._build()
        self._connect()
        self.edit.setPlainText(str(self._settings.get("sentiment.text", "")))
        self._timer.stop()
        self.set_mode(self._mode)

    # --- what others use

    def set_mode(self, mode: str) -> None:
        """``sentiment`` or ``zero_shot``; the model that goes with it comes by :meth:`set_model`."""
        self._mode = mode
        self.own_labels.setVisible(mode == ZERO_SHOT.name)
        self.pane.set_sentiment(mode == JUDGE.name)
        self.samples_list.set_samples([])
        self.history.show_for((mode,))
        self.set_model(None)

    def set_model(self, loaded: LoadedModel | None) -> None:
        """Ask another model from now on, first about the text that is there."""
        self._drop()
        self._model = loaded
        self._clear()
        self._study = None
        if loaded is None:
            return
        if self._mode == ZERO_SHOT.name:
            self.pane.set_hint(self.own_labels.method_text(zero_shot_method(loaded.head, loaded.labels)))
        self._study = handle = self._services.query_runner.start(study_model, loaded, quiet=True)
        handle.succeeded.connect(lambda study: self._on_studied(handle, study))
        # the other runner would use the tokenizer at the same time
        handle.finished.connect(lambda: self._on_study_ended(handle))
        if self._mode == JUDGE.name:
            self.judge()

    def set_text(self, text: str) -> None:
        self.edit.setPlainText(text)
        self.judge(keep=True)

    @property
    def mode(self) -> str:
        return self._mode

    @property
    def model(self) -> LoadedModel | None:
        return self._model

    @property
    def busy(self) -> bool:
        """Is an answer on its way, or about to be asked for?"""
        waits = self._timer.isActive() or self._words_timer.isActive()
        return waits or any(asker.busy for asker in (self._quick, self._slow, self._words))

    @property
    def text(self) -> str:
        return self.edit.toPlainText().strip()

    @property
    def samples(self) -> list[QPushButton]:
        return self.samples_list.buttons

    def judge(self, *, keep: bool = False) -> None:
        """Ask the model about the text now.

        While it still answers by sentiment, the newest text waits, and only that; a slow answer is given up for it.
        ``keep``: the text is meant as it is, not half typed, and goes into the list of those asked before.
        """
        self._timer.stop()
        self._keep = keep or (self._keep and self._question() == self._asked)
        if self._quick.busy:
            self._is_stale = self._question() != self._asked
            return
        if not self.text or self._model is None:
            self._drop()
            self._clear()
            return
        if self._slow.busy and self._question() == self._asked:
            return
        self._asked, self._is_stale, self._may_explain = self._question(), False, True
        self._words.drop()
        self._words_timer.stop()
        self._settings.set("sentiment.text", self.text[:_KEPT])
        if self._mode == JUDGE.name:
            self._quick.ask(judge_text, TextQuestion(self._model, self.text))
        else:
            self._ask_slowly()
        self._settle()

    def stop(self) -> None:
        self._timer.stop()
        self._words_timer.stop()
        self._is_stale = self._may_explain = False
        self._quick.stop()
        self._slow.stop()
        if self._words.busy:  # half of the words would say nothing
            self._words.drop()
            self.pane.words.show_state(self.tr("Stopped"))
        self._settle()

    def shutdown(self) -> None:
        self._study = None
        self._drop()

    # --- building

    def _make_timer(self, interval: int, slot: Any) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(interval)
        timer.timeout.connect(slot)
        return timer

    def _build(self) -> None:
        left = QFrame(self)
        left.setProperty("card", True)
        self.own_labels = OwnLabels(self._settings, left)
        self.edit = QPlainTextEdit(left)
        self.edit.setPlaceholderText(self.tr("Type or paste a text; the answer follows as you type."))
        self.edit.setAccessibleName(self.tr("Text"))
        self.edit.setToolTip(self.tr("Enter asks at once, Shift+Enter begins a new line"))
        self.edit.setTabChangesFocus(True)
        self.edit.setMinimumHeight(theme.em(self, 4))
        self.edit.setMaximumHeight(theme.em(self, 14))
        self.edit.installEventFilter(self)
        self.bar = AnswerBar(self.tr("Judge"), self.tr("Ask the model about the text now"), self)
        self.samples_list = SampleList(left)
        before = QLabel(self.tr("Judged before"), left)
        before.setForegroundRole(before.palette().ColorRole.PlaceholderText)
        self.history = QuestionHistory(
            self._settings, lambda name: prediction_title(find_prediction(name)), left, key="sentiment.history"
        )
        self.history.setAccessibleName(before.text())
        self.history.setToolTip(self.tr("Click a text to judge it again"))
        self.pane = JudgementPane(self._settings, self)
        layout = QVBoxLayout(left)
        pad = theme.em(self, 0.8)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(Heading(self.tr("Text"), left, scale=1.1))
        layout.addWidget(self.own_labels)
        layout.addWidget(self.edit, 3)
        layout.addWidget(self.bar)
        layout.addWidget(self.samples_list)
        layout.addWidget(before)
        layout.addWidget(self.history, 2)
        self.splitter = fill_with_cards(self, left, self.pane, self._settings, "sentiment.splitter")

    def _connect(self) -> None:
        self.edit.textChanged.connect(self._on_typed)
        self.own_labels.changed.connect(self._on_typed)
        self.bar.run_requested.connect(self._on_enter)
        self.bar.stop_requested.connect(self.stop)
        self.bar.copy_requested.connect(lambda: QApplication.clipboard().setText(self.pane.copied_text()))
        self.bar.export_requested.connect(self._on_export)
        self.samples_list.chosen.connect(lambda inputs: self.set_text(inputs["text"]))
        self.history.asked.connect(lambda _, inputs: self.set_text(inputs["text"]))
        self.pane.inspect_requested.connect(lambda: self.inspect_requested.emit(self.text))
        self.pane.words_wanted.connect(lambda wanted: self._words_timer.start() if wanted else self._words.drop())
        self._quick.succeeded.connect(self._on_judged)
        self._quick.failed.connect(self._on_failed)
        self._quick.stopped.connect(self._on_stopped)
        self._quick.ended.connect(self._on_ended)
        self._slow.succeeded.connect(self._on_replied)
        self._slow.failed.connect(self._on_refused)
        self._slow.stopped.connect(self._on_stopped)
        self._slow.ended.connect(self._settle)
        self._words.succeeded.connect(self._on_words)
        self._words.failed.connect(lambda error: self.pane.words.show_state(_sentence(error)))
        self._words.ended.connect(self._settle)

    # --- typing

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and watched is self.edit:
            is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
            if is_enter and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                self._on_enter()
                return True
        return super().eventFilter(watched, event)

    def _on_typed(self) -> None:
        self._words_timer.stop()
        self._words.drop()
        self._timer.start()
        self._settle()

    def _on_enter(self) -> None:
        if self._question() == self._asked and not self._quick.busy and self.pane.judgement is not None:
            self._remember()  # the answer is there already, from typing
        else:
            self.judge(keep=True)

    def _question(self) -> Any:
        """All that an answer depends on beside the model."""
        own = (self.own_labels.labels.text(), self.own_labels.template.text())
        return (self._mode, self.text, own if self._mode == ZERO_SHOT.name else None)

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._words_timer.stop()
        self._words.drop()

    # --- answers

    def _ask_slowly(self) -> None:
        assert self._model is not None
        try:
            options = self.own_labels.config()
        except UserError as error:
            self._on_refused(error)
            return
        question = Question(self._model, ZERO_SHOT, {"text": self.text}, options)
        self._slow.ask(ask_model, question, title=self.tr("Asking the model"))

    def _on_judged(self, answer: tuple[Label, float]) -> None:
        self._show(*answer)
        if self.pane.shows_words and self._may_explain and not self._is_stale:
            self._words_timer.start()

    def _on_replied(self, reply: Reply) -> None:
        self._show(reply.output, reply.seconds)

    def _show(self, label: Label, seconds: float) -> None:
        self.pane.set_problem("")
        self.pane.show_label(label)
        self.bar.set_result(seconds)
        if self._keep and self._question() == self._asked:
            self._remember()
        self._settle()

    def _on_failed(self, error: UserError) -> None:
        asked = self._asked
        self._clear()
        self._asked = asked  # or the same text would be asked again and again
        dialogs.show_error(self, error)

    def _on_refused(self, error: UserError) -> None:
        """The labels or the model are not right for the question; that is told in place of an answer."""
        asked = self._asked
        self._clear()
        self._asked = asked
        self.pane.set_problem(_sentence(error))
        self._settle()

    def _on_stopped(self) -> None:
        asked = self._asked
        self._clear()
        self._asked = asked
        self.bar.set_note(self.tr("Stopped"))

    def _on_ended(self) -> None:
        if self._is_stale and not self._timer.isActive():
            self.judge(keep=self._keep)
        self._settle()

    def _explain(self) -> None:
        self._words_timer.stop()
        if self._model is None or self.pane.judgement is None or not self.pane.shows_words or not self.isVisible():
            return
        if self._question() != self._asked:
            return
        question = WordsQuestion(self._model, self.text, self.pane.likeliest)
        self._words.ask(explain_text, question, title=self.tr("Looking at the words"))
        if self.pane.words.saliency is None:
            self.pane.words.show_state(self.tr("Looking at the words…"))
        self._settle()

    def _on_words(self, saliency: Saliency) -> None:
        if self._question() == self._asked and self.pane.judgement is not None:
            self.pane.show_words(self.text, saliency)

    # --- samples

    def _on_studied(self, handle: JobHandle, study: Study) -> None:
        if handle is self._study:
            self.samples_list.set_samples(study.samples.get(self._mode, []))

    def _on_study_ended(self, handle: JobHandle) -> None:
        if handle is self._study and self._mode == ZERO_SHOT.name:
            self.judge()

    # --- state

    def _remember(self) -> None:
        self._keep = False
        self.history.add(self._mode, {"text": self.text})

    def _drop(self) -> None:
        self._timer.stop()
        self._words_timer.stop()
        self._is_stale = False
        for asker in (self._quick, self._slow, self._words):
            asker.drop()

    def _clear(self) -> None:
        self._asked = None
        self._keep = False
        self.pane.clear()
        self.bar.set_note("")
        self._settle()

    def _settle(self) -> None:
        self.bar.set_ready(self._model is not None and bool(self.text))
        if self._slow.busy != self._was_busy:
            self._was_busy = self._slow.busy
            self.bar.set_busy(self._slow.busy)
        self.bar.set_has_answer(self.pane.judgement is not None)
        self.bar.stop_button.setEnabled(any(asker.busy for asker in (self._quick, self._slow, self._words)))

    def _on_export(self) -> None:
        judgement = self.pane.judgement
        if judgement is None:
            return
        row: dict[str, Any] = {"text": self.text, **judgement.to_row()}
        if self.pane.words.saliency is not None:
            row["saliency"] = [word.to_row() for word in self.pane.words.saliency.words]
        texts = {
            ".txt": f"{self.text}\n\n{self.pane.copied_text()}\n",
            ".json": json.dumps(row, ensure_ascii=False, indent=1) + "\n",
        }
        export_text(self, self._settings, self._services.query_runner, self.tr("judgement"), texts)


def _sentence(error: UserError) -> str:
    return " ".join(text for text in error_texts(error) if text)
