"""Run folders: the truth about a training. Views and the command line only read them.

recipe.yaml     what was asked for
events.jsonl    what happened, one event a line, only ever appended to
checkpoints/    step-00000123/: what a resume needs
final/          the trained model, ready to load
process.json    who is writing, while somebody is
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import yaml

from lmstudio_app.errors import UserError
from lmstudio_app.events import Evaluated, Event, Failed, Finished, StepLogged, from_json, to_json
from lmstudio_app.files import atomic_write_text
from lmstudio_app.settings import runs_folder
from lmstudio_app.training.recipe import Recipe

RECIPE, EVENTS, CHECKPOINTS, FINAL, PROCESS = (
    "recipe.yaml",
    "events.jsonl",
    "checkpoints",
    "final",
    "process.json",
)


class RunFolder:
    """One run's folder, open for writing. Use :func:`create_run` or :func:`reopen_run`, and ``close`` it."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path = path
        self.recipe = recipe
        self._events: IO[str] | None = None

    @property
    def final(self) -> Path:
        return self.path / FINAL

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    def open(self) -> None:
        """Claim the folder for this process and open the event file, dropping half a line a crash has left."""
        process = psutil.Process()
        atomic_write_text(
            self.path / PROCESS, json.dumps({"pid": process.pid, "started": process.create_time()}) + "\n"
        )
        events = self.path / EVENTS
        if events.exists():
            with events.open("rb+") as file:
                content = file.read()
                file.truncate(content.rfind(b"\n") + 1)
        self._events = events.open("a", encoding="utf-8", newline="\n")

    def append(self, event: Event) -> None:
        assert self._events is not None, "open() comes first"
        self._events.write(to_json(event) + "\n")
        self._events.flush()

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None
        (self.path / PROCESS).unlink(missing_ok=True)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", Path(text).name if "/" in text else text).strip("-").lower()[:40]


def create_run(recipe: Recipe, folder: Path | None = None) -> RunFolder:
    """Make a run folder: ``folder``, the recipe's ``output``, or a dated one among the app's runs.

    Raises :class:`UserError` when the folder already holds a run.
    """
    if folder is None and recipe.output:
        folder = Path(recipe.output).expanduser()
    if folder is None:
        moment = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
        folder = runs_folder() / f"{moment}-{recipe.task}-{_slug(recipe.model)}"
        number = 2
        while folder.exists():
            folder = folder.with_name(f"{folder.name.rstrip('0123456789')}{number}")
            number += 1
    folder = folder.resolve()
    if (folder / RECIPE).exists():
        raise UserError(
            "{folder} already holds a run.",
            "Resume it (--resume), or choose another run folder.",
            folder=str(folder),
        )
    folder.mkdir(parents=True, exist_ok=True)
    recipe.save(folder / RECIPE)
    return RunFolder(folder, recipe)


def reopen_run(folder: Path) -> RunFolder:
    """The run in ``folder``, to be resumed. Raises :class:`UserError` when there is none or somebody writes it."""
    folder = folder.expanduser().resolve()
    if not (folder / RECIPE).is_file():
        raise UserError("{folder} holds no run.", "Choose a folder with a recipe.yaml.", folder=str(folder))
    if is_running(folder):
        raise UserError("The run in {folder} is still running.", "Stop it first, then resume.", folder=str(folder))
    return RunFolder(folder, Recipe.load(folder / RECIPE))


def is_running(folder: Path) -> bool:
    """Is the process that claimed this folder alive (and not another one that got its number)?"""
    try:
        claim = json.loads((folder / PROCESS).read_text(encoding="utf-8"))
        return bool(abs(psutil.Process(claim["pid"]).create_time() - claim["started"]) < 1.0)
    except (OSError, ValueError, KeyError, psutil.Error):
        return False


def read_events(folder: Path, start: int = 0) -> Iterator[Event]:
    """The events of a run from line ``start`` on; half a last line (a crash, or a write in progress) is left out."""
    try:
        with (folder / EVENTS).open(encoding="utf-8") as file:
            for number, line in enumerate(file):
                if number >= start and line.endswith("\n"):
                    try:
                        yield from_json(line)
                    except ValueError:  # a line of a newer version
                        continue
    except FileNotFoundError:
        return


@dataclass(frozen=True)
class RunSummary:
    """``state``: running, finished, stopped, interrupted or failed; ``started`` in seconds since the epoch."""

    name: str
    folder: Path
    task: str
    model: str
    data: str
    state: str
    started: float
    step: int = 0
    total_steps: int = 0
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def resumable(self) -> bool:
        return self.state in ("interrupted", "failed", "stopped") and self.step < max(self.total_steps, 1)

    @property
    def model_folder(self) -> Path | None:
        final = self.folder / FINAL
        return final if (final / "config.json").is_file() else None


def summarize_run(folder: Path) -> RunSummary:
    """Read a run's recipe and events. Raises :class:`UserError` when the recipe cannot be read."""
    try:
        recipe: Any = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
        task, model, data = recipe["task"], recipe["model"], recipe["data"]["train"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError("{folder} holds no readable recipe.", "Delete the folder.", folder=str(folder)) from error
    state, step, total, metrics = "interrupted", 0, 0, {}
    started = (folder / RECIPE).stat().st_mtime
    for number, event in enumerate(read_events(folder)):
        if number == 0:
            started = event.time
        match event:
            case StepLogged():
                state, step, total = "interrupted", event.step, event.total_steps
            case Evaluated():
                metrics = event.metrics
            case Finished():
                state = event.state
            case Failed():
                state = "failed"
    if is_running(folder):
        state = "running"
    title = data if isinstance(data, str) else ", ".join(map(str, data if isinstance(data, list) else data.values()))
    return RunSummary(folder.name, folder, task, model, title, state, started, step, total, metrics)


def list_runs(folder: Path | None = None) -> list[RunSummary]:
    """All runs of the app's runs folder, the newest first."""
    root = folder or runs_folder()
    found = [summarize_run(path.parent) for path in root.glob(f"*/{RECIPE}")] if root.is_dir() else []
    return sorted(found, key=lambda run: run.started, reverse=True)
