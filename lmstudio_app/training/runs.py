"""Run folders: the truth about a training. Views and the command line only read them.

recipe.yaml     what was asked for
events.jsonl    what happened, one event a line, only ever appended to
checkpoints/    step-00000123/: what a resume needs
final/          the trained model, ready to load
adapter/        of a LoRA run: the adapters alone, as peft loads them onto the model they were trained on
attention/      what the model looked at in the watched sentence, step by step: frames.py
tensorboard/    the curves once more, for TensorBoard
about.json      title, tags and notes
process.json    who is writing, while somebody is
control.json    what the writing process is asked to do: pause, resume, stop, cancel
live.json       whether it is paused, and its progress
output.log      what a training in a process of its own has printed
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Failed, Finished, to_json
from lmstudio_app.files import new_folder, sweep, timestamp
from lmstudio_app.settings import runs_folder
from lmstudio_app.training.claims import PROCESS, Claim, claim, folder_lock, is_running, release, require_nobody
from lmstudio_app.training.digest import digest_events
from lmstudio_app.training.event_file import EVENTS, end_of_last_line, last_event, read_events
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.summaries import FINAL, RECIPE, RunSummary, list_runs, require_run, summarize_run

__all__ = [
    "ADAPTER", "CHECKPOINTS", "EVENTS", "FINAL", "PROCESS", "RECIPE", "RunFolder", "RunSummary", "TrainRequest",
    "create_run", "is_running", "list_runs", "open_run", "read_events", "reopen_run", "summarize_run",
]  # fmt: skip

CHECKPOINTS, ADAPTER = "checkpoints", "adapter"


@dataclass(frozen=True)
class TrainRequest:
    """Train ``recipe`` into ``run_folder`` (None: a new one); or go on with the run there (``resume``).

    ``parts``: every batch is done in at least so many parts, which needs less memory and gives the same result.
    """

    recipe: Recipe | None
    run_folder: Path | None = None
    resume: bool = False
    parts: int = 1


class RunFolder:
    """One run's folder, open for writing. Use :func:`create_run` or :func:`reopen_run`, and ``close`` it."""

    def __init__(self, path: Path, recipe: Recipe) -> None:
        self.path = path
        self.recipe = recipe
        self.claim: Claim | None = None
        self._events: BinaryIO | None = None

    @property
    def final(self) -> Path:
        return self.path / FINAL

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    def open(self) -> None:
        """Claim the folder for this process and open the event file; tidy up what a killed process has left.

        Raises :class:`UserError` when another process was quicker.
        """
        self.claim = claim(self.path)
        try:
            sweep(self.path)
            sweep(self.checkpoints)
            self._events = (self.path / EVENTS).open("ab+", buffering=0)
            self._events.truncate(end_of_last_line(self._events))
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

    def note_lost_end(self) -> None:
        """Write the last word of a process that was killed before it could: interrupted, when it was last heard."""
        last = last_event(self.path)
        if last is not None and not isinstance(last, Finished | Failed):
            self.append(Finished(time=last.time, state="interrupted", result={"run_folder": str(self.path)}))

    def close(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None
        if self.claim is not None:
            release(self.path, self.claim)
            self.claim = None


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", Path(text).name if "/" in text else text).strip("-").lower()[:40]


def create_run(recipe: Recipe, folder: Path | None = None) -> RunFolder:
    """Make a run folder: ``folder``, the recipe's ``output``, or a dated one among the app's runs.

    Raises :class:`UserError` when the folder already holds a run.
    """
    if folder is None and recipe.output:
        folder = Path(recipe.output).expanduser()
    if folder is None:
        name = f"{timestamp()}-{recipe.task}-{_slug(recipe.title)}".rstrip("-")
        folder = new_folder(runs_folder().resolve(), name)
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        if (folder / RECIPE).exists() and not _failed_before_it_began(folder):
            raise UserError(
                "{folder} already holds a run.",
                "Resume it (--resume), or choose another run folder.",
                folder=str(folder),
            )
        recipe.save(folder / RECIPE)
    return RunFolder(folder, recipe)


def _failed_before_it_began(folder: Path) -> bool:
    """Did bad input end the run in ``folder`` before its first step? Then the mended recipe may take its place."""
    digest = digest_events(folder)
    is_empty = digest.step is None and not any((folder / CHECKPOINTS).glob("*"))
    return is_empty and isinstance(digest.ending, Failed) and not is_running(folder)


def open_run(request: TrainRequest) -> RunFolder:
    """The run that is asked for: a new one, or one to be resumed. Raises :class:`UserError` as these do."""
    if not request.resume:
        if request.recipe is None:
            raise UserError("There is no recipe to train.", "Give a recipe file.")
        return create_run(request.recipe, request.run_folder)
    if request.run_folder is None:
        raise UserError("There is no run to resume.", "Name its folder.")
    return reopen_run(request.run_folder)


def reopen_run(folder: Path) -> RunFolder:
    """The run in ``folder``, to be resumed. Raises :class:`UserError` when there is none or somebody writes it."""
    folder = require_run(folder)
    require_nobody(folder)
    return RunFolder(folder, Recipe.load(folder / RECIPE))
