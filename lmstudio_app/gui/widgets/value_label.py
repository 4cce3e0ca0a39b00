"""Labels for numbers that change many times a second.

A :class:`QLabel` asks its window for a new layout whenever its text changes, and the window then lays out and paints
everything again. These keep the room they were given and paint themselves alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QSizePolicy, QWidget

from lmstudio_app.gui import theme


class ValueLabel(QWidget):
    """One line of text in the widget's font, elided when it is too long. It asks for ``characters`` of room."""

    def __init__(
        self,
        characters: float,
        parent: QWidget | None = None,
        *,
        alignment: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignLeft,
    ) -> None:
        super().__init__(parent)
        self._characters = characters
        self._alignment = alignment
        self._text = ""
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def text(self) -> str:
        return self._text

    def set_text(self, text: str) -> None:
        if text != self._text:
            self._text = text
            self.update()

    def sizeHint(self) -> QSize:
        metrics = QFontMetricsF(self.font())
        return QSize(round(metrics.averageCharWidth() * self._characters), round(metrics.height() + 1))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 3), self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        text = QFontMetricsF(self.font()).elidedText(self._text, Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(QRectF(self.rect()), self._alignment | Qt.AlignmentFlag.AlignVCenter, text)


@dataclass(frozen=True)
class Reading:
    """``name`` is muted, with a square in the colour of its curve; ``value`` is bold. Each may be missing."""

    value: str
    name: str = ""
    colour: QColor | None = None


class Readings(QWidget):
    """A right-aligned row of readings. Where there is too little room the last values go first, then the last names:
    curves whose colours nobody names are worse than curves without a number.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._readings: tuple[Reading, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def text(self) -> str:
        """All of it as plain text."""
        return "  ".join(" ".join(part for part in (item.name, item.value) if part) for item in self._readings)

    def set_readings(self, readings: Sequence[Reading]) -> None:
        wanted = tuple(readings)
        if wanted != self._readings:
            self._readings = wanted
            self.setAccessibleName(self.text())
            self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 12), round(QFontMetricsF(self.font()).height() + 1))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 4), self.sizeHint().height())

    def shown(self) -> list[Reading]:
        """What of them fits into the width there is."""
        shown = list(self._readings)
        for number in reversed(range(len(shown))):
            if self._total(shown) > self.width() and shown[number].name:
                shown[number] = replace(shown[number], value="")
        while shown and self._total(shown) > self.width():
            shown.pop()
        return shown

    def _bold(self) -> QFont:
        bold = QFont(self.font())
        bold.setWeight(QFont.Weight.DemiBold)
        return bold

    def _total(self, readings: Sequence[Reading]) -> float:
        return sum(map(self._width, readings)) + QFontMetricsF(self.font()).height() * max(len(readings) - 1, 0)

    def _width(self, item: Reading) -> float:
        plain = QFontMetricsF(self.font())
        width = plain.horizontalAdvance(item.name) + QFontMetricsF(self._bold()).horizontalAdvance(item.value)
        if item.name and item.value:
            width += plain.horizontalAdvance(" ")
        return width + (0.9 * plain.height() if item.colour is not None else 0.0)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, bold = QPainter(self), self._bold()
        plain_metrics = QFontMetricsF(self.font())
        line, space = plain_metrics.height(), plain_metrics.horizontalAdvance(" ")
        shown = self.shown()
        x = self.width() - self._total(shown)
        text, muted = self.palette().color(QPalette.ColorRole.Text), theme.muted(self.palette())
        for item in shown:
            left, width = x, self._width(item)
            if item.colour is not None:
                side = line * 0.6
                painter.fillRect(QRectF(left, (self.height() - side) / 2, side, side), item.colour)
                left += line * 0.9
            painter.setFont(self.font())
            painter.setPen(muted)
            advance = plain_metrics.horizontalAdvance(item.name)
            painter.drawText(QRectF(left, 0, advance + 1, self.height()), Qt.AlignmentFlag.AlignVCenter, item.name)
            left += advance + (space if item.name and item.value else 0)
            painter.setFont(bold)
            painter.setPen(text)
            room = QRectF(left, 0, x + width - left + 2, self.height())
            painter.drawText(room, Qt.AlignmentFlag.AlignVCenter, item.value)
            x += width + line
