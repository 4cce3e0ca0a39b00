"""Small running text with something to learn, and recipes that pretrain tiny new models on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmstudio_app.events import Evaluated, StepLogged
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.loop import TrainRequest, TrainResult, train
from lmstudio_app.training.recipe import Recipe

SENTENCES = (
    "The captain steers the old ship home.",
    "A small fox follows that narrow path.",
    "Our baker opens his shop at dawn.",
)


def write_documents(path: Path, count: int = 24, sentences: int = 4) -> Path:
    """Documents that say one of three sentences again and again: a tiny model has them by heart in seconds."""
    documents = [f"{SENTENCES[number % 3]}\n" * sentences for number in range(count)]
    path.write_text("\n".join(documents), encoding="utf-8")
    return path


def recipe(task: str, data: Path, family: str = "bert", **values: Any) -> Recipe:
    """A new model of two layers; ``options`` and ``tokenizer`` are sections, the rest but ``dropout`` ``training``."""
    dropout = values.pop("dropout", 0.1)
    options, tokenizer = values.pop("options", {}), values.pop("tokenizer", {})
    shape = {"family": family, "layers": 2, "heads": 2, "hidden_size": 32, "max_length": 48, "dropout": dropout}
    training = {"epochs": 2, "batch_size": 8, "max_length": 32, "learning_rate": 3e-3, "log_every": 1, "device": "cpu"}
    return Recipe.from_dict(
        {
            "task": task,
            "architecture": {**shape, "tokenizer": {"vocabulary": 120, **tokenizer}},
            "data": {"train": str(data), "eval_fraction": 0.2},
            "options": options,
            "training": {**training, **values},
        }
    )


def run(wanted: Recipe, folder: Path) -> tuple[TrainResult, list[float], list[dict[str, float]]]:
    """Train; the result, the loss of every step, and the metrics of every evaluation."""
    events: list[Any] = []
    result = train(TrainRequest(wanted, folder), JobContext(events.append))
    losses = [event.loss for event in events if isinstance(event, StepLogged)]
    return result, losses, [dict(event.metrics) for event in events if isinstance(event, Evaluated)]


def resume(folder: Path) -> list[float]:
    """Go on with the run there; the losses from there on."""
    events: list[Any] = []
    train(TrainRequest(None, folder, resume=True), JobContext(events.append))
    return [event.loss for event in events if isinstance(event, StepLogged)]


def interrupt(wanted: Recipe, folder: Path, step: int) -> list[float]:
    """Train and cancel right after ``step``, which leaves a checkpoint; the losses so far."""
    from lmstudio_app.errors import Cancelled
    from lmstudio_app.jobs import Control

    control, losses = Control(), []

    def listen(event: Any) -> None:
        if isinstance(event, StepLogged):
            losses.append(event.loss)
            if event.step == step:
                control.cancel()

    try:
        train(TrainRequest(wanted, folder), JobContext(listen, control))
    except Cancelled:
        return losses
    raise AssertionError("the training was not cancelled")
