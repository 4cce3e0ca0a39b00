"""From a model in memory to a folder that any transformers user can load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lmstudio_app.files import atomic_folder, require_free_space
from lmstudio_app.models.names import hub_id
from lmstudio_app.models.provenance import write_provenance
from lmstudio_app.models.quiet import quiet_transformers


def save_model(
    folder: Path,
    model: Any,
    tokenizer: Any,
    *,
    provenance: Mapping[str, Any],
    state: Mapping[str, Any] | None = None,
    write_adapters: Callable[[Path], None] | None = None,
) -> None:
    """Write safetensors, configuration, tokenizer, ``README.md`` and ``provenance.json``, all or nothing.

    An older model in ``folder`` is replaced only when the new one is whole. ``provenance``: see
    :mod:`lmstudio_app.models.provenance`. ``state`` are the tensors to be saved, by name, where they are not those of
    ``model`` itself. ``write_adapters`` is called with the new folder to write adapters in place of weights. Raises
    :class:`UserError` when the disk has no room.
    """
    count = sum(parameter.numel() for parameter in model.parameters())
    if state is not None:  # tied weights are there under two names
        count = sum({tensor.data_ptr(): int(tensor.numel()) for tensor in state.values()}.values())
    require_free_space(folder.parent, _size(model.state_dict() if state is None else state))
    with atomic_folder(folder) as temporary:
        with quiet_transformers():
            if write_adapters is not None:
                model.config.architectures = [type(model).__name__]
                model.config.save_pretrained(temporary)
                write_adapters(temporary)
            else:
                model.save_pretrained(temporary, state_dict=None if state is None else dict(state))
            tokenizer.save_pretrained(temporary)
        write_provenance(temporary, provenance)
        (temporary / "README.md").write_text(model_card_text(folder.name, model, provenance, count), encoding="utf-8")


def _size(state: Mapping[str, Any]) -> int:
    return 5_000_000 + sum(int(tensor.numel()) * int(tensor.element_size()) for tensor in state.values())


def model_card_text(name: str, model: Any, provenance: Mapping[str, Any], count: int) -> str:
    """The ``README.md`` of a saved model: YAML front matter as the hub reads it, then facts for people."""
    front: dict[str, Any] = {"library_name": "transformers"}
    if license_name := provenance.get("license"):
        front["license"] = str(license_name).lower()
    if base := hub_id(str(provenance.get("base_model", ""))):
        front["base_model"] = base
    config = model.config
    lines = ["---", yaml.safe_dump(front, allow_unicode=True, sort_keys=True).strip(), "---", ""]
    lines += [f"# {provenance.get('title') or name}", ""]
    facts = {
        "Architecture": type(model).__name__,
        "Parameters": f"{count:,}",
        "Base model": provenance.get("base_model"),
        "Task": provenance.get("task"),
        "Data": provenance.get("data"),
        "Licence": provenance.get("license"),
    }
    if type(model).__name__.endswith("Classification"):
        facts["Labels"] = ", ".join(str(config.id2label[index]) for index in sorted(config.id2label))
    lines += ["| | |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in facts.items() if value]
    metrics = provenance.get("metrics")
    if isinstance(metrics, Mapping) and metrics:
        lines += ["", "## Evaluation", "", "| metric | value |", "|---|---|"]
        lines += [f"| {_cell(key)} | {value:.4f} |" for key, value in metrics.items() if isinstance(value, int | float)]
    lines += ["", "Made with lmstudio-app.", ""]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
