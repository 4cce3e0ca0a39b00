"""The command line's contract: exit codes, one error line, JSON lines, a resumable interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lmstudio_app.cli import main
from lmstudio_app.events import StepLogged, from_json
from lmstudio_app.training.runs import read_events


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


def start(*arguments: str, before: str = "", **options: Any) -> subprocess.Popen[str]:
    """The command line in a process of its own, after the line ``before``."""
    code = f"import sys\n{before}\nfrom lmstudio_app.cli import main\nsys.exit(main(sys.argv[1:]))"
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, encoding="utf-8", **pipes)


# where a training is, as a code that pulls the switch there
MOMENTS = {
    "importing": ("lmstudio_app.training.session", "preload_libraries"),
    "loading": ("lmstudio_app.models.loading", "_load_weights"),
    "tokenising": ("lmstudio_app.tasks.classification", "label_ids"),
    "evaluating": ("lmstudio_app.training.loop", "evaluate"),
    "checkpoint": ("lmstudio_app.training.checkpoints", "_write_manifest"),
}


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_at_any_moment_leaves_a_run_that_goes_on_to_the_same_bits(
    recipe: Path, tmp_path: Path, moment: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The signal arrives in the middle of the function, as it does from a keyboard."""
    import importlib

    module, function = MOMENTS[moment]
    module_object = importlib.import_module(module)
    original, calls = getattr(module_object, function), []

    def interrupted(*args: Any, **options: Any) -> Any:
        calls.append(function)
        if len(calls) == 1:
            signal.raise_signal(getattr(signal, name))
        return original(*args, **options)

    options = ["--set", "training.checkpoint_every=3", "training.evaluate_every=2"]
    assert main(["train", str(recipe), "--run-dir", str(tmp_path / "straight"), *options]) == 0
    run = tmp_path / "a run"
    with monkeypatch.context() as patch:
        patch.setattr(module_object, function, interrupted)
        capsys.readouterr()
        assert main(["train", str(recipe), "--run-dir", str(run), *options]) == 130
    output = capsys.readouterr()
    assert output.out == ""
    assert f"go on with: lmstudio-app train --run-dir '{run}' --resume" in output.err
    assert json.loads((run / "events.jsonl").read_text().splitlines()[-1])["state"] == "interrupted"
    assert main(["train", "--run-dir", str(run), "--resume"]) == 0
    found = [
        {e.step: e.loss for e in read_events(folder) if isinstance(e, StepLogged)}
        for folder in (tmp_path / "straight", run)
    ]
    assert found[0] == found[1]


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_json_has_stdout_for_itself_and_ends_with_its_reader(recipe: Path, tmp_path: Path) -> None:
    noisy = (
        "import lmstudio_app.training.loop as loop\n"
        "evaluate = loop.evaluate\n"
        "def noisy(*args):\n"
        "    print('a library says something'); return evaluate(*args)\n"
        "loop.evaluate = noisy"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = start("train", str(recipe), "--run-dir", str(tmp_path / "差"), "--json", before=noisy, env=environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert all("event" in json.loads(line) for line in out.splitlines())
    assert "a library says something" in err

    run = tmp_path / "run"
    arguments = ["train", str(recipe), "--run-dir", str(run), "--json", "--set", "training.epochs=400"]
    process = start(*arguments)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()  # as `| head -1` does
    assert process.wait(60) == 130
    assert process.stderr is not None
    assert "Traceback" not in (errors := process.stderr.read())
    assert "Exception ignored" not in errors
    process.stderr.close()
    assert json.loads((run / "events.jsonl").read_text().splitlines()[-1])["state"] == "interrupted"


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_lack_of_memory_names_what_to_lower(recipe: Path, tmp_path: Path) -> None:
    limit = (
        "import resource, psutil, lmstudio_app.training.loop as loop\n"
        "step = loop.learning_rate_at\n"
        "def starved(number, total, config):\n"
        "    import torch\n"
        "    size = psutil.Process().memory_info().vms + (64 << 20)\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (size, size))\n"
        "    torch.empty(1 << 30)\n"
        "    return step(number, total, config)\n"
        "loop.learning_rate_at = starved"
    )
    process = start("train", str(recipe), "--run-dir", str(tmp_path / "run"), before=limit)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2, errors
    assert "batch size" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert json.loads((tmp_path / "run" / "events.jsonl").read_text().splitlines()[-1])["event"] == "failed"


def test_the_same_command_works_once_what_was_missing_is_there(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "train.jsonl"
    away = data.rename(tmp_path / "away.jsonl")
    command = ["train", str(recipe), "--run-dir", str(tmp_path / "run")]
    assert main(command) == 2
    assert "train.jsonl" in capsys.readouterr().err
    away.rename(data)
    assert main(command) == 0
    assert main(command) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["train", "--run-dir", str(tmp_path / "run"), "--resume"]) == 0  # finished: made anew, the same


def test_a_recipe_is_found_from_another_folder(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "另一个 目录"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["train", "../recipe.yaml", "--run-dir", "运行", "--set", "training.epochs=0.01"]) == 0
    assert capsys.readouterr().out.strip() == str(folder / "运行" / "final")
    monkeypatch.chdir("/")
    assert main(["train", "--run-dir", str(folder / "运行"), "--resume"]) == 0


def test_training_tells_what_is_odd_about_the_data(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--run-dir", str(tmp_path / "run"), "--set", "data.eval=train.jsonl", "training.epochs=0.01"]
    assert main(["train", str(recipe), *options]) == 0
    assert "80 of 80 evaluation rows have a text that is also in the training data" in capsys.readouterr().err


def test_ctrl_c_before_the_command_is_there_has_no_traceback() -> None:
    code = (
        "import builtins, sys\n"
        "from lmstudio_app.__main__ import main\n"
        "original = builtins.__import__\n"
        "def importing(name, *rest, **named):\n"
        "    if name == 'lmstudio_app.cli': raise KeyboardInterrupt\n"
        "    return original(name, *rest, **named)\n"
        "builtins.__import__ = importing\n"
        "sys.argv = ['lmstudio-app', 'train', 'recipe.yaml']\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
