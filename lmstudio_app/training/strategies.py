"""Fine-tuning strategies: records that say which parameters train at which step, and how fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.options import check_options, option

if TYPE_CHECKING:
    from torch import nn


def backbone_prefix(model: nn.Module) -> str:
    """``"bert."`` for a BERT with a head: the attribute under which transformers keeps the pretrained part."""
    prefix = getattr(model, "base_model_prefix", "")
    return f"{prefix}." if prefix and hasattr(model, prefix) else ""


@dataclass(frozen=True)
class StrategyConfig:
    """Which parameters train: a strategy by name, and what it can be told."""

    name: str = option(
        "full",
        "Strategy",
        "Which parts of the model may change.",
        basic=True,
        choices=("full", "frozen_backbone"),
    )
    unfreeze_every: int = option(
        0, "Unfreeze every", "Optimizer steps after which one more layer begins to train; 0: an epoch.",
        minimum=0, only=("layer_by_layer",),
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self, "strategy")


@dataclass(frozen=True)
class Strategy:
    """``stages(model, config)`` names the parameters that train in each stage, one after the other.

    A stage lasts ``unfreeze_every`` optimizer steps (0: an epoch), the last one to the end. ``rates(model, config)``
    gives factors of the learning rate by parameter name; those not named have 1. ``frozen_backbone_eval`` keeps dropout
    off in the backbone, which then gives the same features every epoch.
    """

    name: str
    title: str
    help: str
    stages: Callable[[nn.Module, StrategyConfig], Sequence[frozenset[str]]]
    rates: Callable[[nn.Module, StrategyConfig], Mapping[str, float]] = lambda model, config: {}
    frozen_backbone_eval: bool = False


def _everything(model: nn.Module, config: StrategyConfig) -> list[frozenset[str]]:
    return [frozenset(name for name, _ in model.named_parameters())]


def _task_parameters(model: nn.Module, config: StrategyConfig) -> list[frozenset[str]]:
    prefix = backbone_prefix(model)
    names = frozenset(name for name, _ in model.named_parameters() if prefix and not name.startswith(prefix))
    if not names:
        raise UserError(
            "This model has no parameters of its own for the task, so a frozen backbone leaves nothing to train.",
            "Choose the strategy full.",
        )
    return [names]


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


def train_only(model: nn.Module, names: frozenset[str], strategy: Strategy) -> int:
    """Set ``requires_grad`` and the train/eval mode of ``model``; return how many parameters train."""
    model.train()
    prefix = backbone_prefix(model).rstrip(".")
    if strategy.frozen_backbone_eval and prefix:
        model.get_submodule(prefix).eval()
    count = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
        count += parameter.numel() if name in names else 0
    return count
