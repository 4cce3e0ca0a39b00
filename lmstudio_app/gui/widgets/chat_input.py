"""Where a message is written, and how much of it and of what was said the model still sees."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.scaled_label import Hint

MOST_LINES = 8


class _Draft(QPlainTextEdit):
    """As high as what is in it, up to :data:`MOST_LINES` lines."""

    submitted = Signal()
    escaped = Signal()
    recalled = Signal()  # Up, where there is nothing to go up in

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setTabChangesFocus(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.document().documentLayout().documentSizeChanged.connect(lambda _: self._fit())
        self._fit()

    def _fit(self) -> None:
        lines = max(1, min(int(self.document().size().height()), MOST_LINES))
        margins = 2 * (self.document().documentMargin() + self.frameWidth())
        self.setFixedHeight(int(lines * self.fontMetrics().lineSpacing() + margins + theme.em(self, 0.5)))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.submitted.emit()
            return
        if key == Qt.Key.Key_Escape:
            self.escaped.emit()
            return
        if key == Qt.Key.Key_Up and not self.toPlainText() and event.modifiers() == Qt.KeyboardModifier.NoModifier:
            self.recalled.emit()
            return
        super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit()


class ContextBar(QWidget):
    """How many tokens of the model's window a conversation takes: a bar, and the same in words."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._said = self._draft = self._limit = 0
        self.words = Hint("", self)
        self.words.setWordWrap(False)
        self.words.setToolTip(
            self.tr(
                "A model reads a limited number of tokens (words and pieces of words) at once. When a conversation is "
                "longer, its oldest turns are left out; the system prompt stays."
            )
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addSpacing(theme.characters(self, 20))
        row.addWidget(self.words, 1)
        self.set_counts(0, 0, 0)

    def set_counts(self, said: int, draft: int, limit: int) -> None:
        """Tokens of what was said, of the draft, and of the model's window; a window of 0 is not known yet."""
        self._said, self._draft, self._limit = said, draft, limit
        if limit <= 0:
            text = ""
        elif said + draft > limit:
            text = self.tr("{used} of {limit} tokens: the oldest turns are left out").format(
                used=number_text(said + draft), limit=number_text(limit)
            )
        else:
            text = self.tr("{used} of {limit} tokens; older turns are left out beyond that").format(
                used=number_text(said + draft), limit=number_text(limit)
            )
        self.words.setText(text)
        self.setAccessibleName(text)
        self.setVisible(bool(text))
        self.update()

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 30), super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._limit <= 0:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        width, thickness = theme.characters(self, 18), theme.em(self, 0.4)
        track = QRectF(0, (self.height() - thickness) / 2, width, thickness)
        palette = self.palette()
        painter.setBrush(palette.midlight())
        painter.drawRoundedRect(track, thickness / 2, thickness / 2)
        over = self._said + self._draft > self._limit
        full = theme.warning(palette) if over else palette.highlight().color()
        used = width * min(1.0, (self._said + self._draft) / self._limit)
        said = width * min(1.0, self._said / self._limit)
        painter.setBrush(theme.blend(full, palette.base().color(), 0.5))
        painter.drawRoundedRect(QRectF(0, track.top(), max(used, thickness), thickness), thickness / 2, thickness / 2)
        if said > 0:
            painter.setBrush(full)
            painter.drawRoundedRect(
                QRectF(0, track.top(), max(said, thickness), thickness), thickness / 2, thickness / 2
            )


class ChatInput(QWidget):
    """The draft with its buttons: Send while nothing is written, Stop in its place while a reply is."""

    submitted = Signal(str)
    stop_requested = Signal()
    recall_requested = Signal()  # the last question is to be edited
    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._ready = False
        self._busy = False
        self.draft = _Draft(self)
        self.draft.setAccessibleName(self.tr("Your message"))
        self.draft.setPlaceholderText(self.tr("Write a message"))
        self.draft.setToolTip(
            self.tr("Enter sends, Shift+Enter begins a new line, Up edits the last question, Esc stops a reply")
        )
        self.draft.submitted.connect(self.submit)
        self.draft.escaped.connect(self.stop_requested)
        self.draft.recalled.connect(self.recall_requested)
        self.draft.textChanged.connect(self._on_changed)
        self.send_button = QPushButton(self.tr("Send"), self)
        self.send_button.setProperty("primary", True)
        self.send_button.setAccessibleName(self.tr("Send"))
        self.send_button.setToolTip(self.tr("Send the message (Enter)"))
        self.send_button.clicked.connect(self.submit)
        self.stop_button = QPushButton(self.tr("■ Stop"), self)
        self.stop_button.setProperty("primary", True)
        self.stop_button.setAccessibleName(self.tr("Stop"))
        self.stop_button.setToolTip(self.tr("End the reply now; what is there stays (Esc)"))
        self.stop_button.clicked.connect(self.stop_requested)
        self.context = ContextBar(self)
        width = max(self.send_button.sizeHint().width(), self.stop_button.sizeHint().width())
        for button in (self.send_button, self.stop_button):
            button.setMinimumWidth(width)
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.5))
        row.addWidget(self.draft, 1)
        for button in (self.send_button, self.stop_button):
            row.addWidget(button, 0, Qt.AlignmentFlag.AlignBottom)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.3))
        layout.addLayout(row)
        layout.addWidget(self.context)
        self._show_state()

    @property
    def text(self) -> str:
        return self.draft.toPlainText()

    def set_text(self, text: str) -> None:
        self.draft.setPlainText(text)
        self.draft.moveCursor(self.draft.textCursor().MoveOperation.End)

    def set_ready(self, ready: bool) -> None:
        """Is there a model to send to?"""
        self._ready = ready
        self._show_state()

    def set_busy(self, busy: bool, *, stopping: bool = False) -> None:
        had_focus = self.stop_button.hasFocus() or self.send_button.hasFocus()
        self._busy = busy
        self._show_state()
        self.stop_button.setEnabled(not stopping)
        if had_focus:
            self.draft.setFocus()

    def submit(self) -> None:
        text = self.text.strip()
        if text and self._ready and not self._busy:
            self.submitted.emit(text)

    def _show_state(self) -> None:
        self.send_button.setVisible(not self._busy)
        self.stop_button.setVisible(self._busy)
        self.send_button.setEnabled(self._ready and bool(self.text.strip()))

    def _on_changed(self) -> None:
        self._show_state()
        self.changed.emit()
