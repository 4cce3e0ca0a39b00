"""The numbers behind the charts of one run, filled from its events. No Qt here."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lmstudio_app.events import AttentionProbed, CheckpointSaved, Evaluated, Event, Failed, Finished, StepLogged
from lmstudio_app.gui.sample_history import SampleHistory
from lmstudio_app.training.summaries import lower_is_better, main_metric

Array = NDArray[np.float64]

STEP_COLUMNS = (
    "step",
    "epoch",
    "loss",
    "learning_rate",
    "grad_norm",
    "tokens_per_second",
    "examples_per_second",
    "memory",
)


class _Table:
    """Rows of floats in one growing array: appending is cheap, and a column is a view."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._index = {name: number for number, name in enumerate(columns)}
        self._data: Array = np.empty((256, len(columns)))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, row: tuple[float, ...]) -> None:
        if self._count == len(self._data):
            self._data = np.concatenate([self._data, np.empty_like(self._data)])
        self._data[self._count] = row
        self._count += 1

    def truncate(self, step: float) -> None:
        """Forget the rows from ``step`` on; the first column is the step."""
        self._count = int(np.searchsorted(self._data[: self._count, 0], step))

    def column(self, name: str) -> Array:
        return self._data[: self._count, self._index[name]]


@dataclass
class RunCurves:
    """Everything the charts, the figures and the results show of a run.

    ``task`` names the metric that counts. Only the last of the ``evaluations`` and ``best`` have their details; what
    the model wrote at the others is in ``samples``.
    """

    task: str = ""
    steps: _Table = field(default_factory=lambda: _Table(STEP_COLUMNS))
    evaluations: list[Evaluated] = field(default_factory=list)
    best: Evaluated | None = None  # by the metric that counts
    samples: SampleHistory = field(default_factory=SampleHistory)
    highest: dict[str, float] = field(default_factory=dict)  # of each metric, over all evaluations
    checkpoints: list[int] = field(default_factory=list)
    last_frame: str = ""  # the newest recording of the watched sentence, if there is one
    last_step: StepLogged | None = None
    finished: Finished | None = None
    failed: Failed | None = None
    first_time: float | None = None
    last_time: float | None = None

    def extend(self, events: Iterable[Event]) -> None:
        """Add events in their order. Steps that are trained again after a resume replace the old ones."""
        for event in events:
            if self.first_time is None:
                self.first_time = event.time
            self.last_time = event.time
            match event:
                case StepLogged():
                    if self.last_step is not None and event.step <= self.last_step.step:
                        self._rewind(event.step)
                    self.last_step, self.finished, self.failed = event, None, None
                    self.steps.append(tuple(float(getattr(event, name)) for name in STEP_COLUMNS))
                case Evaluated():
                    self._take_evaluation(event)
                case CheckpointSaved():
                    self.checkpoints = [s for s in self.checkpoints if s < event.step]
                    self.checkpoints.append(event.step)
                case AttentionProbed():
                    self.last_frame = event.file
                case Finished():
                    self.finished = event
                case Failed():
                    self.failed = event

    def _take_evaluation(self, event: Evaluated) -> None:
        if self.evaluations and self.evaluations[-1].step >= event.step:
            self.evaluations = [e for e in self.evaluations if e.step < event.step]
        if self.evaluations and self.evaluations[-1].details:
            self.evaluations[-1] = replace(self.evaluations[-1], details={})
        self.evaluations.append(event)
        self.samples.rewind(event.step)
        self.samples.add(event.step, event.details.get("samples") or ())
        for name, value in event.metrics.items():
            if np.isfinite(value):
                self.highest[name] = max(value, self.highest.get(name, value))
        if self.best is None or self.best.step >= event.step:
            self.best = functools.reduce(self._better, self.evaluations, None)
        else:
            self.best = self._better(self.best, event)

    def _better(self, best: Evaluated | None, event: Evaluated) -> Evaluated | None:
        """As the loop judges it: a later one must be truly better, and a number."""
        value = event.metrics.get(self.main_metric)
        if value is None or not np.isfinite(value):
            return best
        before = best.metrics.get(self.main_metric) if best is not None else None
        if before is None or (value < before if lower_is_better(self.main_metric) else value > before):
            return event
        return best

    @property
    def main_metric(self) -> str:
        """The metric that counts for the task, once one was reported."""
        return main_metric(self.task, self.evaluations[-1].metrics) if self.evaluations else ""

    @property
    def outcome(self) -> Evaluated | None:
        """The evaluation of the model that the run has left: the last, or the best where that is what was kept."""
        last = self.evaluations[-1] if self.evaluations else None
        if self.finished is not None and self.best is not None:
            kept = self.finished.result.get("metrics")
            if last is not None and kept != last.metrics and kept == self.best.metrics:
                return self.best
        return last

    def _rewind(self, step: int) -> None:
        self.steps.truncate(step)
        self.samples.rewind(step)
        self.evaluations = [e for e in self.evaluations if e.step < step]
        if self.best is not None and self.best.step >= step:
            self.best = functools.reduce(self._better, self.evaluations, None)
        self.checkpoints = [s for s in self.checkpoints if s < step]

    @property
    def metric_names(self) -> list[str]:
        """The metrics other than the loss, in the order in which the task reports them."""
        return [name for name in self.evaluations[-1].metrics if name != "loss"] if self.evaluations else []

    def x(self, axis: str) -> Array:
        """The x values of the step rows; ``axis`` is ``step`` or ``epoch``."""
        return self.steps.column(axis)

    def evaluated(self, name: str, axis: str) -> tuple[Array, Array]:
        """x and y of one metric of the evaluations."""
        rows = [(getattr(event, axis), event.metrics[name]) for event in self.evaluations if name in event.metrics]
        values = np.array(rows, dtype=np.float64).reshape(-1, 2)
        return values[:, 0], values[:, 1]

    def checkpoint_x(self, axis: str) -> Array:
        """Where the checkpoints stand on the x axis."""
        steps = np.array(self.checkpoints, dtype=np.float64)
        if axis == "step" or not len(self.steps):
            return steps
        return np.interp(steps, self.steps.column("step"), self.steps.column("epoch"))


