"""The row of buttons of a page that asks a model: ask, stop, how long it took, copy, keep."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel


class AnswerBar(QWidget):
    """Ctrl+Enter asks from anywhere on the page that the bar is a part of."""

    run_requested = Signal()
    stop_requested = Signal()
    copy_requested = Signal()
    export_requested = Signal()

    def __init__(self, run_text: str, run_tip: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._ready = self._busy = self._has_answer = False
        self.run_button = make_button(
            run_text, self.tr("{tip} (Ctrl+Enter)").format(tip=run_tip), self, self.run_requested.emit
        )
        self.run_button.setProperty("primary", True)
        self.stop_button = make_button(
            self.tr("Stop"), self.tr("End the answer now (Esc)"), self, self.stop_requested.emit
        )
        self.time = ElidedLabel(self)
        self.time.setForegroundRole(self.time.palette().ColorRole.PlaceholderText)
        self.time.setToolTip(
            self.tr("How long the model took, and how many tokens (pieces of words) it wrote a second")
        )
        self.copy_button = make_button(self.tr("Copy"), self.tr("Copy the answer"), self, self.copy_requested.emit)
        self.export_button = make_button(
            self.tr("Save as…"), self.tr("Write the answer to a file"), self, self.export_requested.emit
        )
        for button in (self.stop_button, self.copy_button, self.export_button):
            # a style gives short words more room than they need; the time needs it where the page is narrow
            button.setMaximumWidth(button.fontMetrics().horizontalAdvance(button.text()) + theme.em(self, 1.6))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(self.run_button)
        layout.addWidget(self.stop_button)
        layout.addWidget(self.time, 1)
        layout.addWidget(self.copy_button)
        layout.addWidget(self.export_button)
        for keys, button in (
            ("Ctrl+Return", self.run_button),
            ("Ctrl+Enter", self.run_button),
            ("Esc", self.stop_button),
        ):
            shortcut = QShortcut(QKeySequence(keys), parent)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(button.click)
        self._settle()

    def set_ready(self, ready: bool) -> None:
        """Is there a model, and something to ask it?"""
        self._ready = ready
        self._settle()

    def set_busy(self, busy: bool, text: str = "") -> None:
        """``text`` says what is going on; empty: the model thinks."""
        self._busy = busy
        if busy:
            self.time.setText(text or self.tr("Thinking…"))
        elif self.time.text() in (self.tr("Thinking…"), self.tr("Stopping…")):
            self.time.clear()
        self._settle()

    def set_stopping(self) -> None:
        self.stop_button.setEnabled(False)
        self.time.setText(self.tr("Stopping…"))

    def set_result(self, seconds: float, tokens: int | None = None, note: str = "") -> None:
        """How long it took; ``tokens`` that the model has written."""
        parts = [duration_of_answer(seconds)]
        if tokens and seconds > 0:
            parts.append(self.tr("{rate} tokens/s").format(rate=number_text(tokens / seconds, 1)))
        self.time.setText(", ".join([*parts, note] if note else parts))

    def set_note(self, text: str) -> None:
        """Something else than a time."""
        self.time.setText(text)

    def set_has_answer(self, has_answer: bool) -> None:
        self._has_answer = has_answer
        self._settle()

    def _settle(self) -> None:
        self.run_button.setEnabled(self._ready and not self._busy)
        self.stop_button.setEnabled(self._busy)
        self.copy_button.setEnabled(self._has_answer)
        self.export_button.setEnabled(self._has_answer)


def duration_of_answer(seconds: float) -> str:
    """``42 ms`` or ``1.3 s``."""
    if seconds < 1:
        milliseconds = 1000 * seconds
        decimals = 1 if milliseconds < 10 else 0
        return QCoreApplication.translate("answers", "{time} ms").format(time=number_text(milliseconds, decimals))
    return QCoreApplication.translate("answers", "{time} s").format(time=number_text(seconds, 1))
