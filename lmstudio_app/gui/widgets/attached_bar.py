"""A line that says where a training runs, or that one is running, with what can be done about it."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.elided_label import ElidedLabel

_TINT = 0.12


class AttachedBar(QWidget):
    """Hidden until it is given a text. ``buttons`` are (name, text, tooltip); ``margin``, in ems, stays free around."""

    chosen = Signal(str)  # the name of a button

    def __init__(
        self, buttons: list[tuple[str, str, str]], parent: QWidget | None = None, *, margin: float = 0.0
    ) -> None:
        super().__init__(parent)
        self._margin = margin
        self.label = ElidedLabel(self)
        self.buttons: dict[str, QPushButton] = {}
        row = QHBoxLayout(self)
        pad = theme.em(self, 0.35)
        free = theme.em(self, margin)
        row.setContentsMargins(2 * pad + free, pad + free, pad + free, pad)
        row.addWidget(self.label, 1)
        for name, text, tip in buttons:
            button = self.buttons[name] = QPushButton(text, self)
            button.setToolTip(tip)
            button.setAccessibleName(text)
            button.setAccessibleDescription(tip)
            button.clicked.connect(lambda _, name=name: self.chosen.emit(name))
            row.addWidget(button)
        self.hide()

    def set_text(self, text: str) -> None:
        self.label.setText(text)
        self.setVisible(bool(text))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        accent, window = palette.color(QPalette.ColorRole.Accent), palette.color(QPalette.ColorRole.Window)
        radius = theme.em(self, 0.3)
        painter.setPen(theme.blend(accent, window, 0.4))
        painter.setBrush(theme.blend(accent, window, _TINT))
        free = theme.em(self, self._margin) + 0.5
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(free, free, -free, -0.5), radius, radius)
