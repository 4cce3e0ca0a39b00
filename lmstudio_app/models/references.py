"""From what a person writes (``REF``) to a model folder on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.models.conversion import ADAPTER_CONFIG, readable_folder
from lmstudio_app.models.names import install_folder, is_hub_id, unknown_reference

if TYPE_CHECKING:
    from lmstudio_app.jobs import JobContext


def is_present(ref: str) -> bool:
    """Is the model of a catalogue name, a hub id or a folder on this disk, with the one that its adapters need?"""
    entry = load_catalog().get(ref)
    if entry is not None or (is_hub_id(ref) and not Path(ref).expanduser().is_dir()):
        is_here = (install_folder(ref) / "config.json").is_file()
        return is_here and (entry is None or not entry.base or is_present(entry.base))
    path = Path(ref).expanduser()
    if path.is_dir():
        return any((path / name).is_file() for name in ("config.json", ADAPTER_CONFIG)) or any(path.glob("*.gguf"))
    return path.suffix == ".gguf" and path.is_file()


def resolve(ref: str, ctx: JobContext, *, fetch: bool = False) -> Path:
    """The folder of the model that ``ref`` means: a catalogue name, a folder, or a hub id (in this order).

    A model that is not on disk is fetched when ``fetch`` is true. Otherwise, and when ``ref`` means nothing,
    a :class:`UserError` says what to do. GGUF files and pickles are made into safetensors here, once (see
    :mod:`lmstudio_app.models.conversion`); then it is the folder of these.
    """
    ref = ref.strip()
    if not ref:
        raise UserError("No model is chosen.", "Choose a model from the list, or give a folder.")
    if ref not in load_catalog():
        path = Path(ref).expanduser()
        if path.is_dir():
            return readable_folder(path, ctx)
        if path.is_file():
            return _folder_of_file(path, ctx)
        if not is_hub_id(ref):
            raise unknown_reference(ref)
    folder = install_folder(ref)
    if is_present(ref):
        return folder
    if fetch:
        from lmstudio_app.models.sources import FetchRequest, fetch_model  # seldom: keep it off the window's way

        return fetch_model(FetchRequest(ref), ctx)
    raise UserError(
        "The model {name} is not on this computer yet.",
        "Download it in the Model tab, or with: lmstudio-app models fetch {name}",
        name=ref,
    )


def _folder_of_file(path: Path, ctx: JobContext) -> Path:
    """A person may point at a file inside the model's folder."""
    if path.suffix == ".gguf":
        return readable_folder(path, ctx)
    if path.suffix == ".safetensors" or path.name == "config.json":
        return path.parent
    raise UserError(
        "{name} is no model.",
        "Choose the folder that holds config.json, model.safetensors and the tokenizer's files.",
        name=path.name,
    )
