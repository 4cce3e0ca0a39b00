"""What the loop needs, made ready: data, labels, model, optimizer, schedule."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import epoch_batches, sorted_batches
from lmstudio_app.data.splits import DataSplits, prepare_data
from lmstudio_app.devices import resolve_device, resolve_precision
from lmstudio_app.events import Status
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.card import read_card
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.models.references import resolve
from lmstudio_app.tasks import Task, find_task
from lmstudio_app.training.checkpoints import Position
from lmstudio_app.training.encoding import EncodedRows, encode_rows
from lmstudio_app.training.recipe import Recipe, TrainingConfig
from lmstudio_app.training.strategies import Strategy, apply_strategy, find_strategy

if TYPE_CHECKING:
    import numpy as np
    import torch
    from accelerate import Accelerator


@dataclass(frozen=True)
class Batch:
    """Tensors on the device; ``tokens`` counts without padding."""

    inputs: dict[str, torch.Tensor]
    examples: int
    tokens: int


@dataclass
class Session:
    """One training, ready to run. ``model`` is what the loop calls; ``loaded.model`` is what is saved."""

    recipe: Recipe
    task: Task
    strategy: Strategy
    loaded: LoadedModel
    model: Any
    optimizer: torch.optim.AdamW
    accelerator: Accelerator
    splits: DataSplits
    train_rows: EncodedRows
    eval_rows: EncodedRows
    labels: tuple[str, ...]
    trainable_parameters: int

    @property
    def config(self) -> TrainingConfig:
        return self.recipe.training

    @functools.cached_property
    def fingerprint(self) -> str:
        """The same for the same rows in the same order, as the model sees them."""
        return f"{self.train_rows.fingerprint}+{self.eval_rows.fingerprint}"

    @property
    def steps_per_epoch(self) -> int:
        batches = math.ceil(len(self.train_rows) / self.config.batch_size)
        return math.ceil(batches / self.config.gradient_accumulation)

    @property
    def total_steps(self) -> int:
        return max(1, math.ceil(self.config.epochs * self.steps_per_epoch))

    def optimizer_steps(self, position: Position) -> Iterator[list[Batch]]:
        """For ever, from ``position`` on: the batches of one optimizer step, on the device; moves ``position``."""
        size = self.config.gradient_accumulation
        while True:
            batches = epoch_batches(
                self.train_rows.lengths,
                self.config.batch_size,
                seed=self.config.seed,
                epoch=position.epoch,
                group_by_length=self.config.group_by_length,
            )
            if position.batch >= len(batches):  # the data has become shorter since the checkpoint
                position.epoch, position.batch = position.epoch + 1, 0
                continue
            while position.batch < len(batches):
                rows = batches[position.batch : position.batch + size]
                position.batch += len(rows)
                if position.batch >= len(batches):  # before the yield: a checkpoint taken there starts the next epoch
                    position.epoch, position.batch = position.epoch + 1, 0
                    yield [self._batch(self.train_rows, part) for part in rows]
                    break
                yield [self._batch(self.train_rows, part) for part in rows]

    def evaluation_batches(self) -> Iterator[Batch]:
        """The evaluation set by length, without gradients four times the training's batch fits."""
        import torch

        for rows in sorted_batches(self.eval_rows.lengths, self.config.batch_size * 4):
            batch = self._batch(self.eval_rows, rows)
            batch.inputs["rows"] = torch.from_numpy(rows)
            yield batch

    def _batch(self, source: EncodedRows, rows: np.ndarray) -> Batch:
        tensors = self.task.collate(source.take(rows), self.loaded.tokenizer)
        inputs = {name: tensor.to(self.loaded.device, non_blocking=True) for name, tensor in tensors.items()}
        return Batch(inputs, len(rows), int(source.lengths[rows].sum()))


def prepare_session(recipe: Recipe, ctx: JobContext) -> Session:
    """Read the data, name the labels, load the model, encode. Raises :class:`UserError` for whatever is wrong."""
    import torch

    config = recipe.training
    task, strategy = find_task(recipe.task), find_strategy(recipe.strategy.name)
    card = read_card(resolve(recipe.model, ctx), recipe.model)  # a wrong model shows before the data is read
    ctx.status("Reading the data")
    splits = prepare_data(recipe.data, task.columns, ctx)
    for problem in splits.report.problems:
        if problem.severity != "info":
            ctx.emit(Status(template=problem.template, parameters=dict(problem.parameters), warning=True))
    labels = task.label_names(splits.train, splits.eval, dict(enumerate(card.labels)) or None)
    ctx.check()

    torch.manual_seed(config.seed)  # before the new head gets its weights
    loaded = load_model(
        LoadRequest(recipe.model, head=task.head, device=config.device, precision="float32", labels=labels),
        ctx,
    )
    limit = min(config.max_length, card.max_length or config.max_length)
    if limit < config.max_length:
        ctx.warn("This model reads at most {limit} tokens; longer texts are cut there.", limit=limit)
    ctx.status("Turning {rows} texts into tokens", rows=len(splits.train) + len(splits.eval))
    train_rows = encode_rows(splits.train, task, loaded.tokenizer, labels, limit, ctx)
    eval_rows = encode_rows(splits.eval, task, loaded.tokenizer, labels, limit, ctx)

    trainable = apply_strategy(strategy, loaded.model, 0)
    accelerator = make_accelerator(config)
    optimizer = make_optimizer(loaded.model, config)
    model, _ = accelerator.prepare(loaded.model, optimizer)
    return Session(
        recipe, task, strategy, loaded, model, optimizer, accelerator,
        splits, train_rows, eval_rows, labels, trainable,
    )  # fmt: skip


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Device and mixed precision through accelerate; its state is global and is begun anew for every run."""
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    if not torch.distributed.is_initialized():
        # a window trains many times in one process, each time perhaps with another precision or device
        AcceleratorState._reset_state(reset_partial_state=True)
    device = resolve_device(config.device)
    is_bf16 = resolve_precision(config.precision, device) == torch.bfloat16
    PartialState(cpu=device.type == "cpu")
    return Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if is_bf16 else "no")


def make_optimizer(model: torch.nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov and Hutter 2019); biases and norms, which have one dimension, do not decay."""
    import torch

    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate, fused=True)


def learning_rate_at(step: int, total: int, config: TrainingConfig) -> float:
    """The learning rate of optimizer step ``step`` (from 0) of ``total``: warm-up, then the schedule down to 0."""
    warmup = math.ceil(total * config.warmup_ratio)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, total - warmup)  # of the rest, done before this step
    factor = {"linear": 1 - share, "cosine": 0.5 * (1 + math.cos(math.pi * share)), "constant": 1.0}
    return config.learning_rate * factor[config.schedule]
