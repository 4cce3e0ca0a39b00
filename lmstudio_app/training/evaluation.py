"""Evaluations in a training: the task's metrics, which was the best, and its weights at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lmstudio_app.events import Evaluated
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.task import Evaluation
from lmstudio_app.training.checkpoints import Position, checkpoint_folder, find_damage, load_weights
from lmstudio_app.training.memory import NoRoom, make_room_to_evaluate, noticing
from lmstudio_app.training.runs import RunFolder
from lmstudio_app.training.session import Session


def epoch_of(session: Session, position: Position) -> float:
    return position.step / session.steps_per_epoch


def evaluate(session: Session, position: Position, ctx: JobContext) -> Evaluated:
    """Loss and the task's metrics on the evaluation set."""
    ctx.status("Evaluating at step {step}", step=position.step)
    training_modes = {module: module.training for module in session.loaded.model.modules()}
    session.loaded.model.eval()
    evaluation = Evaluation(
        session.model, session.loaded, session.setup, session.splits.eval, session.evaluation_batches, ctx
    )
    try:
        metrics, details = _measure(session, evaluation, ctx)
    finally:
        for module, is_training in training_modes.items():
            module.training = is_training
    position.evaluated_step = position.step
    metrics, details = session.processes.share(lambda: (metrics, details))  # so that all take the same for the best
    return Evaluated(step=position.step, epoch=epoch_of(session, position), metrics=metrics, details=details)


def _measure(session: Session, evaluation: Evaluation, ctx: JobContext) -> tuple[dict[str, float], dict[str, Any]]:
    """The task's evaluation, with smaller batches until they fit."""
    import torch

    while True:
        try:
            with torch.inference_mode(), noticing(session, session.evaluation_size):
                return session.task.evaluate(evaluation)
        except NoRoom:
            pass  # what it holds of the attempt is let go before there is another
        make_room_to_evaluate(session, ctx)


def judge(session: Session, position: Position, evaluation: Evaluated) -> bool:
    """Note in ``position`` whether this evaluation is the best so far, and say so; of equal ones the lower loss is."""
    value, loss = evaluation.metrics[session.task.main_metric], evaluation.metrics["loss"]
    sign = 1 if session.task.greater_is_better else -1
    is_best = position.best_value is None or (sign * value, -loss) > (sign * position.best_value, -position.best_loss)
    if is_best and math.isfinite(value):
        position.best_value, position.best_loss = value, loss
        position.best_step, position.waited = position.step, 0
        return True
    position.waited += 1
    return False


def take_best(
    session: Session, run: RunFolder, position: Position, evaluations: Mapping[int, Evaluated], ctx: JobContext
) -> Evaluated:
    """Bring back the weights that did best, where that is wanted. Returns their evaluation."""
    if session.config.keep_best and position.best_value is not None and position.best_step != position.step:
        folder = checkpoint_folder(run.checkpoints, position.best_step)
        if find_damage(folder):
            ctx.warn("The best checkpoint, of step {step}, is damaged; the last weights are kept.",
                     step=position.best_step)  # fmt: skip
        else:
            load_weights(folder, session.loaded.model, session.adapter)
            ctx.status("The model of step {step} did best and is kept", step=position.best_step)
            return evaluations.get(position.best_step) or evaluate(session, position, ctx)
    return evaluations.get(position.step) or evaluate(session, position, ctx)
