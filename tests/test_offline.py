"""The main job without a network: once the model is here, nothing opens a socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# An audit hook sees every socket and child process of Python's own; it cannot be taken off, hence a process of its own.
# What it refuses is told at the end as well, since a library may swallow the exception.
GUARDED = """
import json, os, sys

refused = []

def guard(event, arguments):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
        refused.append(f"{event} {arguments}")
        raise OSError(f"{event} is refused: this job needs no network")

os.chdir(sys.argv[1])
sys.addaudithook(guard)
from lmstudio_app.cli import main

for command in json.loads(sys.argv[2]):
    code = main(command)
    assert code == 0, (command, code)
assert not refused, refused
"""


def run_guarded(folder: Path, commands: list[list[str]], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", GUARDED, str(folder), json.dumps(commands)],
        env=environment | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize("variables", [{"HF_HUB_OFFLINE": "1"}, {}], ids=["offline", "network allowed"])
def test_the_main_job_opens_no_socket(tiny_encoder: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    """Nor does it where the network is allowed: only fetching a model uses it."""
    rows = [{"text": f"a {word} movie", "label": label} for label, word in enumerate(("bad", "great"))] * 8
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = {
        "task": "sentiment",
        "model": str(tiny_encoder),
        "data": {"train": "rows.jsonl", "eval_fraction": 0.25},
        "training": {"epochs": 1, "batch_size": 4, "device": "cpu", "precision": "float32"},
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    commands = [
        ["models", "list"],
        ["models", "info", str(tiny_encoder)],
        ["datasets", "list"],
        ["datasets", "preview", "rows.jsonl"],
        ["train", "recipe.yaml", "--run-dir", "run"],
        ["predict", "sentiment", "--model", "run/final", "--input", "rows.jsonl", "--output", "out.jsonl"],
        ["attention", "--model", "run/final", "--text", "a great movie", "--output", "maps.npz"],
        ["attention", "--model", "run/final", "--text", "a great movie", "--output", "maps.png"],
    ]
    done = run_guarded(tmp_path, commands, **variables)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert (tmp_path / "maps.png").is_file()


def test_a_model_that_is_not_here_is_not_fetched_by_the_way(tmp_path: Path) -> None:
    done = run_guarded(tmp_path, [["attention", "--model", "org/model", "--text", "a", "--output", "maps.npz"]])
    assert "error: The model org/model is not on this computer yet." in done.stderr
    assert "AssertionError: (['attention'" in done.stderr, "the command ended by itself, with its own exit code"


def test_the_guard_sees_a_socket(tmp_path: Path) -> None:
    """Fetching needs the network, and says so in a sentence when it is refused."""
    done = run_guarded(tmp_path, [["models", "fetch", "org/model"]])
    assert done.returncode != 0
    assert "error: The hub at" in done.stderr
    assert "is refused" in done.stderr
