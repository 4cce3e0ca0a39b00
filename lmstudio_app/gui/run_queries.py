"""What the Train page asks of the run folders, as jobs: reading a folder may take longer than a frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.events import Status
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.gui.curves import RunCurves
    from lmstudio_app.training.loop import TrainRequest, TrainResult
    from lmstudio_app.training.runs import RunSummary

_CHECK_EVERY = 500  # events


def find_runs(_: None, ctx: JobContext) -> list[RunSummary]:
    """All runs, the newest first. A run that cannot be read is told in a warning and left out."""
    from lmstudio_app.settings import runs_folder
    from lmstudio_app.training.runs import RECIPE, summarize_run

    found = []
    for recipe in runs_folder().glob(f"*/{RECIPE}"):
        ctx.check()
        try:
            found.append(summarize_run(recipe.parent))
        except UserError as error:
            ctx.emit(Status(template=error.template, parameters=error.parameters, warning=True))
    return sorted(found, key=lambda run: run.started, reverse=True)


def read_curves(folder: Path, ctx: JobContext) -> RunCurves:
    """Everything a run has said so far."""
    from lmstudio_app.gui.curves import RunCurves
    from lmstudio_app.training.runs import read_events

    curves = RunCurves()
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
