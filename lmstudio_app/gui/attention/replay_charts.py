"""The loss of a training and the entropy of one head over its steps, with one cursor that the mouse drags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QEvent, QObject, Qt, QTimer, Signal
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QHBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.curves import RunCurves, Smoother
from lmstudio_app.gui.widgets.live_chart import LiveChart, Series

if TYPE_CHECKING:
    from lmstudio_app.gui.curves import Array

_DELAY = 60  # milliseconds between a change and the drawing of it, so that many changes are one
_SMOOTHING = 0.8


def _loss_text(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


class ReplayCharts(QWidget):
    step_chosen = Signal(float)  # dragged to, on either chart

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.loss = LiveChart(
            self.tr("Loss"),
            [
                Series("raw", self.tr("training"), 0, faded=True),
                Series("smooth", self.tr("smoothed"), 0, width=2.0, smooth=True),
                Series("eval", self.tr("evaluation"), 1, width=2.0, markers=True),
            ],
            _loss_text,
            tip=self.tr("How wrong the model is: lower is better. Drag here to move through the training."),
            parent=self,
        )
        self.entropy = LiveChart(
            self.tr("How widely the chosen head looks"),
            [Series("entropy", "", 2, width=1.5, markers=True)],
            lambda value: self.tr("{value} bits").format(value=f"{value:.2f}"),
            tip=self.tr(
                "The entropy of its attention, in bits: at 0 every token looks at one other only; the higher, the more "
                "tokens share it. At 3 bits it is as if 8 tokens got the same."
            ),
            parent=self,
        )
        self._charts = (self.loss, self.entropy)
        self._smoother = Smoother(_SMOOTHING)
        self._cursor: float | None = None
        self._has_plots = False
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.em(self, 0.5))
        row.addWidget(self.loss, 3)
        row.addWidget(self.entropy, 2)
        self._timer = QTimer(self)
        self._timer.setInterval(_DELAY)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.draw_now)
        for chart in self._charts:
            chart.installEventFilter(self)  # its size

    def clear(self) -> None:
        """Another run."""
        self._smoother = Smoother(_SMOOTHING)
        for chart in self._charts:
            chart.clear()
        self.set_cursor(None)
        self._wake()

    def set_curves(self, curves: RunCurves, *, is_running: bool) -> None:
        """The loss, as far as it has come."""
        x, raw = curves.x("step"), curves.steps.column("loss")
        self.loss.set_data("raw", x, raw)
        self.loss.set_data("smooth", x, self._smoother.update(raw))
        self.loss.set_data("eval", *curves.evaluated("loss", "step"))
        last = curves.last_step
        end = float(x[-1]) if len(x) else 1.0
        extent = float(last.total_steps) if is_running and last is not None else end
        for chart in self._charts:
            chart.set_extent(max(extent, 1.0))
        self._wake()

    def set_entropy(self, steps: Array, values: Array) -> None:
        self.entropy.set_data("entropy", steps, values)
        self._wake()

    def set_cursor(self, step: float | None) -> None:
        self._cursor = step
        for chart in self._charts:
            chart.show_crosshair(step)

    def draw_now(self) -> None:
        if not self.isVisible():
            return
        for chart in self._charts:
            chart.refresh()
        if not self._has_plots:
            self._has_plots = True
            for chart in self._charts:
                chart.plot.getPlotItem().getViewBox().setMouseEnabled(x=False, y=False)
                chart.plot.viewport().setCursor(Qt.CursorShape.SizeHorCursor)
                chart.plot.viewport().installEventFilter(self)
        self.set_cursor(self._cursor)

    def _wake(self) -> None:
        if self.isVisible():
            self._timer.start()

    def showEvent(self, event: QEvent) -> None:
        super().showEvent(event)  # type: ignore[arg-type]
        self._wake()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched in self._charts:
            if event.type() == QEvent.Type.Resize:
                self._wake()
        elif isinstance(event, QMouseEvent) and event.buttons() & Qt.MouseButton.LeftButton:
            self.step_chosen.emit(self._step_at(watched, event))
            return True
        return super().eventFilter(watched, event)

    def _step_at(self, viewport: QObject, event: QMouseEvent) -> float:
        plot: Any = next(chart.plot for chart in self._charts if chart.plot.viewport() is viewport)
        view = plot.getPlotItem().getViewBox()
        return float(view.mapSceneToView(plot.mapToScene(event.position().toPoint())).x())

    def shutdown(self) -> None:
        self._timer.stop()
        for chart in self._charts:
            chart.shutdown()


def nearest(steps: list[int], step: float) -> int:
    """The place in ``steps`` (ascending, not empty) of the one nearest to ``step``."""
    return int(np.abs(np.array(steps, dtype=np.float64) - step).argmin())
