"""Curves of several runs over each other, with their values at the cursor."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPalette, QPen, QPixmap
from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.curves import decimate
from lmstudio_app.gui.text import compact_number_text
from lmstudio_app.gui.widgets.live_chart import AXIS_CHARACTERS

if TYPE_CHECKING:
    from lmstudio_app.gui.curves import Array

# of the palette's categorical colours those that stay well apart from each other; beyond them the dashes differ
_COLOURS = (0, 1, 2, 3, 4, 6)
_DASHES = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine, Qt.PenStyle.DotLine, Qt.PenStyle.DashDotLine)


def line_pen(number: int, palette: QPalette, width: float = 2.0) -> QPen:
    """The pen of the run with this number, in the chart, the legend and the table."""
    colours = theme.chart_colours(palette).series
    pen = QPen(colours[_COLOURS[number % len(_COLOURS)]], width)
    pen.setStyle(_DASHES[number // len(_COLOURS) % len(_DASHES)])
    pen.setCosmetic(True)
    return pen


def line_sample(number: int, widget: QWidget) -> QPixmap:
    """A short piece of the line, for legends."""
    ratio = widget.devicePixelRatioF()
    width, height = theme.em(widget, 1.6), theme.em(widget, 0.8)
    picture = QPixmap(round(width * ratio), round(height * ratio))
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setPen(line_pen(number, widget.palette(), theme.em(widget, 0.17)))
    painter.drawLine(QPointF(0, height / 2), QPointF(width, height / 2))
    painter.end()
    return picture


@dataclass(frozen=True)
class OverlayLine:
    """``number`` chooses colour and dashes. ``raw`` is drawn pale behind a smoothed ``y``."""

    key: str
    title: str
    number: int
    x: Array
    y: Array
    raw: Array | None = None
    markers: bool = False


class OverlayChart(QFrame):
    """Call :meth:`set_lines` as often as there is something new; the wheel zooms, dragging moves."""

    def __init__(self, parent: QWidget | None = None) -> None:
        self._plot: Any = None  # before super(): Qt tells of a palette from there
        super().__init__(parent)
        self.setProperty("card", True)
        self._lines: tuple[OverlayLine, ...] = ()
        self._items: list[Any] = []
        self._log = False
        self._axis_title = ""
        self._hover: float | None = None
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.45)
        layout.setContentsMargins(pad, pad, pad, pad // 2)
        self.setMinimumHeight(theme.em(self, 8))
        self.tip = QLabel(self)
        self.tip.setTextFormat(Qt.TextFormat.RichText)
        self.tip.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.tip.setAutoFillBackground(True)
        self.tip.setFrameShape(QFrame.Shape.Box)
        self.tip.setMargin(pad)
        self.tip.hide()

    @property
    def plot(self) -> Any:
        """The ``pyqtgraph.PlotWidget``."""
        if self._plot is None:
            self._build_plot()
        return self._plot

    def _build_plot(self) -> None:
        import pyqtgraph as pg

        self._pg = pg
        self._plot = pg.PlotWidget(self, enableMenu=False)
        self._plot.setFrameShape(QFrame.Shape.NoFrame)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._plot.setAccessibleName(self.accessibleName())
        self.layout().addWidget(self._plot)
        item = self._plot.getPlotItem()
        item.hideButtons()
        item.showGrid(x=True, y=True, alpha=0.25)
        for side in ("left", "bottom"):
            item.getAxis(side).enableAutoSIPrefix(False)
            item.getAxis(side).setStyle(tickLength=0)
        self._view = item.getViewBox()
        self._view.setMouseMode(pg.ViewBox.PanMode)
        self._cross = pg.InfiniteLine(angle=90, movable=False)
        self._cross.setVisible(False)
        item.addItem(self._cross, ignoreBounds=True)
        item.setLogMode(x=False, y=self._log)
        self._plot.scene().sigMouseMoved.connect(self._on_mouse_moved)
        self._plot.viewport().installEventFilter(self)
        self._restyle()
        self.tip.raise_()

    # --- data

    @property
    def lines(self) -> tuple[OverlayLine, ...]:
        return self._lines

    def set_lines(self, lines: Sequence[OverlayLine], axis_title: str, *, log: bool) -> None:
        """Draw these; with ``log`` values that are not above 0 are left out."""
        plot = self.plot
        item = plot.getPlotItem()
        if log != self._log:
            self._log = log
            item.setLogMode(x=False, y=log)
        self._lines = tuple(lines)
        self._axis_title = axis_title
        item.setLabel("bottom", axis_title)
        limit = max(200, plot.width())
        drawn = [(line, line.raw, True) for line in self._lines if line.raw is not None]
        drawn += [(line, line.y, False) for line in self._lines]
        while len(self._items) > len(drawn):
            item.removeItem(self._items.pop())
        for number, (line, y, faded) in enumerate(drawn):
            self._draw(self._item(number), line, y, limit, faded=faded)
        if self._hover is not None:
            self._show_tip(self._hover)

    def _item(self, number: int) -> Any:
        """The curve with this number, made when it is first needed: making one takes longer than changing it."""
        if number == len(self._items):
            curve = self._pg.PlotDataItem(connect="finite", skipFiniteCheck=False)
            curve.curve.setSegmentedLineMode("on")  # wide lines are drawn many times faster in segments
            self._plot.getPlotItem().addItem(curve)
            curve.setLogMode(False, self._log)
            self._items.append(curve)
        return self._items[number]

    def _draw(self, curve: Any, line: OverlayLine, y: Array, limit: int, *, faded: bool) -> None:
        if self._log:
            y = np.where(y > 0, y, np.nan)
        x, y = decimate(line.x, y, limit)
        pen = line_pen(line.number, self.palette(), 1.0 if faded else 2.0)
        if faded:
            pen.setColor(theme.blend(pen.color(), theme.chart_colours(self.palette()).background, 0.3))
        has_symbols = (line.markers or len(x) == 1) and not faded
        curve.setZValue(-10 if faded else 0)
        curve.setData(
            x, y, pen=pen, symbol="o" if has_symbols else None, symbolSize=theme.em(self, 0.4),
            symbolBrush=pen.color(), symbolPen=None,
        )  # fmt: skip

    def show_all(self) -> None:
        """Undo zooming and moving."""
        self.plot.getPlotItem().enableAutoRange()

    # --- the values at the cursor

    def values_at(self, x: float) -> dict[str, float]:
        """The value of each line at its point nearest to ``x``; lines that have ended before, or not begun, are out."""
        found = {}
        for line in self._lines:
            if not len(line.x) or not line.x[0] - self._reach(line) <= x <= line.x[-1] + self._reach(line):
                continue
            nearest = int(np.argmin(np.abs(line.x - x)))
            if np.isfinite(line.y[nearest]):
                found[line.key] = float(line.y[nearest])
        return found

    @staticmethod
    def _reach(line: OverlayLine) -> float:
        """How far beyond its ends a line is still meant: half a step between its points."""
        return float(line.x[-1] - line.x[0]) / max(1, len(line.x) - 1) / 2 if len(line.x) > 1 else np.inf

    def _on_mouse_moved(self, position: QPointF) -> None:
        if self._view.sceneBoundingRect().contains(position):
            self.hover(self._view.mapSceneToView(position).x())

    def hover(self, x: float | None) -> None:
        """Show the values at ``x``, or with None no longer."""
        self._hover = x
        self._cross.setVisible(x is not None)
        if x is None:
            self.tip.hide()
        else:
            self._cross.setPos(x)
            self._show_tip(x)

    def _show_tip(self, x: float) -> None:
        values = self.values_at(x)
        if not values:
            self.tip.hide()
            return
        rows = [f"<tr><td colspan='3'><b>{html.escape(self._axis_title)} {compact_number_text(x)}</b></td></tr>"]
        for line in sorted(self._lines, key=lambda line: -values.get(line.key, -np.inf)):
            if line.key in values:
                colour = line_pen(line.number, self.palette()).color().name()
                rows.append(
                    f"<tr><td style='color:{colour}'>■</td><td>{html.escape(_shortened(line.title))}&nbsp;</td>"
                    f"<td align='right'>{format_value(values[line.key])}</td></tr>"
                )
        self.tip.setText(f"<table cellspacing='2'>{''.join(rows)}</table>")
        self.tip.adjustSize()
        place = self._plot.mapTo(self, self._plot.mapFromScene(self._view.mapViewToScene(QPointF(x, 0))))
        gap = theme.em(self, 0.8)
        left = place.x() + gap
        if left + self.tip.width() > self.width():
            left = place.x() - gap - self.tip.width()
        self.tip.move(max(0, left), gap)
        self.tip.show()

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Leave:
            self.hover(None)
        return super().eventFilter(watched, event)

    # --- looks

    def _restyle(self) -> None:
        pg, colours = self._pg, theme.chart_colours(self.palette())
        self._plot.setBackground(colours.background)
        item = self._plot.getPlotItem()
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * 0.85)
        for side in ("left", "bottom"):
            axis = item.getAxis(side)
            axis.setPen(pg.mkPen(colours.grid))
            axis.setTextPen(pg.mkPen(colours.text))
            axis.setTickFont(font)
        item.getAxis("bottom").label.setFont(font)
        item.getAxis("left").setWidth(round(QFontMetricsF(font).averageCharWidth() * AXIS_CHARACTERS))
        self._cross.setPen(pg.mkPen(colours.crosshair, width=1))
        palette = QPalette(self.palette())
        palette.setColor(QPalette.ColorRole.Window, QColor(palette.color(QPalette.ColorRole.Base)))
        self.tip.setPalette(palette)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and self._plot is not None:
            self._restyle()
            self.set_lines(self._lines, self._axis_title, log=self._log)

    def shutdown(self) -> None:
        """Take the plot apart: pyqtgraph's menus otherwise outlive it."""
        plot, self._plot = self._plot, None
        if plot is not None:
            plot.close()
            plot.deleteLater()


def _shortened(text: str) -> str:
    return text if len(text) <= 36 else f"{text[:35]}…"


def format_value(value: float) -> str:
    """Four digits, whatever the size: a loss, an accuracy, a learning rate."""
    return (
        f"{value:.4f}"
        if 1e-3 <= abs(value) < 100 or value == 0
        else f"{value:.3e}"
        if abs(value) < 1e-3
        else f"{value:.4g}"
    )
