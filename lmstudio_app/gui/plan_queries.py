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
    from lmstudio_app.models.card import ModelCard
    from lmstudio_app.models.tokenizer_report import TokenizerReport
    from lmstudio_app.tasks import Task
    from lmstudio_app.training.plan import LayerPlan
    from lmstudio_app.training.strategy_config import StrategyConfig

_COVERED_TEXTS = 3000  # on which a vocabulary is judged


@dataclass(frozen=True)
class PlanRequest:
    """``source`` is the configuration of a loaded model with its ``card``, or the :class:`ArchitectureConfig` of a new
    one.

    ``data`` says how many labels there are, where the task has any. ``skeleton`` is the model without weights that an
    earlier answer for the same source, task and data has made.
    """

    source: Any
    task: Task
    data: DataConfig | None
    strategy: StrategyConfig
    card: ModelCard | None = None
    skeleton: Any = None


@dataclass(frozen=True)
class PlanAnswer:
    """``parameters`` counts the model's own. ``problem`` says why the strategy has no plan for it."""

    skeleton: Any
    parameters: int
    plan: LayerPlan | None
    problem: UserError | None = None


def plan_layers(request: PlanRequest, ctx: JobContext) -> PlanAnswer:
    """Which parameters the strategy would train. Nothing of the model's size is allocated."""
    preload_libraries(ctx)
    from lmstudio_app.training.plan import describe_strategy

    skeleton = request.skeleton if request.skeleton is not None else _skeleton(request, ctx)
    ctx.check()
    parameters = sum(parameter.numel() for parameter in skeleton.parameters())
    try:
        return PlanAnswer(skeleton, parameters, describe_strategy(skeleton, request.strategy))
    except UserError as problem:
        return PlanAnswer(skeleton, parameters, None, problem)


def _skeleton(request: PlanRequest, ctx: JobContext) -> Any:
    """The model with the task's head, all names and shapes and no weights."""
    import torch
    import transformers

    from lmstudio_app.models.architectures import ArchitectureConfig, skeleton
    from lmstudio_app.models.loading import AUTO_CLASSES
    from lmstudio_app.models.quiet import quiet_transformers
    from lmstudio_app.training.layers import note_new_parts

    labels = _label_names(request, ctx)
    source, head = request.source, request.task.head
    with quiet_transformers():
        if isinstance(source, ArchitectureConfig):
            return skeleton(source, source.tokenizer.vocabulary, head, len(labels))
        config = copy.deepcopy(source)
        if request.task.label_names is not None:
            config.id2label = dict(enumerate(labels))
            config.label2id = {label: index for index, label in enumerate(labels)}
        with torch.device("meta"):
            model = getattr(transformers, AUTO_CLASSES[head]).from_config(config)
    if request.card is not None:
        note_new_parts(model, request.card)
    return model


def _label_names(request: PlanRequest, ctx: JobContext) -> tuple[str, ...]:
    """Those that the training will have; two while no data is chosen."""
    task = request.task
    if task.label_names is None or request.data is None:
        return ("0", "1")
    from lmstudio_app.data.splits import prepare_data

    own = request.card.labels if request.card is not None else ()
    splits = prepare_data(request.data, task.columns, ctx)
    return task.label_names(splits.train, splits.eval, dict(enumerate(own)) or None)


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
