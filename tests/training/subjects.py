"""Tiny trainings of several tasks and families, and what became of every tensor in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lmstudio_app.errors import Cancelled
from lmstudio_app.events import Event, StepLogged
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks import find_task
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import read_events
from tests.conftest import build_tiny_bert
from tests.tiny_seq2seq import PAIRS, build_marian, build_t5, write_pairs
from tests.training.conftest import write_reviews
from tests.training.test_families import build

SUBJECTS = ("bert", "gpt2", "t5", "marian")
LABELS = ("negative", "positive")


def make(subject: str, folder: Path, strategy: dict[str, Any] | None = None, **training: Any) -> Recipe:
    """A recipe with its model and data in ``folder``: sentiment for BERT and GPT-2, translation for T5 and Marian."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / subject
    if subject in ("bert", "gpt2"):
        task, data = (
            "sentiment",
            {
                name: str(write_reviews(folder / f"{name}.jsonl", 32, seed))
                for name, seed in (("train", 1), ("eval", 2))
            },
        )
    else:
        task, data = "translation", {"train": str(write_pairs(folder / "pairs.jsonl", PAIRS * 4))}
        data["eval"] = str(write_pairs(folder / "eval.jsonl", PAIRS[:2]))
    if not model.exists():
        builders = {"bert": build_tiny_bert, "gpt2": lambda path: build("gpt2", path), "t5": build_t5}
        builders.get(subject, build_marian)(model)
    options = {"epochs": 1, "batch_size": 8, "learning_rate": 5e-3, "log_every": 1, "device": "cpu", "keep_best": False}
    return Recipe.from_dict(
        {"task": task, "model": str(model), "data": data, "strategy": strategy or {}, "training": options | training}
    )


def load(recipe: Recipe, reference: str | Path | None = None) -> Any:
    """The model of ``recipe`` as its training begins with it, or a trained one."""
    task = find_task(recipe.task)
    labels = LABELS if task.head == "sequence-classification" else ()
    torch.manual_seed(recipe.training.seed)
    request = LoadRequest(str(reference or recipe.model), head=task.head, device="cpu", labels=labels)
    return load_model(request, JobContext()).model


def tensors(model: Any) -> dict[str, torch.Tensor]:
    """A copy of every parameter."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Names of the tensors that differ in any bit."""
    assert before.keys() == after.keys()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def losses(folder: Path) -> dict[int, str]:
    """Loss of every step, to the last bit; of steps that were made twice the later one."""
    return {e.step: float(e.loss).hex() for e in read_events(folder) if isinstance(e, StepLogged)}


def train_until(recipe: Recipe, folder: Path, step: int, *, resume: bool = False) -> list[Event]:
    """Train, and cancel once ``step`` is logged."""
    control, events = Control(), []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepLogged) and event.step == step:
            control.cancel()

    with pytest.raises(Cancelled):
        train(TrainRequest(None if resume else recipe, folder, resume=resume), JobContext(emit, control))
    return events
