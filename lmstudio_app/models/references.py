"""From what a person writes (``REF``) to a model folder on disk."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.models.weights import gguf_error
from lmstudio_app.settings import models_folder

if TYPE_CHECKING:
    from lmstudio_app.jobs import JobContext

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")


def is_hub_id(ref: str) -> bool:
    """Does ``ref`` look like ``organisation/name``?"""
    return _HUB_ID.fullmatch(ref) is not None and ".." not in ref and "--" not in ref


def install_folder(ref: str) -> Path:
    """Where the model of a catalogue name or a hub id is kept (whether it is there or not)."""
    return models_folder() / ref.replace("/", "--").replace(":", "-")


def is_present(ref: str) -> bool:
    """Is the model of a catalogue name, a hub id or a folder on this disk?"""
    if ref in load_catalog() or (is_hub_id(ref) and not Path(ref).expanduser().is_dir()):
        return (install_folder(ref) / "config.json").is_file()
    return (Path(ref).expanduser() / "config.json").is_file()


def resolve(ref: str, ctx: JobContext, *, fetch: bool = False) -> Path:
    """The folder of the model that ``ref`` means: a catalogue name, a folder, or a hub id (in this order).

    A model that is not on disk is fetched when ``fetch`` is true. Otherwise, and when ``ref`` means nothing,
    a :class:`UserError` says what to do.
    """
    ref = ref.strip()
    if not ref:
        raise UserError("No model is chosen.", "Choose a model from the list, or give a folder.")
    if ref not in load_catalog():
        path = Path(ref).expanduser()
        if path.is_dir():
            return path
        if path.is_file():
            return _folder_of_file(path)
        if not is_hub_id(ref):
            raise unknown_reference(ref)
    folder = install_folder(ref)
    if (folder / "config.json").is_file():
        return folder
    if fetch:
        from lmstudio_app.models.sources import FetchRequest, fetch_model

        return fetch_model(FetchRequest(ref), ctx)
    raise UserError(
        "The model {name} is not on this computer yet.",
        "Download it in the Model tab, or with: lmstudio-app models fetch {name}",
        name=ref,
    )


def _folder_of_file(path: Path) -> Path:
    """A person may point at a file inside the model's folder."""
    if path.suffix == ".gguf":
        raise gguf_error(path.name)
    if path.suffix == ".safetensors" or path.name == "config.json":
        return path.parent
    raise UserError(
        "{name} is no model.",
        "Choose the folder that holds config.json, model.safetensors and the tokenizer's files.",
        name=path.name,
    )


def unknown_reference(ref: str) -> UserError:
    """A sentence about a reference that means nothing, with the nearest name."""
    looks_like_path = ref.startswith((".", "/", "~")) or "\\" in ref or ref.count("/") > 1
    if looks_like_path:
        return UserError("The folder {ref} does not exist.", "Check the path.", ref=ref)
    near = difflib.get_close_matches(ref, load_catalog(), n=1, cutoff=0.5)
    if near:
        return UserError("There is no model called {ref}.", "Did you mean {near}?", ref=ref, near=near[0])
    return UserError(
        "There is no model called {ref}.",
        "Use a name from `lmstudio-app models list`, a folder, or a hub id such as organisation/name.",
        ref=ref,
    )
