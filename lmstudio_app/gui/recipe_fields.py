"""The fields of a recipe by their dotted keys: what each is called, and what may be set. No Qt here."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmstudio_app.data.config import DataConfig
from lmstudio_app.models.architectures import ArchitectureConfig
from lmstudio_app.tasks import TASKS
from lmstudio_app.training.probe_config import ProbeConfig
from lmstudio_app.training.recipe import TrainingConfig
from lmstudio_app.training.strategy_config import StrategyConfig


@dataclass(frozen=True)
class RecipeField:
    """``kind`` is int, float, bool or str; ``choices`` are empty where any value goes."""

    key: str
    title: str
    help: str
    kind: type
    default: Any
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


def recipe_fields(task: str, *, is_new: bool) -> list[RecipeField]:
    """What can be varied in a training of ``task``; ``is_new``: it begins with random weights."""
    options = next((item.options for item in TASKS if item.name == task), None)
    sections: list[tuple[str, Any]] = [("training", TrainingConfig), ("strategy", StrategyConfig)]
    if options is not None:
        sections.append(("options", options))
    if is_new:
        sections.append(("architecture", ArchitectureConfig))
    return [item for name, cls in [*sections, ("data", DataConfig)] for item in _fields(name, cls)]


def _fields(prefix: str, cls: Any) -> Iterator[RecipeField]:
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        key, hint = f"{prefix}.{item.name}", hints[item.name]
        if dataclasses.is_dataclass(hint):
            yield from _fields(key, hint)
        elif item.metadata.get("title") and hint in (int, float, bool, str):
            meta = item.metadata
            yield RecipeField(
                key, meta["title"], meta.get("help", ""), hint, item.default, tuple(meta.get("choices") or ()),
                meta.get("minimum"), meta.get("maximum"),
            )  # fmt: skip


def field_title(key: str) -> str:
    """The title of a dotted key in any task; the key itself where it has none."""
    if key in _WHOLE:
        return _WHOLE[key]
    section, _, rest = key.partition(".")
    classes = {"training": [TrainingConfig], "strategy": [StrategyConfig], "data": [DataConfig], "probe": [ProbeConfig]}
    classes |= {"architecture": [ArchitectureConfig], "options": [task.options for task in TASKS]}
    for cls in classes.get(section, ()):
        for item in dataclasses.fields(cls):
            if item.name == rest and item.metadata.get("title"):
                return str(item.metadata["title"])
        found = next((field.title for field in _fields(section, cls) if field.key == key), "")
        if found:
            return found
    return key


_WHOLE = {"task": "Task", "model": "Model", "data.train": "Training data"}
