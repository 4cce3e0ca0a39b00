"""What the window asks of sweeps, as jobs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, TrialEnded
from lmstudio_app.jobs import JobContext
from lmstudio_app.libraries import load_modules

if TYPE_CHECKING:
    from lmstudio_app.training.sweeps import SweepRequest, SweepResult

RUNNING, DONE, OPEN, UNREADABLE = "running", "finished", "interrupted", "failed"


@dataclass(frozen=True)
class SweepSummary:
    """``result`` is None when it cannot be read; then ``problem`` says why."""

    folder: Path
    state: str
    result: SweepResult | None = None
    problem: str = ""


class SweepPoller:
    """The job, called again and again: reads only sweeps whose files have changed. For one thread."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[float, ...], SweepResult]] = {}

    def __call__(self, known: list[SweepSummary] | None, ctx: JobContext) -> list[SweepSummary] | None:
        """All sweeps, the newest first; None when they are as ``known`` says."""
        from lmstudio_app.settings import sweeps_folder

        if not any(sweeps_folder().glob("*/sweep.yaml")):
            return None if known == [] else []
        load_modules(("optuna",), ctx)
        from lmstudio_app.training.sweeps import list_sweeps

        found = []
        for folder in list_sweeps():
            ctx.check()
            found.append(self._summarize(folder))
        return None if found == known else found

    def _summarize(self, folder: Path) -> SweepSummary:
        from lmstudio_app.training.claims import is_running

        try:
            result = self._read(folder)
        except UserError as error:
            return SweepSummary(folder, UNREADABLE, problem=error.message)
        open_trials = [trial for trial in result.trials if trial.state == "running"]
        if any(trial.run_folder and is_running(Path(trial.run_folder)) for trial in open_trials):
            state = RUNNING
        else:
            state = OPEN if open_trials or len(result.trials) < result.config.total else DONE
        return SweepSummary(folder, state, result)

    def _read(self, folder: Path) -> SweepResult:
        from lmstudio_app.training.sweeps import JOURNAL, SWEEP, read_sweep

        statuses = [path.stat() for name in (SWEEP, JOURNAL) if (path := folder / name).is_file()]
        stamp = tuple(value for status in statuses for value in (status.st_size, status.st_mtime))
        before = self._known.get(folder)
        if before is None or before[0] != stamp:
            before = self._known[folder] = (stamp, read_sweep(folder))
        return before[1]


@dataclass(frozen=True)
class SweepRun:
    """A sweep to run; set ``last`` to end it when the training that runs has come to its own end."""

    request: SweepRequest
    last: threading.Event = field(default_factory=threading.Event)


def run_sweep_here(run: SweepRun, ctx: JobContext) -> SweepResult:
    """:func:`lmstudio_app.training.sweeps.run_sweep`, which ends after a training when it is asked to."""
    load_modules(("optuna",), ctx)
    from lmstudio_app.training.sweeps import run_sweep

    def emit(event: Event) -> None:
        ctx.emit(event)
        if isinstance(event, TrialEnded) and run.last.is_set():
            ctx.control.stop()

    return run_sweep(run.request, JobContext(emit, ctx.control))
