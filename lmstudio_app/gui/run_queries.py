"""What the pages ask of the run folders, as jobs: reading a folder may take longer than a frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Status
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.preloading import preload_libraries

if TYPE_CHECKING:
    from lmstudio_app.gui.curves import RunCurves
    from lmstudio_app.gui.overlay import RunLines
    from lmstudio_app.training.following import FollowResult
    from lmstudio_app.training.history import Comparison
    from lmstudio_app.training.loop import TrainRequest, TrainResult
    from lmstudio_app.training.runs import RunSummary
    from lmstudio_app.training.summaries import About

_CHECK_EVERY = 500  # events
_SCRIPT_FOLDER = "script"  # in the folder of a run
_TOLD_BY = ("recipe.yaml", "events.jsonl", "about.json", "process.json", "live.json", "final/config.json")
APART = "Training in a process of its own: {folder}"  # tells the folder as soon as it is known


def find_runs(_: None, ctx: JobContext) -> list[RunSummary]:
    """All runs, the newest first. A run that cannot be read is told in a warning and left out."""
    from lmstudio_app.training.runs import list_runs

    return list_runs(ctx=ctx)


@dataclass(frozen=True)
class RunsFound:
    """The newest first; ``problems`` tell of those that cannot be read."""

    runs: list[RunSummary]
    problems: tuple[Status, ...] = ()


class RunsPoller:
    """The job, called again and again: reads only runs whose files have changed. For one thread."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, ...], RunSummary]] = {}

    def __call__(self, known: RunsFound | None, ctx: JobContext) -> RunsFound | None:
        """All runs, the newest first; None when they are as ``known`` says."""
        from lmstudio_app.settings import runs_folder

        found: dict[Path, tuple[tuple[int, ...], RunSummary]] = {}
        problems: list[Status] = []
        try:
            folders = [Path(entry.path) for entry in os.scandir(runs_folder()) if entry.is_dir()]
        except FileNotFoundError:
            folders = []
        for folder in folders:
            ctx.check()
            try:
                if (run := self._read(folder)) is not None:
                    found[folder] = run
            except UserError as error:
                problems.append(Status(template=error.template, parameters=error.parameters, warning=True))
        self._known = found
        runs = sorted((run for _, run in found.values()), key=lambda run: run.started, reverse=True)
        if known is not None and known.runs == runs and len(known.problems) == len(problems):
            return None
        return RunsFound(runs, tuple(problems))

    def _read(self, folder: Path) -> tuple[tuple[int, ...], RunSummary] | None:
        """A run with the stamp of its files; None when ``folder`` holds none."""
        from lmstudio_app.training.summaries import summarize_run

        stamp: list[int] = []
        for name in _TOLD_BY:
            try:
                status = os.stat(f"{folder}/{name}")
                stamp += (status.st_mtime_ns, status.st_size)
            except OSError:
                stamp += (0, 0)
        if not stamp[0]:  # no recipe
            return None
        before = self._known.get(folder)
        has_process = stamp[2 * _TOLD_BY.index("process.json")] != 0  # it may die without touching a file
        if before is not None and before[0] == tuple(stamp) and not has_process:
            return before
        return tuple(stamp), summarize_run(folder)


def find_running(_: None, ctx: JobContext) -> RunSummary | None:
    """The newest run that a process writes now."""
    from lmstudio_app.settings import runs_folder
    from lmstudio_app.training.claims import PROCESS, is_running
    from lmstudio_app.training.summaries import summarize_run

    found = []
    for path in runs_folder().glob(f"*/{PROCESS}"):
        ctx.check()
        if (path.parent / "recipe.yaml").is_file() and is_running(path.parent):
            found.append(summarize_run(path.parent))
    return max(found, key=lambda run: run.started, default=None)


def read_curves(folder: Path, ctx: JobContext) -> RunCurves:
    """Everything a run has said so far."""
    return open_curves(folder, ctx)[0]


def open_curves(folder: Path, ctx: JobContext) -> tuple[RunCurves, int]:
    """Everything a run has said so far, and where in its event file to go on: see :func:`read_more`."""
    from lmstudio_app.gui.curves import RunCurves
    from lmstudio_app.training.event_file import EventTail
    from lmstudio_app.training.summaries import read_recipe

    curves = RunCurves(task=str(read_recipe(folder)["task"]))
    tail = EventTail(folder)
    while events := tail.read():
        for start in range(0, len(events), _CHECK_EVERY):
            ctx.check()
            curves.extend(events[start : start + _CHECK_EVERY])
    return curves, tail.offset


