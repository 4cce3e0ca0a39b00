"""Every bundled recipe, with a small model and few rows in place of its own, trains by command."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lmstudio_app.assets import resource
from lmstudio_app.cli import main
from lmstudio_app.events import Evaluated, Finished
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks import TASKS, find_task
from lmstudio_app.training.event_file import read_events
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.strategies import STRATEGIES

RECIPES = sorted(resource("recipes").glob("*.yaml"))
SMALL = ("layers=1", "heads=2", "hidden_size=32", "max_length=64", "feed_forward=0", "tokenizer.vocabulary=300")


def test_there_is_a_recipe_for_every_task_and_strategy() -> None:
    recipes = [Recipe.load(path) for path in RECIPES]
    assert {recipe.task for recipe in recipes} == {task.name for task in TASKS}
    assert {recipe.strategy.name for recipe in recipes} == {strategy.name for strategy in STRATEGIES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_by_command(path: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(path)
    task = find_task(recipe.task)
    changes = ["data.limit=60", "training.epochs=0.5", "training.batch_size=16", "training.max_length=48"]
    changes += ["training.batch_tokens=0", "training.evaluate_every=0", "training.device=cpu"]
    if recipe.architecture is None:
        changes.append(f"model={tiny_encoder}")
    else:
        changes += [f"architecture.{change}" for change in SMALL]
    if any(field.name == "generate_rows" for field in dataclasses.fields(task.options)):
        changes.append("options.generate_rows=2")
    assert main(["train", str(path), "--run-dir", str(tmp_path / "run"), "--set", *changes]) == 0
    events = list(read_events(tmp_path / "run"))
    assert isinstance(events[-1], Finished)
    assert events[-1].state == "finished"
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    assert task.main_metric in evaluated[-1].metrics
    loaded = load_model(LoadRequest(str(tmp_path / "run" / "final"), device="cpu"), JobContext())
    assert loaded.head == task.head
