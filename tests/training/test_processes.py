"""One training in two processes does what one process with the doubled batch does."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.events import AttentionProbed, Evaluated, Event, Status, StepLogged
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.probe_config import ProbeConfig
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import read_events

STRAIGHT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def launch(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines=1",
        f"--num_processes={processes}", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0",
        "-m", "lmstudio_app", *map(str, arguments),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)


@pytest.fixture
def straight_encoder(tiny_encoder: Path, tmp_path: Path) -> Path:
    """The tiny encoder without dropout, which every process would draw differently."""
    folder = tmp_path / "straight"
    shutil.copytree(tiny_encoder, folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | STRAIGHT), "utf-8")
    return folder


def steps(events: list[Event]) -> list[StepLogged]:
    return [event for event in events if isinstance(event, StepLogged)]


def test_two_processes_train_like_one_with_the_doubled_batch(
    make_recipe: Callable[..., Recipe], straight_encoder: Path, tmp_path: Path
) -> None:
    training: dict[str, Any] = {
        "batch_size": 7,  # 96 rows: the last batch is smaller, and odd
        "epochs": 2,
        "precision": "float32",
        "learning_rate": 1e-3,
        "gradient_accumulation": 2,
    }
    probe = ProbeConfig(text="the film was great", every=3)  # which the main process alone looks at
    recipe = dataclasses.replace(make_recipe(**training), model=str(straight_encoder), probe=probe)
    recipe.save(tmp_path / "recipe.yaml")
    done = launch("train", tmp_path / "recipe.yaml", "--run-dir", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    doubled = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, batch_size=14))
    alone: list[Event] = []
    train(TrainRequest(doubled, tmp_path / "one"), JobContext(alone.append))

    together = list(read_events(tmp_path / "two"))
    assert len(steps(together)) == len(steps(alone)) == 8
    for two, one in zip(steps(together), steps(alone), strict=True):
        assert two.step == one.step
        assert two.total_steps == one.total_steps
        assert abs(two.loss - one.loss) < 1e-4
        assert abs(two.grad_norm - one.grad_norm) < 1e-3
    evaluations = [[e for e in events if isinstance(e, Evaluated)] for events in (together, alone)]
    assert len(evaluations[0]) == 2  # said once, by the main process
    for two, one in zip(*evaluations, strict=True):
        assert abs(two.metrics["loss"] - one.metrics["loss"]) < 1e-4
    assert [event.step for event in together if isinstance(event, AttentionProbed)] == [0, 3, 6, 8]
    folders = [sorted(path.name for path in (tmp_path / run).rglob("*")) for run in ("two", "one")]
    assert len(folders[0]) == len(folders[1])  # the second process left nothing


def test_two_processes_resume_together(
    make_recipe: Callable[..., Recipe], straight_encoder: Path, tmp_path: Path
) -> None:
    recipe = dataclasses.replace(
        make_recipe(precision="float32", learning_rate=1e-3, checkpoint_every=3), model=str(straight_encoder)
    )
    recipe.save(tmp_path / "recipe.yaml")
    whole = launch("train", tmp_path / "recipe.yaml", "--run-dir", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "checkpoints" / "step-00000012")
    shutil.rmtree(tmp_path / "half" / "final")
    resumed = launch("train", "--resume", "--run-dir", tmp_path / "half")
    assert resumed.returncode == 0, resumed.stderr
    events = list(read_events(tmp_path / "half"))
    assert any(isinstance(e, Status) and e.message == "Going on after step 9" for e in events)
    first = {event.step: event.loss for event in steps(list(read_events(tmp_path / "whole")))}
    again = steps(events)[len(first) :]
    assert [event.step for event in again] == [10, 11, 12]
    for event in again:
        assert abs(event.loss - first[event.step]) < 1e-6


def test_bad_input_is_told_once(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    make_recipe().save(tmp_path / "recipe.yaml")
    (tmp_path / "run").mkdir()
    make_recipe().save(tmp_path / "run" / "recipe.yaml")
    done = launch("train", tmp_path / "recipe.yaml", "--run-dir", tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("already holds a run") == 1
