"""What a person does with past runs: find them, say something about them, compare them, throw them away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError
from lmstudio_app.files import move_to_trash
from lmstudio_app.training.claims import folder_lock, is_running
from lmstudio_app.training.summaries import RunSummary, read_recipe, require_run, summarize_run


def search_runs(runs: Iterable[RunSummary], text: str) -> list[RunSummary]:
    """The runs in which every word of ``text`` is found: in name, title, task, model, data, tags, notes or state."""
    words = text.casefold().split()
    return [run for run in runs if all(word in _haystack(run) for word in words)]


def _haystack(run: RunSummary) -> str:
    parts = (run.name, run.title, run.task, run.model, run.data, *run.tags, run.notes, run.state)
    return "\n".join(parts).casefold()


def trash_run(folder: Path) -> None:
    """Move a run to the system's trash. Raises :class:`UserError` when it is running, or when there is no trash."""
    folder = require_run(folder)
    with folder_lock(folder):  # no training begins in between
        if is_running(folder):
            raise UserError(
                "The run in {folder} is still running.", "Stop it first, then delete it.", folder=str(folder)
            )
    move_to_trash(folder)


@dataclass(frozen=True)
class Comparison:
    """Several runs beside each other; every tuple has one value a run, in the runs' order.

    ``differences`` are the keys of the recipes that are not the same in all (dotted, ``training.batch_size``); a run
    without the key has None there. ``last`` and ``best`` are the values of each metric; None: not measured.
    """

    runs: tuple[RunSummary, ...]
    differences: dict[str, tuple[Any, ...]]
    last: dict[str, tuple[float | None, ...]]
    best: dict[str, tuple[float | None, ...]]

    @property
    def durations(self) -> tuple[float, ...]:
        """Seconds at work."""
        return tuple(run.duration for run in self.runs)

    @property
    def examples_per_second(self) -> tuple[float, ...]:
        return tuple(run.examples_per_second for run in self.runs)


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Raises :class:`UserError` when one of the folders holds no readable run."""
    folders = [folder.expanduser().resolve() for folder in folders]
    runs = tuple(summarize_run(folder) for folder in folders)
    recipes = [flatten(read_recipe(folder)) for folder in folders]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    values = {key: tuple(recipe.get(key) for recipe in recipes) for key in keys if key != "output"}
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    return Comparison(
        runs,
        {key: row for key, row in values.items() if any(value != row[0] for value in row)},
        {name: tuple(run.metrics.get(name) for run in runs) for name in names},
        {name: tuple(run.best.get(name) for run in runs) for name in names},
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys; lists stay what they are."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
