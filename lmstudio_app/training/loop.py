"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.devices import freed_memory_kept, memory_in_use
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import CheckpointSaved, Evaluated, Finished, StepLogged
from lmstudio_app.files import atomic_folder
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.saving import save_model
from lmstudio_app.training import lora
from lmstudio_app.training.checkpoints import (
    Position,
    checkpoint_folders,
    find_damage,
    load_checkpoint,
    save_checkpoint,
    set_aside,
)
from lmstudio_app.training.evaluation import epoch_of, evaluate, judge, take_best
from lmstudio_app.training.memory import BatchTooLarge, NoRoom, make_room, noticing
from lmstudio_app.training.probing import Probe
from lmstudio_app.training.processes import join_processes, recording_once, share_run
from lmstudio_app.training.runs import ADAPTER, RunFolder, TrainRequest, open_run
from lmstudio_app.training.session import Batch, Session, StepRows, learning_rate_at, prepare_session

if TYPE_CHECKING:
    import torch

__all__ = ["TrainRequest", "TrainResult", "train"]

_DIVERGED_REMEDY = "Lower the learning rate, or raise the warm-up; the last checkpoint is kept."


@dataclass(frozen=True)
class TrainResult:
    """``state`` is ``finished`` or ``stopped``; ``metrics`` are the last evaluation's."""

    run_folder: Path
    model_folder: Path
    state: str
    metrics: dict[str, float] = field(default_factory=dict)


def train(request: TrainRequest, ctx: JobContext) -> TrainResult:
    """The job: train to the end, or until stopped.

    ``stop`` saves the model as it is. ``cancel`` leaves a checkpoint and raises :class:`Cancelled`; any other
    exception leaves the last checkpoint. All three leave a run that can be resumed.
    """
    processes = join_processes("auto" if request.recipe is None else request.recipe.training.device)
    run = share_run(processes, lambda: open_run(request))
    with recording_once(run, processes, ctx) as ctx:
        checkpoint = processes.share(lambda: _choose_checkpoint(run, ctx))
        session = prepare_session(run.recipe, ctx, processes, checkpoint)
        position = _restore(session, checkpoint, ctx)
        position.parts = max(position.parts, request.parts)
        session.evaluation_parts = max(session.evaluation_parts, request.parts)
        try:
            with freed_memory_kept():
                evaluations = _train(session, run, position, ctx)
        except Cancelled:
            if _are_numbers(session):
                _save(session, run, position, ctx)
            raise
        except BatchTooLarge as error:
            error.run_folder = run.path
            raise
        evaluation = take_best(session, run, position, evaluations, ctx)  # the last checkpoint keeps the last weights
        is_cut_short = processes.share(lambda: ctx.stopping and position.step < session.total_steps)
        result = TrainResult(run.path, run.final, "stopped" if is_cut_short else "finished", evaluation.metrics)
        if processes.is_main:
            _finish(session, result, position, evaluation, ctx)
        processes.meet()
        return result


def _finish(session: Session, result: TrainResult, position: Position, evaluation: Evaluated, ctx: JobContext) -> None:
    """Save the model and say what came of it."""
    state, write_adapters = None, None
    if session.adapter is not None:
        write_adapters = functools.partial(lora.save_adapter, adapter=session.adapter, base=session.recipe.model)
        with atomic_folder(result.run_folder / ADAPTER) as folder:
            write_adapters(folder)
        if session.recipe.strategy.merge:
            state, write_adapters = lora.merged_weights(session.loaded.model), None
    save_model(
        result.model_folder,
        session.loaded.model,
        session.loaded.tokenizer,
        provenance=_provenance(session, evaluation),
        state=state,
        write_adapters=write_adapters,
    )
    rate = position.examples / position.train_seconds if position.train_seconds else 0.0
    ctx.emit(
        Finished(
            state=result.state,
            result={
                "run_folder": str(result.run_folder),
                "model_folder": str(result.model_folder),
                "metrics": evaluation.metrics,
                "steps": position.step,
                "train_seconds": position.train_seconds,
                "examples_per_second": rate,
            },
        )
    )


