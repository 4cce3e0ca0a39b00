"""A sentence that must not be overlooked: on a tint, with a bar in the colour of a warning."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QLabel, QWidget

from lmstudio_app.gui import theme

_TINT = 0.14


class Notice(QLabel):
    """Hidden while it has nothing to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        pad = theme.em(self, 0.45)
        self.setContentsMargins(pad * 2, pad, pad, pad)
        self.hide()

    def set_text(self, text: str) -> None:
        if text != self.text():
            self.setText(text)
            self.setAccessibleName(text)
        self.setVisible(bool(text))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = theme.warning(self.palette())
        radius = theme.em(self, 0.3)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.blend(colour, self.palette().color(QPalette.ColorRole.Window), _TINT))
        painter.drawRoundedRect(QRectF(self.rect()), radius, radius)
        painter.setBrush(colour)
        painter.drawRoundedRect(QRectF(0, 0, theme.em(self, 0.25), self.height()), radius / 2, radius / 2)
        painter.end()
        super().paintEvent(event)
