"""The left half of the Sentiment page: one text, and what the model makes of it while you type."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QFont, QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.errors import UserError
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.gui.predictions import TextQuestion, judge_text
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.elided_button import ElidedButton
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import FontScale, Heading
from lmstudio_app.gui.widgets.score_bars import ScoreBars
from lmstudio_app.settings import Settings

HISTORY = 50  # texts that are remembered, until another model comes
TYPING_PAUSE = 250  # milliseconds without a key before the model is asked


class _History(QListWidget):
    """Says what will be in it while there is nothing."""

    placeholder = ""

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.count():
            return
        painter = QPainter(self.viewport())
        painter.setPen(theme.muted(self.palette()))
        area = self.viewport().rect().adjusted(theme.em(self, 1), 0, -theme.em(self, 1), 0)
        painter.drawText(area, int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap), self.placeholder)


class TextJudge(QFrame):
    inspect_requested = Signal(str)

    def __init__(self, runner: JobRunner, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._runner = runner
        self._settings = settings
        self._model: Any = None
        self._handle: JobHandle | None = None
        self._asked = ""  # the text that the running or last job was asked about
        self._keep = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(TYPING_PAUSE)
        self._timer.timeout.connect(self.judge)
        self._build()
        self.edit.setPlainText(str(settings.get("sentiment.text", "")))
        self._timer.stop()
        self._clear_result()

    def set_model(self, loaded: Any) -> None:
        """Ask another model from now on, first about the text that is there."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._model = loaded
        self._clear_result()
        self.history.clear()  # its labels were another model's
        if loaded is not None:
            self.judge()

    def set_text(self, text: str) -> None:
        self.edit.setPlainText(text)
        self.judge(keep=True)

    def judge(self, *, keep: bool = False) -> None:
        """Ask the model about the text now. While it still answers, the newest text waits, and only that.

        ``keep``: the text is meant as it is, not half typed, and goes into the list of those tried.
        """
        self._timer.stop()
        self._keep = keep or (self._keep and self.edit.toPlainText().strip() == self._asked)
        text = self.edit.toPlainText().strip()
        if self._handle is not None:
            return  # _on_finished asks again when the text has changed
        if not text or self._model is None:
            self._clear_result()
            return
        self._asked = text
        self._settings.set("sentiment.text", text[:20_000])
        handle = self._runner.start(judge_text, TextQuestion(self._model, text), quiet=True)
        self._handle = handle
        handle.succeeded.connect(lambda answer: self._on_answer(handle, answer))
        handle.failed.connect(lambda error: self._on_failed(handle, error))
        handle.finished.connect(lambda: self._on_finished(handle))

    def shutdown(self) -> None:
        self._timer.stop()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    # --- building

    def _build(self) -> None:
        title = Heading(self.tr("One text"), self, scale=1.1)
        self.edit = QPlainTextEdit(self)
        self.edit.setPlaceholderText(self.tr("Type or paste a text; the answer follows as you type."))
        self.edit.setAccessibleName(self.tr("Text"))
        self.edit.setToolTip(self.tr("Enter asks at once, Shift+Enter begins a new line"))
        self.edit.setTabChangesFocus(True)
        self.edit.setMinimumHeight(theme.em(self, 4))
        self.edit.setMaximumHeight(theme.em(self, 12))
        self.edit.textChanged.connect(self._timer.start)
        self.edit.installEventFilter(self)
        self.verdict = ElidedLabel(self)
        FontScale(self.verdict, 1.7, QFont.Weight.DemiBold)
        self.latency = QLabel(self)
        self.latency.setForegroundRole(self.latency.palette().ColorRole.PlaceholderText)
        self.latency.setToolTip(self.tr("How long the model took, from the text to the answer"))
        self.bars = ScoreBars()
        self.scroll = QScrollArea(self)
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setWidget(self.bars)
        self.scroll.viewport().setAutoFillBackground(False)
        self.bars.setAutoFillBackground(False)  # setWidget switched it on
        self.inspect_button = QPushButton(self.tr("Look inside"), self)
        self.inspect_button.setAccessibleName(self.tr("Look inside"))
        self.inspect_button.setToolTip(self.tr("Show which words of this text look at which"))
        self.inspect_button.clicked.connect(lambda: self.inspect_requested.emit(self._asked))
        answer = QHBoxLayout()
        answer.addWidget(self.verdict, 1)
        answer.addWidget(self.latency, 0, Qt.AlignmentFlag.AlignBottom)
        self.history_label = QLabel(self.tr("Tried so far"), self)
        self.history_label.setForegroundRole(self.history_label.palette().ColorRole.PlaceholderText)
        self.history = _History(self)
        self.history.placeholder = self.tr("Texts that you ask about with Enter stay here, with what the model said.")
        self.history.setAccessibleName(self.tr("Tried so far"))
        self.history.setToolTip(self.tr("Click a text to try it again"))
        self.history.setAlternatingRowColors(True)
        self.history.setMinimumHeight(theme.em(self, 4))
        self.history.setSpacing(theme.em(self, 0.12))
        self.history.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.history.itemActivated.connect(lambda item: self.set_text(item.data(Qt.ItemDataRole.UserRole)))
        self.history.itemClicked.connect(lambda item: self.set_text(item.data(Qt.ItemDataRole.UserRole)))
        last = QHBoxLayout()
        last.addWidget(self.history_label, 1, Qt.AlignmentFlag.AlignBottom)
        last.addWidget(self.inspect_button)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.8)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.55))
        layout.addWidget(title)
        layout.addWidget(self.edit, 2)
        layout.addLayout(self._build_samples())
        layout.addSpacing(theme.em(self, 0.4))
        layout.addLayout(answer)
        layout.addWidget(self.scroll)
        layout.addLayout(last)
        layout.addWidget(self.history, 3)

    def _build_samples(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(theme.em(self, 0.15))
        caption = QLabel(self.tr("Or try one of these"), self)
        caption.setForegroundRole(caption.palette().ColorRole.PlaceholderText)
        column.addWidget(caption)
        self.samples: list[QPushButton] = []
        for text in (
            self.tr("A moving story, beautifully acted from the first minute to the last."),
            self.tr("The battery died after two days and nobody answered my letters."),
            self.tr("It is not the worst film of the year, but it tries hard to be."),
            self.tr("Great sound, poor build: I am not sure I would buy it again."),
        ):
            button = ElidedButton(self)
            button.setText(text)
            button.setFlat(True)
            button.setStyleSheet("text-align: left;")
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.setAccessibleName(text)
            button.clicked.connect(lambda _=False, text=text: self.set_text(text))
            column.addWidget(button)
            self.samples.append(button)
        return column

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and watched is self.edit:
            is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
            if is_enter and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                self._on_enter()
                return True
        return super().eventFilter(watched, event)

    def _on_enter(self) -> None:
        if self.edit.toPlainText().strip() == self._asked and self._handle is None and self.verdict.text():
            self._remember()  # the answer is there already, from typing
        else:
            self.judge(keep=True)

    # --- answers

    def _on_answer(self, handle: JobHandle, answer: tuple[Any, float]) -> None:
        if handle is not self._handle:
            return
        label, seconds = answer
        self.bars.set_scores(label.scores)
        self._fit_bars()
        self.verdict.setText(label.label)
        milliseconds = number_text(1000 * seconds, 1 if seconds < 0.01 else 0)
        self.latency.setText(self.tr("{time} ms").format(time=milliseconds))
        self.inspect_button.setEnabled(True)
        if self._keep and self.edit.toPlainText().strip() == self._asked:
            self._remember()

    def _fit_bars(self) -> None:
        self.scroll.setFixedHeight(min(self.bars.sizeHint().height(), theme.em(self, 13)))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "history"):
            QTimer.singleShot(0, self, self._fit_bars)  # the bars are told after their parent

    def _remember(self) -> None:
        """Put the text that was asked about on top of the list, once."""
        self._keep = False
        for row in range(self.history.count()):
            if self.history.item(row).data(Qt.ItemDataRole.UserRole) == self._asked:
                self.history.takeItem(row)
                break
        share = number_text(100 * max(dict(self.bars.rows).values()))
        shown = self.tr("{label} {share} %: {text}").format(
            label=self.verdict.text(), share=share, text=" ".join(self._asked[:300].split())
        )
        item = QListWidgetItem(shown)
        item.setData(Qt.ItemDataRole.UserRole, self._asked)
        item.setToolTip(self._asked[:2000])
        self.history.insertItem(0, item)
        while self.history.count() > HISTORY:
            self.history.takeItem(HISTORY)

    def _on_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._handle:
            asked = self._asked
            self._clear_result()
            self._asked = asked  # or the same text would be asked again and again
            dialogs.show_error(self, error)

    def _on_finished(self, handle: JobHandle) -> None:
        if handle is not self._handle:
            return
        self._handle = None
        if self.edit.toPlainText().strip() != self._asked and not self._timer.isActive():
            self.judge(keep=self._keep)

    def _clear_result(self) -> None:
        self._asked = ""
        self._keep = False
        self.bars.set_scores({})
        self._fit_bars()
        self.verdict.clear()
        self.latency.clear()
        self.inspect_button.setEnabled(False)
