"""The tokens along one side of a heat map: thinned out when there is no room for each, turned along the top."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetricsF, QHelpEvent, QMouseEvent, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QToolTip, QWidget

from lmstudio_app.gui import theme


class TokenRuler(QWidget):
    """As long as the map's side and an overhang; :meth:`set_range` tells which stretch of tokens is in view."""

    clicked = Signal(int)  # the token under the mouse

    def __init__(self, *, upright: bool, parent: QWidget | None = None) -> None:
        """``upright``: along the top, read from below; else down the left side."""
        super().__init__(parent)
        self._upright = upright
        self._labels: Sequence[str] = ()
        self._range = (0.0, 1.0)
        self._marked: int | None = None
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setAccessibleName(self.tr("Tokens looked at") if upright else self.tr("Tokens that look"))

    def set_labels(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._marked = None
        self.update()

    def set_range(self, first: float, last: float) -> None:
        """The part of the tokens that is in view, in tokens."""
        if (first, last) != self._range:
            self._range = (first, last)
            self.update()

    def mark(self, index: int | None) -> None:
        """Write one token in full strength, also when it would be thinned out."""
        if index != self._marked:
            self._marked = index
            self.update()

    def _label_font(self) -> QFont:
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * 0.92)
        return font

    def breadth(self) -> int:
        """What the longest label needs, within limits: the ruler's size across its direction."""
        metrics = QFontMetricsF(self._label_font())
        widest = max((metrics.horizontalAdvance(label) for label in self._labels), default=0.0)
        return round(min(max(widest, theme.em(self, 1)), theme.characters(self, 18)) + theme.em(self, 0.6))

    def overhang(self) -> int:
        """How far the ruler reaches beyond the map at either end, for the outer labels' sake."""
        return theme.em(self, 0.5)

    def _length(self) -> int:
        """Of the map's side."""
        return (self.width() if self._upright else self.height()) - 2 * self.overhang()

    def pixels_per_token(self) -> float:
        first, last = self._range
        return self._length() / max(last - first, 1e-9)

    def visible_indices(self) -> list[int]:
        """The tokens that are written: all in view, or every second, fifth, tenth … so that none touch."""
        if not self._labels:
            return []
        line = QFontMetricsF(self._label_font()).height()
        needed = line / self.pixels_per_token()
        step = next(step for step in _steps() if step >= needed)
        first = max(0, int(self._range[0]))
        first += -first % step
        last = min(len(self._labels), int(self._range[1] + 0.999))
        return [index for index in range(first, last, step) if 0 <= self._centre(index) <= self._length()]

    def _centre(self, index: int) -> float:
        """In pixels from the map's edge."""
        return (index + 0.5 - self._range[0]) * self.pixels_per_token()

    def index_at(self, position: QPointF) -> int | None:
        along = position.x() if self._upright else position.y()
        index = int(self._range[0] + (along - self.overhang()) / self.pixels_per_token())
        return index if 0 <= index < len(self._labels) else None

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            index = self.index_at(QPointF(event.pos()))
            if index is not None:
                text = self.tr("Token {number}: {token}").format(number=index, token=self._labels[index])
                QToolTip.showText(event.globalPos(), text, self)
            return True
        return super().event(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        index = self.index_at(event.position())
        if event.button() == Qt.MouseButton.LeftButton and index is not None:
            self.clicked.emit(index)
        else:
            super().mousePressEvent(event)

    def sizeHint(self) -> QSize:
        return QSize(theme.em(self, 8), self.breadth()) if self._upright else QSize(self.breadth(), theme.em(self, 8))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        font = self._label_font()
        painter.setFont(font)
        line = QFontMetricsF(font).height()
        marked = self._marked
        if marked is not None and not 0 <= self._centre(marked) <= self._length():
            marked = None
        text = self.palette().color(QPalette.ColorRole.Text)
        painter.setPen(theme.muted(self.palette()) if marked is not None else text)
        for index in self.visible_indices():
            if marked is None or abs(self._centre(index) - self._centre(marked)) >= line * 0.9:
                self._write(painter, index, line)
        if marked is not None:
            font.setWeight(QFont.Weight.Bold)
            painter.setFont(font)
            painter.setPen(text)
            self._write(painter, marked, line)

    def _write(self, painter: QPainter, index: int, line: float) -> None:
        room = (self.height() if self._upright else self.width()) - theme.em(self, 0.4)
        text = painter.fontMetrics().elidedText(self._labels[index], Qt.TextElideMode.ElideRight, room)
        centre = self._centre(index) + self.overhang()
        painter.save()
        if self._upright:
            painter.translate(centre, self.height() - theme.em(self, 0.25))
            painter.rotate(-90)
            area = QRectF(0, -line / 2, room, line)
            alignment = Qt.AlignmentFlag.AlignLeft
        else:
            area = QRectF(0, centre - line / 2, self.width() - theme.em(self, 0.3), line)
            alignment = Qt.AlignmentFlag.AlignRight
        painter.drawText(area, int(alignment | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine), text)
        painter.restore()


def _steps() -> list[int]:
    return [digit * 10**power for power in range(8) for digit in (1, 2, 5)]
