"""What a training will change, before it begins: layer by layer, from which stage on, and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.splits import prepare_data
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.architectures import skeleton
from lmstudio_app.models.card import read_card
from lmstudio_app.models.loading import AUTO_CLASSES, load_config, preload_libraries, quiet_transformers
from lmstudio_app.models.references import resolve
from lmstudio_app.tasks import find_task
from lmstudio_app.training import lora
from lmstudio_app.training.layers import LayerGroup, layer_groups, note_new_parts, parameters_in
from lmstudio_app.training.strategies import find_strategy
from lmstudio_app.training.strategy_config import StrategyConfig

if TYPE_CHECKING:
    from torch import nn

    from lmstudio_app.training.recipe import Recipe


@dataclass(frozen=True)
class PlannedGroup:
    """One height of the model (see :class:`~lmstudio_app.training.layers.LayerGroup`), and what becomes of it.

    ``stage`` is the one from which it trains (None: never), ``rate`` the factor of its learning rate, ``trained`` how
    many of its parameters train in the end, and ``adapter`` how many new ones are put beside them.
    """

    group: LayerGroup
    stage: int | None
    rate: float
    trained: int
    adapter: int = 0

    @property
    def title(self) -> str:
        return self.group.title

    @property
    def count(self) -> int:
        return self.group.count


@dataclass(frozen=True)
class LayerPlan:
    """The groups from the bottom to the top. A stage lasts ``unfreeze_every`` optimizer steps (0: an epoch)."""

    groups: tuple[PlannedGroup, ...]
    stages: int
    unfreeze_every: int

    @property
    def parameters(self) -> int:
        """Of the model, without adapters."""
        return sum(planned.count for planned in self.groups)

    @property
    def trained(self) -> int:
        """How many parameters train in the last stage, adapters among them."""
        return sum(planned.trained + planned.adapter for planned in self.groups)

    def trained_in(self, stage: int) -> int:
        """How many parameters train in this stage, adapters among them."""
        return sum(p.trained + p.adapter for p in self.groups if p.stage is not None and p.stage <= stage)


def describe_strategy(model: nn.Module, config: StrategyConfig) -> LayerPlan:
    """What ``config`` does with ``model``, which stays as it is and may be without weights (on torch's meta device).

    Raises :class:`UserError` when the strategy does not suit the model.
    """
    strategy, groups = find_strategy(config.name), layer_groups(model)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    adapters: dict[str, int] = {}
    if strategy.adapt is None:
        stages, rates = strategy.stages(model, config), strategy.rates(model, config)
    else:
        adapters = {f"{path}.": count for path, count in lora.target_modules(model, config).items()}
        heads = lora.trained_heads(model)
        stages, rates = [parameters_in(model, heads)], {}
    planned = []
    for group in groups:
        beside = sum(count for path, count in adapters.items() if any(name.startswith(path) for name in group.names))
        begun = [number for number, names in enumerate(stages) if names & set(group.names)]
        trained = [name for name in group.names if name in stages[-1]]
        rate = rates.get(trained[0], 1.0) if trained else 1.0
        stage = 0 if beside else begun[0] if begun else None
        planned.append(PlannedGroup(group, stage, rate, sum(sizes[name] for name in trained), beside))
    return LayerPlan(tuple(planned), len(stages), config.unfreeze_every)


def plan_training(recipe: Recipe, ctx: JobContext, *, labels: int = 0) -> LayerPlan:
    """The plan of a recipe (a job). Reads a model's configuration and none of its weights.

    ``labels`` is the number of classes, where the task has some. 0 stands for those that the model has, else for two,
    which is enough for a picture: the head is the smallest part. See :func:`count_labels`.
    """
    head = find_task(recipe.task).head
    ctx.status("Loading the libraries")
    preload_libraries(ctx)
    ctx.check()
    with quiet_transformers(ctx):
        if recipe.architecture is not None:
            model = skeleton(recipe.architecture, recipe.architecture.tokenizer.vocabulary, head, labels or 2)
        else:
            model = pretrained_skeleton(recipe, head, labels, ctx)
    ctx.check()
    return describe_strategy(model, recipe.strategy)


def pretrained_skeleton(recipe: Recipe, head: str, labels: int, ctx: JobContext) -> Any:
    import torch
    import transformers

    folder = resolve(recipe.model, ctx)
    card = read_card(folder, recipe.model)
    config = load_config(folder)
    if "classification" in head:
        count = labels or (len(card.labels) if card.head == head else 0) or 2
        config.id2label = {index: str(index) for index in range(count)}
        config.label2id = {name: index for index, name in config.id2label.items()}
    with torch.device("meta"):
        model = getattr(transformers, AUTO_CLASSES[head]).from_config(config)
    note_new_parts(model, card)
    return model


def count_labels(recipe: Recipe, ctx: JobContext) -> int:
    """How many classes the recipe's data has; 0 for a task without. Reads the data."""
    task = find_task(recipe.task)
    if task.label_names is None:
        return 0
    splits = prepare_data(recipe.data, task.columns, ctx)
    own = read_card(resolve(recipe.model, ctx), recipe.model).labels if recipe.model else ()
    return len(task.label_names(splits.train, splits.eval, dict(enumerate(own)) or None))
