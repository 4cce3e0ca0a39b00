"""Fine-tuning strategies: records that say which parameters train at which step, and how fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.training import lora
from lmstudio_app.training.layers import (
    BETWEEN,
    EMBEDDINGS,
    HEAD,
    LAYER,
    fixed_parameters,
    layer_groups,
    parameters_in,
    stacks,
    task_modules,
)
from lmstudio_app.training.strategy_config import StrategyConfig

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Strategy:
    """``stages(model, config)`` names the parameters that train in each stage, one after the other.

    A stage lasts ``unfreeze_every`` optimizer steps (0: an epoch), the last one to the end. ``rates(model, config)``
    gives factors of the learning rate by parameter name; those not named have 1. ``quiet_when_frozen`` keeps dropout
    off where nothing trains (see :func:`train_only`). ``adapt(model, config)`` puts new parameters into the model
    before all that, and returns the ``peft.PeftModel`` that knows them. ``keeps_weights`` says that most of the model
    stays as it is, which makes no sense for a new one.
    """

    name: str
    title: str
    help: str
    stages: Callable[[nn.Module, StrategyConfig], Sequence[frozenset[str]]]
    rates: Callable[[nn.Module, StrategyConfig], Mapping[str, float]] = lambda model, config: {}
    quiet_when_frozen: bool = False
    adapt: Callable[[nn.Module, StrategyConfig], Any] | None = None
    keeps_weights: bool = False


def _everything(model: nn.Module, config: StrategyConfig) -> list[frozenset[str]]:
    return [frozenset(name for name, _ in model.named_parameters()) - fixed_parameters(model)]


def _task_parameters(model: nn.Module, config: StrategyConfig) -> list[frozenset[str]]:
    names = parameters_in(model, task_modules(model))
    if not names:
        raise UserError(
            "This model has no parameters of its own for the task, so a frozen backbone leaves nothing to train.",
            "Choose the strategy full.",
        )
    return [names]


def unfreezing_order(model: nn.Module, config: StrategyConfig) -> list[frozenset[str]]:
    """What begins to train in each stage: the head with what lies above the layers, then one layer after the other.

    From the top; in an encoder-decoder through the decoder first. What lies above the encoder's layers goes with the
    uppermost of them. Gradual unfreezing: Howard and Ruder 2018, https://arxiv.org/abs/1801.06146.
    """
    fixed = fixed_parameters(model)
    waiting: set[str] = set()  # goes with the next layer below
    order: list[set[str]] = [set()]
    embeddings: set[str] = set()
    for group in reversed(layer_groups(model)):
        if group.kind == EMBEDDINGS:
            embeddings |= set(group.names)
        elif group.kind == LAYER:
            order.append(set(group.names) | waiting)
            waiting = set()
        elif group.kind == HEAD or len(order) == 1:
            order[0] |= set(group.names)
        elif group.kind == BETWEEN:
            waiting |= set(group.names)
    order = order[: config.layers + 1] if config.layers else [*order, embeddings]
    return [frozenset(names - fixed) for names in order if names - fixed]


def _layer_by_layer(model: nn.Module, config: StrategyConfig) -> list[frozenset[str]]:
    stages: list[frozenset[str]] = []
    for names in unfreezing_order(model, config):
        stages.append(names | (stages[-1] if stages else frozenset()))
    return stages


def _layer_rates(model: nn.Module, config: StrategyConfig) -> dict[str, float]:
    """Discriminative fine-tuning (Howard and Ruder 2018): a factor for every layer that one goes down."""
    order = unfreezing_order(model, config)
    return {name: config.layer_decay**depth for depth, names in enumerate(order) for name in names}


def _adapters(model: nn.Module, config: StrategyConfig) -> list[frozenset[str]]:
    return [frozenset(name for name, _ in model.named_parameters() if lora.is_trained(name))]


STRATEGIES: tuple[Strategy, ...] = (
    Strategy(
        "frozen_backbone",
        "Frozen backbone",
        "The pretrained part stays as it is and only the task's new layer trains: fast, and hard to spoil.",
        _task_parameters,
        quiet_when_frozen=True,
        keeps_weights=True,
    ),
    Strategy(
        "layer_by_layer",
        "Layer by layer",
        "The top trains first, then one layer more at a time, each slower than the one above: gentle with what the "
        "model already knows.",
        _layer_by_layer,
        _layer_rates,
        quiet_when_frozen=True,
    ),
    Strategy("full", "Everything", "All weights train: the best result, the most memory and time.", _everything),
    Strategy(
        "lora",
        "LoRA",
        "The weights stay as they are; small adapters beside them train, with the task's new layer: little memory, and "
        "checkpoints of a few megabytes.",
        _adapters,
        adapt=lora.adapt,
        keeps_weights=True,
    ),
)


def find_strategy(name: str) -> Strategy:
    """Raises :class:`UserError` naming those that there are."""
    for strategy in STRATEGIES:
        if strategy.name == name:
            return strategy
    raise UserError(
        "There is no strategy {name}.", "Choose one of: {names}.",
        name=name, names=", ".join(strategy.name for strategy in STRATEGIES),
    )  # fmt: skip


def train_only(model: nn.Module, names: frozenset[str], strategy: Strategy) -> int:
    """Set ``requires_grad`` and the train/eval mode of ``model``; return how many parameters train.

    Dropout is there to keep weights that learn from relying on each other. Where none learns it would only add noise to
    the features that the part above is to learn from, so ``quiet_when_frozen`` keeps it off there, and a layer gets its
    dropout together with its gradient.
    """
    model.train()
    count = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
        count += parameter.numel() if name in names else 0
    if strategy.quiet_when_frozen:
        _quieten(model)
    return count


def _quieten(model: nn.Module) -> None:
    """Eval mode for every module in which nothing trains.

    What has no parameters goes with the module around it. The modules around the layers (whose own dropout is that of
    the embeddings) go with the lowest layer.
    """
    holders: dict[str, nn.Module] = {}
    for stack in stacks(model):
        owner = stack.owner
        while owner and owner not in holders:
            holders[owner] = stack.layers[0]
            owner = owner.rpartition(".")[0]
    for path, module in model.named_modules():  # the outer ones first
        if not path:
            continue
        parameters = list(holders.get(path, module).parameters())
        parent = model.get_submodule(path.rpartition(".")[0])
        module.training = any(p.requires_grad for p in parameters) if parameters else parent.training
