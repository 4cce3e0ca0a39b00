"""What the Train page asks of the run folders, as jobs: reading a folder may take longer than a frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.gui.curves import RunCurves
    from lmstudio_app.training.loop import TrainRequest, TrainResult
    from lmstudio_app.training.runs import RunSummary

_CHECK_EVERY = 500  # events


def find_runs(_: None, ctx: JobContext) -> list[RunSummary]:
    """All runs, the newest first. A run that cannot be read is told in a warning and left out."""
    from lmstudio_app.training.runs import list_runs

    return list_runs(ctx=ctx)


def read_curves(folder: Path, ctx: JobContext) -> RunCurves:
    """Everything a run has said so far."""
    from lmstudio_app.gui.curves import RunCurves
    from lmstudio_app.training.runs import read_events
    from lmstudio_app.training.summaries import read_recipe

    curves = RunCurves(task=str(read_recipe(folder)["task"]))
    batch = []
    for event in read_events(folder):
        batch.append(event)
        if len(batch) == _CHECK_EVERY:
            ctx.check()
            curves.extend(batch)
            batch = []
    curves.extend(batch)
    return curves


def run_training(request: TrainRequest, ctx: JobContext) -> TrainResult:
    """:func:`lmstudio_app.training.loop.train`, imported where it runs."""
    from lmstudio_app.training.loop import train

    return train(request, ctx)
