"""A run's model before, while and after it was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.states import list_states, loadable


def body(reference: str) -> dict[str, torch.Tensor]:
    model = load_model(LoadRequest(loadable(reference, JobContext()), device="cpu"), JobContext()).model
    return dict(model.base_model.state_dict())


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    return sum(float((first[name] - second[name]).abs().sum()) for name in first if "encoder.layer" in name)


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_every_state_of_a_run_loads(strategy: str, make_recipe: Any, tmp_path: Path) -> None:
    recipe = make_recipe(strategy, checkpoint_every=6, keep_checkpoints=3, evaluate_every=100)
    result = train(TrainRequest(recipe, tmp_path / "run"), JobContext())
    states = list_states(result.run_folder)
    assert [(state.kind, state.step) for state in states] == [
        ("base", 0), ("checkpoint", 12), ("checkpoint", 18), ("checkpoint", 24), ("final", 0),
    ]  # fmt: skip
    base, early, *_, last, final = [body(state.reference) for state in states]
    assert 0 < distance(base, early) < distance(base, last)
    assert distance(last, final) < 1e-3 * distance(base, last)  # the last checkpoint is what was saved


def test_a_copy_of_adapters_is_made_once_and_keeps_the_labels(make_recipe: Any, tmp_path: Path) -> None:
    recipe = make_recipe("lora", epochs=1, checkpoint_every=6)
    result = train(TrainRequest(recipe, tmp_path / "run"), JobContext())
    checkpoint = next(state for state in list_states(result.run_folder) if state.kind == "checkpoint")
    first = loadable(checkpoint.reference, JobContext())
    assert first != checkpoint.reference
    made = (Path(first) / "config.json").stat().st_mtime_ns
    assert loadable(checkpoint.reference, JobContext()) == first
    assert (Path(first) / "config.json").stat().st_mtime_ns == made
    loaded = load_model(LoadRequest(first, device="cpu"), JobContext())
    final = load_model(LoadRequest(str(result.model_folder), device="cpu"), JobContext())
    assert loaded.labels == final.labels
    assert loaded.card.title == f"run, step {checkpoint.step}"


def test_other_references_stay_as_they_are(tiny_encoder: Path, tmp_path: Path) -> None:
    for reference in ("starter:encoder", str(tiny_encoder), "some/thing"):
        assert loadable(reference, JobContext()) == reference
    with pytest.raises(UserError, match="holds no run"):
        list_states(tmp_path)
