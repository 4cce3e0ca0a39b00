"""Folders that hold adapters (as peft saves them) instead of weights: a model that needs the one it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError, first_line
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.provenance import read_provenance
from lmstudio_app.models.references import resolve
from lmstudio_app.models.weights import INDEX_NAME, SINGLE_NAME

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def is_adapter(folder: Path) -> bool:
    """Are there adapters in ``folder``, and no weights?"""
    return (folder / ADAPTER_CONFIG).is_file() and not any((folder / n).is_file() for n in (SINGLE_NAME, INDEX_NAME))


def weights_folder(folder: Path) -> Path:
    """Where the weights of the model in ``folder`` are: there, or in the model that its adapters belong to.

    Raises :class:`UserError` when that one is not on this computer.
    """
    if not is_adapter(folder):
        return folder
    base = str(read_provenance(folder).get("base_model") or "")
    if not base:
        raise UserError(
            "The adapters in {folder} do not say which model they belong to.",
            "Load them with peft, or train again with strategy.merge on.",
            folder=str(folder),
        )
    found = resolve(base, JobContext())
    if is_adapter(found):
        raise UserError(
            "The adapters in {folder} belong to a model that has adapters itself.",
            "Train again from a merged model.",
            folder=str(folder),
        )
    return found


def merge_adapters(model: Any, folder: Path) -> Any:
    """``model`` with the adapters of ``folder`` added into its weights, and their head in place of its own."""
    import peft
    from safetensors import SafetensorError

    try:
        return peft.PeftModel.from_pretrained(model, folder, local_files_only=True).merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise UserError(
            "The adapters in {folder} do not fit the model they name ({reason}).",
            "Take the very model that they were trained on.",
            folder=str(folder),
            reason=first_line(error),
        ) from error
