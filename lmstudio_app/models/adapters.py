"""Folders that hold adapters (as peft saves them) instead of weights: a model that needs the one it was trained on."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError, first_line
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.conversion import ADAPTER_CONFIG
from lmstudio_app.models.provenance import read_provenance
from lmstudio_app.models.references import resolve
from lmstudio_app.models.weights import INDEX_NAME, SINGLE_NAME, read_header

ADAPTER_WEIGHTS = "adapter_model.safetensors"
# peft's task type -> the end of the name of an architecture with that head
_HEADS = {
    "SEQ_CLS": "ForSequenceClassification",
    "TOKEN_CLS": "ForTokenClassification",
    "QUESTION_ANS": "ForQuestionAnswering",
}
_OTHER_HEAD = re.compile(r"(Model|LMHeadModel|For[A-Z]\w*)$")
_CLASSIFIER = re.compile(r"\b(classifier|score|classifier\.out_proj)(\.modules_to_save(\.\w+)?)?\.weight$")


def is_adapter(folder: Path) -> bool:
    """Are there adapters in ``folder``, and no weights?"""
    return (folder / ADAPTER_CONFIG).is_file() and not any((folder / n).is_file() for n in (SINGLE_NAME, INDEX_NAME))


def weights_folder(folder: Path) -> Path:
    """Where the weights of the model in ``folder`` are: there, or in the model that its adapters belong to.

    Raises :class:`UserError` when that one is not on this computer.
    """
    if not is_adapter(folder):
        return folder
    found = resolve(base_of(folder), JobContext())
    if is_adapter(found):
        raise UserError(
            "The adapters in {folder} belong to a model that has adapters itself.",
            "Train again from a merged model.",
            folder=str(folder),
        )
    return found


def base_of(folder: Path) -> str:
    """The reference of the model that the adapters belong to, as the app has noted it, or peft.

    Raises :class:`UserError` when neither has.
    """
    base = str(read_provenance(folder).get("base_model") or _settings(folder).get("base_model_name_or_path") or "")
    if not base:
        raise UserError(
            "The adapters in {folder} do not say which model they belong to.",
            "Load them with peft, or train again with strategy.merge on.",
            folder=str(folder),
        )
    return base


def complete_adapter(folder: Path, base: Path) -> None:
    """Give adapters that peft has saved alone the configuration and tokenizer of their model, where they lack them.

    A classifier among them gets its labels by number, since peft notes only the weights.
    """
    for path in base.iterdir():
        is_wanted = path.name == "config.json" or path.name.startswith(
            ("tokenizer", "vocab", "merges", "special_tokens")
        )
        is_wanted = is_wanted or path.suffix in (".model", ".spm", ".jinja") or path.name == "added_tokens.json"
        if is_wanted and not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)
    suffix = _HEADS.get(str(_settings(folder).get("task_type")))
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    names = config.get("architectures") or [""]
    if suffix is None or names[0].endswith(suffix):
        return
    config["architectures"] = [_OTHER_HEAD.sub("", names[0]) + suffix]
    head = next(
        (info for name, info in read_header(folder / ADAPTER_WEIGHTS).items() if _CLASSIFIER.search(name)), None
    )
    if head is not None and suffix.endswith("Classification"):
        labels = [f"LABEL_{index}" for index in range(head.shape[0])]
        config["id2label"] = {str(index): label for index, label in enumerate(labels)}
        config["label2id"] = {label: index for index, label in enumerate(labels)}
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")


def _settings(folder: Path) -> dict[str, Any]:
    """What peft notes about adapters. Raises :class:`UserError` when it cannot be read."""
    try:
        values = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            "{name} in {folder} cannot be read ({reason}).",
            "Download or copy the adapters again.",
            name=ADAPTER_CONFIG,
            folder=str(folder),
            reason=first_line(error),
        ) from error
    return values if isinstance(values, dict) else {}


def merge_adapters(model: Any, folder: Path) -> Any:
    """``model`` with the adapters of ``folder`` added into its weights, and their head in place of its own."""
    import peft
    from safetensors import SafetensorError

    # peft asks for an attribute that transformers is about to rename
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    try:
        return peft.PeftModel.from_pretrained(model, folder, local_files_only=True).merge_and_unload()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise UserError(
            "The adapters in {folder} do not fit the model they name ({reason}).",
            "Take the very model that they were trained on.",
            folder=str(folder),
            reason=first_line(error),
        ) from error
