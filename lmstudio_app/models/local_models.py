"""What models take up on this disk, and how they are taken off it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes, move_to_trash
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.begun import downloads_folder, list_begun
from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.models.conversion import conversions_folder
from lmstudio_app.models.installed import list_models
from lmstudio_app.models.provenance import read_provenance
from lmstudio_app.models.sources import only_one
from lmstudio_app.models.usage import last_used
from lmstudio_app.settings import models_folder


@dataclass(frozen=True)
class LocalItem:
    """One folder of the app's own. ``kind``: ``model``, ``conversion`` (safetensors made of a file elsewhere), or
    ``download`` (what an interrupted one has left). ``size`` in bytes; of a download ``total`` is to come in the end
    (0: not known). ``used``: when it was loaded last, in seconds since the epoch (0: never).
    """

    kind: str
    reference: str
    title: str
    folder: Path
    size: int
    used: float = 0.0
    total: int = 0
    weights: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeleteRequest:
    """``reference``: as :class:`LocalItem` has it. ``for_good``: not to the trash."""

    reference: str
    for_good: bool = False


def list_local() -> list[LocalItem]:
    """Models, conversions and begun downloads, each kind by name. Costs some milliseconds; call it in a job."""
    models = [
        LocalItem("model", model.reference, model.title, model.folder, _size(model.folder), last_used(model.folder))
        for model in list_models()
        if model.present and not model.bundled
    ]
    return [*models, *_conversions(), *_downloads()]


def _conversions() -> Iterator[LocalItem]:
    for folder in _folders(conversions_folder()):
        known = read_provenance(folder)
        reference = str(known.get("reference") or folder)
        title = str(known.get("title") or folder.name)
        yield LocalItem("conversion", reference, title, folder, _size(folder), last_used(folder))


def _downloads() -> Iterator[LocalItem]:
    for begun in list_begun():
        yield LocalItem(
            "download", begun.reference, begun.folder.name, begun.folder, begun.size, 0.0, begun.total, begun.weights
        )


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".") if root.is_dir() else []


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def delete_local(request: DeleteRequest, ctx: JobContext) -> int:
    """Move what has this reference to the trash, or delete it (a job); returns the bytes that are free then.

    A file or folder that is not the app's own is never touched, its conversion is. Raises :class:`UserError` for a
    reference that nothing has, for a model that comes with the app or is being fetched, and where there is no trash.
    """
    entry = load_catalog().get(request.reference)
    if entry is not None and entry.bundled is not None:
        raise UserError(
            "{name} is a part of the app, and is deleted with it.",
            "There is nothing to free: it lies among the app's own files.",
            name=request.reference,
        )
    found = [item for item in list_local() if request.reference in (item.reference, str(item.folder)) and is_ours(item)]
    if not found:
        raise UserError(
            "No model {name} takes up room here.",
            "`lmstudio-app models list` shows what does. Folders elsewhere are yours to delete.",
            name=request.reference,
        )
    needing = [name for item in found if item.kind == "model" for name in needed_by(item.reference)]
    if needing:
        ctx.warn("These need it, and cannot be loaded without: {names}", names=", ".join(needing))
    for item in found:
        with only_one(item.folder.name):
            _remove(item, for_good=request.for_good)
        ctx.status("{name} is deleted, {size} are free", name=item.reference, size=format_bytes(item.size))
    return sum(item.size for item in found)


def discard_begun(reference: str, ctx: JobContext) -> int:
    """Delete what begun downloads of ``reference`` have left (a job); returns the bytes that are free then.

    Raises :class:`UserError` for one that goes on at this moment.
    """
    freed = 0
    for item in _downloads():
        if item.reference == reference:
            with only_one(item.folder.name):
                shutil.rmtree(item.folder)
            freed += item.size
    return freed


def needed_by(reference: str) -> list[str]:
    """The models on this disk that are adapters of this one, and cannot be loaded without it."""
    return [
        model.reference
        for model in list_models()
        if model.present and read_provenance(model.folder).get("base_model") == reference
    ]


def is_ours(item: LocalItem) -> bool:
    """Does it lie in a folder of the app's own? A model that the application brings along does not."""
    return any(item.folder.parent == root for root in (models_folder(), conversions_folder(), downloads_folder()))


def _remove(item: LocalItem, *, for_good: bool) -> None:
    if for_good or item.kind != "model":  # what can be made again needs no trash
        shutil.rmtree(item.folder)
        return
    remedy = "Delete it for good: `lmstudio-app models delete {name} --for-good`."
    move_to_trash(item.folder, remedy, name=item.reference)
