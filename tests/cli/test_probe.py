"""``train --probe`` and ``runs attention``: a sentence that is watched while a model learns, without a screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lmstudio_app.cli import main

SENTENCE = 'a great film: "awful" {or} not'  # YAML would read it as something else


@pytest.fixture
def recipe(tiny_encoder: Path, tmp_path: Path) -> Path:
    rows = [{"text": f"{'a great' if n % 2 else 'an awful'} film {n}", "label": n % 2} for n in range(80)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values: dict[str, Any] = {
        "task": "sentiment",
        "model": str(tiny_encoder),
        "data": {"train": str(tmp_path / "train.jsonl"), "eval_fraction": 0.2},
        "training": {"epochs": 1, "batch_size": 8, "log_every": 4, "device": "cpu"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "recipe.yaml"


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def test_from_the_sentence_to_the_arrays(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    lines = told(
        capsys, "train", recipe, "--run-dir", run, "--json", "--probe", SENTENCE, "--set", "probe.every=3",
        "probe.layers=1",
    ).splitlines()  # fmt: skip
    events = [json.loads(line) for line in lines]
    assert [event["step"] for event in events if event["event"] == "attention"] == [0, 3, 6, 8]
    saved = yaml.safe_load((run / "recipe.yaml").read_text())["probe"]
    assert (saved["text"], saved["every"], saved["layers"]) == (SENTENCE, 3, "1")

    rows = json.loads(told(capsys, "runs", "attention", run, "--json"))
    assert [row["step"] for row in rows] == [0, 3, 6, 8]
    assert all(row["layers"] == [1] and row["entropy"] > 0 and Path(row["file"]).is_file() for row in rows)
    table = told(capsys, "runs", "attention", run, "--step", "6").splitlines()
    assert len(table) == 2
    assert table[1].startswith("6")

    told(capsys, "runs", "attention", run, "--output", tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as arrays:
        assert arrays["steps"].tolist() == [0, 3, 6, 8]
        steps, layers, _, queries, keys = arrays["weights"].shape
        assert (steps, layers, queries, keys) == (4, 1, len(arrays["tokens"]), len(arrays["tokens"]))
        np.testing.assert_allclose(arrays["weights"].sum(-1), 1, atol=2e-3)


def test_what_is_wrong_is_one_line(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal(capsys, "train", recipe, "--set", "probe.layers=first", "--probe", "x")
    assert "probe.layers cannot be read: first" in error
    told(capsys, "train", recipe, "--run-dir", tmp_path / "run", "--json")
    assert "train --probe TEXT" in refusal(capsys, "runs", "attention", tmp_path / "run")
    assert "keeps its recipe" in refusal(capsys, "train", "--resume", "--run-dir", tmp_path / "run", "--probe", "x")
    told(capsys, "train", recipe, "--run-dir", tmp_path / "other", "--json", "--probe", "x")
    assert "Choose one of: 0, " in refusal(capsys, "runs", "attention", tmp_path / "other", "--step", "99")
