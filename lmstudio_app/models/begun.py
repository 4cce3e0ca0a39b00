"""Downloads from the hub that were begun and have not ended: cancelled, cut off, or killed with the application.

What came of a model lies in ``cache/downloads/NAME/COMMIT/``, and beside it a note of what it is to become.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmstudio_app.files import atomic_write_text
from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.models.names import install_folder
from lmstudio_app.settings import cache_folder

FILE_NAME = "download.json"
WHEEL = "wheel-"  # what the folders in which pip works begin with; nothing can go on there


@dataclass(frozen=True)
class BegunDownload:
    """``size`` bytes of ``total`` are here (0: not known). ``reference`` and ``weights``: for a ``FetchRequest``."""

    reference: str
    weights: tuple[str, ...]
    size: int
    total: int
    folder: Path


def downloads_folder() -> Path:
    return cache_folder() / "downloads"


def note_begun(folder: Path, repo_id: str, weights: Sequence[str], total: int) -> None:
    """Write down in ``folder`` what its parts are to become."""
    values = {"repo_id": repo_id, "weights": list(weights), "total": total}
    atomic_write_text(folder / FILE_NAME, json.dumps(values) + "\n")


def list_begun() -> list[BegunDownload]:
    """By name. Costs some milliseconds; call it in a job."""
    root = downloads_folder()
    if not root.is_dir():
        return []
    names = {install_folder(name).name: name for name in load_catalog()}
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", WHEEL))]
    return [_begun(folder, names.get(folder.name, "")) for folder in sorted(folders)]


def begun_weights(reference: str) -> tuple[str, ...]:
    """The weights that were asked for when a download of ``reference`` was begun; empty where the usual ones were."""
    return next((begun.weights for begun in list_begun() if begun.reference == reference), ())


def _begun(folder: Path, catalog_name: str) -> BegunDownload:
    known = _note(folder)
    reference = catalog_name or str(known.get("repo_id") or folder.name.replace("--", "/", 1))
    weights = () if catalog_name else tuple(str(name) for name in known.get("weights") or ())
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != FILE_NAME)
    return BegunDownload(reference, weights, size, int(known.get("total") or 0), folder)


def _note(folder: Path) -> dict[str, Any]:
    """A download of an older version has none, and one that was killed while it was written has no whole one."""
    try:
        values = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
