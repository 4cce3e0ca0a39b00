"""``lmstudio-app attribute`` and ``lens`` from end to end."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lmstudio_app.cli import main

TEXT = "the film was not very good"


def test_an_answer_is_explained(tiny_classifier: Path, tmp_path: Path) -> None:
    base = ["attribute", "--model", str(tiny_classifier), "--text", TEXT]
    assert main([*base, "--output", str(tmp_path / "new" / "words.json")]) == 0
    found = json.loads((tmp_path / "new" / "words.json").read_text(encoding="utf-8"))
    assert found["answer"] in ("negative", "positive")
    assert sum(found["scores"]["integrated-gradients"]) == pytest.approx(found["value"] - found["baseline"], abs=0.02)
    other = {"negative": "positive", "positive": "negative"}[found["answer"]]
    table = tmp_path / "words.csv"
    assert main([*base, "--method", "gradient-x-input", "--answer", other, "--output", str(table)]) == 0
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["token"] for row in rows] == found["tokens"]
    own = found["scores"]["gradient-x-input"]
    assert [float(row["gradient-x-input"]) for row in rows] == pytest.approx([-score for score in own], abs=1e-4)


def test_layers_are_written(tiny_classifier: Path, tmp_path: Path) -> None:
    base = ["lens", "--model", str(tiny_classifier), "--text", TEXT]
    assert main([*base, "--output", str(tmp_path / "layers.json")]) == 0
    layers = json.loads((tmp_path / "layers.json").read_text(encoding="utf-8"))["layers"]
    assert len(layers) == 3
    assert layers[-1][0]["rank"] == 1
    assert sum(part["probability"] for part in layers[0][0]["top"]) == pytest.approx(1, abs=1e-5)
    assert main([*base, "--output", str(tmp_path / "layers.csv")]) == 0
    with (tmp_path / "layers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2
    assert float(rows[-2]["probability"]) == pytest.approx(layers[-1][0]["top"][0]["probability"], abs=1e-6)


@pytest.mark.parametrize(
    ("command", "rest", "message"),
    [
        ("attribute", ["--output", "words.txt"], "no kind of file"),
        ("attribute", ["--output", "words.csv", "--answer", "angry"], "none of the model's labels"),
        ("lens", ["--output", "words.png"], "no kind of file"),
    ],
)
def test_bad_input_is_told(
    command: str, rest: list[str], message: str, tiny_classifier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--model", str(tiny_classifier), "--text", TEXT, *rest]) == 2
    assert message in capsys.readouterr().err
