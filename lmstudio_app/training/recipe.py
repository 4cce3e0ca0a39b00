"""The recipe: everything that determines a training, checked when it is made.

The same record is the window's form, the YAML file of the command line and the first file of a run folder.
Each field's metadata carries one line of help and its limits; the form and ``--help`` are built from them.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lmstudio_app.data.catalog import bundled_data_sets
from lmstudio_app.data.splits import DataConfig
from lmstudio_app.devices import DEVICES, PRECISIONS
from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_write_text
from lmstudio_app.models.architectures import ArchitectureConfig
from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.options import check_options, option
from lmstudio_app.tasks import find_task
from lmstudio_app.training.probe_config import ProbeConfig
from lmstudio_app.training.strategies import find_strategy
from lmstudio_app.training.strategy_config import StrategyConfig

SCHEDULES = ("linear", "cosine", "constant")


@dataclass(frozen=True)
class TrainingConfig:
    """How the optimizer goes through the data. Intervals are in optimizer steps; 0 means once an epoch."""

    epochs: float = option(
        3.0,
        "Epochs",
        "How many times the model sees every training example.",
        basic=True,
        minimum=0.01,
        maximum=1000,
    )
    batch_size: int = option(
        32,
        "Batch size",
        "Examples per optimizer step and device. Larger is steadier and needs more memory.",
        basic=True,
        minimum=1,
        maximum=4096,
    )
    learning_rate: float = option(
        1e-4,
        "Learning rate",
        "How far one step moves the weights. Too high diverges, too low learns slowly.",
        basic=True,
        minimum=1e-8,
        maximum=1.0,
    )
    max_length: int = option(
        128,
        "Maximal length",
        "Longer texts are cut to this many tokens; time and memory grow with it.",
        basic=True,
        minimum=4,
        maximum=1_000_000,
    )
    batch_tokens: int = option(
        0,
        "Tokens per batch",
        "A batch holds at most this many tokens with its padding, so fewer rows where texts are long; 0: no limit.",
        minimum=0,
        maximum=10_000_000,
    )
    schedule: str = option("linear", "Schedule", "How the learning rate falls after the warm-up.", choices=SCHEDULES)
    warmup_ratio: float = option(
        0.1,
        "Warm-up",
        "Share of all steps, at the beginning, in which the learning rate rises from 0.",
        minimum=0.0,
        maximum=1.0,
    )
    weight_decay: float = option(
        0.01,
        "Weight decay",
        "Pulls weights towards 0, against learning by heart; biases and norms are left alone.",
        minimum=0.0,
        maximum=1.0,
    )
    adam_beta2: float = option(
        0.999,
        "Adam's memory",
        "How slowly AdamW forgets the size of past gradients (its second beta); 0.98 suits translation from scratch.",
        minimum=0.5,
        maximum=0.99999,
    )
    max_grad_norm: float = option(
        1.0,
        "Gradient clipping",
        "Larger gradients are scaled down to this norm, so that one odd batch does no harm; 0 switches it off.",
        minimum=0.0,
    )
    gradient_accumulation: int = option(
        1,
        "Gradient accumulation",
        "Batches summed into one optimizer step: the effect of a larger batch without its memory.",
        minimum=1,
        maximum=1024,
    )
    group_by_length: bool = option(
        True, "Group by length", "Batches hold texts of similar length, so little time is spent on padding."
    )
    precision: str = option(
        "auto",
        "Precision",
        "bf16 is about twice as fast where the hardware has it; auto uses it there.",
        choices=PRECISIONS,
    )
    device: str = option("auto", "Device", "Where to compute; auto takes the fastest there is.", choices=DEVICES)
    seed: int = option(42, "Seed", "The same seed gives the same run on the same machine.", minimum=0, maximum=2**31)
    log_every: int = option(5, "Log every", "Optimizer steps between two points of the curves.", minimum=1)
    evaluate_every: int = option(
        0, "Evaluate every", "Optimizer steps between two evaluations; 0: once an epoch.", minimum=0
    )
    checkpoint_every: int = option(
        0, "Checkpoint every", "Optimizer steps between two checkpoints; 0: once an epoch.", minimum=0
    )
    keep_checkpoints: int = option(
        2, "Keep checkpoints", "How many of the newest checkpoints stay on the disk, besides the best.", minimum=1
    )
    keep_best: bool = option(
        True, "Keep the best", "The finished model is the one that did best in an evaluation, not the last one."
    )
    early_stopping: int = option(
        0, "Early stopping", "End after this many evaluations in a row without a better one; 0: never.", minimum=0
    )
    on_out_of_memory: str = option(
        "halve",
        "Out of memory",
        "What to do when a batch does not fit: halve it and sum two (the same result, slower), or stop and say so.",
        choices=("halve", "stop"),
    )

    def __post_init__(self) -> None:
        check_options(self, "training")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training, complete.

    It starts from ``model`` or, with random weights, from an ``architecture``. ``options`` is the task's own dataclass
    (None: its defaults). ``output`` is the run folder; empty means a new one in the app's runs folder.
    """

    task: str
    model: str = ""
    architecture: ArchitectureConfig | None = None
    data: DataConfig
    options: Any = None
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    output: str = ""

    def __post_init__(self) -> None:
        task = find_task(self.task)
        if self.options is None:
            object.__setattr__(self, "options", task.options())
        if bool(self.model) == (self.architecture is not None):
            raise UserError(
                "The recipe names both a model and an architecture."
                if self.model
                else "The recipe names neither a model nor an architecture.",
                "Set model to start from a pretrained one, or architecture to start from random weights.",
            )
        if self.architecture is not None and find_strategy(self.strategy.name).keeps_weights:
            raise UserError(
                "The strategy {strategy} keeps what a model knows, and a new one knows nothing yet.",
                "Choose the strategy full, or start from a pretrained model.",
                strategy=self.strategy.name,
            )
        if self.architecture is not None and self.architecture.family not in task.families:
            raise UserError(
                "No {family} model can be made from scratch for the task {task}.",
                "Choose one of: {families}." if task.families else "Start from a pretrained model.",
                family=self.architecture.family, task=self.task, families=", ".join(task.families),
            )  # fmt: skip

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Build and check a recipe. Raises :class:`UserError` naming the key that is unknown, missing or wrong."""
        values = dict(values)
        options = values.pop("options", None)
        if isinstance(task := values.get("task"), str):
            values["options"] = build(find_task(task).options, {} if options is None else options, "options.")
        return typing.cast(Recipe, build(cls, values, ""))

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, as the YAML file holds them; sections that say nothing are left out."""
        values = typing.cast(dict[str, Any], _plain(self))
        if not self.probe.is_on:
            del values["probe"]
        return {key: value for key, value in values.items() if value is not None and value != {}}

    @property
    def title(self) -> str:
        """What is trained, for people: the model's name, or the family of a new one."""
        return self.architecture.title if self.architecture is not None else self.model

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> Recipe:
        """Read a YAML file; ``overrides`` are ``section.key=value`` with the value in YAML.

        Files and folders that exist relative to the recipe's folder become absolute paths, since the recipe is
        copied into the run's folder.
        """
        values = read_yaml(path)
        for override in overrides:
            set_key(values, override)
        recipe = cls.from_dict(values)
        data = dataclasses.replace(
            recipe.data, train=_anchor(recipe.data.train, path.parent), eval=_anchor(recipe.data.eval, path.parent)
        )
        return dataclasses.replace(recipe, model=_anchor(recipe.model, path.parent), data=data)

    def save(self, path: Path) -> None:
        atomic_write_text(path, yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True))


