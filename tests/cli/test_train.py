"""The command line's contract: exit codes, one error line, JSON lines, a resumable interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lmstudio_app.cli import main
from lmstudio_app.events import StepLogged, from_json


@pytest.fixture
def recipe(tiny_encoder: Path, tmp_path: Path) -> Path:
    rows = [{"text": f"{'a great' if n % 2 else 'an awful'} film {n}", "label": n % 2} for n in range(80)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "recipe.yaml"
    values = {
        "task": "sentiment",
        "model": str(tiny_encoder),
        "data": {"train": "train.jsonl", "eval_fraction": 0.25},
        "training": {"epochs": 1, "batch_size": 8, "log_every": 1, "device": "cpu", "learning_rate": 0.003},
    }
    path.write_text(yaml.safe_dump(values))
    return path


def test_train_predict_and_the_lines_between(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", str(recipe), "--run-dir", str(run), "--set", "training.epochs=4", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    parsed = [json.loads(line) for line in lines]
    kinds = {"status", "progress", "step", "evaluated", "checkpoint", "text", "finished", "failed"}
    assert {line["event"] for line in parsed} <= kinds
    steps = [line for line in parsed if line["event"] == "step"]
    assert len(steps) == 4 * 8
    assert {"step", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second", "time"} <= steps[0].keys()
    assert isinstance(from_json(lines[-1]), type(from_json('{"event": "finished"}')))
    recorded = [from_json(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [e.loss for e in recorded if isinstance(e, StepLogged)] == [line["loss"] for line in steps]

    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a great film", "an awful film", "film")))
    arguments = ["--model", str(run / "final"), "--input", str(source), "--output", str(target), "--device", "cpu"]
    assert main(["predict", "sentiment", *arguments]) == 0
    outputs = [json.loads(line) for line in target.read_text().splitlines()]
    assert [output["label"] for output in outputs[:2]] == ["positive", "negative"]
    assert len(outputs) == 3
    assert all(sum(output["scores"].values()) == pytest.approx(1, abs=1e-5) for output in outputs)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "none.yaml"], "no recipe file"),
        (["train"], "no recipe"),
        (["train", "--resume"], "--run-dir"),
        (["train", "RECIPE", "--set", "training.epochs=none"], "training.epochs"),
        (["train", "RECIPE", "--set", "trainig.epochs=1"], "training"),
        (["train", "RECIPE", "--set", "model=nowhere:at-all"], "nowhere:at-all"),
        (["train", "RECIPE", "--set", "data.train=missing.csv"], "missing.csv"),
        (["train", "RECIPE", "--set", "training.device=cuda"], "cuda"),
        (["predict", "sentiment", "--model", "x", "--input", "none.jsonl", "--output", "o.jsonl"], "none.jsonl"),
        (["predict", "sentiment"], "--model"),
        (["juggle"], "juggle"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    recipe: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if words == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    try:
        code = main([str(recipe) if text == "RECIPE" else text for text in arguments])
    except SystemExit as ended:  # argparse ends by itself
        code = int(str(ended.code))
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert len(errors) == 1
    assert words in errors[0]


def test_an_error_of_a_real_process_has_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lmstudio_app", "train", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for other processes")
def test_ctrl_c_leaves_a_run_that_resumes(recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "lmstudio_app", "train", str(recipe), "--run-dir", str(run)]
    process = subprocess.Popen([*command, "--set", "training.epochs=400"], stderr=subprocess.PIPE, text=True)
    events = run / "events.jsonl"
    deadline = time.monotonic() + 60
    while '"step"' not in (events.read_text() if events.exists() else ""):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert list((run / "checkpoints").glob("step-*/trainer.json"))
    assert json.loads(events.read_text().splitlines()[-1])["state"] == "interrupted"

    # the same folder goes on: shorten the rest by hand, as nobody waits for 400 epochs
    values = yaml.safe_load((run / "recipe.yaml").read_text())
    values["training"]["epochs"] = 1
    (run / "recipe.yaml").write_text(yaml.safe_dump(values))
    assert main(["train", "--run-dir", str(run), "--resume"]) == 0
    assert (run / "final" / "model.safetensors").is_file()


def test_predict_names_the_bad_line_and_writes_nothing(
    tiny_classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "fine"}\n\n{"text": broken}\n')
    arguments = ["--model", str(tiny_classifier), "--input", str(source), "--output", str(target)]
    assert main(["predict", "sentiment", *arguments]) == 2
    assert "Line 3" in capsys.readouterr().err
    assert not target.exists()
    source.write_bytes('{"text": "é"}\n'.encode("latin-1"))
    assert main(["predict", "sentiment", *arguments]) == 2
    assert "UTF-8" in capsys.readouterr().err
