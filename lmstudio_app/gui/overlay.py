"""The curves of several runs over one axis, read from their event files as those grow. No Qt here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmstudio_app.events import Evaluated, Event, Failed, Finished, StepLogged
from lmstudio_app.training.event_file import EventTail

Array = NDArray[np.float64]
AXES = ("step", "epoch", "minutes")
TRAINING = "training."  # before the names of what is logged at every step
STEP_VALUES = ("loss", "learning_rate", "grad_norm", "examples_per_second")


@dataclass(frozen=True)
class RunLines:
    """The curves of one run: float64 ``[4, points]`` by name, with the rows step, epoch, minutes and value.

    Names are those of the metrics, and ``training.loss`` and the like for what every step has logged.
    """

    folder: Path
    lines: dict[str, Array]

    def points(self, name: str, axis: str) -> tuple[Array, Array]:
        """x and y of one curve; empty when the run has none of that name."""
        values = self.lines.get(name)
        if values is None:
            return np.empty(0), np.empty(0)
        return values[AXES.index(axis)], values[len(AXES)]


class LineReader:
    """Reads the curves of one run, and later only what is new. The time between an end and a resume does not count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tail = EventTail(folder)
        self._steps: list[tuple[float, ...]] = []
        self._evaluations: list[tuple[float, float, float, dict[str, float]]] = []
        self._seconds = 0.0
        self._before: Event | None = None

    def read(self) -> RunLines:
        """Everything so far."""
        while events := self._tail.read():
            self._take(events)
        return RunLines(self._folder, self._lines())

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            if self._before is not None and not isinstance(self._before, Finished | Failed):
                self._seconds += max(0.0, event.time - self._before.time)
            self._before = event
            if isinstance(event, StepLogged):
                if self._steps and event.step <= self._steps[-1][0]:  # trained again after a resume
                    self._steps = [row for row in self._steps if row[0] < event.step]
                    self._evaluations = [row for row in self._evaluations if row[0] < event.step]
                values = (float(getattr(event, name)) for name in STEP_VALUES)
                self._steps.append((event.step, event.epoch, self._seconds / 60, *values))
            elif isinstance(event, Evaluated):
                if self._evaluations and self._evaluations[-1][0] >= event.step:
                    self._evaluations = [row for row in self._evaluations if row[0] < event.step]
                self._evaluations.append((event.step, event.epoch, self._seconds / 60, event.metrics))

    def _lines(self) -> dict[str, Array]:
        lines: dict[str, Array] = {}
        if self._steps:
            table = np.array(self._steps, dtype=np.float64).T
            for number, name in enumerate(STEP_VALUES, len(AXES)):
                lines[TRAINING + name] = table[[0, 1, 2, number]]
        for name in dict.fromkeys(name for row in self._evaluations for name in row[3]):
            rows = [(*row[:3], row[3][name]) for row in self._evaluations if name in row[3]]
            lines[name] = np.array(rows, dtype=np.float64).T
        return lines
