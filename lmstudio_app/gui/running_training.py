"""The training that the window runs or follows: its job, its switches and its curves. The Train page shows it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from lmstudio_app.events import Event, Finished, TrialEnded
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.metrics import metric_text, metric_title
from lmstudio_app.gui.run_queries import follow_training, run_training, train_apart
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.sweep_queries import SweepRun, run_sweep_here
from lmstudio_app.gui.training_remote import TrainingRemote
from lmstudio_app.jobs import Job

if TYPE_CHECKING:
    from lmstudio_app.gui.curves import RunCurves
    from lmstudio_app.training.loop import TrainRequest
    from lmstudio_app.training.sweeps import SweepRequest

SUMMARY_INTERVAL = 1.0  # seconds between two summaries, while nothing special happens


class RunningTraining(QObject):
    """At most one at a time. Its ``curves`` stay when it is over, until the next one begins."""

    began = Signal()
    replaced = Signal(object)  # the curves so far: those of a sweep's next training follow
    grew = Signal(list)  # events that are in the curves now
    changed = Signal()  # paused, going on, ending, over, or trained in a process of its own
    summary_changed = Signal()
    succeeded = Signal(object)
    failed = Signal(object)  # UserError
    ended = Signal()

    def __init__(self, services: Services, parent: QObject) -> None:
        super().__init__(parent)
        self._services = services
        self._sweep: SweepRun | None = None
        self._is_next_trial = False
        self._last_summary = 0.0
        self.handle: JobHandle | None = None
        self.remote: TrainingRemote | None = None
        self.curves: RunCurves | None = None

    # --- beginning

    def train(self, request: TrainRequest, so_far: RunCurves | None = None, *, is_apart: bool = False) -> JobHandle:
        """``so_far`` are the curves of a run that goes on; ``is_apart``: in a process of its own."""
        task = request.recipe.task if request.recipe else so_far.task if so_far else ""
        if is_apart:  # it is followed from its beginning
            return self._begin(train_apart, request, task, self.tr("Training"), is_apart=True)
        return self._begin(run_training, request, task, self.tr("Training"), so_far)

    def follow(self, folder: Path, task: str) -> JobHandle:
        """Watch a run that another process trains."""
        return self._begin(follow_training, folder, task, self.tr("Watching a training"), is_apart=True)

    def sweep(self, request: SweepRequest) -> JobHandle:
        """Train again and again with other values, or go on with a sweep."""
        self._sweep = SweepRun(request)
        task = str(request.config.recipe["task"]) if request.config is not None else ""
        return self._begin(run_sweep_here, self._sweep, task, self.tr("Sweep"))

    def _begin(
        self,
        job: Job,
        config: Any,
        task: str,
        title: str,
        so_far: RunCurves | None = None,
        *,
        is_apart: bool = False,
    ) -> JobHandle:
        from lmstudio_app.gui.curves import RunCurves

        self.curves = so_far if so_far is not None else RunCurves(task=task)
        self._is_next_trial = False
        handle = self._services.training_runner.start(job, config, title=title)
        self.handle = handle
        self.remote = TrainingRemote(handle, self._services.query_runner, self, is_apart=is_apart)
        self.remote.changed.connect(self.changed)
        handle.event.connect(self._on_events)
        handle.succeeded.connect(self.succeeded)
        handle.failed.connect(self.failed)
        handle.finished.connect(self._on_finished)
        self.began.emit()
        self.changed.emit()
        return handle

    # --- steering

    def set_paused(self, paused: bool) -> None:
        if self.remote is not None:
            if paused:
                self.remote.pause()
            else:
                self.remote.resume()

    def stop(self) -> None:
        if self.remote is not None:
            self.remote.stop()

    def cancel(self) -> None:
        if self.remote is not None:
            self.remote.cancel()

    def let_go(self) -> None:
        """Watch it no longer; it goes on."""
        if self.remote is not None:
            self.remote.let_go()

    def end_sweep_after_training(self) -> None:
        if self._sweep is not None:
            self._sweep.last.set()

    # --- how it goes

    @property
    def is_sweeping(self) -> bool:
        return self._sweep is not None

    @property
    def is_apart(self) -> bool:
        """Is it known to be trained in a process of its own?"""
        return self.remote is not None and self.remote.is_apart and self.remote.folder is not None

    def summary(self) -> str:
        """One short line: how far it is, or what it reached."""
        curves = self.curves
        if self.handle is not None and self.remote is not None:
            step = curves.last_step if curves is not None else None
            if self.remote.paused:
                return self.tr("Paused")
            if step is None:
                return self.tr("Preparing…")
            return self.tr("{percent} % done").format(percent=100 * step.step // max(step.total_steps, 1))
        if curves is not None and curves.outcome is not None and curves.finished is not None:
            name = curves.main_metric
            value = metric_text(curves.outcome.metrics[name], short=True)
            return self.tr("{metric} {value}").format(metric=metric_title(name), value=value)
        return ""

    def _on_events(self, events: list[Event]) -> None:
        if self.curves is None:
            return
        ended = next((n for n, event in enumerate(events) if isinstance(event, TrialEnded)), len(events))
        if ended + 1 < len(events):  # more than one training of a sweep: each by itself
            self._on_events(events[: ended + 1])
            self._on_events(events[ended + 1 :])
            return
        if self._is_next_trial and not isinstance(events[0], Finished):
            self._begin_next_trial(self.curves)
        self._is_next_trial = isinstance(events[-1], TrialEnded)
        evaluations = len(self.curves.evaluations)
        self.curves.extend(events)
        self.grew.emit(events)
        now = time.monotonic()
        if len(self.curves.evaluations) != evaluations or now - self._last_summary > SUMMARY_INTERVAL:
            self._last_summary = now
            self.summary_changed.emit()

    def _begin_next_trial(self, before: RunCurves) -> None:
        """The curves of a sweep's next training are its own."""
        from lmstudio_app.gui.curves import RunCurves

        self._is_next_trial = False
        self.curves = RunCurves(task=before.task)
        self.replaced.emit(before)

    def _on_finished(self) -> None:
        if self.remote is not None:
            self.remote.deleteLater()
        self.handle = self.remote = self._sweep = None
        self.changed.emit()
        self.ended.emit()
