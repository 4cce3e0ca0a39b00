"""What a reference looks like, and where the model it names is kept."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from lmstudio_app.assets import resource_root
from lmstudio_app.errors import UserError
from lmstudio_app.models.catalog import HubSource, load_catalog
from lmstudio_app.settings import models_folder

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")


def is_hub_id(ref: str) -> bool:
    """Does ``ref`` look like ``organisation/name``?"""
    return _HUB_ID.fullmatch(ref) is not None and ".." not in ref and "--" not in ref


def hub_id(ref: str) -> str:
    """``organisation/name`` of a hub id or a name of the catalogue; empty for what the hub does not have."""
    entry = load_catalog().get(ref)
    if entry is not None:
        return next((source.repo_id for source in entry.sources if isinstance(source, HubSource)), "")
    return ref if is_hub_id(ref) and not Path(ref).exists() else ""


def install_folder(ref: str) -> Path:
    """Where the model of a catalogue name or a hub id is kept (whether it is there or not).

    A model that comes with the app stays among the app's own files, which nobody may change.
    """
    entry = load_catalog().get(ref)
    if entry is not None and entry.bundled is not None:
        return resource_root() / "models" / entry.bundled.folder
    return models_folder() / ref.replace("/", "--").replace(":", "-")


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
