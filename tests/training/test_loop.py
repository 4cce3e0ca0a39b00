from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import CheckpointSaved, Evaluated, Event, Finished, StepLogged
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks.sentiment import JUDGE
from lmstudio_app.training.checkpoints import checkpoint_folders
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe, TrainingConfig
from lmstudio_app.training.runs import list_runs, read_events, summarize_run
from lmstudio_app.training.session import learning_rate_at

MakeRecipe = Callable[..., Recipe]


def run_until(step: int, action: Callable[[Control], None]) -> tuple[JobContext, list[Event]]:
    """A context that flips a switch once ``step`` is logged."""
    control, events = Control(), []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepLogged) and event.step == step:
            action(control)

    return JobContext(emit, control), events


def losses(folder: Path) -> dict[int, str]:
    """Loss of every step, to the last bit."""
    return {e.step: float(e.loss).hex() for e in read_events(folder) if isinstance(e, StepLogged)}


def test_training_learns_and_leaves_a_model_that_predicts(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    events: list[Event] = []
    result = train(TrainRequest(make_recipe(epochs=6), tmp_path / "run"), JobContext(events.append))
    steps = [event for event in events if isinstance(event, StepLogged)]
    assert [event.step for event in steps] == list(range(1, 73))
    assert steps[-1].total_steps == 72
    assert all(event.tokens_per_second > event.examples_per_second > 0 for event in steps)
    assert all(event.memory > 0 and event.grad_norm > 0 for event in steps)
    assert sum(event.loss for event in steps[-5:]) < 0.5 * sum(event.loss for event in steps[:5])
    evaluations = [event for event in events if isinstance(event, Evaluated)]
    assert [event.epoch for event in evaluations] == [1, 2, 3, 4, 5, 6]
    assert result.metrics["accuracy"] >= 0.9
    assert isinstance(events[-1], Finished)
    assert events[-1].result["model_folder"] == str(result.model_folder)

    config = json.loads((result.model_folder / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    loaded = load_model(LoadRequest(str(result.model_folder), device="cpu"), JobContext())
    rows = [{"text": "it was wonderful"}, {"text": "a terrible and very boring film"}]
    outputs = list(JUDGE.predict(loaded, rows, JobContext(), JUDGE.options(batch_size=32)))
    assert [output.label for output in outputs] == ["positive", "negative"]
    assert all(abs(sum(output.scores.values()) - 1) < 1e-6 for output in outputs)


def test_evaluation_counts_every_row_once_and_names_the_worst(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    events: list[Event] = []
    train(TrainRequest(make_recipe(epochs=0.25), tmp_path / "run"), JobContext(events.append))
    evaluation = next(event for event in events if isinstance(event, Evaluated))
    confusion = evaluation.details["confusion"]
    assert sum(map(sum, confusion)) == 40
    assert evaluation.metrics["accuracy"] == pytest.approx((confusion[0][0] + confusion[1][1]) / 40)
    worst = evaluation.details["worst"]
    assert len(worst) == confusion[0][1] + confusion[1][0]
    assert [item["loss"] for item in worst] == sorted((item["loss"] for item in worst), reverse=True)
    assert all(item["text"] and item["label"] != item["predicted"] for item in worst)


def test_the_same_seed_gives_the_same_run_and_another_does_not(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(TrainRequest(make_recipe(epochs=0.5, seed=seed), tmp_path / name), JobContext())
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


@pytest.mark.parametrize(("step", "log_every"), [(3, 1), (12, 1), (16, 3)])
def test_a_cancelled_run_resumes_to_the_same_bits(
    make_recipe: MakeRecipe, tmp_path: Path, step: int, log_every: int
) -> None:
    recipe = make_recipe(log_every=log_every)
    straight = train(TrainRequest(recipe, tmp_path / "straight"), JobContext())
    ctx, events = run_until(step - step % log_every, Control.cancel)
    with pytest.raises(Cancelled):
        train(TrainRequest(recipe, tmp_path / "broken"), ctx)
    assert events[-1].kind == "finished"
    assert summarize_run(tmp_path / "broken").state == "interrupted"
    assert summarize_run(tmp_path / "broken").resumable
    torch.manual_seed(999)  # whatever happened in between
    resumed = train(TrainRequest(None, tmp_path / "broken", resume=True), JobContext())
    assert losses(tmp_path / "broken") == losses(tmp_path / "straight")
    assert resumed.metrics == straight.metrics
    first, second = (load_file(item.model_folder / "model.safetensors") for item in (straight, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    evaluated = [e.step for e in read_events(tmp_path / "broken") if isinstance(e, Evaluated)]
    assert evaluated == [12, 24]


def test_stop_saves_the_model_as_it_is_and_can_go_on(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    ctx, events = run_until(5, Control.stop)
    result = train(TrainRequest(make_recipe(), tmp_path / "run"), ctx)
    assert result.state == "stopped"
    assert max(event.step for event in events if isinstance(event, StepLogged)) == 5
    assert (result.model_folder / "model.safetensors").is_file()
    assert result.metrics["loss"] > 0
    summary = summarize_run(tmp_path / "run")
    assert (summary.state, summary.step, summary.total_steps) == ("stopped", 5, 24)
    again = train(TrainRequest(None, tmp_path / "run", resume=True), JobContext())
    assert again.state == "finished"
    assert sorted(losses(tmp_path / "run")) == list(range(1, 25))


def test_accumulation_makes_the_step_of_the_larger_batch(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """Without dropout, 4 batches of 2 give the gradient of 1 batch of 8."""
    options = {"epochs": 0.25, "group_by_length": False, "precision": "float32"}
    whole, parts = (
        make_recipe("frozen_backbone", **options, batch_size=8),
        make_recipe("frozen_backbone", **options, batch_size=2, gradient_accumulation=4),
    )
    norms = []
    for name, recipe in (("whole", whole), ("parts", parts)):
        events: list[Event] = []
        train(TrainRequest(recipe, tmp_path / name), JobContext(events.append))
        norms.append([event.grad_norm for event in events if isinstance(event, StepLogged)])
    assert len(norms[0]) == len(norms[1]) == 3
    # the head's own dropout remains, so the norms agree roughly; a missing division would give a factor of 4
    assert norms[1][0] == pytest.approx(norms[0][0], rel=0.5)


def test_checkpoints_are_kept_to_the_number_asked_for(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    events: list[Event] = []
    recipe = make_recipe(epochs=1, checkpoint_every=3, keep_checkpoints=2)
    train(TrainRequest(recipe, tmp_path / "run"), JobContext(events.append))
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [3, 6, 9, 12]
    folders = checkpoint_folders(tmp_path / "run" / "checkpoints")
    assert [folder.name for folder in folders] == ["step-00000009", "step-00000012"]
    loaded = load_model(LoadRequest(str(folders[-1]), device="cpu"), JobContext())
    assert loaded.card.head == "sequence-classification"


def test_a_damaged_checkpoint_is_told(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    ctx, _ = run_until(5, Control.cancel)
    with pytest.raises(Cancelled):
        train(TrainRequest(make_recipe(), tmp_path / "run"), ctx)
    folder = checkpoint_folders(tmp_path / "run" / "checkpoints")[-1]
    optimizer = folder / "optimizer.safetensors"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    with pytest.raises(UserError, match="can be read"):
        train(TrainRequest(None, tmp_path / "run", resume=True), JobContext())
    assert summarize_run(tmp_path / "run").state == "failed"


def test_a_loss_that_is_no_number_ends_the_run_with_advice(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(learning_rate=1.0, max_grad_norm=0, warmup_ratio=0.0, epochs=50, weight_decay=1.0)
    loaded = Path(recipe.model)
    weights = load_file(loaded / "model.safetensors")
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in loaded.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    from safetensors.torch import save_file

    weights["encoder.layer.0.output.dense.weight"][0, 0] = math.inf
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="diverged") as caught:
        train(
            TrainRequest(Recipe.from_dict({**recipe.to_dict(), "model": str(broken)}), tmp_path / "run"), JobContext()
        )
    assert "learning rate" in caught.value.remedy
    assert [event.kind for event in read_events(tmp_path / "run")][-1] == "failed"


def test_a_failure_is_written_to_the_run_and_the_list_goes_on(
    make_recipe: MakeRecipe, reviews: dict[str, Path]
) -> None:
    lines = [line.replace('"label": 1', '"label": 0') for line in reviews["train"].read_text().splitlines()]
    reviews["train"].write_text("\n".join(lines) + "\n")
    reviews["eval"].write_text("\n".join(lines[:10]) + "\n")
    with pytest.raises(UserError, match="only one class"):
        train(TrainRequest(make_recipe()), JobContext())
    (summary,) = list_runs()
    assert summary.state == "failed"
    assert summary.step == 0


def test_texts_longer_than_the_model_are_cut_with_a_warning(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    events: list[Event] = []
    train(TrainRequest(make_recipe(epochs=0.1, max_length=4096), tmp_path / "run"), JobContext(events.append))
    warnings = [event.message for event in events if event.kind == "status" and event.warning]
    assert any("128 tokens" in warning for warning in warnings)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_learning_rate_rises_and_falls_as_its_schedule_says(schedule: str) -> None:
    config = TrainingConfig(learning_rate=1.0, schedule=schedule, warmup_ratio=0.1)
    rates = [learning_rate_at(step, 100, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert max(rates) == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    middle = {"linear": 0.5, "cosine": 0.5, "constant": 1.0}[schedule]
    assert rates[55] == pytest.approx(middle)


def test_a_trained_model_tells_no_folder_of_its_maker(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(epochs=0.1)
    result = train(TrainRequest(recipe, tmp_path / "run"), JobContext())
    folder = str(Path(recipe.data.train).parent)
    readme = (result.model_folder / "README.md").read_text()
    assert "train.jsonl" in readme
    assert folder not in readme
    provenance = json.loads((result.model_folder / "provenance.json").read_text())
    assert provenance["recipe"]["data"]["train"] == "train.jsonl"
