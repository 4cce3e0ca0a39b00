"""What a list of runs shows of each: read quickly, and only again when its files have changed."""

from __future__ import annotations

import copy
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lmstudio_app.errors import UserError
from lmstudio_app.events import Failed, Finished, Status
from lmstudio_app.files import atomic_write_text
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.architectures import new_model_title
from lmstudio_app.settings import runs_folder
from lmstudio_app.tasks import TASKS
from lmstudio_app.training.claims import is_running
from lmstudio_app.training.control import read_live
from lmstudio_app.training.digest import EventDigest, digest_events

RECIPE, FINAL, ABOUT = "recipe.yaml", "final", "about.json"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast as the one in Python
_LOWER_IS_BETTER = ("loss", "perplexity")


@dataclass(frozen=True)
class About:
    """What people say of a run; it has no influence on the training."""

    title: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunSummary:
    """``state``: running, finished, stopped, interrupted or failed; ``started`` in seconds since the epoch.

    ``duration`` are the seconds at work. ``metrics`` are the last evaluation's, ``best`` the best of each, and
    ``metric`` names the one that counts for the task. ``problem`` is why it failed.
    """

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
    title: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()
    duration: float = 0.0
    metric: str = ""
    best: dict[str, float] = field(default_factory=dict)
    examples_per_second: float = 0.0
    paused: bool = False
    problem: str = ""

    @property
    def best_value(self) -> float | None:
        """The best value so far of the metric that counts."""
        return self.best.get(self.metric)

    @property
    def resumable(self) -> bool:
        return self.state in ("interrupted", "failed", "stopped") and self.step < max(self.total_steps, 1)

    @property
    def model_folder(self) -> Path | None:
        final = self.folder / FINAL
        return final if (final / "config.json").is_file() else None


def require_run(folder: Path) -> Path:
    """``folder`` as an absolute path. Raises :class:`UserError` when it holds no run."""
    folder = folder.expanduser().resolve()
    if not (folder / RECIPE).is_file():
        raise UserError("{folder} holds no run.", "Choose a folder with a recipe.yaml.", folder=str(folder))
    return folder


def read_about(folder: Path) -> About:
    """Title, tags and notes of a run; empty ones when there are none, or none that can be read."""
    try:
        values = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        tags = tuple(str(tag) for tag in values.get("tags", ()))
        return About(str(values.get("title", "")), str(values.get("notes", "")), tags)
    except (OSError, ValueError, TypeError, AttributeError):
        return About()


def write_about(folder: Path, about: About) -> About:
    """Keep title, tags and notes with the run; tags lose their spaces and their doubles. Returns what is kept.

    Raises :class:`UserError` when ``folder`` holds no run.
    """
    folder = require_run(folder)
    tags = tuple(dict.fromkeys(" ".join(tag.split()) for tag in about.tags if tag.strip()))
    kept = About(" ".join(about.title.split()), about.notes.strip(), tags)
    values = {"title": kept.title, "notes": kept.notes, "tags": list(kept.tags)}
    atomic_write_text(folder / ABOUT, json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    return kept


def read_recipe(folder: Path) -> dict[str, Any]:
    """A run's recipe as plain values, whatever version wrote it, read again only when it has changed.

    Raises :class:`UserError` when there is none that can be read.
    """
    path = folder / RECIPE
    try:
        status = os.stat(path)
        stamp = (status.st_size, status.st_mtime_ns)
        with _lock:
            kept = _recipes.get(path)
        if kept is not None and kept[0] == stamp:
            return copy.deepcopy(kept[1])
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        _ = values["task"], values["data"]["train"]  # what every recipe has
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError("{folder} holds no readable recipe.", "Delete the folder.", folder=str(folder)) from error
    with _lock:
        _recipes[path] = (stamp, values)
    return copy.deepcopy(values)


_recipes: dict[Path, tuple[tuple[int, int], dict[str, Any]]] = {}
_lock = threading.Lock()


def summarize_run(folder: Path) -> RunSummary:
    """Read a run's recipe and events. Raises :class:`UserError` when one of them cannot be read."""
    recipe = read_recipe(folder)
    alive = is_running(folder)  # before the events: a run that ends in between is told as ended
    try:
        digest = digest_events(folder)
    except OSError as error:
        raise UserError(
            "The events of {folder} cannot be read ({reason}).",
            "Look after the disk and the permissions, or delete the folder.",
            folder=str(folder),
            reason=error.strerror or str(error),
        ) from error
    about = read_about(folder)
    metric = main_metric(str(recipe["task"]), digest.metrics)
    return RunSummary(
        name=folder.name,
        folder=folder,
        task=str(recipe["task"]),
        model=_model(recipe),
        data=_names(recipe["data"]["train"]),
        state=_state(digest, alive),
        started=digest.first_time or (folder / RECIPE).stat().st_mtime,
        step=digest.step.step if digest.step else 0,
        total_steps=digest.step.total_steps if digest.step else 0,
        metrics=dict(digest.metrics),
        title=about.title,
        notes=about.notes,
        tags=about.tags,
        duration=digest.seconds,
        metric=metric,
        best={
            name: (digest.lowest if lower_is_better(name) else digest.highest).get(name, value)
            for name, value in digest.metrics.items()
        },
        examples_per_second=_rate(digest),
        paused=alive and read_live(folder).paused,
        problem=digest.ending.message if isinstance(digest.ending, Failed) and not alive else "",
    )


def _model(recipe: Mapping[str, Any]) -> str:
    """What it starts from: a model, or what a new one is called."""
    architecture = recipe.get("architecture")
    if recipe.get("model") or not isinstance(architecture, Mapping):
        return str(recipe.get("model") or "")
    return new_model_title(str(architecture.get("family", "")), _whole(architecture.get("layers")))


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _names(source: Any) -> str:
    if isinstance(source, Mapping):
        source = list(source.values())
    return ", ".join(map(str, source)) if isinstance(source, list | tuple) else str(source)


def _state(digest: EventDigest, alive: bool) -> str:
    if alive:
        return "running"
    match digest.ending:
        case Finished(state=state):
            return state
        case Failed():
            return "failed"
    return "interrupted"


def _rate(digest: EventDigest) -> float:
    """Examples a second over the whole training, or at the last step while it is not over."""
    whole = digest.result.get("examples_per_second") if isinstance(digest.ending, Finished) else None
    if isinstance(whole, int | float):
        return float(whole)
    return digest.step.examples_per_second if digest.step else 0.0


def lower_is_better(metric: str) -> bool:
    tasks = [task for task in TASKS if task.main_metric == metric]
    if tasks:
        return not tasks[0].greater_is_better
    return metric in _LOWER_IS_BETTER or metric.endswith(tuple(f"_{name}" for name in _LOWER_IS_BETTER))


def main_metric(task: str, metrics: Mapping[str, float]) -> str:
    """The metric that counts for ``task``, among those that a run has; empty when it has none yet."""
    own = next((item.main_metric for item in TASKS if item.name == task), "")
    if own in metrics:
        return own
    return next((name for name in metrics if name != "loss"), next(iter(metrics), ""))


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
