"""``lmstudio-app runs``: what it prints, and a training in the background from its start to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmstudio_app.cli import main
from lmstudio_app.training.claims import is_running, read_claim
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import create_run, list_runs, summarize_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def values(tiny_encoder: Path, tmp_path: Path) -> dict[str, Any]:
    rows = [{"text": f"{'a great' if n % 2 else 'an awful'} film {n}", "label": n % 2} for n in range(80)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "task": "sentiment",
        "model": str(tiny_encoder),
        "data": {"train": str(tmp_path / "train.jsonl"), "eval_fraction": 0.25},
        "training": {"epochs": 2, "batch_size": 8, "log_every": 1, "device": "cpu", "learning_rate": 0.003},
    }


def write_run(folder: Path, values: dict[str, Any], lines: list[dict[str, Any]], **training: Any) -> Path:
    recipe = Recipe.from_dict({**values, "training": {**values["training"], **training}})
    run = create_run(recipe, folder)
    (run.path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run.path


def story(accuracy: float) -> list[dict[str, Any]]:
    def _evaluated(step: int, value: float) -> dict[str, Any]:
        return {"event": "evaluated", "time": step, "step": step, "epoch": 1.0, "metrics": {"loss": "nan",
                "accuracy": value}}  # fmt: skip

    return [
        {"event": "status", "time": 0.0, "template": "Reading the data"},
        {"event": "step", "time": 3.0, "step": 8, "total_steps": 16, "epoch": 1.0, "loss": 0.5, "learning_rate": 1e-3,
         "grad_norm": 1.0, "tokens_per_second": 1.0, "examples_per_second": 250.0},
        _evaluated(8, accuracy), _evaluated(16, accuracy - 0.1),
        {"event": "failed", "time": 3725.0, "message": "The loss became nan."},
    ]  # fmt: skip


@pytest.fixture
def two_runs(values: dict[str, Any], app_home: Path) -> tuple[Path, Path]:
    first = write_run(app_home / "runs" / "first", values, story(0.9), learning_rate=0.01)
    return first, write_run(app_home / "runs" / "second", values, story(0.8), learning_rate=0.02)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["runs", *arguments]) == 0
    return capsys.readouterr().out


def test_runs_are_listed_searched_tagged_and_shown(
    two_runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, "tag", "first", "keep", "best so far") == "keep, best so far\n"
    assert told(capsys, "tag", str(two_runs[0]), "keep", "--remove") == "best so far\n"
    told(capsys, "note", "first", "a high\nrate")
    told(capsys, "title", "first", "Der erste Lauf")
    header, *rows = told(capsys, "list").splitlines()
    assert header.split()[0] == "NAME"
    assert {row.split()[0] for row in rows} == {"first", "second"}
    (row,) = told(capsys, "list", "--search", "BEST far").splitlines()[1:]
    assert row.split() == [
        *("first", "failed", "sentiment", Path(summarize_run(two_runs[0]).model).name, "train.jsonl", "8/16"),
        *("accuracy", "0.9000", "1:02:05", "best", "so", "far"),
    ]
    (found,) = json.loads(told(capsys, "list", "--search", "lauf", "--json"))
    assert (found["tags"], found["notes"], found["best_value"]) == (["best so far"], "a high\nrate", 0.9)

    text = told(capsys, "show", "first")
    for words in ("Der erste Lauf", "The loss became nan.", "training.learning_rate", "0.8000", str(two_runs[0])):
        assert words in text
    shown = json.loads(told(capsys, "show", str(two_runs[0]), "--json"))
    assert shown["recipe"]["training"]["learning_rate"] == 0.01
    assert [row["accuracy"] for row in shown["evaluations"]] == [0.9, pytest.approx(0.8)]
    assert shown["evaluations"][0]["loss"] is None  # JSON has no word for nan
    assert shown["places"]["folder"] == str(two_runs[0])


def test_a_comparison_shows_what_differs(two_runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "compare", "first", "second").splitlines()
    assert lines[0].split() == ["first", "second"]
    assert ["training.learning_rate", "0.01", "0.02"] in [line.split() for line in lines]
    assert ["accuracy,", "best", "0.9000", "0.8000"] in [line.split() for line in lines]
    assert not [line for line in lines if line.startswith("training.epochs")]
    found = json.loads(told(capsys, "compare", "first", "second", "--json"))
    assert found["differences"] == {"training.learning_rate": [0.01, 0.02]}
    assert found["best"]["accuracy"] == [0.9, 0.8]
    assert found["durations"] == [3725.0, 3725.0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "third"], "There is no run third."),
        (["compare", "first"], "nothing to compare"),
        (["pause", "first"], "is not running"),
        (["follow", "first"], "The loss became nan."),
        (["delete", "first"], "Add --yes"),
        (["delete", "."], "There is no run"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    two_runs: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    with open(os.devnull, encoding="utf-8") as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        assert main(["runs", *arguments]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert len(list_runs()) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="terminals and the trash of Linux")
def test_deleting_asks_on_a_terminal(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    import pty

    environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    command = [sys.executable, "-m", "lmstudio_app", "runs", "delete", "first"]
    for answer, remains in ((b"\n", True), (b"y\n", False)):
        ours, theirs = pty.openpty()
        os.write(ours, answer)
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=theirs, capture_output=True, text=True, check=True
        )
        os.close(ours)
        os.close(theirs)
        assert "Move these to the trash? [y/N]" in done.stderr
        assert str(two_runs[0]) in done.stderr
        assert two_runs[0].exists() == remains


@pytest.fixture
def background(tmp_path: Path) -> Iterator[Path]:
    """A run's folder whose process does not outlive a test that failed."""
    yield (folder := tmp_path / "in the background")
    if (claim := read_claim(folder)) is not None and is_running(folder):
        os.kill(claim.pid, 15)


def test_a_training_in_the_background_is_followed_and_stopped(
    values: dict[str, Any], background: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    arguments = ["train", str(recipe), "--run-dir", str(background), "--set", "training.epochs=900"]
    assert main([*arguments, "--in-background"]) == 0
    assert capsys.readouterr().out == f"{background}\n"
    assert is_running(background)
    assert main([*arguments, "--in-background"]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["train", "--resume", "--run-dir", str(background), "--in-background"]) == 2
    assert "still running" in capsys.readouterr().err
    deadline = time.monotonic() + 60
    while summarize_run(background).step == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert main(["runs", "pause", str(background)]) == 0
    while not summarize_run(background).paused:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert main(["runs", "go-on", str(background)]) == 0
    assert main(["runs", "stop", str(background)]) == 0
    assert main(["runs", "follow", str(background)]) == 0
    output = capsys.readouterr()
    assert output.out == f"{background / 'final'}\n"
    assert "step 1/" in output.err
    assert "Paused" in output.err
    assert main(["runs", "follow", str(background), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["state"] == "stopped"
