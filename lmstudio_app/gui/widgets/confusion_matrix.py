"""A confusion matrix: rows are what is true, columns what the model said, the tint is the share of the row."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QHelpEvent, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text


class ConfusionMatrix(QWidget):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._labels: tuple[str, ...] = ()
        self._counts: tuple[tuple[int, ...], ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(self.tr("Confusion matrix"))

    def set_matrix(self, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
        """``counts[true][predicted]``."""
        self._labels = tuple(labels)
        self._counts = tuple(tuple(row) for row in counts)
        self.setAccessibleDescription("; ".join(self._sentences()))
        self.updateGeometry()
        self.update()

    def _sentences(self) -> list[str]:
        return [
            self.tr("{count} of {true} taken for {predicted}").format(
                count=self._counts[row][column], true=true, predicted=predicted
            )
            for row, true in enumerate(self._labels)
            for column, predicted in enumerate(self._labels)
        ]

    def sizeHint(self) -> QSize:
        count = max(2, len(self._labels))
        return QSize(theme.em(self, 6 + 5 * count), theme.em(self, 4 + 2.8 * count))

    def minimumSizeHint(self) -> QSize:
        count = max(2, len(self._labels))
        return QSize(theme.em(self, 6 + 3 * count), theme.em(self, 4 + 2 * count))

    def _grid(self) -> tuple[QRectF, float, float]:
        """The rectangle of the cells, and a cell's width and height."""
        metrics = QFontMetricsF(self.font())
        line = metrics.height()
        widest = max((metrics.horizontalAdvance(label) for label in self._labels), default=line)
        left = min(widest, self.width() * 0.3) + line * 2.0
        top = line * 2.6
        count = max(1, len(self._labels))
        cell_width = (self.width() - left - 1) / count
        cell_height = min((self.height() - top - 1) / count, cell_width * 1.6)
        return QRectF(left, top, cell_width * count, cell_height * count), cell_width, cell_height

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._labels:
            return
        palette = self.palette()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        grid, width, height = self._grid()
        line = QFontMetricsF(self.font()).height()
        self._paint_titles(painter, grid, width, height, line)
        back = palette.color(QPalette.ColorRole.Base)
        accent = palette.color(QPalette.ColorRole.Highlight).darker(115)
        text = palette.color(QPalette.ColorRole.Text)
        bright = palette.color(QPalette.ColorRole.HighlightedText)
        number_font = QFont(self.font())
        number_font.setWeight(QFont.Weight.DemiBold)
        for row, counts in enumerate(self._counts):
            total = sum(counts) or 1
            for column, count in enumerate(counts):
                cell = QRectF(grid.left() + column * width, grid.top() + row * height, width, height)
                fill = theme.blend(accent, back, 0.05 + 0.95 * count / total)
                painter.setPen(QPen(back, 2))
                painter.setBrush(fill)
                painter.drawRoundedRect(cell.adjusted(1, 1, -1, -1), line * 0.25, line * 0.25)
                ink = text if theme.contrast(text, fill) >= theme.contrast(bright, fill) else bright
                painter.setPen(ink)
                painter.setFont(number_font)
                upper = cell.adjusted(0, 0, 0, -height * 0.5 if height > line * 2.4 else 0)
                centred = Qt.AlignmentFlag.AlignHCenter
                vertical = Qt.AlignmentFlag.AlignBottom if upper != cell else Qt.AlignmentFlag.AlignVCenter
                painter.drawText(upper, centred | vertical, number_text(count))
                if upper != cell:
                    painter.setFont(self.font())
                    lower = cell.adjusted(0, height * 0.5, 0, 0)
                    painter.drawText(lower, centred | Qt.AlignmentFlag.AlignTop, f"{100 * count / total:.1f} %")

    def _paint_titles(self, painter: QPainter, grid: QRectF, width: float, height: float, line: float) -> None:
        metrics = QFontMetricsF(self.font())
        painter.setFont(self.font())
        painter.setPen(theme.muted(self.palette()))
        room = QRectF(grid.left(), 0, self.width() - grid.left(), line * 1.2)
        said = metrics.elidedText(self.tr("The model said"), Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, Qt.AlignmentFlag.AlignLeft, said)
        painter.save()
        painter.translate(QPointF(0, grid.bottom()))
        painter.rotate(-90)
        painter.drawText(QRectF(0, 0, grid.height(), line * 1.2), Qt.AlignmentFlag.AlignCenter, self.tr("Truth"))
        painter.restore()
        painter.setPen(self.palette().color(QPalette.ColorRole.Text))
        for index, label in enumerate(self._labels):
            above = QRectF(grid.left() + index * width, grid.top() - line * 1.3, width, line * 1.2)
            painter.drawText(
                above,
                Qt.AlignmentFlag.AlignCenter,
                metrics.elidedText(label, Qt.TextElideMode.ElideRight, width - 4),
            )
            beside = QRectF(line * 1.5, grid.top() + index * height, grid.left() - line * 2.0, height)
            painter.drawText(
                beside,
                Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
                metrics.elidedText(label, Qt.TextElideMode.ElideRight, beside.width()),
            )

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent) and self._labels:
            grid, width, height = self._grid()
            position = QPointF(event.pos())
            if grid.contains(position):
                row = int((position.y() - grid.top()) / height)
                column = int((position.x() - grid.left()) / width)
                QToolTip.showText(event.globalPos(), self._sentences()[row * len(self._labels) + column], self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)
