"""What the loop needs, made ready: data, labels, model, optimizer, schedule."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import epoch_batches, sorted_batches
from lmstudio_app.data.splits import DataSplits, prepare_data
from lmstudio_app.events import Status
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.card import ModelCard, read_card
from lmstudio_app.models.fitting import find_misfit
from lmstudio_app.models.loading import (
    LoadedModel,
    LoadRequest,
    load_config,
    load_model,
    preload_libraries,
    quiet_transformers,
)
from lmstudio_app.models.references import resolve
from lmstudio_app.tasks import Task, find_task
from lmstudio_app.tasks.task import Setup
from lmstudio_app.training.checkpoints import Position
from lmstudio_app.training.encoding import EncodedRows, encode_rows
from lmstudio_app.training.layers import note_new_parts
from lmstudio_app.training.processes import Processes, make_accelerator
from lmstudio_app.training.recipe import Recipe, TrainingConfig
from lmstudio_app.training.scratch import start_from_scratch
from lmstudio_app.training.strategies import Strategy, find_strategy, train_only

if TYPE_CHECKING:
    import numpy as np
    import torch
    from accelerate import Accelerator

_EVALUATION = 2**32  # where an epoch's number stands among the seeds: one that no training reaches


@dataclass(frozen=True)
class Batch:
    """Tensors on the device. ``items`` is what the loss is a mean over; ``tokens`` counts without padding."""

    inputs: dict[str, torch.Tensor]
    items: int
    examples: int
    tokens: int


@dataclass(frozen=True)
class StepRows:
    """The rows of one optimizer step, one array a batch, and where in the data they stand."""

    batches: tuple[np.ndarray, ...]
    epoch: int
    first: int


@dataclass
class Session:
    """One training, ready to run. ``model`` is what the loop calls; ``loaded.model`` is what is saved."""

    recipe: Recipe
    task: Task
    strategy: Strategy
    loaded: LoadedModel
    setup: Setup
    model: Any
    optimizer: torch.optim.AdamW
    accelerator: Accelerator
    processes: Processes
    splits: DataSplits
    train_rows: EncodedRows
    eval_rows: EncodedRows
    stages: tuple[frozenset[str], ...]
    adapter: Any = None  # the peft.PeftModel around loaded.model, where the strategy adds parameters
    evaluation_parts: int = 1  # into which a batch of the evaluation is cut, for want of memory
    stage: int = 0
    trainable_parameters: int = 0

    @property
    def config(self) -> TrainingConfig:
        return self.recipe.training

    @functools.cached_property
    def fingerprint(self) -> str:
        """The same for the same rows in the same order, as the model sees them."""
        return f"{self.train_rows.fingerprint}+{self.eval_rows.fingerprint}"

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        """Of the first epoch: with a limit of tokens a batch, others may have a few more or less."""
        return math.ceil(len(self._epoch_batches(0)) / self.config.gradient_accumulation)

    @property
    def total_steps(self) -> int:
        return max(1, math.ceil(self.config.epochs * self.steps_per_epoch))

    def _epoch_batches(self, epoch: int) -> list[np.ndarray]:
        """Of all processes together: each takes its share of every batch."""
        processes = self.processes.count
        return epoch_batches(
            self.train_rows.lengths,
            self.config.batch_size * processes,
            seed=self.config.seed,
            epoch=epoch,
            group_by_length=self.config.group_by_length,
            batch_tokens=self.config.batch_tokens * processes,
        )

    def optimizer_steps(self, position: Position) -> Iterator[StepRows]:
        """For ever, from ``position`` on: the rows of one optimizer step; moves ``position``."""
        size = self.config.gradient_accumulation
        while True:
            batches = self._epoch_batches(position.epoch)
            if position.batch >= len(batches):  # the data has become shorter since the checkpoint
                position.epoch, position.batch = position.epoch + 1, 0
                continue
            while position.batch < len(batches):
                step = StepRows(tuple(batches[position.batch : position.batch + size]), position.epoch, position.batch)
                position.batch += len(step.batches)
                is_last = position.batch >= len(batches)
                if is_last:  # before the yield: a checkpoint taken there starts the next epoch
                    position.epoch, position.batch = position.epoch + 1, 0
                yield step
                if is_last:
                    break

    def training_batches(self, step: StepRows, parts: int = 1) -> list[Batch]:
        """This process's share of a step on the device, every batch cut into ``parts``."""
        import numpy as np

        found = []
        for number, rows in enumerate(step.batches, step.first):
            share = rows[self.processes.index :: self.processes.count]
            for part, piece in enumerate(np.array_split(share, min(parts, max(1, len(share))))):
                random = np.random.Generator(np.random.PCG64([self.config.seed, step.epoch, number, part]))
                found.append(self._batch(self.train_rows, piece, random))
        return found

    @property
    def evaluation_size(self) -> int:
        """Rows of a batch in an evaluation: without gradients four times the training's fit."""
        return max(1, self.config.batch_size * 4 // self.evaluation_parts)

    def evaluation_batches(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        """The evaluation set by length: see :class:`lmstudio_app.tasks.task.Evaluation`."""
        import numpy as np
        import torch

        tokens = self.config.batch_tokens * 4
        tokens = max(1, tokens // self.evaluation_parts) if tokens else 0
        for number, rows in enumerate(sorted_batches(self.eval_rows.lengths, self.evaluation_size, tokens)):
            # masks and the like are the same in every evaluation, so that two can be compared
            random = np.random.Generator(np.random.PCG64([self.config.seed, _EVALUATION, number]))
            yield self._batch(self.eval_rows, rows, random).inputs, torch.from_numpy(self.eval_rows.rows[rows])

    def _batch(self, source: EncodedRows, rows: np.ndarray, random: np.random.Generator) -> Batch:
        import numpy as np

        if not len(rows):  # more processes than rows are left: one row without weight keeps this one in step
            idle = self._batch(source, np.array([source.lengths.argmin()]), random)
            return Batch(idle.inputs, 0, 0, 0)
        tensors = self.task.collate(source.take(rows), self.setup, random)
        inputs = {name: tensor.to(self.loaded.device, non_blocking=True) for name, tensor in tensors.items()}
        return Batch(inputs, self.task.items(tensors), len(rows), int(source.lengths[rows].sum()))

    def enter_stage(self, step: int) -> bool:
        """Let train what the strategy wants from optimizer step ``step`` on; True when that is something else."""
        stage = min(step // (self.recipe.strategy.unfreeze_every or self.steps_per_epoch), len(self.stages) - 1)
        if stage == self.stage and self.trainable_parameters:
            return False
        self.stage = stage
        self.trainable_parameters = train_only(self.loaded.model, self.stages[stage], self.strategy)
        return True


def prepare_session(recipe: Recipe, ctx: JobContext, processes: Processes, saved: Path | None = None) -> Session:
    """Read the data, name the labels, load or make the model, encode. Raises :class:`UserError` for whatever is wrong.

    ``saved`` is the checkpoint that the run goes on from: a model begun from scratch takes its tokenizer.
    """
    config = recipe.training
    task, strategy = find_task(recipe.task), find_strategy(recipe.strategy.name)
    own_labels: tuple[str, ...] = ()
    if recipe.architecture is None:  # a wrong model shows before the data is read
        own_labels = _require_fit(recipe.model, task, ctx).labels
    ctx.status("Reading the data")
    with processes.main_first():
        splits = prepare_data(recipe.data, task.columns, ctx)
    for problem in splits.report.problems:
        if problem.severity != "info":
            ctx.emit(Status(template=problem.template, parameters=dict(problem.parameters), warning=True))
    labels: tuple[str, ...] = ()
    if task.label_names is not None:
        labels = task.label_names(splits.train, splits.eval, dict(enumerate(own_labels)) or None)
    ctx.check()

    import torch  # takes seconds, so not before the first word

    torch.manual_seed(config.seed)  # before the new head gets its weights
    if recipe.architecture is not None:
        with processes.main_first():
            loaded = start_from_scratch(recipe, task, splits.train, labels, ctx, saved)
    else:
        request = LoadRequest(recipe.model, head=task.head, device=config.device, precision="float32", labels=labels)
        loaded = load_model(request, ctx)
        note_new_parts(loaded.model, loaded.card)
    limit = min(config.max_length, loaded.card.max_length or config.max_length)
    if limit < config.max_length:
        ctx.warn("This model reads at most {limit} tokens; longer texts are cut there.", limit=limit)
    setup = Setup(loaded.tokenizer, labels, limit, recipe.options, loaded.model.config)
    ctx.status("Turning {rows} texts into tokens", rows=len(splits.train) + len(splits.eval))
    train_rows = encode_rows(splits.train, task, setup, ctx)
    eval_rows = encode_rows(splits.eval, task, setup, ctx)

    accelerator = make_accelerator(config)
    adapter = strategy.adapt(loaded.model, recipe.strategy) if strategy.adapt else None
    stages = tuple(strategy.stages(loaded.model, recipe.strategy))
    train_only(loaded.model, frozenset().union(*stages), strategy)  # so that the optimizer knows all that ever trains
    optimizer = make_optimizer(loaded.model, config, strategy.rates(loaded.model, recipe.strategy))
    model, _ = accelerator.prepare(loaded.model, optimizer)
    return Session(
        recipe, task, strategy, loaded, setup, model, optimizer, accelerator, processes,
        splits, train_rows, eval_rows, stages, adapter,
    )  # fmt: skip


def _require_fit(reference: str, task: Task, ctx: JobContext) -> ModelCard:
    """The card of a model on this disk. Raises :class:`UserError` when its kind cannot learn the task."""
    folder = resolve(reference, ctx)
    card = read_card(folder, reference)
    ctx.status("Loading the libraries")
    preload_libraries(ctx)
    with quiet_transformers(ctx):
        config = load_config(folder)
    name = card.title or folder.name
    misfit = find_misfit(config, task.head, task=task.title, model=name, can_be_new=bool(task.families))
    if misfit is not None:
        raise misfit
    return card


def make_optimizer(
    model: torch.nn.Module, config: TrainingConfig, rates: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov and Hutter 2019); biases and norms, which have one dimension, do not decay.

    ``rates`` are factors of the learning rate by parameter name (1 where not named); each group keeps its own under
    ``rate``, for the schedule to multiply with.
    """
    import torch

    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault(((rates or {}).get(name, 1.0), decay), []).append(parameter)
    described = [{"params": found, "weight_decay": decay, "rate": rate} for (rate, decay), found in groups.items()]
    return torch.optim.AdamW(described, lr=config.learning_rate, betas=(0.9, config.adam_beta2), fused=True)


def learning_rate_at(step: int, total: int, config: TrainingConfig) -> float:
    """The learning rate of optimizer step ``step`` (from 0) of ``total``: warm-up, then the schedule down to 0."""
    warmup = math.ceil(total * config.warmup_ratio)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, total - warmup)  # of the rest, done before this step
    factor = {"linear": 1 - share, "cosine": 0.5 * (1 + math.cos(math.pi * share)), "constant": 1.0}
    return config.learning_rate * factor[config.schedule]
