"""The data sets that come with the app (``resources/datasets/index.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lmstudio_app.assets import resource

# a data set made for one task that others can use as it is
_ALSO = {
    "sentiment": ("classification",),
    "masked_lm": ("bert_pretraining", "causal_lm"),
    "bert_pretraining": ("masked_lm", "causal_lm"),
    "causal_lm": ("masked_lm", "bert_pretraining"),
}


@dataclass(frozen=True)
class BundledDataSet:
    """``task`` names the task it is made for; ``columns`` its columns; ``options`` how its files are read."""

    name: str
    title: str
    description: str
    task: str
    language: str
    license: str
    attribution: str
    rows: int
    files: tuple[Path, ...]
    columns: tuple[str, ...]
    options: Mapping[str, Any]

    def suits(self, task: str) -> bool:
        """Is it made for this task, or for one that wants the same?"""
        return task == self.task or task in _ALSO.get(self.task, ())


def suited_to(task: str) -> list[BundledDataSet]:
    """The bundled data sets that suit a task, those made for it first."""
    suited = [entry for entry in bundled_data_sets().values() if entry.suits(task)]
    return sorted(suited, key=lambda entry: entry.task != task)


def first_for(task: str) -> str:
    """The bundled data set that a task begins with: the first that suits it, else the first of all."""
    suited = suited_to(task)
    return suited[0].name if suited else next(iter(bundled_data_sets()))


@cache
def bundled_data_sets() -> dict[str, BundledDataSet]:
    """Every bundled data set by name, in the order of the index."""
    folder = resource("datasets")
    index = yaml.safe_load((folder / "index.yaml").read_text(encoding="utf-8"))
    found = {}
    for values in index["datasets"]:
        files = tuple(folder / name for name in values["files"])
        found[values["name"]] = BundledDataSet(
            **{
                **values,
                "files": files,
                "columns": tuple(values["columns"]),
                "attribution": " ".join(values["attribution"].split()),
                "description": " ".join(values["description"].split()),
                "options": values.get("options", {}),
            }
        )
    return found
