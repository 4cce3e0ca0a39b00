"""``predict sentiment`` with its neutral band and word by word, and ``predict zero_shot``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.cli import main

TEXTS = ["The film was not very good!", "i loved it", "a nice phone, but the battery is awful"]


def predict(name: str, model: Path, folder: Path, *more: str) -> list[dict[str, Any]]:
    source, target = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    arguments = ["--model", str(model), "--input", str(source), "--output", str(target), "--device", "cpu"]
    assert main(["predict", name, *arguments, *more]) == 0
    return [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


def test_rows_stay_as_they_are_unless_asked(tiny_classifier: Path, tmp_path: Path) -> None:
    plain = predict("sentiment", tiny_classifier, tmp_path)
    assert all(row.keys() == {"label", "scores"} for row in plain)
    neutral = predict("sentiment", tiny_classifier, tmp_path, "--neutral-band", "0.9")
    assert [row["label"] for row in neutral] == ["neutral"] * 3
    assert [row["scores"] for row in neutral] == [row["scores"] for row in plain]


@pytest.mark.parametrize("band", ["0", "0.9"])
def test_each_row_tells_its_words(tiny_classifier: Path, tmp_path: Path, band: str) -> None:
    rows = predict("sentiment", tiny_classifier, tmp_path, "--saliency", "--neutral-band", band)
    for text, row in zip(TEXTS, rows, strict=True):
        words = row["saliency"]
        assert all(word.keys() == {"start", "end", "text", "score"} for word in words)
        assert all(text[word["start"] : word["end"]] == word["text"] for word in words)
        assert "".join(word["text"] for word in words) == text.replace(" ", "")
        assert any(abs(word["score"]) > 1e-6 for word in words)


def test_labels_of_ones_own(tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = predict("zero_shot", tiny_encoder, tmp_path, "--labels", "film, phone", "--template", "About a {}.")
    assert all(row["scores"].keys() == {"film", "phone"} for row in rows)
    assert all(sum(row["scores"].values()) == pytest.approx(1, abs=1e-5) for row in rows)
    arguments = ["--model", str(tiny_encoder), "--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "o")]
    assert main(["predict", "zero_shot", *arguments]) == 2
    assert "Name 2 to 100 labels" in capsys.readouterr().err
