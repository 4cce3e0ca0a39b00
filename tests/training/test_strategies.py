"""Exactly the intended tensors change, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.strategies import StrategyConfig, find_strategy, train_only


def changed_tensors(before: Path, after: Path) -> tuple[set[str], set[str]]:
    """Names (without the backbone's prefix) that changed and that did not."""
    old = load_file(before / "model.safetensors")
    new = load_file(after / "model.safetensors")
    changed, same = set(), set()
    for name, tensor in new.items():
        original = old.get(name.removeprefix("bert."))
        is_same = original is not None and torch.equal(original, tensor)
        (same if is_same else changed).add(name)
    return changed, same


def enter(name: str, model: Any) -> int:
    strategy = find_strategy(name)
    return train_only(model, strategy.stages(model, StrategyConfig(name=name))[0], strategy)


def test_a_frozen_backbone_changes_the_head_alone(
    make_recipe: Callable[..., Recipe], tiny_encoder: Path, tmp_path: Path
) -> None:
    result = train(TrainRequest(make_recipe("frozen_backbone"), tmp_path / "run"), JobContext())
    changed, same = changed_tensors(tiny_encoder, result.model_folder)
    assert changed == {"classifier.weight", "classifier.bias"}
    assert len(same) > 30


def test_full_changes_everything(make_recipe: Callable[..., Recipe], tiny_encoder: Path, tmp_path: Path) -> None:
    result = train(TrainRequest(make_recipe("full"), tmp_path / "run"), JobContext())
    changed, same = changed_tensors(tiny_encoder, result.model_folder)
    assert same == set()
    assert {"classifier.weight", "bert.embeddings.word_embeddings.weight"} <= changed


def test_a_frozen_backbone_keeps_its_dropout_off(tiny_classifier: Path) -> None:
    model = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext()).model
    count = enter("frozen_backbone", model)
    assert count == sum(p.numel() for p in model.classifier.parameters())
    assert model.training
    assert not model.bert.training
    assert enter("full", model) == model.num_parameters()
    assert model.bert.training


def test_a_model_without_a_head_of_its_own_is_refused(tiny_encoder: Path) -> None:
    model = load_model(LoadRequest(str(tiny_encoder), device="cpu"), JobContext()).model
    with pytest.raises(UserError, match="nothing to train"):
        enter("frozen_backbone", model)
