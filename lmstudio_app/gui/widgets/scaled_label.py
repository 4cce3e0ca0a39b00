"""Fonts larger or smaller than the application's that keep their ratio when the reader changes its size."""

from __future__ import annotations

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QFont, QPalette
from PySide6.QtWidgets import QApplication, QLabel, QWidget


class FontScale(QObject):
    """Gives ``widget`` the application's font, ``scale`` times as large, now and whenever that font changes.

    A font set by hand no longer follows the application's.
    """

    def __init__(self, widget: QWidget, scale: float = 1.0, weight: QFont.Weight | None = None) -> None:
        super().__init__(widget)
        self._widget = widget
        self._scale = scale
        self._weight = weight
        self._rescale()
        # Qt tells a widget with a font of its own nothing of the application's; queued, because an application's style
        # sheet, which is set after the font, gives back the font from before
        QApplication.instance().fontChanged.connect(self._rescale, Qt.ConnectionType.QueuedConnection)

    def _rescale(self) -> None:
        font = QFont(QApplication.font())
        font.setPointSizeF(font.pointSizeF() * self._scale)
        if self._weight is not None:
            font.setWeight(self._weight)
        self._widget.setFont(font)


class ScaledLabel(QLabel):
    def __init__(
        self, text: str = "", parent: QWidget | None = None, *, scale: float = 1.0, weight: QFont.Weight | None = None
    ) -> None:
        super().__init__(text, parent)
        FontScale(self, scale, weight)


class Heading(ScaledLabel):
    def __init__(self, text: str = "", parent: QWidget | None = None, *, scale: float = 1.25) -> None:
        super().__init__(text, parent, scale=scale, weight=QFont.Weight.DemiBold)


class Hint(ScaledLabel):
    """A small grey sentence below what it explains."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent, scale=0.88)
        self.setWordWrap(True)
        self.setForegroundRole(QPalette.ColorRole.PlaceholderText)
