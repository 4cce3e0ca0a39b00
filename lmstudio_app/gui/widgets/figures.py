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
    def __init__(self, caption: str, tip: str, parent: QWidget | None = None, *, characters: float = 7) -> None:
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
        return max(caption + 2, self._value.sizeHint().width())

    def value(self) -> str:
        return self._value.text()

    def set_caption(self, caption: str, tip: str) -> bool:
        """True when it is another one."""
        if caption == self._caption.text():
            return False
        self._caption.setText(caption)
        self._caption.setToolTip(tip)  # which it set to its own words
        self.setToolTip(tip)
        return True


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
        self._grid.setHorizontalSpacing(theme.em(self, 0.6))
        self._grid.setVerticalSpacing(pad)
        self._columns = 0
        self._hidden: set[str] = set()
        self.figures: dict[str, Figure] = {}
        for key, caption, tip in specs:
            self.figures[key] = Figure(caption, tip, self, characters=(characters or {}).get(key, 7))
        self._lay_out(len(specs))

    @property
    def _shown(self) -> list[Figure]:
        return [figure for key, figure in self.figures.items() if key not in self._hidden]

    def set_caption(self, key: str, caption: str, tip: str) -> None:
        if self.figures[key].set_caption(caption, tip):
            self._fit(anew=True)  # each is given room by its words

    def set_shown(self, key: str, shown: bool) -> None:
        """Some figures are only for some of what is shown."""
        if shown == (key not in self._hidden):
            return
        (self._hidden.discard if shown else self._hidden.add)(key)
        self.figures[key].setVisible(shown)
        self._grid.removeWidget(self.figures[key])
        self._fit(anew=True)

    def _lay_out(self, columns: int, *, anew: bool = False) -> None:
        if columns == self._columns and not anew:
            return
        for column in range(columns, self._columns):
            self._grid.setColumnStretch(column, 0)
        self._columns = columns
        for number, figure in enumerate(self._shown):
            self._grid.addWidget(figure, number // columns, number % columns)
        for column, width in enumerate(self._needed_widths(columns)):
            self._grid.setColumnStretch(column, width)

    def _needed_widths(self, columns: int) -> list[int]:
        widths = [figure.needed_width() for figure in self._shown]
        return [max(widths[column::columns]) for column in range(columns)]

    def _fit(self, *, anew: bool = False) -> None:
        """As few rows as there is room for, filled evenly."""
        if not self._shown:
            return
        spacing = self._grid.horizontalSpacing()
        margins = self._grid.contentsMargins()
        room = self.contentsRect().width() - margins.left() - margins.right()
        for rows in range(1, len(self._shown) + 1):
            columns = -(-len(self._shown) // rows)
            if sum(self._needed_widths(columns)) + spacing * (columns - 1) <= room:
                break
        self._lay_out(columns, anew=anew)

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
