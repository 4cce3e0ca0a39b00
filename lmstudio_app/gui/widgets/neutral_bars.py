"""The bars of two classes with the neutral zone between them, whose edges can be drawn apart."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QPalette, QPen
from PySide6.QtWidgets import QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.score_bars import ScoreBars

STEP = 0.02  # of the band's width, so that each edge stands at whole percents


class NeutralBars(ScoreBars):
    """Both bars end at the same distance from the middle, so one zone is right for both: where they end in it, the
    judgement is neutral. ``band`` is the width of the zone, 0 to 1; None: these classes have none.
    """

    band_changed = Signal(float)  # drawn with the mouse

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._band: float | None = None
        self._dragging = False
        self.setMouseTracking(True)

    @property
    def band(self) -> float | None:
        return self._band

    def set_band(self, band: float | None) -> None:
        has_changed = (band is None) != (self._band is None)
        self._band = band
        if has_changed:
            self.setMinimumHeight(self.sizeHint().height())
            self.updateGeometry()
            self.setToolTip(
                self.tr("How sure the model is of each class; together they make 100 %")
                if band is None
                else self.tr("How sure the model is. Drag the edges of the neutral zone to say how sure it must be.")
            )
        self.update()

    def sizeHint(self) -> QSize:
        size = super().sizeHint()
        return size if self._band is None or not self._rows else QSize(size.width(), size.height() + self._foot())

    def _foot(self) -> int:
        """Room for the word below the zone."""
        return theme.em(self, 1.2)

    def _zone(self) -> QRectF:
        left, track = self.track()
        band = self._band or 0.0
        return QRectF(left + track * (0.5 - band / 2), 0, track * band, len(self._rows) * self._row_height())

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self._band is None or not self._rows:
            return
        painter = QPainter(self)
        palette = self.palette()
        zone = self._zone()
        tint = palette.color(QPalette.ColorRole.Text)
        tint.setAlphaF(0.10)
        painter.fillRect(zone, tint)
        pen = QPen(palette.color(QPalette.ColorRole.Text), max(1.0, theme.em(self, 0.08)))
        pen.setStyle(Qt.PenStyle.DashLine)
        painter.setPen(pen)
        edges = (zone.left(), zone.right()) if self._band else (zone.left(),)
        for x in edges:
            painter.drawLine(QPointF(x, zone.top()), QPointF(x, zone.bottom()))
        painter.setPen(theme.muted(palette))
        left, track = self.track()
        below = QRectF(left, zone.bottom(), track, self._foot())
        text = self.tr("neutral") if self._band else self.tr("no neutral zone")
        painter.drawText(below, int(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop), text)

    # --- drawing the edges apart

    def _is_at_edge(self, x: float) -> bool:
        zone = self._zone()
        return self._band is not None and min(abs(x - zone.left()), abs(x - zone.right())) <= theme.em(self, 0.5)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self._rows and self._is_at_edge(event.position().x()):
            self._dragging = True
            event.accept()
            return
        super().mousePressEvent(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        x = event.position().x()
        if not self._dragging:
            is_at_edge = bool(self._rows) and self._is_at_edge(x)
            self.setCursor(Qt.CursorShape.SplitHCursor if is_at_edge else Qt.CursorShape.ArrowCursor)
            super().mouseMoveEvent(event)
            return
        left, track = self.track()
        wanted = 2 * abs((x - left) / track - 0.5)
        band = round(min(1.0, wanted) / STEP) * STEP
        if band != self._band:
            self.set_band(band)
            self.band_changed.emit(band)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._dragging = False
        super().mouseReleaseEvent(event)
