"""What there is to choose from: the catalogue, and the models that lie in the models folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.models.names import install_folder
from lmstudio_app.models.provenance import read_provenance
from lmstudio_app.models.references import is_present
from lmstudio_app.settings import models_folder


@dataclass(frozen=True)
class InstalledModel:
    """One line of the list. ``size`` in bytes: on disk, or of the download when it is not ``present``."""

    reference: str
    title: str
    size: int
    license: str
    present: bool
    folder: Path
    description: str = ""
    starter: bool = False
    bundled: bool = False  # it comes with the app, and stays as long as the app does


def folder_size(folder: Path) -> int:
    """Bytes of the files in a model folder (it has no folders inside)."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def list_models() -> list[InstalledModel]:
    """The catalogue in its order, then everything else in the models folder by name. Costs a few milliseconds."""
    models = []
    seen = set()
    for entry in load_catalog().values():
        folder = install_folder(entry.name)
        seen.add(folder)
        is_here = is_present(entry.name)
        models.append(
            InstalledModel(
                entry.name,
                entry.title,
                folder_size(folder) if is_here else entry.size,
                entry.license,
                is_here,
                folder,
                entry.description,
                starter=True,
                bundled=entry.bundled is not None,
            )
        )
    root = models_folder()
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder in seen or folder.name.startswith(".") or not (folder / "config.json").is_file():
            continue
        known = read_provenance(folder)
        reference = str(known.get("reference") or folder)
        if install_folder(reference) != folder:
            reference = str(folder)
        models.append(
            InstalledModel(
                reference,
                str(known.get("title") or folder.name),
                folder_size(folder),
                str(known.get("license", "")),
                present=True,
                folder=folder,
            )
        )
    return models
