"""Checkpoints: everything a run needs to go on as if nothing had happened, written whole or not at all.

model.safetensors      weights (with config.json and the tokenizer: a checkpoint loads like any model); or, where only
                       adapters train, adapter_model.safetensors and adapter_config.json, which peft loads
optimizer.safetensors  AdamW moments, named ``state.parameter``
rng.safetensors        random number generators
trainer.json           position in the data, running means, versions
manifest.json          size and SHA-256 of each of these, checked before a resume
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError, first_line, is_out_of_memory
from lmstudio_app.files import atomic_folder, require_free_space
from lmstudio_app.training import lora
from lmstudio_app.training.layers import fixed_parameters

if TYPE_CHECKING:
    import torch
    from torch import nn

_VERSION = 2
_PREFIX, _DAMAGED = "step-", "damaged-"
_STATE, _MANIFEST = "trainer.json", "manifest.json"


@dataclass
class Position:
    """Where a run stands: after ``step`` optimizer steps, before batch ``batch`` of epoch ``epoch``.

    The sums are those since the last logged step, so that a resumed run logs the same means.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    evaluated_step: int = 0
    loss_sum: Any = 0.0  # a float, or a float32 scalar on the device while the loop runs
    logged_steps: int = 0
    best_value: float | None = None  # of the task's main metric
    best_loss: float = 0.0
    best_step: int = 0
    waited: int = 0  # evaluations since the best one
    parts: int = 1  # into which a batch is cut, for want of memory
    train_seconds: float = 0.0
    examples: int = 0
    probe_every: int = 0  # steps between two recordings of the watched sentence; 0: not yet known
    data: str = ""  # fingerprint of the rows, for the question whether they are still the same


def checkpoint_folders(folder: Path) -> list[Path]:
    """Whole checkpoints, the oldest first. Unfinished ones have another name and do not show."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if (path / _STATE).is_file())


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where the checkpoint of ``step`` stands, or would."""
    return folder / f"{_PREFIX}{step:08}"


def step_of(checkpoint: Path) -> int:
    """The optimizer steps after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def load_weights(folder: Path, model: nn.Module, adapter: Any = None) -> None:
    """The weights of a checkpoint alone, into ``model`` or into its ``adapter`` (a ``peft.PeftModel``), if it has one.

    Raises :class:`UserError` when they do not fit.
    """
    from safetensors import SafetensorError

    try:
        _restore_weights(folder, model, adapter)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            "The weights of {folder} cannot be read ({reason}).",
            "Start a new run with the same recipe.",
            folder=str(folder),
            reason=first_line(error),
        ) from error


def save_checkpoint(
    folder: Path,
    position: Position,
    model: Any,
    tokenizer: Any,
    optimizer: torch.optim.Optimizer,
    *,
    keep: int,
    also: int | None = None,
    adapter: Any = None,
    base: str = "",
) -> Path:
    """Write ``folder/step-00000123`` atomically, then delete all but the newest ``keep`` and that of step ``also``.

    With an ``adapter`` (a ``peft.PeftModel``) it holds only what trains; ``base`` is the model's reference.
    """
    from safetensors.torch import save_file

    from lmstudio_app.models.loading import quiet_transformers

    target = checkpoint_folder(folder, position.step)
    moments = _optimizer_tensors(model, optimizer)
    weights = lora.adapter_size(adapter) if adapter is not None else sum(p.nbytes for p in model.parameters())
    require_free_space(folder, weights + sum(tensor.nbytes for tensor in moments.values()))
    with atomic_folder(target) as temporary:
        with quiet_transformers():
            if adapter is not None:
                lora.save_adapter(temporary, adapter, base)
                model.config.save_pretrained(temporary)
            else:  # in one file, under the names that the model has in memory
                model.save_pretrained(temporary, max_shard_size="100TB", save_original_format=False)
                tokenizer.save_pretrained(temporary)
        save_file(moments, temporary / "optimizer.safetensors")
        save_file(_random_states(), temporary / "rng.safetensors")
        state = {"version": _VERSION, "position": {**asdict(position), "loss_sum": float(position.loss_sum)}}
        (temporary / _STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        _write_manifest(temporary)
    for old in checkpoint_folders(folder)[:-keep]:
        if also is None or old != checkpoint_folder(folder, also):
            shutil.rmtree(old, ignore_errors=True)
    return target


def _write_manifest(folder: Path) -> None:
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / _MANIFEST).write_text(json.dumps({"files": files}, indent=1) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # without Python's lock


def find_damage(folder: Path) -> str:
    """What is wrong with the files of a checkpoint, by its manifest; empty when nothing is."""
    try:
        if json.loads((folder / _STATE).read_text(encoding="utf-8"))["version"] < 2:
            return ""  # older checkpoints have no manifest
        files = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, entry in files.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != entry["size"] or _sha256(path) != entry["sha256"]:
                return f"{name} has changed"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return first_line(error)
    return ""


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint, so that it is no longer counted as the newest. Returns its new folder."""
    target = folder.with_name(f"{_DAMAGED}{folder.name}")
    if target.exists():
        shutil.rmtree(target)
    return folder.rename(target)


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, adapter: Any = None) -> Position:
    """Restore model, optimizer and random states from one checkpoint folder; return the position.

    Raises :class:`UserError` when the checkpoint is damaged (see :func:`find_damage`, which tells without touching
    the model) or belongs to another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        _restore_weights(folder, model, adapter)
        _restore_optimizer(model, optimizer, load_file(folder / "optimizer.safetensors"))
        _restore_random_states(load_file(folder / "rng.safetensors"))
        known = {item.name for item in fields(Position)}
        return Position(**{key: value for key, value in state["position"].items() if key in known})
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            "The checkpoint {folder} does not fit this run's recipe ({reason}).",
            "Take the recipe, the model and the data that the run began with, or start a new run.",
            folder=str(folder),
            reason=first_line(error),
        ) from error


def _restore_weights(folder: Path, model: nn.Module, adapter: Any) -> None:
    from safetensors.torch import load_model

    if adapter is not None:
        lora.load_adapter(folder, adapter)
        return
    # tied weights are stored once, which load_model knows; positions that are a formula are not stored by every family
    missing, unexpected = load_model(model, folder / "model.safetensors", strict=False, device="cpu")
    wrong = sorted((set(missing) - fixed_parameters(model)) | set(unexpected))
    if wrong:
        raise ValueError(f"{wrong[0]} is in only one of the two")


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{key}.{names[parameter]}": tensor.detach().cpu().contiguous()
        for parameter, state in optimizer.state.items()
        for key, tensor in state.items()
    }


def _restore_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for full_name, tensor in tensors.items():
        key, name = full_name.split(".", 1)
        parameter = parameters[name]
        # AdamW's fused form keeps its step count beside the parameter
        optimizer.state.setdefault(parameter, {})[key] = tensor.to(parameter.device)


def _random_states() -> dict[str, torch.Tensor]:
    import torch

    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _restore_random_states(states: dict[str, torch.Tensor]) -> None:
    import torch

    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
