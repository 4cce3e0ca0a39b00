"""The ``data`` section of a recipe: which data, which columns, what is kept for evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmstudio_app.data.sources import ReadOptions
from lmstudio_app.errors import UserError
from lmstudio_app.options import check_options, option


def _is_source(value: Any) -> bool:
    if value is None or isinstance(value, str | Path):
        return True
    files = value.values() if isinstance(value, Mapping) else value
    return isinstance(value, Sequence | Mapping) and all(isinstance(file, str | Path) for file in files)


@dataclass(frozen=True)
class DataConfig:
    """Files are relative to the recipe's folder. Raises :class:`UserError` for what cannot be."""

    train: Any = field(
        metadata={
            "title": "Training data",
            "help": "A bundled data set's name, a file, a list of files, or {source: FILE, target: FILE} (aligned).",
            "basic": True,
        }
    )
    eval: Any = field(
        default=None,
        metadata={"title": "Evaluation data", "help": "The same for evaluation; empty: a part of the training data."},
    )
    columns: Mapping[str, str] = field(
        default_factory=dict,
        metadata={
            "title": "Columns",
            "help": "Which column feeds which input; the rest is guessed, and an empty one is not used.",
        },
    )
    eval_fraction: float = option(
        0.1,
        "Evaluation part",
        "Share of the rows that is kept for evaluation when there is no evaluation data.",
        minimum=0.0,
        maximum=0.9,
    )
    seed: int = option(42, "Split seed", "Another seed keeps other rows for evaluation.")
    limit: int = option(
        0,
        "Use at most",
        "Rows that are used of each source, spread evenly over it; of running text the first ones. 0: all.",
        minimum=0,
    )
    deduplicate: bool = option(
        False,
        "Leave out duplicates",
        "Keep one row of each text, and none for training that is in the evaluation data. Running text stays whole.",
    )
    options: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={
            "title": "Reading options",
            "help": "How the files are read (format, encoding, delimiter, header, quoting, names); empty: found out.",
        },
    )

    def __post_init__(self) -> None:
        if not self.train:
            raise UserError("The recipe names no training data.", "Set data.train to a bundled data set or a file.")
        if not self.eval:
            object.__setattr__(self, "eval", None)  # an empty text or list in a recipe means none, too
        for name, source in (("data.train", self.train), ("data.eval", self.eval)):
            if not _is_source(source):
                raise UserError(
                    "{name} is {value}.",
                    "Name a bundled data set, a file, a list of files, or {{source: FILE, target: FILE}}.",
                    name=name,
                    value=str(source),
                )
        for name, column in self.columns.items():
            if not isinstance(column, str):
                raise UserError(
                    "data.columns.{name} is {value}.",
                    "Name one column, in quotation marks if it is a number.",
                    name=name,
                    value=str(column),
                )
        if self.eval is None and not 0 < self.eval_fraction < 1:
            raise UserError(
                "data.eval_fraction is {value}.",
                "It must lie between 0 and 1, for example 0.1, or name evaluation data in data.eval.",
                value=self.eval_fraction,
            )
        check_options(self, "data")
        ReadOptions.from_dict(self.options)


@dataclass(frozen=True)
class DataSelection:
    """What the data tab offers to the training: a recipe's data section, its task, and a title for people."""

    config: DataConfig
    task: str
    title: str
