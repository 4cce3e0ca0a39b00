"""``lmstudio-app tokenizer``: learn one from files, look at it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmstudio_app.cli import main
from lmstudio_app.models.loading import load_tokenizer

LINES = [f"The {a} {b} is {c}." for a in ("old", "new") for b in ("house", "river", "tree") for c in ("calm", "near")]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def test_learn_and_show(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "tokenizer"
    command = ["tokenizer", "train", "--data", str(texts), "--vocabulary", "100", "--output", str(folder)]
    assert main([*command, "--lowercase", "--special-token", "[X]", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["texts"] == len(LINES)
    assert report["coverage"] == 1.0
    assert load_tokenizer(folder).tokenize("[X] the RIVER") == ["[X]", "the", "river"]
    assert main(["tokenizer", "show", str(folder), "--text", "The old Ω house."]) == 0
    shown = capsys.readouterr().out
    assert "[CLS] the old [UNK] house . [SEP]" in shown
    assert "not covered      Ω" in shown
    assert main([*command]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["tokenizer", "show", str(folder)]) == 2
    assert "There is nothing to cut" in capsys.readouterr().err


def test_a_table_gives_the_texts_of_its_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("en,de,n\n" + "".join(f"the house {n},das haus {n},{n}\n" for n in range(40)), encoding="utf-8")
    folder = tmp_path / "marian"
    command = ["tokenizer", "train", "--data", str(table), "--family", "marian", "--vocabulary", "100", "--json"]
    assert main([*command, "--output", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == 80
    assert {path.name for path in folder.iterdir()} >= {"source.spm", "target.spm", "vocab.json"}
    assert main([*command, "--output", str(tmp_path / "x"), "--column", "n"]) == 2
    assert "There is no column n with texts" in capsys.readouterr().err