def _train(session: Session, run: RunFolder, position: Position, ctx: JobContext) -> dict[int, Evaluated]:
    """The loop itself, which ends with a checkpoint. Returns the evaluations of the best and the last step."""
    config, total = session.config, session.total_steps
    evaluate_every = config.evaluate_every or session.steps_per_epoch
    checkpoint_every = config.checkpoint_every or session.steps_per_epoch
    steps = session.optimizer_steps(position)
    probe = Probe(session, run.path, position)
    clock = _Clock()
    evaluations: dict[int, Evaluated] = {}
    saved_step = position.step
    between = session.processes.agreeing(ctx)

    while True:
        # a run that stopped early has that in its checkpoint, and is not to go on after a resume
        is_over = session.processes.agree(ctx) or position.step >= total or _has_waited(session, position)
        must_save = is_over or position.step % checkpoint_every == 0
        must_evaluate = position.evaluated_step != position.step and (is_over or position.step % evaluate_every == 0)
        if (must_evaluate or must_save) and saved_step != position.step:
            _require_numbers(session, position.step)
        if must_evaluate:
            evaluation = evaluate(session, position, between)
            ctx.emit(evaluation)
            is_best = judge(session, position, evaluation)
            evaluations = {step: e for step, e in evaluations.items() if step == position.best_step}
            evaluations[position.step] = evaluation
            must_save |= is_best and config.keep_best
            if not is_over and _has_waited(session, position):
                ctx.status("No better for {count} evaluations: stopping early", count=position.waited)
                is_over = must_save = True
        probe.look(position, between, is_last=is_over)
        if must_save and saved_step != position.step:
            _save(session, run, position, ctx)
            saved_step = position.step
        if is_over:
            return evaluations

        clock.start()
        if session.enter_stage(position.step):
            ctx.status("{count} parameters train from step {step} on",
                       count=session.trainable_parameters, step=position.step + 1)  # fmt: skip
        learning_rate = learning_rate_at(position.step, total, config)
        for group in session.optimizer.param_groups:
            group["lr"] = learning_rate * group["rate"]
        batches, loss = _backward(session, next(steps), position, ctx)
        grad_norm = session.accelerator.clip_grad_norm_(session.model.parameters(), config.max_grad_norm or math.inf)
        session.optimizer.step()
        session.optimizer.zero_grad()
        # summed on the device, in float32: reading it at every step would make a GPU wait
        position.loss_sum = position.loss_sum + loss
        position.logged_steps += 1
        position.step += 1
        clock.stop(batches, position)

        if position.step % config.log_every == 0 or position.step == total:
            event = clock.report(session, position, grad_norm, learning_rate)
            ctx.emit(event)
            if not math.isfinite(event.loss):
                raise UserError(
                    "The loss became {loss} at step {step}: the training has diverged.",
                    _DIVERGED_REMEDY,
                    loss=event.loss,
                    step=event.step,
                )


def _require_numbers(session: Session, step: int) -> None:
    """Raises :class:`UserError` when weights have become NaN or infinite since the last logged loss, which is too rare
    a look at them: a checkpoint of such weights would push the last good one from the disk.
    """
    if not _are_numbers(session):
        raise UserError(
            "The weights are no longer numbers after step {step}: the training has diverged.",
            _DIVERGED_REMEDY,
            step=step,
        )


def _are_numbers(session: Session) -> bool:
    """The same answer in every process, whatever part of the weights each one holds."""
    import torch

    found = [parameter.isfinite().all() for parameter in session.model.parameters() if parameter.requires_grad]
    is_bad = bool(found) and not bool(torch.stack(found).all())
    return _over_processes(session, float(is_bad)) == 0


def _has_waited(session: Session, position: Position) -> bool:
    patience = session.config.early_stopping
    return bool(patience) and position.waited >= patience


def _backward(
    session: Session, rows: StepRows, position: Position, ctx: JobContext
) -> tuple[Sequence[Batch], torch.Tensor]:
    """Gradients of one optimizer step. One that finds no memory is done again with batches of half the size."""
    while True:
        try:
            return _gradients(session, rows, position.parts)
        except NoRoom as error:
            largest = error.rows
        make_room(session, position, largest, ctx)  # here, where the failed attempt is no longer held


def _gradients(session: Session, rows: StepRows, parts: int) -> tuple[Sequence[Batch], torch.Tensor]:
    """Gradients of the mean loss over all items of one optimizer step, those of all its batches and processes.

    Returns the batches and this process's part of the loss. Raises :class:`NoRoom`.
    """
    accelerator = session.accelerator
    with noticing(session, max(math.ceil(len(batch) / parts) for batch in rows.batches)):
        batches = session.training_batches(rows, parts)
    items = sum(batch.items for batch in batches)
    if session.processes.count > 1:
        items = int(accelerator.reduce(_on_device(session, items)))
    total: Any = 0.0
    for number, batch in enumerate(batches):
        is_last = number == len(batches) - 1
        with (
            noticing(session, batch.examples),
            contextlib.nullcontext() if is_last else accelerator.no_sync(session.model),
        ):
            with accelerator.autocast():
                loss = session.task.loss(session.model, batch.inputs)
            loss = loss * (batch.items / max(1, items))
            # gradients are averaged over the processes, so that each must count as many times
            accelerator.backward(loss * session.processes.count)
        total = total + loss.detach().float()
    return batches, total


def _on_device(session: Session, value: float) -> torch.Tensor:
    import torch

    return torch.tensor(value, dtype=torch.float64, device=session.loaded.device)