_BLOCK = 256


@functools.lru_cache(maxsize=2)
def _kernel(weight: float) -> tuple[Array, Array]:
    """The weights of one block: ``kernel[i, j] = w^(i-j)`` for ``j <= i``, and the powers 0 to ``_BLOCK``."""
    powers = weight ** np.arange(_BLOCK + 1, dtype=np.float64)
    distance = np.arange(_BLOCK)[:, None] - np.arange(_BLOCK)[None, :]
    return np.where(distance >= 0, powers[np.abs(distance)], 0.0), powers


class Smoother:
    """Exponential moving average of a growing column, free of the bias towards its start.

    ``y[i] = Σ_j w^(i-j) x[j] / Σ_j w^(i-j)`` over ``j <= i`` with ``w = weight`` in [0, 1), as in Adam's moment
    estimates (Kingma and Ba 2015). Values that are not finite are passed over. Only what is new is worked on,
    in blocks of one matrix product each.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self._carry = np.zeros((2, 1))
        self._values: Array = np.empty(256)
        self._count = 0

    def update(self, column: Array) -> Array:
        """The average of ``column``, which begins with what was given the last time (or is shorter: then anew)."""
        if len(column) < self._count:
            self.__init__(self.weight)  # type: ignore[misc]
        while len(column) > len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        for start in range(self._count, len(column), _BLOCK):
            self._append(column[start : start + _BLOCK])
        return self._values[: self._count]

    def _append(self, block: Array) -> None:
        kernel, powers = _kernel(self.weight)
        size = len(block)
        good = np.isfinite(block)
        rows = np.stack([np.where(good, block, 0.0), good.astype(np.float64)])
        sums = rows @ kernel[:size, :size].T + self._carry * powers[1 : size + 1]
        self._carry = sums[:, -1:]
        with np.errstate(invalid="ignore", divide="ignore"):
            self._values[self._count : self._count + size] = np.where(sums[1] > 0, sums[0] / sums[1], np.nan)
        self._count += size


def thin(x: Array, y: Array, limit: int) -> tuple[Array, Array]:
    """Every k-th point, and the last, so that at most about ``limit`` remain: for curves that are smooth anyway."""
    stride = len(x) // limit + 1
    if stride == 1:
        return x, y
    chosen = np.union1d(np.arange(0, len(x), stride), [len(x) - 1])
    return x[chosen], y[chosen]


def decimate(x: Array, y: Array, limit: int) -> tuple[Array, Array]:
    """At most about ``limit`` points that draw the same picture: the lowest and highest of every bucket.

    ``x`` ascends. Values that are not finite are left out.
    """
    count = len(x)
    if count <= limit or limit < 4:
        return x, y
    buckets = limit // 2
    edges = np.linspace(0, count, buckets + 1).astype(np.int64)
    starts = edges[:-1]
    low = np.where(np.isfinite(y), y, np.inf)
    high = np.where(np.isfinite(y), y, -np.inf)
    minima, maxima = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    bucket = np.repeat(np.arange(buckets), np.diff(edges))
    is_extreme = np.isfinite(y) & ((y == minima[bucket]) | (y == maxima[bucket]))
    chosen = np.flatnonzero(is_extreme)
    if len(chosen) > limit:  # plateaus: many points share an extreme; the first of each kind is enough
        keys = bucket[chosen] * 2 + (y[chosen] == maxima[bucket[chosen]])
        _, first = np.unique(keys, return_index=True)
        chosen = chosen[np.sort(first)]
    finite = np.flatnonzero(np.isfinite(y))
    chosen = np.union1d(chosen, finite[[0, -1]] if len(finite) else finite)
    return x[chosen], y[chosen]
