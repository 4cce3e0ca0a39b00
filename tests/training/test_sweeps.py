"""Sweeps: the right values are tried, the best is found, and nothing is lost when one is interrupted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmstudio_app.assets import resource
from lmstudio_app.cli import main
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Event, Finished, StepLogged, TrialEnded
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.summaries import list_runs
from lmstudio_app.training.sweep_config import Range, SweepConfig
from lmstudio_app.training.sweeps import SweepRequest, list_sweeps, read_sweep, run_sweep

MakeRecipe = Callable[..., Recipe]


def sweep_of(recipe: Recipe, space: dict[str, Any], **values: Any) -> SweepConfig:
    return SweepConfig(recipe=recipe.to_dict(), space=space, **values)


def test_a_grid_tries_every_combination_once_and_names_the_best(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    space = {"training.learning_rate": [1e-7, 5e-3], "strategy.name": ["full", "frozen_backbone"]}
    events: list[Event] = []
    config = sweep_of(make_recipe(epochs=8), space, method="grid", metric="loss")
    result = run_sweep(SweepRequest(config, tmp_path / "sweep"), JobContext(events.append))
    tried = [tuple(trial.values.values()) for trial in result.trials]
    assert sorted(tried) == [(1e-7, "frozen_backbone"), (1e-7, "full"), (5e-3, "frozen_backbone"), (5e-3, "full")]
    assert result.metric == "loss"
    assert result.best is not None
    assert result.best.value == min(trial.value for trial in result.trials if trial.value is not None)
    assert result.best.values["training.learning_rate"] == 5e-3
    for trial in result.trials:  # what was tried is what the runs were trained with
        recipe = Recipe.load(Path(trial.run_folder) / "recipe.yaml")
        assert recipe.training.learning_rate == trial.values["training.learning_rate"]
        assert recipe.strategy.name == trial.values["strategy.name"]
    assert [event.number for event in events if isinstance(event, TrialEnded)] == [0, 1, 2, 3]
    assert [event.state for event in events if isinstance(event, Finished)] == ["finished"]
    assert {run.tags for run in list_runs()} == {("sweep",)}


def test_ranges_are_drawn_within_their_bounds_and_repeatably(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    space = {"training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "training.batch_size": Range(8, 48)}
    config = sweep_of(make_recipe(epochs=0.1), space, method="random", trials=3, metric="loss")
    first = run_sweep(SweepRequest(config, tmp_path / "one"), JobContext())
    again = run_sweep(SweepRequest(config, tmp_path / "two"), JobContext())
    assert [trial.values for trial in first.trials] == [trial.values for trial in again.trials]
    assert len({trial.values["training.learning_rate"] for trial in first.trials}) == 3
    for trial in first.trials:
        assert 1e-4 <= trial.values["training.learning_rate"] <= 1e-2
        assert isinstance(trial.values["training.batch_size"], int)
        assert 8 <= trial.values["training.batch_size"] <= 48
    assert first.best is not None
    assert first.best.value == min(trial.value for trial in first.trials if trial.value is not None)


def test_a_training_that_fails_does_not_end_the_sweep(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(epochs=0.5)
    space = {"data.train": [str(tmp_path / "missing.jsonl"), recipe.data.train]}
    result = run_sweep(SweepRequest(sweep_of(recipe, space, method="grid"), tmp_path / "sweep"), JobContext())
    failed, done = result.trials
    assert (failed.state, failed.value) == ("failed", None)
    assert "missing.jsonl" in failed.reason
    assert done.state == "finished"
    assert result.best == done
    hopeless = sweep_of(recipe, {"data.train": [str(tmp_path / "missing.jsonl")]}, method="grid")
    with pytest.raises(UserError, match="None of the 1 trainings"):
        run_sweep(SweepRequest(hopeless, tmp_path / "hopeless"), JobContext())


def test_an_interrupted_sweep_goes_on_with_the_training_it_was_in(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    config = sweep_of(make_recipe(epochs=1), {"training.learning_rate": [1e-3, 2e-3, 3e-3]}, method="grid")
    control = Control()
    ended: list[TrialEnded] = []

    def _listen(event: Event) -> None:
        if isinstance(event, TrialEnded):
            ended.append(event)
        if isinstance(event, StepLogged) and ended and event.step == 4:
            control.cancel()

    with pytest.raises(Cancelled):
        run_sweep(SweepRequest(config, tmp_path / "sweep"), JobContext(_listen, control))
    halfway = read_sweep(tmp_path / "sweep")
    assert [trial.state for trial in halfway.trials] == ["finished", "running"]
    events: list[Event] = []
    result = run_sweep(SweepRequest(None, tmp_path / "sweep", resume=True), JobContext(events.append))
    assert [trial.state for trial in result.trials] == ["finished"] * 3
    assert [trial.values["training.learning_rate"] for trial in result.trials] == [1e-3, 2e-3, 3e-3]
    assert result.trials[1].run_folder == halfway.trials[1].run_folder
    assert next(event.step for event in events if isinstance(event, StepLogged)) == 5
    assert len(list_runs()) == 3


def test_stop_ends_the_sweep_after_the_training_that_runs(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    config = sweep_of(make_recipe(epochs=1), {"training.learning_rate": [1e-3, 2e-3]}, method="grid")
    control = Control()
    events: list[Event] = []

    def _listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepLogged):
            control.stop()

    result = run_sweep(SweepRequest(config, tmp_path / "sweep"), JobContext(_listen, control))
    assert [trial.state for trial in result.trials] == ["stopped"]
    assert [event.state for event in events if isinstance(event, Finished)] == ["stopped"]


@pytest.mark.parametrize(
    ("space", "method", "words"),
    [
        ({}, "grid", "varies nothing"),
        ({"training.learning_rat": [1e-3]}, "grid", "learning_rate"),
        ({"training.learning_rate": {"low": 1e-3, "high": 1e-5}}, "random", "empty"),
        ({"training.learning_rate": {"low": 0, "high": 1.0, "log": True}}, "random", "above 0"),
        ({"training.learning_rate": {"low": 1e-5, "high": 1e-3}}, "grid", "needs single values"),
        ({"training.learning_rate": 1e-3}, "grid", "Write a list"),
        ({"training.epochs": [1, 99999]}, "grid", "at most"),
        ({"training.seed": list(range(2000))}, "grid", "combinations"),
    ],
)
def test_bad_sweeps_are_refused_before_anything_trains(
    make_recipe: MakeRecipe, space: dict[str, Any], method: str, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        sweep_of(make_recipe(), space, method=method)
    assert words in f"{caught.value.message} {caught.value.remedy}"


def test_the_command_line_runs_shows_and_lists_sweeps(
    make_recipe: MakeRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataclasses.replace(make_recipe(epochs=0.5)).save(tmp_path / "recipe.yaml")
    (tmp_path / "sweep.yaml").write_text(
        yaml.safe_dump({"recipe": "recipe.yaml", "method": "grid", "space": {"training.learning_rate": [1e-3, 2e-3]}})
    )
    assert main(["sweep", "run", str(tmp_path / "sweep.yaml")]) == 0
    (folder,) = list_sweeps()
    capsys.readouterr()
    assert main(["sweep", "show", folder.name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "training.learning_rate" in lines[0]
    assert main(["sweep", "list"]) == 0
    assert f"{folder.name}  sentiment  2/2" in capsys.readouterr().out
    assert main(["sweep", "run", "--resume", "--dir", str(folder)]) == 0  # nothing is left to do
    assert len(read_sweep(folder).trials) == 2
    assert main(["sweep", "show", str(tmp_path / "nothing")]) == 2


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"training.epochs": [1, "many", 2]}, "training.epochs is 'many'"),
        ({"training.epochs.x": [1, 2]}, "epochs has no key below it"),
        ({3: [1, 2]}, "The key 3 in space is no text"),
        ({"data.columns.text": ["text"], "training.batch_size": [8, 0, 4]}, "training.batch_size is 0"),
    ],
)
def test_what_no_recipe_can_be_shows_before_the_first_trial(
    make_recipe: MakeRecipe, space: dict[Any, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        sweep_of(make_recipe(), space, method="grid")


def test_values_may_go_only_with_some_of_another_key(tmp_path: Path) -> None:
    values = {"task": "masked_lm", "architecture": {"family": "bert"}, "data": {"train": "handbook"}}
    space = {"architecture.hidden_size": [64, 96], "architecture.heads": [4, 12]}  # not 64 with 12
    assert SweepConfig(recipe=values, space=space, method="grid").total == 4


def test_a_metric_that_the_task_does_not_report_ends_the_sweep_at_once(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    config = sweep_of(make_recipe(epochs=0.1), {"training.seed": [1, 2, 3]}, method="grid", metric="accurcy")
    with pytest.raises(UserError, match="does not report the metric accurcy") as caught:
        run_sweep(SweepRequest(config, tmp_path / "sweep"), JobContext())
    assert "accuracy" in caught.value.remedy
    assert [trial.state for trial in read_sweep(tmp_path / "sweep").trials] == ["failed"]


def test_a_sweep_goes_on_behind_half_a_line_of_its_record(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """As a process that is killed, or a full disk, leaves it."""
    config = sweep_of(make_recipe(epochs=0.1), {"training.seed": [1, 2]}, method="grid")
    journal = tmp_path / "sweep" / "trials.journal"

    def stop_after_the_first(event: Event) -> None:
        if isinstance(event, TrialEnded):
            control.stop()

    control = Control()
    run_sweep(SweepRequest(config, tmp_path / "sweep"), JobContext(stop_after_the_first, control))
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "tri')
    assert len(read_sweep(tmp_path / "sweep").trials) == 1
    assert journal.read_bytes() == whole + b'{"op_code": 4, "tri'  # a look changes nothing
    result = run_sweep(SweepRequest(None, tmp_path / "sweep", resume=True), JobContext())
    assert [(trial.state, trial.values["training.seed"]) for trial in result.trials] == [
        ("finished", 1),
        ("finished", 2),
    ]

    journal.write_bytes(b"not a record\n" + journal.read_bytes())
    with pytest.raises(UserError, match=r"trials\.journal, is damaged") as caught:
        read_sweep(tmp_path / "sweep")
    assert "anew" in caught.value.remedy


def test_only_one_process_runs_a_sweep(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    config = sweep_of(make_recipe(epochs=0.1), {"training.seed": [1]}, method="grid")
    refused: list[str] = []

    def try_again(event: Event) -> None:
        if isinstance(event, StepLogged) and not refused:
            with pytest.raises(UserError) as caught:
                run_sweep(SweepRequest(None, tmp_path / "sweep", resume=True), JobContext())
            refused.append(caught.value.message)

    result = run_sweep(SweepRequest(config, tmp_path / "sweep"), JobContext(try_again))
    assert len(refused) == 1
    assert "still running" in refused[0]
    assert [trial.state for trial in result.trials] == ["finished"]
    assert run_sweep(SweepRequest(None, tmp_path / "sweep", resume=True), JobContext()).trials == result.trials


def test_the_bundled_sweep_is_valid() -> None:
    config = SweepConfig.load(resource("sweeps") / "sentiment.yaml")
    assert config.total == 6
    assert config.recipe_with({"strategy.name": "lora"}).data.train == "uci-sentiment"