class _Clock:
    """Rates between two logged steps; pauses, evaluations and checkpoints do not count as time."""

    def __init__(self) -> None:
        self._tokens = self._examples = self._steps = 0
        self._seconds = self._begun = 0.0

    def start(self) -> None:
        self._begun = time.perf_counter()

    def stop(self, batches: Sequence[Batch], position: Position) -> None:
        seconds = time.perf_counter() - self._begun
        examples = sum(batch.examples for batch in batches)
        self._seconds += seconds
        self._examples += examples
        self._tokens += sum(batch.tokens for batch in batches)
        self._steps += 1
        position.train_seconds += seconds
        position.examples += examples

    def report(
        self, session: Session, position: Position, grad_norm: torch.Tensor | float, learning_rate: float
    ) -> StepLogged:
        """The event of this step. Raises :class:`UserError` when the loss is no longer a number."""
        loss = _over_processes(session, position.loss_sum) / max(1, position.logged_steps)
        position.loss_sum, position.logged_steps = 0.0, 0
        seconds = max(self._seconds, 1e-9)
        event = StepLogged(
            step=position.step,
            total_steps=session.total_steps,
            epoch=epoch_of(session, position),
            loss=loss,
            learning_rate=learning_rate,
            grad_norm=float(grad_norm),
            tokens_per_second=self._tokens / seconds,
            examples_per_second=self._examples / seconds,
            memory=memory_in_use(session.loaded.device),
            eta=(session.total_steps - position.step) * position.train_seconds / position.step,
        )
        self._tokens = self._examples = self._steps = 0
        self._seconds = 0.0
        return event


def _over_processes(session: Session, value: Any) -> float:
    """The sum of what every process has."""
    if session.processes.count == 1:
        return float(value)
    return float(session.accelerator.reduce(_on_device(session, float(value))))


def _restore(session: Session, checkpoint: Path | None, ctx: JobContext) -> Position:
    """Where to go on: at the checkpoint, or at the beginning when there never was one."""
    import torch

    if checkpoint is None:
        position = Position(data=session.fingerprint)
    else:
        position = load_checkpoint(checkpoint, session.loaded.model, session.optimizer, session.adapter)
        if position.data not in ("", session.fingerprint):
            ctx.warn("The data is no longer what this run began with; it goes on with the data as it is now.")
        position.data = session.fingerprint
        ctx.status("Going on after step {step}", step=position.step)
    if not session.processes.is_main:  # each process drops out other numbers, and the sum so far is the main one's
        torch.manual_seed(session.config.seed + position.step * session.processes.count + session.processes.index)
        position.loss_sum = 0.0
    return position


def _choose_checkpoint(run: RunFolder, ctx: JobContext) -> Path | None:
    """The newest whole checkpoint, with the damaged ones set aside; None when there never was one."""
    folders = checkpoint_folders(run.checkpoints)
    if not folders:
        return None
    damage: dict[Path, str] = {}
    for folder in reversed(folders):
        ctx.check()
        if not (reason := find_damage(folder)):
            break
        damage[folder] = reason
    else:
        raise UserError(
            "No checkpoint of {folder} can be read ({reason}).",
            "Start a new run with the same recipe.",
            folder=str(run.path),
            reason=damage[folders[-1]],
        )
    for damaged, reason in damage.items():
        ctx.warn(
            "The checkpoint {name} is damaged ({reason}); it is now called {aside}, and {used} is used.",
            name=damaged.name,
            reason=reason,
            aside=set_aside(damaged).name,
            used=folder.name,
        )
    return folder


def _save(session: Session, run: RunFolder, position: Position, ctx: JobContext) -> None:
    whole = dataclasses.replace(position, loss_sum=_over_processes(session, position.loss_sum))
    if not session.processes.is_main:
        return
    path = save_checkpoint(
        run.checkpoints,
        whole,
        session.loaded.model,
        session.loaded.tokenizer,
        session.optimizer,
        keep=session.config.keep_checkpoints,
        also=position.best_step if session.config.keep_best and position.best_value is not None else None,
        adapter=session.adapter,
        base=session.recipe.model,
    )
    ctx.emit(CheckpointSaved(step=position.step, path=str(path)))


def _provenance(session: Session, evaluation: Evaluated) -> dict[str, Any]:
    recipe = session.recipe
    values = recipe.to_dict()
    values.pop("probe", None)  # nothing that the model has learned from
    values["data"] |= {"train": _names(recipe.data.train), "eval": _names(recipe.data.eval)}
    return {
        "title": f"{session.loaded.card.title or Path(recipe.title).name} · {session.task.title}",
        "base_model": recipe.model,
        "task": recipe.task,
        "data": ", ".join(_flat(values["data"]["train"])),
        "license": session.loaded.card.license,
        "metrics": evaluation.metrics,
        "recipe": values,
    }


def _names(source: Any) -> Any:
    """Files by their names alone: a model that is given away tells nothing about the folders of its maker."""
    if isinstance(source, Mapping):
        return {key: _names(value) for key, value in source.items()}
    if isinstance(source, list | tuple):
        return [_names(value) for value in source]
    return Path(source).name if source else source


def _flat(names: Any) -> list[str]:
    if isinstance(names, Mapping):
        return list(names.values())
    return [names] if isinstance(names, str) else list(names)