def _anchor(value: Any, base: Path) -> Any:
    if isinstance(value, list | tuple):
        return [_anchor(item, base) for item in value]
    if isinstance(value, Mapping):
        return {key: _anchor(item, base) for key, item in value.items()}
    if not isinstance(value, str) or not value or value in bundled_data_sets() or value in load_catalog():
        return value
    for path in (base / Path(value).expanduser(), Path(value).expanduser()):
        if path.exists():
            return os.path.abspath(path)  # a symbolic link keeps its name, which tells the format
    return value


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("There is no recipe file {path}.", "Check the path.", path=str(path)) from None
    except IsADirectoryError:
        raise UserError("{path} is a folder, not a recipe.", "Name the YAML file in it.", path=str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            "The recipe {path} is not valid YAML: {reason}.",
            "Mend that line; resources/recipes holds working examples.",
            path=str(path),
            reason=" ".join(str(error).split()),
        ) from error
    if not isinstance(values, dict):
        raise UserError("The recipe {path} holds no keys.", "Start from one of resources/recipes.", path=str(path))
    return values


def set_key(values: dict[str, Any], override: str) -> None:
    """Apply one ``section.key=value``."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise UserError("{text} is not of the form key=value.", "Write for example training.epochs=1.", text=override)
    *sections, last = key.strip().split(".")
    for section in sections:
        if values.get(section) is None:  # absent, or written without anything below it
            values[section] = {}
        if not isinstance(values[section], dict):
            raise UserError("{key} has no key below it.", "Set {key} itself.", key=section)
        values = values[section]
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(
            "The value of {key} is not valid YAML: {text}.",
            "Put it in quotation marks, for example '{key}=\"…\"'.",
            key=key.strip(),
            text=text,
        ) from error


_MAY_BE_BLANK = ("output", "columns", "options", "eval", "model", "architecture")


def build(cls: type, values: Mapping[str, Any], prefix: str) -> Any:
    """Make the dataclass ``cls`` from nested mappings, checking names and types."""
    if not isinstance(values, Mapping):
        raise UserError("{name} must hold keys.", "Write them indented below {name}.", name=prefix.rstrip("."))
    hints = {name: _without_none(hint) for name, hint in typing.get_type_hints(cls).items()}
    known = [item.name for item in dataclasses.fields(cls)]
    for key in values:
        if not known:
            raise UserError(
                "There is nothing to set in {section}, so {key} means nothing.", "Leave the section out.",
                section=prefix.rstrip("."), key=f"{prefix}{key}",
            )  # fmt: skip
        if key not in known:
            near = _nearest(cls, str(key))
            raise UserError(
                "The recipe has an unknown key {key}.",
                "Did you mean {near}? The keys there are: {known}.",
                key=f"{prefix}{key}", near=f"{prefix}{near}", known=", ".join(known),
            )  # fmt: skip
    arguments = {}
    for item in dataclasses.fields(cls):
        is_blank = values.get(item.name) is None and item.name in _MAY_BE_BLANK
        if item.name in values and not is_blank:
            arguments[item.name] = _convert(hints[item.name], values[item.name], f"{prefix}{item.name}")
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise UserError("The recipe has no {name}.", "Add the key {name}.", name=f"{prefix}{item.name}")
    return cls(**arguments)


def _without_none(hint: Any) -> Any:
    """``X`` for the hint ``X | None``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        return parts[0] if len(parts) == 1 else hint
    return hint