def read_more(request: tuple[Path, int], ctx: JobContext) -> tuple[list[Event], int]:
    """The events of a run from a byte of its event file on, and where to go on the next time."""
    from lmstudio_app.training.event_file import EventTail

    tail = EventTail(*request)
    found: list[Event] = []
    while events := tail.read():
        ctx.check()
        found += events
    return found, tail.offset


def read_recipe_text(folder: Path, ctx: JobContext) -> str:
    """A run's recipe as YAML, as it lies in its folder."""
    return (folder / "recipe.yaml").read_text(encoding="utf-8")


def read_recipe_values(folder: Path, ctx: JobContext) -> dict[str, Any]:
    from lmstudio_app.training.summaries import read_recipe

    return read_recipe(folder)


@dataclass(frozen=True)
class Compared:
    """``recipes`` are flat (``training.batch_size``), one a run, in the runs' order, and so are the ``lines``."""

    comparison: Comparison
    recipes: tuple[dict[str, Any], ...]
    lines: tuple[RunLines, ...]


class RunComparer:
    """The job, called again and again while runs grow: it reads only what is new. For one thread."""

    def __init__(self) -> None:
        self._readers: dict[Path, Any] = {}

    def __call__(self, folders: Sequence[Path], ctx: JobContext) -> Compared:
        from lmstudio_app.gui.overlay import LineReader
        from lmstudio_app.training.history import compare_runs, flatten
        from lmstudio_app.training.summaries import read_recipe

        self._readers = {folder: self._readers.get(folder) or LineReader(folder) for folder in folders}
        lines = []
        for reader in self._readers.values():
            ctx.check()
            lines.append(reader.read())
        recipes = tuple(flatten(read_recipe(folder)) for folder in folders)
        return Compared(compare_runs(folders), recipes, tuple(lines))


def keep_about(request: tuple[Path, dict[str, Any]], ctx: JobContext) -> About:
    """Change title, notes or tags of a run; what is not named stays."""
    from lmstudio_app.training.summaries import read_about, write_about

    folder, changes = request
    return write_about(folder, replace(read_about(folder), **changes))


def trash_runs(folders: Sequence[Path], ctx: JobContext) -> None:
    """Move runs to the system's trash. Raises :class:`UserError` at the first that cannot be."""
    from lmstudio_app.training.history import trash_run

    for folder in folders:
        ctx.check()
        trash_run(folder)


def write_script(folder: Path, ctx: JobContext) -> tuple[Path, str]:
    """Write a run's training as a Python script into its folder, once. Returns where it is, and its text."""
    from lmstudio_app.training.script import SCRIPT, ScriptRequest, export_script

    path = folder / _SCRIPT_FOLDER / SCRIPT
    if not path.is_file():
        export_script(ScriptRequest(folder, path.parent), ctx)
    return path, path.read_text(encoding="utf-8")


def steer_run(request: tuple[Path, str], ctx: JobContext) -> None:
    """Tell a running training, whoever runs it, to ``pause``, ``resume``, ``stop`` or ``cancel``."""
    from lmstudio_app.training.control import send_command

    send_command(*request)


def run_training(request: TrainRequest, ctx: JobContext) -> TrainResult:
    """:func:`lmstudio_app.training.loop.train`, imported where it runs."""
    # first: datasets looks into transformers while it reads, and must not find it half imported by another job
    preload_libraries(ctx)
    from lmstudio_app.training.loop import train

    return train(request, ctx)


def train_apart(request: TrainRequest, ctx: JobContext) -> FollowResult:
    """Train in a process of its own and follow it; ``cancel`` lets go of it. A status tells its folder: ``APART``."""
    from lmstudio_app.training.background import start_in_background

    return follow_training(start_in_background(request, ctx), ctx)


def follow_training(folder: Path, ctx: JobContext) -> FollowResult:
    """Follow a run that another process writes, from its beginning; ``cancel`` lets go of it."""
    from lmstudio_app.training.following import FollowRequest, follow_run

    ctx.emit(Status(template=APART, parameters={"folder": str(folder)}))
    return follow_run(FollowRequest(folder), ctx)
