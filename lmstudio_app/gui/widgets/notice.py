"""A sentence that must not be overlooked: on a tint, with a bar in the colour of a warning."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from lmstudio_app.gui import theme

_TINT = 0.14


class Notice(QWidget):
    """Hidden while it has nothing to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._label = QLabel(self)
        self._label.setWordWrap(True)
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        pad = theme.em(self, 0.45)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(pad * 2, pad, pad, pad)
        layout.addWidget(self._label)
        self.hide()

    def text(self) -> str:
        return self._label.text()

    def set_text(self, text: str) -> None:
        if text != self.text():
            self._label.setText(text)
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
