"""Two small charts of a data set: how many rows each class has, and how long the texts are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import compact_number_text, number_text
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import Heading

if TYPE_CHECKING:
    import numpy.typing as npt

_MOST_CLASSES = 8
_BINS = 40


class DistributionChart(QFrame):
    """A card with a title, a read-out at its right and a still plot. Imports pyqtgraph."""

    def __init__(self, title: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        import pyqtgraph as pg

        self._pg = pg
        self._closed = False
        self.setProperty("card", True)
        self.setToolTip(tip)
        self._title = Heading(title, self, scale=1.0)
        self._readout = ElidedLabel(self)
        self._readout.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._readout.setForegroundRole(self._readout.palette().ColorRole.PlaceholderText)
        self.plot = pg.PlotWidget(self)
        self.plot.setFrameShape(QFrame.Shape.NoFrame)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # no key does anything there
        self.plot.setMinimumHeight(theme.em(self, 4))
        item = self.plot.getPlotItem()
        item.hideButtons()
        item.setMenuEnabled(False)
        item.layout.setContentsMargins(0, 0, 0, 0)
        for side in ("left", "bottom"):
            axis = item.getAxis(side)
            axis.enableAutoSIPrefix(False)
            axis.setStyle(tickLength=0, autoExpandTextSpace=True)
        self._view = item.getViewBox()
        self._view.setMouseEnabled(x=False, y=False)
        self._view.disableAutoRange()
        self._view.setDefaultPadding(0.0)
        header = QHBoxLayout()
        header.addWidget(self._title)
        header.addWidget(self._readout, 1)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.45)
        layout.setContentsMargins(pad, round(pad * 0.8), pad, pad // 2)
        layout.setSpacing(pad // 3)
        layout.addLayout(header)
        layout.addWidget(self.plot, 1)

    def readout(self) -> str:
        return self._readout.text()

    def _say(self, text: str) -> None:
        self._readout.setText(text)
        self.setAccessibleName(f"{self._title.text()}: {text}")
        self.plot.setAccessibleName(self.accessibleName())

    def redraw(self) -> None:
        """Give the plot the palette's colours and the font; a chart adds its bars."""
        pg, colours = self._pg, theme.chart_colours(self.palette())
        self.plot.setBackground(colours.background)
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * 0.88)
        for side in ("left", "bottom"):
            axis = self.plot.getPlotItem().getAxis(side)
            axis.setPen(pg.mkPen(colours.grid))
            axis.setTextPen(pg.mkPen(colours.text))
            axis.setTickFont(font)
        self.plot.getPlotItem().getAxis("left").setGrid(60)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        is_look = event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange)
        if is_look and hasattr(self, "_view") and not self._closed:
            self.redraw()

    def shutdown(self) -> None:
        """Take the plot apart while Qt is whole; pyqtgraph's items otherwise outlive their scene."""
        if not self._closed:
            self._closed = True
            self.plot.close()
            self.plot.deleteLater()

    def _tick_count_axis(self, highest: float) -> None:
        """At most four round numbers."""
        step = 10 ** np.floor(np.log10(max(highest, 1) / 2))
        while highest / step > 5:
            step *= 2 if str(int(step))[0] in "15" else 2.5
        values = np.arange(0, highest * 1.02 + 1e-9, max(1, step))
        axis = self.plot.getPlotItem().getAxis("left")
        axis.setTicks([[(float(value), _tick_text(float(value))) for value in values]])


def _tick_text(value: float) -> str:
    return compact_number_text(value).replace(".0", "") if value >= 10_000 else number_text(value)


