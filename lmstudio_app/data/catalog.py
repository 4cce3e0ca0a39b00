"""The data sets that come with the app (``resources/datasets/index.yaml``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lmstudio_app.assets import resource


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
