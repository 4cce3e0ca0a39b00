"""Checkpoints: everything a run needs to go on as if nothing had happened, written whole or not at all.

model.safetensors      weights (with config.json and the tokenizer: a checkpoint loads like any model)
optimizer.safetensors  AdamW moments, named ``state.parameter``
rng.safetensors        random number generators
trainer.json           position in the data, running means, versions
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_folder, require_free_space

if TYPE_CHECKING:
    import torch
    from torch import nn

_VERSION = 1
_PREFIX = "step-"


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
    logged_batches: int = 0
    train_seconds: float = 0.0
    examples: int = 0


def checkpoint_folders(folder: Path) -> list[Path]:
    """Whole checkpoints, the oldest first. Unfinished ones have another name and do not show."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if (path / "trainer.json").is_file())


def save_checkpoint(
    folder: Path,
    position: Position,
    model: Any,
    tokenizer: Any,
    optimizer: torch.optim.Optimizer,
    *,
    keep: int,
) -> Path:
    """Write ``folder/step-00000123`` atomically, then delete all but the newest ``keep``."""
    from safetensors.torch import save_file

    from lmstudio_app.models.loading import quiet_transformers

    target = folder / f"{_PREFIX}{position.step:08}"
    moments = _optimizer_tensors(model, optimizer)
    size = sum(tensor.nbytes for tensor in (*model.state_dict().values(), *moments.values()))
    require_free_space(folder, size)
    with atomic_folder(target) as temporary:
        with quiet_transformers():
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        save_file(moments, temporary / "optimizer.safetensors")
        save_file(_random_states(), temporary / "rng.safetensors")
        state = {"version": _VERSION, "position": {**asdict(position), "loss_sum": float(position.loss_sum)}}
        (temporary / "trainer.json").write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    for old in checkpoint_folders(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Position:
    """Restore model, optimizer and random states from one checkpoint folder; return the position.

    Raises :class:`UserError` when the checkpoint is damaged or belongs to another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, load_model

    try:
        state = json.loads((folder / "trainer.json").read_text(encoding="utf-8"))
        load_model(model, folder / "model.safetensors", strict=True, device="cpu")
        _restore_optimizer(model, optimizer, load_file(folder / "optimizer.safetensors"))
        _restore_random_states(load_file(folder / "rng.safetensors"))
        known = {item.name for item in fields(Position)}
        return Position(**{key: value for key, value in state["position"].items() if key in known})
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UserError(
            "The checkpoint {folder} cannot be read ({reason}).",
            "Delete this checkpoint folder and resume again: the one before it is used.",
            folder=str(folder),
            reason=str(error).splitlines()[0] if str(error) else type(error).__name__,
        ) from error


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
