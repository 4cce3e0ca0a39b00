"""What is said of a training before it begins is what it then does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lmstudio_app.cli import main
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.training import lora
from lmstudio_app.training.plan import count_labels, describe_strategy, plan_training
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.strategies import find_strategy
from lmstudio_app.training.strategy_config import StrategyConfig
from tests.training.subjects import load, make
from tests.training.test_layers import CONFIGS, HEADS


def columns(recipe_or_model: Any, **strategy: Any) -> list[tuple[str, int | None, float]]:
    plan = describe_strategy(recipe_or_model, StrategyConfig(**strategy))
    return [(planned.title, planned.stage, planned.rate) for planned in plan.groups]


def skeleton(family: str, head: str) -> Any:
    with torch.device("meta"):
        return HEADS[head].from_config(CONFIGS[family])


def test_every_strategy_is_described() -> None:
    model = skeleton("bert", "classification")
    titles = ("Embeddings", "Layer 0", "Layer 1", "Above the layers", "Task head")
    for strategy, stages in (
        ({"name": "full"}, (0, 0, 0, 0, 0)),
        ({"name": "frozen_backbone"}, (None, None, None, None, 0)),
        ({"name": "lora"}, (None, 0, 0, None, 0)),
    ):
        assert columns(model, **strategy) == [(title, s, 1.0) for title, s in zip(titles, stages, strict=True)]
    assert columns(model, name="layer_by_layer", layers=1, layer_decay=0.5) == [
        ("Embeddings", None, 1.0), ("Layer 0", None, 1.0), ("Layer 1", 1, 0.5), ("Above the layers", 0, 1.0),
        ("Task head", 0, 1.0),
    ]  # fmt: skip


@pytest.mark.parametrize("family", ["bert", "albert", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("name", ["full", "frozen_backbone", "layer_by_layer", "lora"])
def test_the_numbers_are_those_of_the_training(family: str, name: str) -> None:
    model = skeleton(family, "classification")
    config, strategy = StrategyConfig(name=name), find_strategy(name)
    before = dict(model.named_parameters())
    plan = describe_strategy(model, config)
    assert dict(model.named_parameters()).keys() == before.keys()
    assert plan.parameters == sum(p.numel() for p in before.values())
    if strategy.adapt is not None:
        lora.adapt(model, config)
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    stages = strategy.stages(model, config)
    assert plan.stages == len(stages)
    assert [plan.trained_in(stage) for stage in range(plan.stages)] == [sum(sizes[n] for n in s) for s in stages]
    assert plan.trained == plan.trained_in(plan.stages - 1)


def test_a_recipe_is_planned_without_its_weights(tmp_path: Path) -> None:
    recipe = make("bert", tmp_path, {"name": "layer_by_layer", "unfreeze_every": 7})
    plan = plan_training(recipe, JobContext(), labels=count_labels(recipe, JobContext()))
    assert plan == describe_strategy(load(recipe), recipe.strategy)
    assert plan.unfreeze_every == 7
    seven = plan_training(recipe, JobContext(), labels=7)
    assert seven.groups[-1].count == 7 * 32 + 7
    assert dataclasses.replace(plan, groups=plan.groups[:-1]) == dataclasses.replace(seven, groups=seven.groups[:-1])


def test_a_model_that_is_yet_to_be_made_is_planned(tmp_path: Path) -> None:
    values = make("marian", tmp_path).to_dict() | {"architecture": {"family": "marian", "layers": 3}}
    del values["model"]
    plan = plan_training(Recipe.from_dict(values), JobContext())
    assert [p.title for p in plan.groups] == [
        "Embeddings", *(f"Encoder layer {n}" for n in range(3)), *(f"Decoder layer {n}" for n in range(3)),
    ]  # fmt: skip
    assert {planned.stage for planned in plan.groups} == {0}
    assert count_labels(Recipe.from_dict(values), JobContext()) == 0


def test_a_strategy_that_does_not_suit_the_model_is_refused() -> None:
    with pytest.raises(UserError, match="nothing to train"):
        describe_strategy(skeleton("bart", "seq2seq"), StrategyConfig(name="frozen_backbone"))


def test_the_command_line_prints_the_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    make("bert", tmp_path, {"name": "layer_by_layer", "layer_decay": 0.5}).save(path)
    assert main(["train", str(path), "--explain"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["Task", "head", "66", "66", "0", "1", "x", "1"]
    assert lines[3][:2] + lines[3][-4:] == ["Layer", "1", "0", "2", "x", "0.5"]
    assert lines[5][0] == "Embeddings"
    assert main(["train", str(path), "--explain", "--json", "--set", "strategy.name=lora"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [group["adapter"] for group in plan["groups"]] == [0, 2048, 2048, 0, 0]
    assert not list((tmp_path).glob("**/events.jsonl"))
    assert main(["train", "--explain", "--resume", "--run-dir", str(tmp_path)]) == 2
