"""What models take up on this disk, and how they are taken off it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.conversion import conversions_folder
from lmstudio_app.models.installed import list_models
from lmstudio_app.models.provenance import read_provenance
from lmstudio_app.models.sources import WHEEL, only_one
from lmstudio_app.settings import cache_folder, models_folder


@dataclass(frozen=True)
class LocalItem:
    """One folder of the app's own. ``kind``: ``model``, ``conversion`` (safetensors made of a file elsewhere), or
    ``download`` (what an interrupted one has left). ``size`` in bytes.
    """

    kind: str
    reference: str
    title: str
    folder: Path
    size: int


@dataclass(frozen=True)
class DeleteRequest:
    """``reference``: as :class:`LocalItem` has it. ``for_good``: not to the trash."""

    reference: str
    for_good: bool = False


def list_local() -> list[LocalItem]:
    """Models, conversions and begun downloads, each kind by name. Costs some milliseconds; call it in a job."""
    models = [
        LocalItem("model", model.reference, model.title, model.folder, _size(model.folder))
        for model in list_models()
        if model.present
    ]
    return [*models, *_conversions(), *_downloads()]


def _conversions() -> Iterator[LocalItem]:
    for folder in _folders(conversions_folder()):
        known = read_provenance(folder)
        reference = str(known.get("reference") or folder)
        yield LocalItem("conversion", reference, str(known.get("title") or folder.name), folder, _size(folder))


def _downloads() -> Iterator[LocalItem]:
    for folder in _folders(cache_folder() / "downloads"):
        if not folder.name.startswith(WHEEL):  # those are gone with the end of pip, or the next time
            yield LocalItem("download", folder.name.replace("--", "/", 1), folder.name, folder, _size(folder))


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".") if root.is_dir() else []


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def delete_local(request: DeleteRequest, ctx: JobContext) -> int:
    """Move what has this reference to the trash, or delete it (a job); returns the bytes that are free then.

    A file or folder that is not the app's own is never touched, its conversion is. Raises :class:`UserError` for a
    reference that nothing has, for a model that is being fetched, and where there is no trash.
    """
    found = [
        item for item in list_local() if request.reference in (item.reference, str(item.folder)) and _is_ours(item)
    ]
    if not found:
        raise UserError(
            "No model {name} takes up room here.",
            "`lmstudio-app models list` shows what does. Folders elsewhere are yours to delete.",
            name=request.reference,
        )
    needing = [
        model.reference
        for model in list_models()
        if model.present and read_provenance(model.folder).get("base_model") == request.reference
    ]
    if needing:
        ctx.warn("These need it, and cannot be loaded without: {names}", names=", ".join(needing))
    for item in found:
        with only_one(item.folder.name):
            _remove(item, for_good=request.for_good)
        ctx.status("{name} is deleted, {size} are free", name=item.reference, size=format_bytes(item.size))
    return sum(item.size for item in found)


def _is_ours(item: LocalItem) -> bool:
    return any(
        item.folder.parent == root for root in (models_folder(), conversions_folder(), cache_folder() / "downloads")
    )


def _remove(item: LocalItem, *, for_good: bool) -> None:
    from send2trash import send2trash

    if for_good or item.kind != "model":  # what can be made again needs no trash
        shutil.rmtree(item.folder)
        return
    try:
        send2trash(str(item.folder))
    except OSError as error:  # also what it raises where a disk has no trash
        raise UserError(
            "{folder} cannot be moved to the trash ({reason}).",
            "Delete it for good: `lmstudio-app models delete {name} --for-good`.",
            folder=str(item.folder),
            name=item.reference,
            reason=error.strerror or str(error) or type(error).__name__,
        ) from error
