"""Rows of small bars above and below a line, one under the other: two factors and their products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QMouseEvent, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QSizePolicy, QWidget

from lmstudio_app.gui import theme

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class BarRow:
    """``less`` and ``more`` are the colours of values below and above 0."""

    name: str
    values: npt.NDArray[np.floating]
    less: QColor
    more: QColor


class BarRows(QWidget):
    """The rows have as many bars each; every row has a scale of its own."""

    pointed = Signal(object)  # the number of a bar, or None

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: Sequence[BarRow] = ()
        self._marked: int | None = None
        self._pointed: int | None = None
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(self.tr("The numbers that are multiplied, and their products"))
        self.setToolTip(self.tr("Upwards: more than 0; downwards: less. Point at a bar to read its number"))

    @property
    def rows(self) -> Sequence[BarRow]:
        return self._rows

    def set_rows(self, rows: Sequence[BarRow], marked: int | None) -> None:
        self._rows = rows
        self._marked = marked
        self.update()

    @property
    def marked(self) -> int | None:
        return self._marked

    def sizeHint(self) -> QSize:
        return QSize(theme.em(self, 20), theme.em(self, 6))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.em(self, 14), theme.em(self, 5))

    def _small(self) -> QFont:
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * 0.88)
        return font

    def _area(self) -> QRectF:
        """Right of the names."""
        metrics = QFontMetricsF(self._small())
        widest = max((metrics.horizontalAdvance(row.name) for row in self._rows), default=0.0)
        left = min(widest, self.width() * 0.3) + theme.em(self, 0.5)
        return QRectF(left, 0, max(1.0, self.width() - left), self.height())

    def bar_at(self, x: float) -> int | None:
        area = self._area()
        if not self._rows or not area.left() <= x < area.right():
            return None
        return int((x - area.left()) / area.width() * len(self._rows[0].values))

    def bar_centre(self, index: int) -> float:
        area = self._area()
        return area.left() + (index + 0.5) * area.width() / len(self._rows[0].values)

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._rows:
            return
        painter = QPainter(self)
        painter.setFont(self._small())
        area = self._area()
        height = area.height() / len(self._rows)
        count = len(self._rows[0].values)
        if self._marked is not None:
            wide = max(2.0, area.width() / count)
            band = QRectF(self.bar_centre(self._marked) - wide / 2, 0, wide, area.height())
            painter.fillRect(band, self.palette().color(QPalette.ColorRole.Midlight))
        for number, row in enumerate(self._rows):
            top = number * height
            name = painter.fontMetrics().elidedText(row.name, Qt.TextElideMode.ElideMiddle, round(area.left()))
            painter.setPen(self.palette().color(QPalette.ColorRole.Text))
            painter.drawText(QRectF(0, top, area.left(), height), int(Qt.AlignmentFlag.AlignVCenter), name)
            self._paint_row(painter, row, QRectF(area.left(), top + 1, area.width(), height - 2))

    def _paint_row(self, painter: QPainter, row: BarRow, area: QRectF) -> None:
        import numpy as np

        values = row.values
        if len(values) > area.width():  # of the bars that share a pixel, the longest
            starts = np.unique(np.linspace(0, len(values), max(1, int(area.width())), endpoint=False).astype(int))
            high, low = np.maximum.reduceat(values, starts), np.minimum.reduceat(values, starts)
            values = np.where(high >= -low, high, low)
        largest = float(np.abs(values).max(initial=0)) or 1.0
        middle, reach = area.center().y(), area.height() / 2 - 1
        painter.fillRect(
            QRectF(area.left(), middle - 0.5, area.width(), 1), self.palette().color(QPalette.ColorRole.Mid)
        )
        step = area.width() / len(values)
        thick = max(1.0, step * 0.8)
        for index, value in enumerate(values.tolist()):
            length = abs(value) / largest * reach
            top = middle - length if value > 0 else middle
            painter.fillRect(
                QRectF(area.left() + index * step + (step - thick) / 2, top, thick, max(length, 0.5)),
                row.more if value > 0 else row.less,
            )

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._point(self.bar_at(event.position().x()))

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._point(None)

    def _point(self, index: int | None) -> None:
        if index != self._pointed:
            self._pointed = index
            self.pointed.emit(index)
