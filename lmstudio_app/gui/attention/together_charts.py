"""A number of every head over the layers: a dot each, a line through the means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PySide6.QtCore import QEvent, QPointF, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.overview_places import Place
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import Heading

_STEPS = {Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0), Qt.Key.Key_Up: (0, 1), Qt.Key.Key_Down: (0, -1)}


class LayerChart(QWidget):
    """Importing pyqtgraph, so build it only when it is shown.

    A click on a dot chooses its head; the arrow keys go to the next layer, and to the next larger or smaller value.
    """

    head_chosen = Signal(int, int)  # row (a layer's place), column (a head's place)

    def __init__(
        self, title: str, tip: str, format_value: Callable[[float], str], series: int, parent: QWidget | None = None
    ) -> None:
        self._is_apart = True  # before super(): Qt tells of a palette from there
        super().__init__(parent)
        import pyqtgraph as pg

        self._pg = pg
        self._format = format_value
        self._series = series
        self._values: Sequence[Sequence[float]] = ()
        self._layers: Sequence[int] = ()
        self._points: list[tuple[Place, float, float]] = []  # place, x, y
        self._current: Place = (0, 0)
        self._hovered: Place | None = None
        self.setAccessibleName(title)
        self.setToolTip(tip)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.readout = ElidedLabel(self)
        self.readout.setForegroundRole(self.palette().ColorRole.PlaceholderText)
        header = QHBoxLayout()
        header.addWidget(Heading(title, self, scale=1.0))
        header.addWidget(self.readout, 1)
        self.plot = pg.PlotWidget(self, enableMenu=False)
        self.plot.setFrameShape(QFrame.Shape.NoFrame)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        item = self.plot.getPlotItem()
        item.hideButtons()
        item.setMouseEnabled(x=False, y=False)
        item.getViewBox().setDefaultPadding(0)
        for side in ("left", "bottom"):
            item.getAxis(side).enableAutoSIPrefix(False)
            item.getAxis(side).setStyle(tickLength=0)
        self._dots = pg.ScatterPlotItem(pxMode=True)
        self._line = pg.PlotCurveItem()
        self._ring = pg.ScatterPlotItem(pxMode=True)
        for curve in (self._dots, self._line, self._ring):
            item.addItem(curve)
        self.plot.viewport().installEventFilter(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.2))
        layout.addLayout(header)
        layout.addWidget(self.plot, 1)
        self.setMinimumHeight(theme.em(self, 6))
        self._restyle()
        self._is_apart = False

    # --- content

    def set_values(self, values: Sequence[Sequence[float]], layers: Sequence[int]) -> None:
        """A row for each layer, one value for each of its heads."""
        self._values, self._layers = values, layers
        self._points = [
            ((row, column), float(row), value) for row, heads in enumerate(values) for column, value in enumerate(heads)
        ]
        self._hovered = None
        x, y = self._coordinates()
        self._dots.setData(x, y)
        self._line.setData(np.arange(len(values), dtype=float), np.array([np.mean(heads) for heads in values]))
        top = float(y.max()) if len(y) else 1.0
        item = self.plot.getPlotItem()
        item.setRange(xRange=(-0.5, len(values) - 0.5), yRange=(0, 1.08 * max(top, 1e-6)), padding=0)
        room = max(1, len(values) // 12)
        item.getAxis("bottom").setLabel(self.tr("layer"))
        item.getAxis("bottom").setTicks([[(row, str(layers[row])) for row in range(0, len(values), room)]])
        self.set_current(self._current)

    def _coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([x for _, x, _ in self._points]), np.array([y for _, _, y in self._points])

    def set_current(self, place: Place) -> None:
        self._current = place
        value = self._value(place)
        self._ring.setData(*(([], []) if value is None else ([float(place[0])], [value])))
        self._tell()

    def _value(self, place: Place) -> float | None:
        row, column = place
        return self._values[row][column] if row < len(self._values) and column < len(self._values[row]) else None

    def _tell(self) -> None:
        place = self._hovered or self._current
        value = self._value(place)
        text = ""
        if value is not None:
            text = self.tr("{layer}·{head}: {value}; its layer {mean}").format(
                layer=self._layers[place[0]],
                head=place[1],
                value=self._format(value),
                mean=self._format(float(np.mean(self._values[place[0]]))),
            )
        self.readout.setText(text)
        self.setAccessibleDescription(text)

    # --- input

    def place_at(self, position: QPointF) -> Place | None:
        """The head whose dot is nearest to a place on the plot's viewport, when one is near."""
        if not self._points:
            return None
        view = self.plot.getPlotItem().getViewBox()
        here = self.plot.mapToScene(position.toPoint())
        x, y = self._coordinates()
        (left, right), (bottom, top) = view.viewRange()
        area = view.sceneBoundingRect()
        across = area.left() + (x - left) / (right - left) * area.width()
        down = area.bottom() - (y - bottom) / (top - bottom) * area.height()
        far = np.hypot(across - here.x(), down - here.y())
        nearest = int(far.argmin())
        return self._points[nearest][0] if far[nearest] <= theme.em(self, 0.8) else None

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        if isinstance(event, QMouseEvent) and event.type() == QEvent.Type.MouseMove:
            self._hover(self.place_at(event.position()))
        elif isinstance(event, QMouseEvent) and event.type() == QEvent.Type.MouseButtonPress:
            self.setFocus(Qt.FocusReason.MouseFocusReason)
            place = self.place_at(event.position())
            if place is not None and event.button() == Qt.MouseButton.LeftButton:
                self.head_chosen.emit(*place)
        elif event.type() == QEvent.Type.Leave:
            self._hover(None)
        return super().eventFilter(watched, event)

    def _hover(self, place: Place | None) -> None:
        if place != self._hovered:
            self._hovered = place
            self.plot.viewport().setCursor(
                Qt.CursorShape.ArrowCursor if place is None else Qt.CursorShape.PointingHandCursor
            )
            self._tell()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = _STEPS.get(Qt.Key(event.key()))
        if step is None or not self._values:
            super().keyPressEvent(event)
            return
        row, column = self._current
        if step[0]:
            row = min(max(row + step[0], 0), len(self._values) - 1)
            column = min(column, len(self._values[row]) - 1)
        else:
            heads = self._values[row]
            order = sorted(range(len(heads)), key=lambda head: (heads[head], head))
            column = order[min(max(order.index(column) + step[1], 0), len(order) - 1)]
        self.head_chosen.emit(row, column)

    # --- looks

    def _restyle(self) -> None:
        colours = theme.chart_colours(self.palette())
        self.plot.setBackground(colours.background)
        item = self.plot.getPlotItem()
        for side in ("left", "bottom"):
            axis = item.getAxis(side)
            axis.setPen(self._pg.mkPen(colours.grid))
            axis.setTextPen(colours.text)
            axis.setTickFont(self.font())
        size = theme.em(self, 0.42)
        self._dots.setSize(size)
        self._dots.setPen(self._pg.mkPen(None))
        self._dots.setBrush(self._pg.mkBrush(colours.faded(self._series, 0.55)))
        self._line.setPen(self._pg.mkPen(colours.series[self._series], width=2))
        self._ring.setSize(size * 1.5)
        self._ring.setPen(self._pg.mkPen(self.palette().color(self.palette().ColorRole.Text), width=2))
        self._ring.setBrush(self._pg.mkBrush(None))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and not self._is_apart:
            self._restyle()

    def shutdown(self) -> None:
        """Take the plot apart: pyqtgraph's menus otherwise outlive it."""
        self._is_apart = True
        self.plot.close()
        self.plot.deleteLater()
