"""Fine-tuning strategies: records that say which parameters train at which step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Strategy:
    """``trainable(model, step)`` gives the names of the parameters that train from optimizer step ``step`` on.

    ``frozen_backbone_eval`` keeps dropout off in the backbone, which then gives the same features every epoch.
    """

    name: str
    title: str
    help: str
    trainable: Callable[[nn.Module, int], frozenset[str]]
    frozen_backbone_eval: bool = False


def backbone_prefix(model: nn.Module) -> str:
    """``"bert."`` for a BERT with a head: the attribute under which transformers keeps the pretrained part."""
    prefix = getattr(model, "base_model_prefix", "")
    return f"{prefix}." if prefix and hasattr(model, prefix) else ""


def _everything(model: nn.Module, step: int) -> frozenset[str]:
    return frozenset(name for name, _ in model.named_parameters())


def _task_parameters(model: nn.Module, step: int) -> frozenset[str]:
    prefix = backbone_prefix(model)
    names = frozenset(name for name, _ in model.named_parameters() if prefix and not name.startswith(prefix))
    if not names:
        raise UserError(
            "This model has no parameters of its own for the task, so a frozen backbone leaves nothing to train.",
            "Choose the strategy full.",
        )
    return names


STRATEGIES: tuple[Strategy, ...] = (
    Strategy("full", "Everything", "All weights train: the best result, the most memory and time.", _everything),
    Strategy(
        "frozen_backbone",
        "Frozen backbone",
        "The pretrained part stays as it is and only the task's new layer trains: fast, and hard to spoil.",
        _task_parameters,
        frozen_backbone_eval=True,
    ),
)


def find_strategy(name: str) -> Strategy:
    for strategy in STRATEGIES:
        if strategy.name == name:
            return strategy
    raise UserError(
        "There is no strategy {name}.", "Choose one of: {names}.",
        name=name, names=", ".join(strategy.name for strategy in STRATEGIES),
    )  # fmt: skip


def apply_strategy(strategy: Strategy, model: nn.Module, step: int) -> int:
    """Set ``requires_grad`` and the train/eval mode of ``model`` for ``step``; return how many parameters train."""
    names = strategy.trainable(model, step)
    model.train()
    prefix = backbone_prefix(model).rstrip(".")
    if strategy.frozen_backbone_eval and prefix:
        model.get_submodule(prefix).eval()
    count = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
        count += parameter.numel() if name in names else 0
    return count
