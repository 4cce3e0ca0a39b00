"""A row of figures: a small caption above a value, for what a chart would be too much for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QEvent, QTimer
from PySide6.QtGui import QFont, QPalette, QResizeEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import FontScale
from lmstudio_app.gui.widgets.value_label import ValueLabel


class Figure(QWidget):
    def __init__(self, caption: str, tip: str, parent: QWidget | None = None, *, characters: float = 6.5) -> None:
        """``characters`` is the room that the value is given."""
        super().__init__(parent)
        self._caption = ElidedLabel(self)
        FontScale(self._caption, 0.85)
        self._caption.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self._value = ValueLabel(characters, self)
        FontScale(self._value, 1.15, QFont.Weight.DemiBold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._caption)
        layout.addWidget(self._value)
        self.set_caption(caption, tip)
        self.set_value("")

    def set_value(self, text: str) -> None:
        text = text or "–"
        if text != self._value.text():
            self._value.set_text(text)
            self.setAccessibleName(f"{self._caption.text()}: {text}")

    def needed_width(self) -> int:
        """Pixels that hold the caption and an ordinary value."""
        caption = self._caption.fontMetrics().horizontalAdvance(self._caption.text())
        return max(caption, self._value.sizeHint().width())

    def value(self) -> str:
        return self._value.text()

    def set_caption(self, caption: str, tip: str) -> None:
        if caption != self._caption.text():
            self._caption.setText(caption)
            self._caption.setToolTip(tip)  # which it set to its own words
            self.setToolTip(tip)


class FigureRow(QFrame):
    """``specs`` are (key, caption, tooltip). Two rows, or more, where one has no room for the values.

    ``characters`` gives other room to some values.
    """

    def __init__(
        self,
        specs: Sequence[tuple[str, str, str]],
        parent: QWidget | None = None,
        *,
        characters: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._grid = QGridLayout(self)
        pad = theme.em(self, 0.5)
        self._grid.setContentsMargins(pad * 2, pad, pad * 2, pad)
        self._grid.setHorizontalSpacing(theme.em(self, 1))
        self._grid.setVerticalSpacing(pad)
        self._columns = 0
        self.figures: dict[str, Figure] = {}
        for key, caption, tip in specs:
            self.figures[key] = Figure(caption, tip, self, characters=(characters or {}).get(key, 6.5))
        self._lay_out(len(specs))

    def _lay_out(self, columns: int) -> None:
        if columns == self._columns:
            return
        for column in range(columns, self._columns):
            self._grid.setColumnStretch(column, 0)
        self._columns = columns
        for number, figure in enumerate(self.figures.values()):
            self._grid.addWidget(figure, number // columns, number % columns)
        for column, width in enumerate(self._needed_widths(columns)):
            self._grid.setColumnStretch(column, width)

    def _needed_widths(self, columns: int) -> list[int]:
        widths = [figure.needed_width() for figure in self.figures.values()]
        return [max(widths[column::columns]) for column in range(columns)]

    def _fit(self) -> None:
        """As few rows as there is room for, filled evenly."""
        if not self.figures:
            return
        spacing = self._grid.horizontalSpacing()
        margins = self._grid.contentsMargins()
        room = self.contentsRect().width() - margins.left() - margins.right()
        for rows in range(1, len(self.figures) + 1):
            columns = -(-len(self.figures) // rows)
            if sum(self._needed_widths(columns)) + spacing * (columns - 1) <= room:
                break
        self._lay_out(columns)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._fit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "figures"):
            QTimer.singleShot(0, self, self._fit)  # the figures are told after their row

    def set_values(self, values: dict[str, str]) -> None:
        """Keys that are missing are shown as unknown."""
        for key, figure in self.figures.items():
            figure.set_value(values.get(key, ""))