class ClassBalanceChart(DistributionChart):
    """Bars of training and evaluation rows, a pair for every class."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("", "", parent)
        self._title.setText(self.tr("Classes"))
        self.setToolTip(self.tr("Rows of each class, for training and for evaluation"))
        self._train: dict[str, int] = {}
        self._eval: dict[str, int] = {}
        self._bars = [self._pg.BarGraphItem(x=[], height=[], width=0.4) for _ in range(2)]
        for bars in self._bars:
            self.plot.addItem(bars)
        self.set_balance({}, {})

    def set_balance(self, train: Mapping[str, int], evaluation: Mapping[str, int]) -> None:
        self._train, self._eval = dict(train), dict(evaluation)
        if not self._closed:
            self.redraw()

    @property
    def labels(self) -> list[str]:
        """The classes that are shown: the most frequent ones, in the order of their names."""
        total = {name: self._train.get(name, 0) + self._eval.get(name, 0) for name in {**self._train, **self._eval}}
        most = sorted(total, key=lambda name: (-total[name], name))[:_MOST_CLASSES]
        return sorted(most, key=lambda name: (not name.lstrip("-").isdigit(), name.zfill(12)))

    def redraw(self) -> None:
        super().redraw()
        labels = self.labels
        colours = theme.chart_colours(self.palette()).series
        rows = sum(self._train.values()) + sum(self._eval.values())
        positions = np.arange(len(labels), dtype=float)
        heights = [np.array([side.get(name, 0) for name in labels], dtype=float) for side in (self._train, self._eval)]
        for number, (bars, height) in enumerate(zip(self._bars, heights, strict=True)):
            x = positions + (number - 0.5) * 0.38
            bars.setOpts(x=x, height=height, width=0.34, brush=colours[number], pen=self._pg.mkPen(None))
        ticks = []
        for position, name in zip(positions, labels, strict=True):
            count = self._train.get(name, 0) + self._eval.get(name, 0)
            shown = name if len(name) <= 12 else name[:11] + "…"
            percent = number_text(100 * count / rows, 1 if rows else 0)
            text = self.tr("{label}: {percent} %").format(label=shown, percent=percent)
            ticks.append((float(position), text if len(labels) <= 4 else shown))
        self.plot.getPlotItem().getAxis("bottom").setTicks([ticks])
        highest = max((float(height.max(initial=0)) for height in heights), default=0.0) or 1.0
        self._view.setXRange(-0.6, max(len(labels), 1) - 0.4, padding=0)
        self._view.setYRange(0, highest * 1.06, padding=0)
        self._tick_count_axis(highest)
        self._say(self._sentence(len({**self._train, **self._eval})))

    def _sentence(self, classes: int) -> str:
        if not classes:
            return self.tr("no label column")
        if classes > _MOST_CLASSES:
            return self.tr("the {shown} largest of {classes}").format(shown=_MOST_CLASSES, classes=classes)
        return self.tr("left: training, right: evaluation")


class LengthHistogram(DistributionChart):
    """How long the texts are; the line marks the length that 95 % of them do not exceed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("", "", parent)
        self.setToolTip(
            self.tr(
                "How long the texts are. The line marks the length that 95 of 100 do not exceed: a good maximal length."
            )
        )
        self._lengths: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._edges: npt.NDArray[np.float64] = np.zeros(0)
        self._counts: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._unit = ""
        self._summary = ""
        self._bars = self._pg.BarGraphItem(x0=[], x1=[], height=[])
        self._mark = self._pg.InfiniteLine(angle=90, movable=False)
        self.plot.addItem(self._bars)
        self.plot.addItem(self._mark, ignoreBounds=True)
        self.plot.scene().sigMouseMoved.connect(self._on_mouse_moved)
        self.plot.viewport().installEventFilter(self)
        self.clear()

    def clear(self) -> None:
        self.set_lengths(np.zeros(0, dtype=np.int64), tokens=False)

    def set_lengths(self, lengths: npt.NDArray[np.int64], *, tokens: bool, name: str = "") -> None:
        """``name`` tells the texts from those of another chart."""
        self._lengths = lengths
        title = self.tr("Tokens in a text") if tokens else self.tr("Words in a text")
        if name:
            title = (self.tr("{name}: tokens") if tokens else self.tr("{name}: words")).format(name=name)
        self._title.setText(title)
        self._unit = self.tr("tokens") if tokens else self.tr("words")
        if len(lengths):
            top = max(int(np.quantile(lengths, 0.995)), 1)
            width = max(1, -(-(top + 1) // _BINS))
            self._edges = np.arange(0, top + width + 1, width) - 0.5
            self._counts, _ = np.histogram(np.minimum(lengths, self._edges[-1]), self._edges)
        else:
            self._edges, self._counts = np.zeros(0), np.zeros(0, dtype=np.int64)
        if not self._closed:
            self.redraw()

    @property
    def quantile_95(self) -> int:
        return int(np.quantile(self._lengths, 0.95, method="inverted_cdf")) if len(self._lengths) else 0

    def redraw(self) -> None:
        super().redraw()
        colours = theme.chart_colours(self.palette())
        gap = 0.06 * float(self._edges[1] - self._edges[0]) if len(self._edges) else 0.0
        pen = self._pg.mkPen(None)
        self._bars.setOpts(
            x0=self._edges[:-1] + gap, x1=self._edges[1:] - gap, height=self._counts, brush=colours.series[0], pen=pen
        )
        self._mark.setPen(self._pg.mkPen(colours.series[1], width=2))
        self._mark.setVisible(bool(len(self._lengths)))
        self._mark.setPos(self.quantile_95 + 0.5)
        highest = float(self._counts.max(initial=0)) or 1.0
        right = float(self._edges[-1]) if len(self._edges) else 1.0
        self._view.setXRange(-0.5, max(right, self.quantile_95 + 1.0), padding=0.01)
        self._view.setYRange(0, highest * 1.06, padding=0)
        self._tick_count_axis(highest)
        self._summary = self.tr("nothing to measure")
        if len(self._lengths):
            self._summary = self.tr("half up to {median}, 95 % up to {most}, longest {longest}").format(
                median=number_text(int(np.median(self._lengths))),
                most=number_text(self.quantile_95),
                longest=number_text(int(self._lengths.max())),
            )
        self._say(self._summary)

    def _on_mouse_moved(self, position: QPointF) -> None:
        if not len(self._counts) or not self._view.sceneBoundingRect().contains(position):
            return
        x = self._view.mapSceneToView(position).x()
        bin_number = int(np.searchsorted(self._edges, x, side="right")) - 1
        if 0 <= bin_number < len(self._counts):
            low, high = round(self._edges[bin_number] + 0.5), round(self._edges[bin_number + 1] - 0.5)
            span = number_text(low) if low == high else f"{number_text(low)}–{number_text(high)}"
            self._readout.setText(
                self.tr("{span} {unit}: {count} texts").format(
                    span=span, unit=self._unit, count=number_text(int(self._counts[bin_number]))
                )
            )

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Leave:
            self._readout.setText(self._summary)
        return super().eventFilter(watched, event)
