"""Run folders: the truth about a training. Views and the command line only read them.

recipe.yaml     what was asked for
events.jsonl    what happened, one event a line, only ever appended to
checkpoints/    step-00000123/: what a resume needs
final/          the trained model, ready to load
process.json    who is writing, while somebody is
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import psutil
import yaml

from lmstudio_app.errors import UserError
from lmstudio_app.events import Evaluated, Event, Failed, Finished, Status, StepLogged, from_json, to_json
from lmstudio_app.files import atomic_write_text, sweep
from lmstudio_app.jobs import JobContext
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
        self._events: BinaryIO | None = None

    @property
    def final(self) -> Path:
        return self.path / FINAL

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    def open(self) -> None:
        """Claim the folder for this process and open the event file; tidy up what a killed process has left."""
        process = psutil.Process()
        atomic_write_text(
            self.path / PROCESS, json.dumps({"pid": process.pid, "started": process.create_time()}) + "\n"
        )
        try:
            sweep(self.path)
            sweep(self.checkpoints)
            self._events = (self.path / EVENTS).open("ab+", buffering=0)
            self._events.truncate(_end_of_last_line(self._events))
        except BaseException:
            self.close()
            raise

    def append(self, event: Event) -> None:
        """Add one line, whole or not at all."""
        assert self._events is not None, "open() comes first"
        rest = memoryview((to_json(event) + "\n").encode())
        end = self._events.seek(0, os.SEEK_END)
        try:
            while rest:  # a disk that is almost full takes a part
                rest = rest[self._events.write(rest) :]
        except OSError:
            self._events.truncate(end)
            raise

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None
        (self.path / PROCESS).unlink(missing_ok=True)


def _blocks_backwards(file: BinaryIO, size: int = 1 << 16) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of a file's blocks, the last one first."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - size)
        file.seek(start)
        yield start, file.read(end - start)
        end = start


def _end_of_last_line(file: BinaryIO) -> int:
    """The offset behind the last line break; 0 when there is none."""
    for offset, block in _blocks_backwards(file):
        if (at := block.rfind(b"\n")) >= 0:
            return offset + at + 1
    return 0


def _lines_backwards(file: BinaryIO) -> Iterator[bytes]:
    """The whole lines of a file, the last one first; half a line at the end is left out."""
    later: list[bytes] = []  # the pieces of the line that the blocks so far began with, the last piece first
    is_half = True
    for _, block in _blocks_backwards(file):
        first, *lines = block.split(b"\n")
        if not lines:
            later.append(first)
            continue
        lines[-1] += b"".join(reversed(later))
        later = [first]
        if is_half:
            lines.pop()
            is_half = False
        yield from reversed(lines)
    if not is_half:
        yield b"".join(reversed(later))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", Path(text).name if "/" in text else text).strip("-").lower()[:40]


def create_run(recipe: Recipe, folder: Path | None = None) -> RunFolder:
    """Make a run folder: ``folder``, the recipe's ``output``, or a dated one among the app's runs.

    Raises :class:`UserError` when the folder already holds a run.
    """
    if folder is None and recipe.output:
        folder = Path(recipe.output).expanduser()
    folder = _new_folder(recipe) if folder is None else folder.expanduser().resolve()
    if (folder / RECIPE).exists() and not _failed_before_it_began(folder):
        raise UserError(
            "{folder} already holds a run.",
            "Resume it (--resume), or choose another run folder.",
            folder=str(folder),
        )
    folder.mkdir(parents=True, exist_ok=True)
    recipe.save(folder / RECIPE)
    return RunFolder(folder, recipe)


def _new_folder(recipe: Recipe) -> Path:
    """Make a folder of its own, also when several trainings begin in the same second."""
    moment = datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    name = f"{moment}-{recipe.task}-{_slug(recipe.model)}".rstrip("-")
    root = runs_folder().resolve()
    for number in itertools.count(1):
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        break
    return folder


def _failed_before_it_began(folder: Path) -> bool:
    """Did bad input end the run in ``folder`` before its first step? Then the mended recipe may take its place."""
    events, _ = _last_events(folder)
    is_empty = "step" not in events and not any((folder / CHECKPOINTS).glob("*"))
    return is_empty and "failed" in events and not is_running(folder)


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
        process = psutil.Process(claim["pid"])
        # a killed process that nobody waited for keeps its number, in a container for ever
        is_dead = process.status() == psutil.STATUS_ZOMBIE
        return bool(abs(process.create_time() - claim["started"]) < 1.0) and not is_dead
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return False


def read_events(folder: Path, start: int = 0) -> Iterator[Event]:
    """The events of a run from line ``start`` on; half a last line (a crash, or a write in progress) is left out."""
    try:
        with (folder / EVENTS).open("rb") as file:
            for number, line in enumerate(file):
                if number >= start and line.endswith(b"\n") and (event := _parse(line)) is not None:
                    yield event
    except FileNotFoundError:
        return


def _parse(line: bytes) -> Event | None:
    try:
        return from_json(line.decode("utf-8"))
    except (ValueError, TypeError):  # a line of another version, or one that a bad disk has garbled
        return None


_TOLD_BY = {cls.kind: cls for cls in (StepLogged, Evaluated, Finished, Failed)}


def _last_events(folder: Path) -> tuple[dict[str, Event], float | None]:
    """The last event of each kind that a summary needs, the last one first; and when the first event was.

    The file is read from its end, and only as far as needed: a long run costs no more than a short one.
    """
    found: dict[str, Event] = {}
    try:
        with (folder / EVENTS).open("rb") as file:
            first = _parse(file.readline())
            for line in _lines_backwards(file):
                kind = line[11 : line.find(b'"', 11)].decode("ascii", "replace")  # behind {"event": "
                if kind not in _TOLD_BY or kind in found:
                    continue
                if (event := _parse(line)) is not None:
                    found[event.kind] = event
                if {"step", "evaluated"} <= found.keys():
                    break
    except FileNotFoundError:
        return {}, None
    return found, first.time if first is not None else None


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
        title = (
            data if isinstance(data, str) else ", ".join(map(str, data.values() if isinstance(data, dict) else data))
        )
        started = (folder / RECIPE).stat().st_mtime
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError("{folder} holds no readable recipe.", "Delete the folder.", folder=str(folder)) from error
    events, first_time = _last_events(folder)
    state, step, total, metrics = "interrupted", 0, 0, {}
    match next((event for event in events.values() if not isinstance(event, Evaluated)), None):
        case Finished(state=ended):
            state = ended
        case Failed():
            state = "failed"
    if isinstance(last := events.get("step"), StepLogged):
        step, total = last.step, last.total_steps
    if isinstance(evaluated := events.get("evaluated"), Evaluated):
        metrics = evaluated.metrics
    if is_running(folder):
        state = "running"
    return RunSummary(
        folder.name, folder, str(task), str(model), title, state, first_time or started, step, total, metrics
    )


def list_runs(folder: Path | None = None, ctx: JobContext | None = None) -> list[RunSummary]:
    """All runs of the app's runs folder, the newest first. One that cannot be read is left out, with a warning."""
    ctx = ctx or JobContext()
    root = folder or runs_folder()
    found = []
    for recipe in root.glob(f"*/{RECIPE}"):
        ctx.check()
        try:
            found.append(summarize_run(recipe.parent))
        except UserError as error:
            ctx.emit(Status(template=error.template, parameters=error.parameters, warning=True))
    return sorted(found, key=lambda run: run.started, reverse=True)
