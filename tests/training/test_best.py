"""The best model, early stopping, and where a run stands: all of it survives a resume."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lmstudio_app.errors import Cancelled
from lmstudio_app.events import Evaluated, Event, Finished, Status, StepLogged
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.training.checkpoints import Position, checkpoint_folders, load_checkpoint, save_checkpoint
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.session import make_optimizer
from tests.training.subjects import changed, load, losses, make, tensors, train_until


def unsteady(folder: Path, **training: Any) -> Recipe:
    """A training whose best evaluation comes early: what it learns is wrong for the evaluation set."""
    recipe = make("bert", folder, **{"epochs": 3, "evaluate_every": 2, "keep_best": True} | training)
    path = Path(recipe.data.eval)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({"text": row["text"], "label": 1 - row["label"]}) + "\n" for row in rows))
    return recipe


def run(recipe: Recipe | None, folder: Path) -> tuple[Any, list[Event]]:
    events: list[Event] = []
    result = train(TrainRequest(recipe, folder, resume=recipe is None), JobContext(events.append))
    return result, events


def evaluations(events: list[Event]) -> dict[int, tuple[float, float]]:
    """Accuracy and the loss below zero: what makes one evaluation better than another."""
    found = [event for event in events if isinstance(event, Evaluated)]
    return {event.step: (event.metrics["accuracy"], -event.metrics["loss"]) for event in found}


def best_of(found: dict[int, tuple[float, float]]) -> int:
    """The first of the best."""
    return max(found, key=lambda step: (found[step], -step))


def checkpoint_steps(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoint_folders(folder / "checkpoints")]


def test_the_best_weights_are_kept_and_protected_from_tidying(tmp_path: Path) -> None:
    recipe = unsteady(tmp_path, keep_checkpoints=1, checkpoint_every=1)
    result, events = run(recipe, tmp_path / "run")
    found = evaluations(events)
    best = best_of(found)
    assert list(found) == [2, 4, 6, 8, 10, 12]
    assert best < 12
    assert checkpoint_steps(tmp_path / "run") == [best, 12]
    final = tensors(load(recipe, result.model_folder))
    folders = checkpoint_folders(tmp_path / "run" / "checkpoints")
    assert changed(final, tensors(load(recipe, folders[0]))) == set()
    assert changed(final, tensors(load(recipe, folders[1]))) != set()
    assert result.metrics["accuracy"] == found[best][0]
    last, _ = run(unsteady(tmp_path, keep_best=False), tmp_path / "last")
    assert changed(tensors(load(recipe, last.model_folder)), tensors(load(recipe, folders[1]))) == set()


@pytest.mark.parametrize("step", [3, 9])
def test_the_best_is_remembered_by_a_resumed_run(step: int, tmp_path: Path) -> None:
    recipe = unsteady(tmp_path)
    straight, events = run(recipe, tmp_path / "straight")
    before = train_until(recipe, tmp_path / "broken", step)
    resumed, after = run(None, tmp_path / "broken")
    assert evaluations(before) | evaluations(after) == evaluations(events)
    assert resumed.metrics == straight.metrics
    assert changed(*(tensors(load(recipe, item.model_folder)) for item in (straight, resumed))) == set()


def test_early_stopping_counts_evaluations_without_a_better_one(tmp_path: Path) -> None:
    recipe = unsteady(tmp_path, epochs=20, early_stopping=3)
    result, events = run(recipe, tmp_path / "run")
    found = evaluations(events)
    best, steps = best_of(found), list(found)
    assert result.state == "finished"
    assert len(steps) == steps.index(best) + 1 + 3
    assert max(losses(tmp_path / "run")) == best + 6
    assert any("stopping early" in event.message for event in events if isinstance(event, Status))
    assert isinstance(events[-1], Finished)

    # broken off while it waits, it stops after the same evaluation
    train_until(recipe, tmp_path / "broken", best + 3)
    resumed, _ = run(None, tmp_path / "broken")
    assert losses(tmp_path / "broken") == losses(tmp_path / "run")
    assert resumed.metrics == result.metrics

    # and one that has stopped early does not begin to train again
    again, more = run(None, tmp_path / "run")
    assert not any(isinstance(event, StepLogged) for event in more)
    assert changed(*(tensors(load(recipe, item.model_folder)) for item in (result, again))) == set()


def test_a_cancel_while_the_best_is_judged_does_not_spoil_the_last_checkpoint(tmp_path: Path) -> None:
    """After a resume the best weights are evaluated anew; the last checkpoint must keep its own."""
    recipe = unsteady(tmp_path)
    run(recipe, tmp_path / "run")
    (last,) = checkpoint_folders(tmp_path / "run" / "checkpoints")[-1:]
    before = tensors(load(recipe, last))
    control = Control()

    def emit(event: Event) -> None:
        if isinstance(event, Status) and "did best" in event.message:
            control.cancel()

    with pytest.raises(Cancelled):
        train(TrainRequest(None, tmp_path / "run", resume=True), JobContext(emit, control))
    assert changed(before, tensors(load(recipe, last))) == set()


def test_a_damaged_best_checkpoint_leaves_the_last_weights(tmp_path: Path) -> None:
    recipe = unsteady(tmp_path)
    _, events = run(recipe, tmp_path / "run")
    best, last = checkpoint_steps(tmp_path / "run")[0], checkpoint_folders(tmp_path / "run" / "checkpoints")[-1]
    assert best == best_of(evaluations(events))
    (tmp_path / "run" / "checkpoints" / f"step-{best:08}" / "model.safetensors").write_bytes(b"x")
    result, more = run(None, tmp_path / "run")
    assert any("is damaged; the last weights" in e.message for e in more if isinstance(e, Status) and e.warning)
    assert changed(tensors(load(recipe, result.model_folder)), tensors(load(recipe, last))) == set()


def test_a_position_comes_back_as_it_was(tmp_path: Path) -> None:
    recipe = make("bert", tmp_path)
    model = load(recipe)
    position = Position(
        step=7, epoch=1, batch=3, evaluated_step=6, loss_sum=torch.tensor(0.1), logged_steps=2, best_value=0.75,
        best_loss=0.4, best_step=4, waited=1, parts=4, train_seconds=1.25, examples=56, data="abc", probe_every=3,
    )  # fmt: skip
    assert all(getattr(position, item.name) != item.default for item in dataclasses.fields(Position))
    optimizer = make_optimizer(model, recipe.training)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(recipe.model)
    folder = save_checkpoint(tmp_path / "checkpoints", position, model, tokenizer, optimizer, keep=1)
    found = load_checkpoint(folder, model, optimizer)
    assert found == dataclasses.replace(position, loss_sum=float(torch.tensor(0.1)))
    state = json.loads((folder / "trainer.json").read_text())
    state["position"] |= {"of_a_later_version": 1}
    del state["position"]["parts"]
    (folder / "trainer.json").write_text(json.dumps(state))
    assert load_checkpoint(folder, model, optimizer).parts == 1