def _nearest(cls: type, key: str) -> str:
    """The name of a field of ``cls`` or, when it is spelt the same, of a section of it: ``training.epochs``."""
    hints = {name: _without_none(hint) for name, hint in typing.get_type_hints(cls).items()}
    for item in dataclasses.fields(cls):
        section = hints[item.name]
        if dataclasses.is_dataclass(section) and key in (inner.name for inner in dataclasses.fields(section)):
            return f"{item.name}.{key}"
    return difflib.get_close_matches(key, [item.name for item in dataclasses.fields(cls)], n=1, cutoff=0.0)[0]


def _convert(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), {} if value is None else value, f"{name}.")
    if isinstance(value, bool) and hint in (float, int):
        raise _wrong_type(name, value, "a number")
    if hint is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)  # a folder may be called 2024
    try:
        if hint is float:
            return float(value)  # YAML reads 5e-5 as a string
        if hint is int and float(value).is_integer():
            return int(float(value))
    except (TypeError, ValueError, OverflowError):
        raise _wrong_type(name, value, "a number") from None
    origin = typing.get_origin(hint)
    if hint in (int, bool, str) and not isinstance(value, hint):
        raise _wrong_type(name, value, {int: "a whole number", bool: "true or false", str: "a text"}[hint])
    if origin in (typing.Union, types.UnionType) or hint is Any:
        return value
    if origin in (dict, Mapping) and not isinstance(value, Mapping):
        raise _wrong_type(name, value, "a mapping of names")
    return value


def _wrong_type(name: str, value: Any, wanted: str) -> UserError:
    return UserError("{name} is {value!r}.", "It must be {wanted}.", name=name, value=value, wanted=wanted)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
