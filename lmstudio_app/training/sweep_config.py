"""What a sweep tries: keys of a recipe and the values they may take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_write_text
from lmstudio_app.options import check_options, option
from lmstudio_app.training.recipe import Recipe, build, read_yaml

METHODS = ("grid", "random", "tpe")
MOST_TRIALS = 1000


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; ``log`` draws each decade alike; both whole: whole numbers."""

    low: float
    high: float
    log: bool = False

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """``space`` maps keys of the recipe (``training.learning_rate``) to a list of values or to a :class:`Range`.

    ``recipe`` is the recipe's plain dictionary. ``metric`` is one that the task reports; empty: its main one.
    """

    recipe: Mapping[str, Any]
    space: Mapping[str, Any]
    method: str = option(
        "tpe",
        "Method",
        "grid: every combination; random: drawn values; tpe: drawn near what did well so far.",
        basic=True,
        choices=METHODS,
    )
    trials: int = option(
        12,
        "Trials",
        "How many trainings; a grid has as many as combinations.",
        basic=True,
        minimum=1,
        maximum=MOST_TRIALS,
    )  # fmt: skip
    metric: str = option("", "Metric", "What is compared; empty: the task's main metric.")
    seed: int = option(42, "Seed", "The same seed draws the same values.", minimum=0, maximum=2**31)

    def __post_init__(self) -> None:
        check_options(self, "sweep")
        if not self.space:
            raise UserError("The sweep varies nothing.", "Name keys of the recipe and their values in space.")
        object.__setattr__(self, "space", {key: _dimension(key, value) for key, value in self.space.items()})
        ranges = [key for key, value in self.space.items() if isinstance(value, Range)]
        if self.method == "grid" and ranges:
            raise UserError(
                "{key} is a range, and a grid needs single values.",
                "List the values, or choose the method random or tpe.",
                key=ranges[0],
            )
        if self.method == "grid" and self.total > MOST_TRIALS:
            raise UserError(
                "The grid has {count} combinations.",
                "List fewer values (at most {most} combinations), or choose the method random.",
                count=self.total,
                most=MOST_TRIALS,
            )
        first, last = ({key: _ends(value)[at] for key, value in self.space.items()} for at in (0, -1))
        for key, dimension in self.space.items():  # what no recipe can be shows now, not in the last trial
            for value in _ends(dimension):
                try:
                    self.recipe_with({**first, key: value})
                except UserError:
                    self.recipe_with({**last, key: value})  # it may go with other values of the other keys

    @property
    def total(self) -> int:
        if self.method != "grid":
            return self.trials
        return math.prod(len(values) for values in self.space.values())

    def recipe_with(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe with these values in place of its own. Raises :class:`UserError` for what no recipe can be."""
        changed = _copied(self.recipe)
        for key, value in values.items():
            *sections, last = key.split(".")
            section = changed
            for name in sections:
                if section.get(name) is None:
                    section[name] = {}
                section = section[name]
                if not isinstance(section, dict):
                    raise UserError("{key} has no key below it.", "Set {key} itself.", key=name)
            section[last] = value
        return Recipe.from_dict(changed)

    @classmethod
    def load(cls, path: Path) -> SweepConfig:
        """Read a sweep file; ``recipe`` in it is the path of a recipe, relative to the file, or a recipe itself."""
        values = read_yaml(path)
        recipe = values.get("recipe")
        if isinstance(recipe, str):
            values["recipe"] = Recipe.load(path.parent / Path(recipe).expanduser()).to_dict()
        elif not isinstance(recipe, Mapping):
            raise UserError("The sweep {path} names no recipe.", "Set recipe to a recipe's file.", path=str(path))
        if not isinstance(values.get("space"), Mapping):
            raise UserError(
                "The sweep {path} has no space.",
                "Write space: and below it, for example, training.learning_rate: [1.0e-5, 1.0e-4].",
                path=str(path),
            )
        config: SweepConfig = build(cls, values, "")
        return config

    def save(self, path: Path) -> None:
        space = {
            key: {"low": value.low, "high": value.high, "log": value.log} if isinstance(value, Range) else list(value)
            for key, value in self.space.items()
        }
        values = {
            "recipe": _copied(self.recipe), "space": space, "method": self.method, "trials": self.trials,
            "metric": self.metric, "seed": self.seed,
        }  # fmt: skip
        atomic_write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _copied(value: Any) -> Any:
    return {key: _copied(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _ends(dimension: tuple[Any, ...] | Range) -> tuple[Any, ...]:
    """The values of a list, or the lowest and the highest of a range."""
    return (dimension.low, dimension.high) if isinstance(dimension, Range) else dimension


def _dimension(key: Any, value: Any) -> tuple[Any, ...] | Range:
    if not isinstance(key, str):
        raise UserError("The key {key} in space is no text.", "Write keys of the recipe, as training.epochs.", key=key)
    if isinstance(value, Range):
        return value
    if isinstance(value, Mapping) and {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        low, high = (_number(key, value[end]) for end in ("low", "high"))
        is_log = bool(value.get("log", False))
        if low >= high or (is_log and low <= 0):
            raise UserError(
                "The range of {key} is empty: {low} to {high}.",
                "low must be smaller than high, and above 0 with log.",
                key=key, low=low, high=high,
            )  # fmt: skip
        return Range(low, high, is_log)
    if isinstance(value, list | tuple) and value:
        return tuple(value)
    raise UserError(
        "The values of {key} are {value}.",
        "Write a list, or {{low: …, high: …, log: true}}.",
        key=key,
        value=str(value),
    )


def _number(key: str, value: Any) -> float:
    try:
        return value if isinstance(value, int) and not isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        raise UserError("{key} has no number {value}.", "Write a number.", key=key, value=str(value)) from None
