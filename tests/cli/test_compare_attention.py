"""``lmstudio-app compare-attention``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmstudio_app.cli import main

TEXT = "the movie was great"


def test_two_models_are_compared(
    tiny_encoder: Path, tiny_classifier: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.npz"
    command = ["compare-attention", "--model", str(tiny_encoder), "--other", str(tiny_classifier), "--text", TEXT]
    assert main([*command, "--layer", "1", "--head", "3", "--output", str(path)]) == 0
    with np.load(path) as arrays:
        assert arrays["place"].tolist() == [1, 3]
        assert arrays["second_minus_first"].shape == (6, 6)
    assert "Layer 1, head 3: " in capfd.readouterr().err


def test_two_texts_are_compared(tiny_encoder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.csv"
    command = ["compare-attention", "--model", str(tiny_encoder), "--text", TEXT, "--other-text", "the movie was bad"]
    assert main([*command, "--output", str(path)]) == 0
    assert len(path.read_text().splitlines()) == 9
    assert "Changed most: Layer" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ([], "nothing to compare with"),
        (["--other-text", "x", "--output", "found.doc"], "ends in .doc"),
        (["--other-text", "x", "--width", "3"], "3 pixels wide"),
        (["--other-text", "x", "--layer", "9"], "Layer 9 is not compared"),
    ],
)
def test_bad_input_is_one_sentence(
    more: list[str], sentence: str, tiny_encoder: Path, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["compare-attention", "--model", str(tiny_encoder), "--text", "x", "--output", "found.npz", *more]
    assert main(command) == 2
    assert sentence in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
