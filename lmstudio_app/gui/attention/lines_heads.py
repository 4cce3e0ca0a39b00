"""The heads of a layer as coloured buttons: each shows or hides its lines."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.inspection.colormaps import wheel


def head_colours(count: int, palette: QPalette) -> list[QColor]:
    return [QColor(*colour) for colour in wheel(count, dark=theme.is_dark(palette)).tolist()]


class HeadChips(QWidget):
    """A click (or the space bar) shows or hides a head, a double click (or Enter) shows it alone, or all again."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: list[bool] = []
        self._current = 0
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(self.tr("Heads whose lines are drawn"))

    def set_count(self, count: int) -> None:
        """What is shown stays where the number of heads does."""
        if count != len(self._shown):
            self._shown = [True] * count
            self._current = 0
            self._tell()

    @property
    def shown(self) -> list[int]:
        return [head for head, on in enumerate(self._shown) if on]

    def show_only(self, heads: Sequence[int]) -> None:
        self._shown = [head in heads for head in range(len(self._shown))]
        self._tell()
        self.changed.emit()

    def _toggle(self, head: int) -> None:
        self._shown[head] = not self._shown[head]
        self._tell()
        self.changed.emit()

    def _alone(self, head: int) -> None:
        self.show_only(range(len(self._shown)) if self.shown == [head] else [head])

    def _tell(self) -> None:
        self.setAccessibleDescription(", ".join(str(head) for head in self.shown))
        self.update()

    def chip(self, head: int) -> QRectF:
        width = min(theme.characters(self, 5), self.width() / max(1, len(self._shown)))
        return QRectF(head * width + 1, 1, width - 3, self.height() - 2)

    def head_at(self, position: QPointF) -> int | None:
        return next((head for head in range(len(self._shown)) if self.chip(head).contains(position)), None)

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 5) * max(1, len(self._shown)), theme.em(self, 1.5))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 12), theme.em(self, 1.5))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        head = self.head_at(event.position())
        if head is not None and event.button() == Qt.MouseButton.LeftButton:
            self._current = head
            self._toggle(head)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        head = self.head_at(event.position())
        if head is not None:
            self._shown[head] = not self._shown[head]  # what the first click of the two has done
            self._alone(head)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        if self._shown and event.key() in steps:
            self._current = min(max(self._current + steps[Qt.Key(event.key())], 0), len(self._shown) - 1)
            self.update()
        elif self._shown and event.key() == Qt.Key.Key_Space:
            self._toggle(self._current)
        elif self._shown and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._alone(self._current)
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            head = self.head_at(QPointF(event.pos()))
            if head is not None:
                tip = self.tr("Head {head}: a click shows or hides its lines, a double click shows it alone")
                QToolTip.showText(event.globalPos(), tip.format(head=head), self)
            return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        base, radius = palette.color(QPalette.ColorRole.Base), theme.em(self, 0.2)
        for head, colour in enumerate(head_colours(len(self._shown), palette)):
            area = self.chip(head)
            is_on = self._shown[head]
            painter.setPen(colour)
            painter.setBrush(theme.blend(colour, base, 0.35) if is_on else base)
            painter.drawRoundedRect(area, radius, radius)
            painter.setPen(palette.color(QPalette.ColorRole.Text) if is_on else theme.muted(palette))
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, str(head))
            if self.hasFocus() and head == self._current:
                painter.setPen(palette.color(QPalette.ColorRole.Text))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawRoundedRect(area.adjusted(2, 2, -2, -2), radius, radius)
