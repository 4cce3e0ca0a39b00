"""The button that starts something, and ends it when it takes long."""

from __future__ import annotations

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QPushButton, QWidget

BUSY_DELAY = 400  # milliseconds until it offers to stop, so that quick answers do not flicker


class PatientButton(QPushButton):
    """``start`` and ``stop`` are its text and tip for each."""

    asked = Signal()
    cancelled = Signal()

    def __init__(self, start: tuple[str, str], stop: tuple[str, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._texts = (start, stop)
        self._is_ready = True
        self._is_busy = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(BUSY_DELAY)
        self._timer.timeout.connect(self._show)
        self.setProperty("primary", True)
        self.clicked.connect(lambda: (self.cancelled if self.stops else self.asked).emit())
        self._show()

    @property
    def stops(self) -> bool:
        """Does a click stop what is going on?"""
        return self._is_busy and not self._timer.isActive()

    def set_ready(self, ready: bool) -> None:
        """Whether there is something to start."""
        self._is_ready = ready
        self._show()

    def set_busy(self, busy: bool) -> None:
        self._is_busy = busy
        if busy:
            self._timer.start()
        else:
            self._timer.stop()
            self._show()

    def _show(self) -> None:
        text, tip = self._texts[self.stops]
        self.setText(text)
        self.setAccessibleName(text)
        self.setToolTip(tip)
        self.setEnabled(self.stops or self._is_ready)
