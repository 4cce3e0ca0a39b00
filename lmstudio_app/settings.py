"""Where things are kept, and what the user prefers: one versioned JSON file, migrated when it is old."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import platformdirs

from lmstudio_app.files import atomic_write_text

VERSION = 1
HOME_VARIABLE = "LMSTUDIO_APP_HOME"


def home() -> Path:
    """The folder of models, runs and settings: ``$LMSTUDIO_APP_HOME``, or the system's place for user data."""
    override = os.environ.get(HOME_VARIABLE)
    return (
        Path(override).expanduser().resolve()
        if override
        else Path(platformdirs.user_data_dir("lmstudio-app", appauthor=False))
    )


def models_folder() -> Path:
    return home() / "models"


def runs_folder() -> Path:
    return home() / "runs"


def sweeps_folder() -> Path:
    return home() / "sweeps"


def cache_folder() -> Path:
    """Things that can be made again: Arrow tables of imported files, partial downloads."""
    return home() / "cache"


def settings_file() -> Path:
    return home() / "settings.json"


def _from_version_0(values: dict[str, Any]) -> dict[str, Any]:
    """Version 0 had no version field; its keys are today's."""
    return values


_MIGRATIONS = {0: _from_version_0}


class Settings:
    """A dictionary of JSON values that is saved at every change.

    Keys are dotted names such as ``window.geometry`` or ``network.allowed``. A file that cannot be read is set aside
    as ``settings.json.bad`` and the defaults are used. A file of a newer version is read and never written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or settings_file()
        self._values: dict[str, Any] = {}
        self._read_only = False
        self._load()

    def _load(self) -> None:
        if not self.path.is_file():
            return
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            version, values = int(data.get("version", 0)), dict(data.get("values", {}))
            if version < 0:
                raise ValueError(version)
        except (ValueError, TypeError, AttributeError):
            os.replace(self.path, self.path.with_name(self.path.name + ".bad"))
            return
        self._read_only = version > VERSION
        while version < VERSION:
            values = _MIGRATIONS[version](values)
            version += 1
        self._values = values

    def get(self, key: str, default: Any = None) -> Any:
        return self._values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        if self._values.get(key) == value and key in self._values:
            return
        self._values[key] = value
        self.save()

    def as_text(self) -> str:
        """What the file holds: its version, and the values."""
        return json.dumps({"version": VERSION, "values": self._values}, ensure_ascii=False, indent=1) + "\n"

    def save(self) -> None:
        if not self._read_only:
            atomic_write_text(self.path, self.as_text())


def offline_by_environment() -> bool:
    """Does ``HF_HUB_OFFLINE`` forbid the network?"""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def network_allowed(settings: Settings | None = None) -> bool:
    """May the app use the network? ``HF_HUB_OFFLINE=1`` forbids it; otherwise the setting decides (default: yes).

    Even when allowed, nothing is fetched unless the user asked for that very thing.
    """
    if offline_by_environment():
        return False
    return bool((settings or Settings()).get("network.allowed", True))
