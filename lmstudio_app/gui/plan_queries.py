"""What the Train page asks before a training, as jobs: what would train, and how a vocabulary cuts its texts."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.preloading import preload_libraries

if TYPE_CHECKING:
    from lmstudio_app.data.splits import DataConfig
    from lmstudio_app.models.architectures import ArchitectureConfig
    from lmstudio_app.models.tokenizer_report import TokenizerReport
    from lmstudio_app.tasks import Task
    from lmstudio_app.training.layers import LayerGroup
    from lmstudio_app.training.strategies import StrategyConfig

_COVERED_TEXTS = 3000  # on which a vocabulary is judged


@dataclass(frozen=True)
class PlanRequest:
    """``source`` is a ``transformers.PretrainedConfig`` or, for a new model, an :class:`ArchitectureConfig`.

    ``data`` and the model's ``own_labels`` say how many labels there are, where the task has any. ``skeleton`` is the
    model without weights that an earlier answer for the same source, task and data has made.
    """

    source: Any
    task: Task
    data: DataConfig | None
    strategy: StrategyConfig
    own_labels: tuple[str, ...] = ()
    skeleton: Any = None


@dataclass(frozen=True)
class PlannedPart:
    """One part of the model, ``group``, and the stages of the strategy.

    ``trained`` of its parameters change at some time, the first of them in ``stage`` (from 0; None: none ever).
    ``adapter`` counts new parameters beside them that train in their place.
    """

    group: LayerGroup
    trained: int
    stage: int | None
    adapter: int = 0


@dataclass(frozen=True)
class PlanAnswer:
    """``parts`` go from the input to the output. ``problem`` says why the strategy has no plan for this model."""

    skeleton: Any
    parameters: int
    parts: tuple[PlannedPart, ...] = ()
    problem: UserError | None = None

    @property
    def trained(self) -> int:
        """Parameters that change at some time, adapters included."""
        return sum(part.trained + part.adapter for part in self.parts)

    @property
    def total(self) -> int:
        """Of the model and its adapters."""
        return self.parameters + sum(part.adapter for part in self.parts)


def plan_training(request: PlanRequest, ctx: JobContext) -> PlanAnswer:
    """Which parameters the strategy would train. Nothing of the model's size is allocated."""
    preload_libraries(ctx)
    skeleton = request.skeleton if request.skeleton is not None else _skeleton(request, ctx)
    ctx.check()
    parameters = sum(parameter.numel() for parameter in skeleton.parameters())
    try:
        return PlanAnswer(skeleton, parameters, _parts(skeleton, request.strategy))
    except UserError as problem:
        return PlanAnswer(skeleton, parameters, (), problem)


def _parts(model: Any, config: StrategyConfig) -> tuple[PlannedPart, ...]:
    from lmstudio_app.training.layers import layer_groups
    from lmstudio_app.training.lora import target_modules, trained_heads
    from lmstudio_app.training.strategies import find_strategy

    strategy, groups = find_strategy(config.name), layer_groups(model)
    adapters: dict[str, int] = {}
    if strategy.adapt is not None:  # its parameters are not in the model yet
        adapters = target_modules(model, config)
        heads = trained_heads(model)
        names = (name for name, _ in model.named_parameters() if name.partition(".")[0] in heads)
        stages = [frozenset(names)]
    else:
        stages = list(strategy.stages(model, config))
    first = {name: number for number, names in reversed(list(enumerate(stages))) for name in names}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    return tuple(
        PlannedPart(
            group,
            sum(sizes[name] for name in group.names if name in first),
            min((first[name] for name in group.names if name in first), default=None),
            sum(count for path, count in adapters.items() if any(name.startswith(f"{path}.") for name in group.names)),
        )
        for group in groups
    )


def _skeleton(request: PlanRequest, ctx: JobContext) -> Any:
    """The model with the task's head, all names and shapes and no weights."""
    labels = _label_names(request, ctx)
    import torch
    import transformers

    from lmstudio_app.models.architectures import ArchitectureConfig, skeleton
    from lmstudio_app.models.loading import AUTO_CLASSES
    from lmstudio_app.models.quiet import quiet_transformers

    source, head = request.source, request.task.head
    with quiet_transformers():
        if isinstance(source, ArchitectureConfig):
            return skeleton(source, source.tokenizer.vocabulary, head, len(labels))
        config = copy.deepcopy(source)
        if request.task.label_names is not None:
            config.id2label = dict(enumerate(labels))
            config.label2id = {label: index for index, label in enumerate(labels)}
        with torch.device("meta"):
            return getattr(transformers, AUTO_CLASSES[head]).from_config(config)


def _label_names(request: PlanRequest, ctx: JobContext) -> tuple[str, ...]:
    """Those that the training will have; two while no data is chosen."""
    task = request.task
    if task.label_names is None or request.data is None:
        return ("0", "1")
    from lmstudio_app.data.splits import prepare_data

    splits = prepare_data(request.data, task.columns, ctx)
    return task.label_names(splits.train, splits.eval, dict(enumerate(request.own_labels)) or None)


@dataclass(frozen=True)
class VocabularyRequest:
    """``options`` are the task's own (see :class:`~lmstudio_app.training.recipe.Recipe`)."""

    architecture: ArchitectureConfig
    task: str
    data: DataConfig
    options: Any = field(default=None)


def try_vocabulary(request: VocabularyRequest, ctx: JobContext) -> TokenizerReport:
    """Learn the vocabulary (a training with the same data then finds it learned) and judge it on evaluation texts."""
    ctx.status("Reading the data")
    from lmstudio_app.data.splits import prepare_data
    from lmstudio_app.models.loading import load_tokenizer
    from lmstudio_app.models.quiet import quiet_transformers
    from lmstudio_app.models.tokenizer_report import tokenizer_report
    from lmstudio_app.tasks import find_task
    from lmstudio_app.training.scratch import tokenizer_folder, training_texts

    preload_libraries(ctx)
    task = find_task(request.task)
    splits = prepare_data(request.data, task.columns, ctx)
    options = task.options() if request.options is None else request.options
    extra = tuple(task.special_tokens(splits.train, options)) if task.special_tokens is not None else ()
    folder = tokenizer_folder(request.architecture, task, splits.train, extra, ctx)
    ctx.status("Cutting the evaluation texts into pieces")
    with quiet_transformers():
        tokenizer = load_tokenizer(folder)
    texts = training_texts(splits.eval.select(range(min(len(splits.eval), _COVERED_TEXTS))), task)
    return tokenizer_report(tokenizer, texts, ctx)
