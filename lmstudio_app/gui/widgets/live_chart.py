"""One chart of a run: a title, a read-out, and curves over a shared x axis, cheap enough to redraw many times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.curves import decimate, thin
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.gui.widgets.value_label import Reading, Readings

if TYPE_CHECKING:
    from lmstudio_app.gui.curves import Array

AXIS_CHARACTERS = 7  # room for the numbers beside the vertical axis


@dataclass(frozen=True)
class Series:
    """``colour`` counts in the palette's categorical colours. ``markers`` mark each point, for rare ones;
    ``smooth`` curves may be thinned evenly, the others keep their extremes."""

    key: str
    title: str
    colour: int
    width: float = 1.0
    faded: bool = False
    markers: bool = False
    smooth: bool = False


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """Logarithms, to the base 10, of the round numbers between ``10**low`` and ``10**high``: three or more."""
    if high - low < 1:
        first, last = 10**low, 10**high
        step = 10 ** np.floor(np.log10((last - first) / 2))
        step *= next((factor for factor in (5, 2) if (last - first) / (factor * step) >= 3), 1)
        values = np.arange(np.ceil(first / step - 1e-9), np.floor(last / step + 1e-9) + 1) * step
        return [float(value) for value in np.log10(values[values > 0])]
    digits = (1, 2, 5) if high - low < 3 else (1,)
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    found = [power + float(np.log10(digit)) for power in powers for digit in digits]
    return [value for value in found if low <= value <= high]


class _Hint(QLabel):
    """Words in the middle of a chart's own background; a palette of its own would be lost with the next style sheet."""

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.chart_colours(self.palette()).background)
        painter.setPen(theme.muted(self.palette()))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self.text())


