"""``lmstudio-app attention`` from end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lmstudio_app.cli import main

TEXT = "the film was not very good"


def test_numbers_and_picture(tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["attention", "--model", str(tiny_encoder), "--text", TEXT, "--device", "cpu"]
    assert main([*common, "--pair", "bad food", "--output", str(tmp_path / "a.npz")]) == 0
    with np.load(tmp_path / "a.npz") as data:
        assert data["weights"].shape == (2, 4, 11, 11)
        assert data["weights"].dtype == np.float32
        assert len(data["tokens"]) == 11
        np.testing.assert_allclose(data["weights"].sum(-1), 1, atol=1e-3)
    assert main([*common, "--layer", "1", "--head", "3", "--output", str(tmp_path / "a.png")]) == 0
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] == 1600
    assert "Saved" in capsys.readouterr().err


def test_json_events(tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "a.npz"
    text = "good " * 300
    assert main(["attention", "--model", str(tiny_encoder), "--text", text, "--output", str(output), "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(event["event"] in ("status", "progress") for event in events)
    assert [event["parameters"]["dropped"] for event in events if event.get("warning")] == [302 - 128]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "a.gif"], "cannot be written"),
        (["--layer", "9", "--output", "a.npz"], "no layer 9"),
        (["--head", "9", "--output", "a.npz"], "no head 9"),
        (["--text", " ", "--output", "a.npz"], "no text"),
        (["--model", "starter:encoder", "--output", "a.npz"], "lmstudio-app models fetch"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    options: list[str],
    words: str,
    tiny_encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["attention", "--model", str(tiny_encoder), "--text", TEXT, *options]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert not list(tmp_path.glob("a.*"))


def test_no_qt_is_imported(tiny_encoder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from lmstudio_app.cli import main\n"
        f"code = main(['attention', '--model', {str(tiny_encoder)!r}, '--text', 'good film', "
        f"'--output', {str(tmp_path / 'a.png')!r}])\n"
        "assert not any(name.startswith(('PySide6', 'pyqtgraph')) for name in sys.modules)\n"
        "sys.exit(code)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").is_file()
