"""The live charts of a training: the loss large, smaller ones beside and below, one x axis, one crosshair.

Metrics that share a scale share a chart. A task whose metrics have two scales (shares and perplexity, say) has two.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.files import format_bytes
from lmstudio_app.gui import theme
from lmstudio_app.gui.curves import RunCurves, Smoother
from lmstudio_app.gui.metrics import (
    PERPLEXITY,
    group_title,
    metric_groups,
    metric_help,
    metric_scale,
    metric_text,
    metric_title,
    short_title,
)
from lmstudio_app.gui.text import compact_number_text
from lmstudio_app.gui.widgets.live_chart import LiveChart, Series
from lmstudio_app.gui.widgets.number_edit import format_number
from lmstudio_app.settings import Settings

TICK = 60  # milliseconds; one chart is drawn a tick, so no single pause of the window is long
# Seconds between two drawings of the same chart. Drawing takes time from the training, on two cores twice: while
# one of its threads waits for the processor, the other one waits for it.
LARGE_INTERVAL, SMALL_INTERVAL = 0.7, 2.5
METRIC_CHARTS = ("metric", "metric_2")
MOST_METRICS = 4  # curves in one chart
SMALL = ("metric", "learning_rate", "grad_norm", "examples_per_second", "tokens_per_second", "memory")


def _loss_text(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


def _rate_tick(value: float) -> str:
    return f"{value / 1e3:g}k" if value >= 1e4 else f"{value:g}"


class TrainingCharts(QWidget):
    """Shows a :class:`RunCurves`; call :meth:`mark_dirty` when it has grown. It draws only while it is visible."""

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._curves = RunCurves()
        self._smoother = Smoother(0.0)
        self._stale: set[str] = set()
        self._turn = 0
        self._drawn: dict[str, float] = {}  # when each chart was drawn last
        self._charts = self._build_charts()
        self._shown_metrics: tuple[tuple[str, ...], ...] = ()
        self._shown_task = ""
        self._grid = grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(theme.em(self, 0.5))
        grid.addWidget(self._charts["loss"], 0, 0, 1, 3)
        self._charts["metric_2"].hide()
        for index, name in enumerate(SMALL):
            grid.addWidget(self._charts[name], 1 + index // 3, index % 3)
        for row, stretch in enumerate((17, 10, 10)):
            grid.setRowStretch(row, stretch)
        for column in range(3):
            grid.setColumnStretch(column, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(self._build_controls())
        layout.addLayout(grid, 1)
        self._timer = QTimer(self)
        self._timer.setInterval(TICK)
        self._timer.timeout.connect(self._on_tick)
        for chart in self._charts.values():
            chart.hovered.connect(self._on_hovered)
            chart.zoomed.connect(self._on_zoomed)
        self._charts["loss"].set_log(self._log.isChecked())
        self._stale = set(self._charts)

    def _build_charts(self) -> dict[str, LiveChart]:
        def chart(title: str, tip: str, series: list[Series], text: Callable[[float], str]) -> LiveChart:
            return LiveChart(title, series, text, tip=tip, parent=self)

        def single(key: str, title: str, tip: str, colour: int, text: Callable[[float], str]) -> LiveChart:
            ticks = {"learning_rate": format_number}
            tick_text = ticks.get(key, _rate_tick if key.endswith("_per_second") else None)
            series = [Series(key, title, colour, markers=key in METRIC_CHARTS)]
            return LiveChart(title, series, text, tick_text=tick_text, tip=tip, parent=self)

        return {
            "loss": chart(
                self.tr("Loss"),
                self.tr("How wrong the model is: lower is better. Dashed lines are checkpoints."),
                [
                    Series("raw", self.tr("training"), 0, faded=True),
                    Series("smooth", self.tr("smoothed"), 0, width=2.0, smooth=True),
                    Series("eval", self.tr("evaluation"), 1, width=2.0, markers=True),
                ],
                _loss_text,
            ),
            "metric": single(
                "metric",
                self.tr("Metric"),
                self.tr("How good the model is at its task, on examples it does not train on"),
                2,
                functools.partial(metric_text, short=True),
            ),
            "metric_2": single("metric_2", "", "", 2, functools.partial(metric_text, short=True)),
            "learning_rate": single(
                "learning_rate", self.tr("Learning rate"), self.tr("How far one step moves the weights"), 3, format_lr
            ),
            "grad_norm": single(
                "grad_norm",
                self.tr("Gradient norm"),
                self.tr(
                    "How steep the loss is, before it is clipped. A spike now and then is normal; ever more is trouble."
                ),
                4,
                compact_number_text,
            ),
            "examples_per_second": single(
                "examples_per_second",
                self.tr("Examples/s"),
                self.tr("Training speed: rows a second"),
                5,
                compact_number_text,
            ),
            "tokens_per_second": single(
                "tokens_per_second",
                self.tr("Tokens/s"),
                self.tr("Training speed in pieces of words; the padding that fills up short texts is not counted"),
                5,
                compact_number_text,
            ),
            "memory": single(
                "memory",
                self.tr("Memory, GB"),
                self.tr("What the app (or its part of the GPU) holds in memory"),
                6,
                lambda value: format_bytes(value * 1e9),
            ),
        }

    def _build_controls(self) -> QHBoxLayout:
        self._axis = QComboBox(self)
        self._axis.addItem(self.tr("Steps"), "step")
        self._axis.addItem(self.tr("Epochs"), "epoch")
        self._axis.setAccessibleName(self.tr("Horizontal axis"))
        self._axis.setToolTip(self.tr("Count in steps, or in epochs: passes over the data"))
        self._axis.setCurrentIndex(max(0, self._axis.findData(self._settings.get("train.axis", "step"))))
        self._log = QCheckBox(self.tr("Log scale"), self)
        self._log.setToolTip(self.tr("A logarithmic axis for the loss: small changes of a small loss are seen"))
        self._log.setAccessibleName(self.tr("Logarithmic loss"))
        self._log.setChecked(bool(self._settings.get("train.log_loss", False)))
        self._slider = QSlider(Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, 99)
        self._slider.setValue(int(self._settings.get("train.smoothing", 80)))
        self._slider.setMinimumWidth(theme.characters(self, 8))
        self._slider.setMaximumWidth(theme.characters(self, 22))
        self._slider.setAccessibleName(self.tr("Smoothing"))
        self._slider.setToolTip(self.tr("Smooths the bold curve so that its trend shows: 0 not at all, 0.99 the most"))
        self._weight = QLabel(self)
        self._all = QPushButton(self.tr("Show all"), self)
        self._all.setToolTip(self.tr("Undo zooming: the wheel zooms, dragging moves"))
        self._all.setAccessibleName(self.tr("Show the whole run"))
        self.setTabOrder(self._slider, self._log)
        row = QHBoxLayout()
        axis_label = QLabel(self.tr("Axis"), self)
        axis_label.setBuddy(self._axis)
        slider_label = QLabel(self.tr("Smoothing"), self)
        slider_label.setBuddy(self._slider)
        gap = theme.em(self, 1)
        for widget in (axis_label, self._axis):
            row.addWidget(widget)
        row.addSpacing(gap)
        row.addWidget(slider_label)
        row.addWidget(self._slider, 1)
        row.addWidget(self._weight)
        row.addSpacing(gap)
        row.addWidget(self._log)
        row.addStretch(1)
        row.addWidget(self._all)
        self._show_weight()
        self._axis.currentIndexChanged.connect(self._on_axis_changed)
        self._log.toggled.connect(self._on_log_toggled)
        self._slider.valueChanged.connect(self._on_smoothing_changed)
        self._all.clicked.connect(self.reset_range)
        return row

    # --- what the tab calls

    def set_curves(self, curves: RunCurves) -> None:
        """Show another run."""
        self._curves = curves
        self._smoother = Smoother(self._slider.value() / 100)
        for chart in self._charts.values():
            chart.clear()
        self._fit_metrics()
        self.reset_range()
        self.mark_dirty()

    def _fit_metrics(self) -> None:
        """Charts for the metrics that this run reports; the one that counts comes first."""
        highest = {name: self._curves.highest.get(name, 0.0) for name in self._curves.metric_names}
        if not highest and self._curves.task == self._shown_task:
            return  # another run of the same task: it will report the same, and laying all out anew takes its time
        self._shown_task = self._curves.task
        found = metric_groups(highest, self._curves.main_metric)
        groups = tuple(names[:MOST_METRICS] for names in found[: len(METRIC_CHARTS)])
        if groups == self._shown_metrics:
            return
        self._shown_metrics = groups
        for key, names in itertools.zip_longest(METRIC_CHARTS, groups, fillvalue=()):
            chart = self._charts[key]
            chart.setVisible(bool(names) or key == "metric")
            if not names:
                chart.set_title(self.tr("Metric"))
                chart.set_series([Series(key, self.tr("Metric"), 2, markers=True)])  # not those of another task
                continue
            title = short_title if len(names) > 1 else metric_title
            chart.set_series([Series(name, title(name), 2 + n, markers=True) for n, name in enumerate(names)])
            chart.set_log(metric_scale(names[0], highest[names[0]]) == PERPLEXITY)
            chart.set_title(group_title(names))
            chart.setToolTip("\n\n".join(f"{metric_title(name)}: {metric_help(name)}" for name in names))
        is_double = len(groups) > 1
        self._grid.addWidget(self._charts["loss"], 0, 0, 1, 2 if is_double else 3)
        if is_double:
            self._grid.addWidget(self._charts["metric_2"], 0, 2)

    def mark_dirty(self) -> None:
        """The curves have grown."""
        self._fit_metrics()
        self._stale = set(self._charts)
        self._wake()

    def reset_range(self) -> None:
        for chart in self._charts.values():
            chart.set_x_range(None)
        self._wake()

    def chart(self, name: str) -> LiveChart:
        return self._charts[name]

    def draw_now(self) -> None:
        """Draw everything at once: for pictures and tests."""
        for name, chart in self._charts.items():
            self._feed(name)
            chart.refresh()
        self._stale.clear()

    def shutdown(self) -> None:
        self._timer.stop()
        for chart in self._charts.values():
            chart.shutdown()

    # --- drawing, one chart a tick

    def _wake(self) -> None:
        if self.isVisible() and not self._timer.isActive():
            self._timer.start()

    def showEvent(self, event: object) -> None:
        super().showEvent(event)  # type: ignore[arg-type]
        self._wake()

    def resizeEvent(self, event: object) -> None:
        super().resizeEvent(event)  # type: ignore[arg-type]
        self._wake()

    def hideEvent(self, event: object) -> None:
        super().hideEvent(event)  # type: ignore[arg-type]
        self._timer.stop()

    def _on_tick(self) -> None:
        names, now = list(self._charts), time.monotonic()
        is_waiting = False
        for _ in names:
            name = names[self._turn % len(names)]
            self._turn += 1
            if name not in self._stale and not self._charts[name].dirty:
                continue
            is_waiting = True
            interval = LARGE_INTERVAL if name == "loss" else SMALL_INTERVAL
            if self._charts[name].dirty or now - self._drawn.get(name, 0.0) >= interval:
                self._drawn[name] = now
                self._feed(name)
                self._charts[name].refresh()
                return
        if not is_waiting:
            self._timer.stop()

    def _feed(self, name: str) -> None:
        """Hand the curves of one chart over; columns are views, so this is cheap."""
        self._stale.discard(name)
        curves, axis, chart = self._curves, self._axis.currentData(), self._charts[name]
        x = curves.x(axis)
        chart.set_extent(self._extent(float(x[-1])) if len(x) else 1.0)
        if name == "loss":
            raw = curves.steps.column("loss")
            chart.set_data("raw", x, raw)
            chart.set_data("smooth", x, self._smoother.update(raw))
            chart.set_data("eval", *curves.evaluated("loss", axis))
            chart.set_marks(curves.checkpoint_x(axis))
        elif name in METRIC_CHARTS:
            groups = self._shown_metrics
            number = METRIC_CHARTS.index(name)
            for metric in groups[number] if number < len(groups) else ():
                chart.set_data(metric, *curves.evaluated(metric, axis))
        elif name == "memory":
            chart.set_data("memory", x, curves.steps.column("memory") / 1e9)
        else:
            chart.set_data(name, x, curves.steps.column(name))

    def _extent(self, last: float) -> float:
        """Where the x axis ends: at the end of a run that is over; else it grows by a fifth whenever it is full, so
        that the axes are not drawn anew with every point.
        """
        step = self._curves.last_step
        if step is None or self._curves.finished is not None or self._curves.failed is not None or last <= 0:
            return last
        total = float(step.total_steps)
        if self._axis.currentData() == "epoch":
            total *= step.epoch / max(step.step, 1)
        return max(last, min(total, 1.2 ** math.ceil(math.log(last, 1.2))))

    # --- controls

    def _on_hovered(self, x: float | None) -> None:
        for chart in self._charts.values():
            chart.show_crosshair(x)

    def _on_zoomed(self, low: float, high: float) -> None:
        for chart in self._charts.values():
            chart.set_x_range((low, high))
        self._wake()

    def _on_axis_changed(self) -> None:
        self._settings.set("train.axis", self._axis.currentData())
        self.reset_range()
        self.mark_dirty()

    def _on_log_toggled(self, log: bool) -> None:
        self._settings.set("train.log_loss", log)
        self._charts["loss"].set_log(log)
        self._wake()

    def _on_smoothing_changed(self, value: int) -> None:
        self._settings.set("train.smoothing", value)
        self._show_weight()
        self._smoother = Smoother(value / 100)
        self._stale.add("loss")
        self._wake()

    def _show_weight(self) -> None:
        self._weight.setText(f"{self._slider.value() / 100:.2f}")


def format_lr(value: float) -> str:
    """A learning rate in three significant digits: ``9.47e-5``."""
    return f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e") if value else "0"