class LiveChart(QFrame):
    """Give it data with :meth:`set_data` as often as you like; :meth:`refresh` draws, when :attr:`dirty`.

    The plot itself is built at the first :meth:`refresh` (or use of :attr:`plot`), so that a page of charts can
    appear at once and fill one chart at a time.
    """

    hovered = Signal(object)  # x under the mouse, or None
    zoomed = Signal(float, float)  # the user chose this range of x

    def __init__(
        self,
        title: str,
        series: Sequence[Series],
        format_value: Callable[[float], str],
        *,
        tick_text: Callable[[float], str] | None = None,
        tip: str = "",
        parent: QWidget | None = None,
    ) -> None:
        self._plot: Any = None  # before super(): Qt tells of a palette from there
        super().__init__(parent)
        self._series = tuple(series)
        self._format = format_value
        self._tick_text = tick_text
        self._data: dict[str, tuple[Array, Array]] = {}
        self._items: dict[str, Any] = {}
        self._marks: list[Any] = []
        self._mark_positions: tuple[float, ...] = ()
        self._log = False
        self._hover: float | None = None
        self._extent = 1.0
        self._is_fitted = False  # until there is data, the range of y is nobody's choice
        self._grid_key: tuple[float, ...] = ()
        self._x_range: tuple[float, float] | None = None
        self.dirty = True
        self.setProperty("card", True)
        self.setAccessibleName(title)
        self.setToolTip(tip)
        self._title = Heading(title, self, scale=1.0)
        self._readout = Readings(self)
        header = QHBoxLayout()
        header.addWidget(self._title)
        header.addWidget(self._readout, 1)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.45)
        layout.setContentsMargins(pad, round(pad * 0.8), pad, pad // 2)
        layout.setSpacing(pad // 3)
        layout.addLayout(header)
        layout.addStretch(1)
        self.setMinimumHeight(theme.em(self, 5))
        self._hint = _Hint(tip, self)  # in front of the plot, so that nothing is laid out anew when it goes
        self._hint.setObjectName("hint")
        self._hint.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._show_readout()

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
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # no key does anything there
        self._plot.setAccessibleName(self.accessibleName())
        layout = self.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.takeAt(layout.count() - 1)  # the stretch
        layout.addWidget(self._plot, 1)
        item = self._plot.getPlotItem()
        item.hideButtons()
        for side in ("left", "bottom"):
            axis = item.getAxis(side)
            axis.enableAutoSIPrefix(False)
            axis.setStyle(tickLength=0, autoExpandTextSpace=False, autoReduceTextSpace=False)
        left = item.getAxis("left")
        self._linear_ticks, self._linear_strings = left.tickValues, left.tickStrings
        left.tickValues, left.tickStrings = self._tick_values, self._tick_strings
        self._view = item.getViewBox()
        self._view.setMouseMode(pg.ViewBox.PanMode)
        self._view.setMouseEnabled(x=True, y=False)
        self._view.disableAutoRange()
        self._view.setDefaultPadding(0.0)
        self._view.setYRange(0.0, 1.1)  # until there is data; a number at the very edge would be cut in half
        # pyqtgraph's own grid belongs to the axes, which would then be drawn anew with every point of the curves
        self._grid = pg.PlotCurveItem(connect="pairs")
        self._grid.setZValue(-20)
        item.addItem(self._grid, ignoreBounds=True)
        self._add_curves()
        self._cross = pg.InfiniteLine(angle=90, movable=False)
        self._cross.setVisible(False)
        item.addItem(self._cross, ignoreBounds=True)
        self._view.sigRangeChangedManually.connect(self._on_zoomed)
        self._plot.scene().sigMouseMoved.connect(self._on_mouse_moved)
        self._plot.viewport().installEventFilter(self)
        item.setLogMode(x=False, y=self._log)
        self._restyle()

    def _tick_values(self, low: float, high: float, size: float) -> Any:
        """pyqtgraph's own, but for a logarithmic axis, where it writes nothing but powers of ten."""
        if not self._log:
            return self._linear_ticks(low, high, size)
        return [(1.0, logarithmic_ticks(low, high))]

    def _tick_strings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        if self._log:
            return [f"{10**value:.4g}" for value in values]
        if self._tick_text is not None:
            return [self._tick_text(value * scale) for value in values]
        strings: list[str] = self._linear_strings(values, scale, spacing)
        return strings

    def _add_curves(self) -> None:
        for series in self._series:
            curve = self._pg.PlotDataItem(connect="finite", skipFiniteCheck=False)
            curve.curve.setSegmentedLineMode("on")  # wide lines are drawn many times faster in segments
            self._plot.getPlotItem().addItem(curve)
            self._items[series.key] = curve

    def set_series(self, series: Sequence[Series]) -> None:
        """Other curves than so far; their data comes anew."""
        if tuple(series) == self._series:
            return
        self._series = tuple(series)
        self._data = {key: data for key, data in self._data.items() if key in {item.key for item in series}}
        self._is_fitted = False
        self.dirty = True
        if self._plot is not None:
            for curve in self._items.values():
                self._plot.getPlotItem().removeItem(curve)
            self._items.clear()
            self._add_curves()
            self._plot.getPlotItem().setLogMode(x=False, y=self._log)
            self._restyle()
        self._show_readout()

    # --- data

    def set_data(self, key: str, x: Array, y: Array) -> None:
        self._data[key] = (x, y)
        self.dirty = True

    def clear(self) -> None:
        self._data.clear()
        self._is_fitted = False
        self.set_marks(())
        self.dirty = True

    @property
    def is_empty(self) -> bool:
        """Nothing to draw yet: then it says in words what will be drawn."""
        return not any(len(x) for x, _ in self._data.values())

    def set_marks(self, positions: Sequence[float]) -> None:
        """Thin vertical lines, one for each checkpoint; of very many only some."""
        wanted = tuple(positions)
        if len(wanted) > 60:
            wanted = wanted[:: len(wanted) // 60 + 1]
        if wanted == self._mark_positions:
            return
        self._mark_positions = wanted
        self.dirty = True

    def set_title(self, title: str) -> None:
        if title == self._title.text():
            return
        self._title.setText(title)
        self.setAccessibleName(title)

    def set_log(self, log: bool) -> None:
        if log != self._log:
            self._log = log
            self._is_fitted = False
            if self._plot is not None:
                self._plot.getPlotItem().setLogMode(x=False, y=log)
            self.dirty = True

    def set_extent(self, extent: float) -> None:
        """The x at which the run ends: a chart with few points shows as much of it as the others."""
        self._extent = extent

    def set_x_range(self, x_range: tuple[float, float] | None) -> None:
        """Show this range of x; None: everything there is."""
        if x_range != self._x_range:
            self._x_range = x_range
            self.dirty = True

    def refresh(self) -> None:
        """Draw what came since the last time: of each curve no more points than there are pixels to show them."""
        self.dirty = False
        plot = self.plot
        self._place_hint()
        self._hint.setVisible(self.is_empty)
        self._hint.raise_()
        self._draw_marks()
        low, high = self._x_range or (-0.02 * self._extent, 1.02 * self._extent)
        limit = max(200, plot.width())
        lowest, highest = np.inf, -np.inf
        for series in self._series:
            x, y = self._data.get(series.key, (np.empty(0), np.empty(0)))
            if self._x_range and len(x):
                start, stop = np.searchsorted(x, [low, high])
                x, y = x[max(0, start - 1) : stop + 1], y[max(0, start - 1) : stop + 1]
            if self._log:
                y = np.where(y > 0, y, np.nan)
            x, y = thin(x, y, limit // 2) if series.smooth else decimate(x, y, limit)
            curve = self._items[series.key]
            symbol = "o" if series.markers or len(x) == 1 else None  # one point alone makes no line
            if symbol != curve.opts["symbol"]:
                curve.setSymbol(symbol)
            curve.setData(x, y)
            finite = y[np.isfinite(y)]
            if len(finite):
                lowest, highest = min(lowest, finite.min()), max(highest, finite.max())
        y_range = self._fit_y(float(lowest), float(highest)) if lowest <= highest else self._view.viewRange()[1]
        if self._view.viewRange() != [[low, high], list(y_range)]:
            self._view.setRange(xRange=(low, high), yRange=y_range, padding=0.0)
        self._draw_grid()
        self._view.updateMatrix()  # else it is found out of date while it is drawn, and all is drawn twice
        self._show_readout()

    def _draw_grid(self) -> None:
        """Lines at the ticks, when the range or the size has changed."""
        ranges = self._view.viewRange()
        key = (*ranges[0], *ranges[1], self._view.width(), self._view.height())
        if key == self._grid_key:
            return
        self._grid_key = key
        (left, right), (bottom, top) = ranges
        item = self._plot.getPlotItem()
        lines: list[tuple[float, float]] = []
        for _, values in item.getAxis("bottom").tickValues(left, right, self._view.width())[:1]:
            lines += [point for x in values for point in ((x, bottom), (x, top))]
        for _, values in item.getAxis("left").tickValues(bottom, top, self._view.height())[:1]:
            lines += [point for y in values for point in ((left, y), (right, y))]
        points = np.array(lines, dtype=np.float64).reshape(-1, 2)
        self._grid.setData(points[:, 0], points[:, 1])

    def _draw_marks(self) -> None:
        if tuple(mark.value() for mark in self._marks) == self._mark_positions:
            return
        for mark in self._marks:
            self._plot.removeItem(mark)
        pen = self._mark_pen()
        self._marks = [self._pg.InfiniteLine(pos=x, angle=90, pen=pen) for x in self._mark_positions]
        for mark in self._marks:
            mark.setZValue(-10)
            self._plot.addItem(mark, ignoreBounds=True)

    def _fit_y(self, low: float, high: float) -> tuple[float, float]:
        """The range of y to show: the one that is shown while it still fits well, so that the axis does not jitter."""
        if self._log:
            low, high = np.log10(low), np.log10(high)
        if high - low < 1e-3 * max(abs(high), 1e-12):  # a flat line in the middle of its chart
            reach = 0.1 * abs(high) or 1.0
            low, high = low - reach, high + reach
        margin = 0.08 * (high - low)
        shown_low, shown_high = self._view.viewRange()[1]
        fits = (
            self._is_fitted
            and shown_low <= low
            and high <= shown_high
            and (shown_high - shown_low) < 1.35 * (high - low + 2 * margin)
        )
        self._is_fitted = True
        return (shown_low, shown_high) if fits else (low - margin, high + margin)

    def latest(self, key: str) -> float | None:
        """The last finite value of a series."""
        _, y = self._data.get(key, (None, np.empty(0)))
        finite = np.flatnonzero(np.isfinite(y))
        return float(y[finite[-1]]) if len(finite) else None

    # --- hovering

    def show_crosshair(self, x: float | None) -> None:
        """Show the values nearest to ``x``, or, with None, the latest ones."""
        self._hover = x
        if self._plot is None:
            return
        self._cross.setVisible(x is not None)
        if x is not None:
            self._cross.setPos(x)
        self._show_readout()

    def values_at(self, x: float) -> dict[str, float]:
        """The value of each series at its point nearest to ``x``."""
        found = {}
        for series in self._series:
            xs, ys = self._data.get(series.key, (np.empty(0), np.empty(0)))
            if len(xs):
                right = int(np.clip(np.searchsorted(xs, x), 0, len(xs) - 1))
                nearest = right - 1 if right and abs(xs[right - 1] - x) <= abs(xs[right] - x) else right
                found[series.key] = float(ys[nearest])
        return found

    def _show_readout(self) -> None:
        if self._hover is None:
            values = {s.key: value for s in self._series if (value := self.latest(s.key)) is not None}
        else:
            values = self.values_at(self._hover)
        is_legend = len(self._series) > 1
        readings = []
        for series in self._series:
            text = self._format(values[series.key]) if series.key in values else ""
            if is_legend:
                readings.append(Reading(text, series.title, self._colour(series)))
            elif text:
                readings.append(Reading(text))
        self._readout.set_readings(readings)

    def _on_mouse_moved(self, position: QPointF) -> None:
        if self._view.sceneBoundingRect().contains(position):
            self.hovered.emit(self._view.mapSceneToView(position).x())

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Leave:
            self.hovered.emit(None)
        return super().eventFilter(watched, event)

    # --- range and looks

    def _on_zoomed(self) -> None:
        low, high = self._view.viewRange()[0]
        self.zoomed.emit(low, high)

    def _colour(self, series: Series) -> QColor:
        colours = theme.chart_colours(self.palette())
        return colours.faded(series.colour) if series.faded else colours.series[series.colour]

    def _mark_pen(self) -> Any:
        return self._pg.mkPen(theme.chart_colours(self.palette()).grid, width=1, style=Qt.PenStyle.DashLine)

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
        # of a fixed size: an axis that grows with its numbers lays the chart out anew and has it drawn twice
        metrics = QFontMetricsF(font)
        item.getAxis("left").setWidth(round(metrics.averageCharWidth() * AXIS_CHARACTERS))
        item.getAxis("bottom").setHeight(round(metrics.height() * 1.4))
        item.layout.setContentsMargins(0, metrics.height() / 2, 0, 0)  # for a number at the upper end of the axis
        self._grid.setPen(pg.mkPen(theme.blend(colours.grid, colours.background, 0.4)))
        for series in self._series:
            curve, colour = self._items[series.key], self._colour(series)
            curve.setPen(pg.mkPen(colour, width=series.width))
            curve.setSymbolSize(theme.em(self, 0.45))
            curve.setSymbolBrush(colour)
            curve.setSymbolPen(pg.mkPen(colours.background))
        self._cross.setPen(pg.mkPen(colours.crosshair, width=1))
        for mark in self._marks:
            mark.setPen(self._mark_pen())
        self._show_readout()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.dirty = True
        self._place_hint()

    def _place_hint(self) -> None:
        area = self.contentsRect().adjusted(*[sign * theme.em(self, 0.45) for sign in (1, 0, -1, -1)])
        area.setTop(self._title.geometry().bottom() + 1)
        self._hint.setGeometry(area)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and self._plot is not None:
            self._restyle()

    def shutdown(self) -> None:
        """Take the plot apart: pyqtgraph's menus otherwise outlive it."""
        plot, self._plot = self._plot, None
        if plot is not None:
            plot.close()
            plot.deleteLater()
