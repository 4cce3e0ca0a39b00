"""A strategy in the fewest names: which modules of a model it means, for a script to say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmstudio_app.training import lora
from lmstudio_app.training.layers import fixed_parameters, stacks
from lmstudio_app.training.strategies import find_strategy, unfreezing_order
from lmstudio_app.training.strategy_config import StrategyConfig

if TYPE_CHECKING:
    from torch import nn


def compress(model: nn.Module, names: frozenset[str]) -> list[str]:
    """The fewest paths of modules (or parameters) that hold these parameters and no others."""
    every = [name for name, _ in model.named_parameters()]
    found: list[str] = []
    for name in every:
        if name not in names or any(f"{name}.".startswith(f"{path}.") for path in found):
            continue
        steps = name.split(".")
        paths = [".".join(steps[:length]) for length in range(1, len(steps) + 1)]
        found.append(next(p for p in paths if all(n in names for n in every if f"{n}.".startswith(f"{p}."))))
    return found


def stage_paths(model: nn.Module, config: StrategyConfig) -> list[list[str]]:
    """What begins to train in each stage."""
    if config.name == "layer_by_layer":
        order: Sequence[frozenset[str]] = unfreezing_order(model, config)
    else:
        order = find_strategy(config.name).stages(model, config)
    return [compress(model, names) for names in order]


def formulas(model: nn.Module, *, is_loaded: bool) -> list[str]:
    """Parameters that must be told not to train. Those of a new model know it; weights from a file do not."""
    fixed = fixed_parameters(model)
    return [name for name, p in model.named_parameters() if name in fixed and (is_loaded or p.requires_grad)]


def around_layers(model: nn.Module) -> dict[str, str]:
    """The modules around the layers, each with the layer whose dropout they share."""
    found: dict[str, str] = {}
    for stack in stacks(model):
        owner = stack.owner
        while owner and owner not in found:
            found[owner] = f"{stack.path}.0"
            owner = owner.rpartition(".")[0]
    return found


def lora_settings(model: nn.Module, strategy: StrategyConfig) -> dict[str, Any]:
    """The arguments of ``peft.LoraConfig`` with the shortest names that mean the very same modules."""
    config = lora.lora_config(model, strategy)
    wanted = set(config.target_modules)
    every = [path for path, _ in model.named_modules()]
    endings: set[str] = set()
    for path in wanted:
        steps = path.split(".")
        for length in range(1, len(steps) + 1):
            ending = ".".join(steps[-length:])
            if all(other in wanted for other in every if other == ending or other.endswith(f".{ending}")):
                endings.add(ending)
                break
    return {
        "target_modules": sorted(endings),
        "modules_to_save": config.modules_to_save,
        "fan_in_fan_out": bool(config.fan_in_fan_out),
        "task_type": config.task_type and str(getattr(config.task_type, "value", config.task_type)),
    }
