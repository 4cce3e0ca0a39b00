"""A row of figures: a small caption above a value, for what a chart would be too much for."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtGui import QFont, QPalette
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.scaled_label import FontScale, ScaledLabel
from lmstudio_app.gui.widgets.value_label import ValueLabel


class Figure(QWidget):
    def __init__(self, caption: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._caption = ScaledLabel(caption, self, scale=0.85)
        self._caption.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self._value = ValueLabel(9, self)
        FontScale(self._value, 1.15, QFont.Weight.DemiBold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._caption)
        layout.addWidget(self._value)
        self.setToolTip(tip)
        self.set_value("")

    def set_value(self, text: str) -> None:
        text = text or "–"
        if text != self._value.text():
            self._value.set_text(text)
            self.setAccessibleName(f"{self._caption.text()}: {text}")

    def value(self) -> str:
        return self._value.text()

    def set_caption(self, caption: str, tip: str) -> None:
        if caption != self._caption.text():
            self._caption.setText(caption)
            self.setToolTip(tip)


class FigureRow(QFrame):
    """``specs`` are (key, caption, tooltip)."""

    def __init__(self, specs: Sequence[tuple[str, str, str]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        layout = QHBoxLayout(self)
        pad = theme.em(self, 0.5)
        layout.setContentsMargins(pad * 2, pad, pad * 2, pad)
        layout.setSpacing(theme.em(self, 1))
        self.figures: dict[str, Figure] = {}
        for key, caption, tip in specs:
            figure = Figure(caption, tip, self)
            self.figures[key] = figure
            layout.addWidget(figure, 1)

    def set_values(self, values: dict[str, str]) -> None:
        """Keys that are missing are shown as unknown."""
        for key, figure in self.figures.items():
            figure.set_value(values.get(key, ""))
