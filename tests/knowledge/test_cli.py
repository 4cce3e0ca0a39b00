"""``lmstudio-app kb``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmstudio_app.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_build_ask_and_list(
    tmp_path: Path, folder: Path, starter_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    code, out, _ = run(capsys, "kb", "build", base, folder, "--encoder", starter_encoder, "--json")
    report = json.loads(out.splitlines()[-1])
    assert code == 0
    assert (report["event"], report["files"], report["added"], report["problems"]) == ("report", 3, 3, [])

    code, out, _ = run(capsys, "kb", "ask", base, "What makes the dough rise?", "--top", "2", "--json")
    row = json.loads(out)
    assert code == 0
    assert row["answer"] == "Yeast makes the dough rise."
    assert len(row["sources"]) == 2
    assert row["sources"][0]["file"] == str(folder / "bread.md")
    assert row["sources"][0]["heading"] == "Bread › Yeast"

    code, out, _ = run(capsys, "kb", "ask", base, "Who composed the opera Carmen?")
    assert (code, out) == (0, "Not in the knowledge base.\n")
    code, out, _ = run(capsys, "kb", "ask", base, "How many days does the moon take around the earth?")
    assert code == 0
    assert out.startswith("The moon goes around the earth in 27 days.\n\n[1] ")
    assert "moon.txt, characters 0 to 57" in out

    (folder / "bad.pdf").write_text("no pdf")
    code, _, err = run(capsys, "kb", "build", base)
    assert code == 0
    assert "warning: " in err
    assert "1 files added" in err
    code, out, _ = run(capsys, "kb", "list", base)
    assert code == 0
    listed = [line.split()[:2] for line in out.splitlines()[1:]]
    assert listed[:2] == [["0", str(folder / "bad.pdf")], ["2", str(folder / "bread.md")]]
    code, out, _ = run(capsys, "kb", "list", base, "--json")
    assert json.loads(out)["passages"] == 4


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("ask", "nowhere", "Why?"), "no knowledge base"),
        (("ask", "nowhere", " "), "empty"),
        (("build", "base"), "nothing to build"),
        (("build", "base", "none.txt"), "no file or folder"),
        (("list", "nowhere"), "no knowledge base"),
        (("build", "base", "none.txt", "--passage-tokens", "3"), "passage_tokens is 3"),
        (("ask", "nowhere", "Why?", "--top", "0"), "top is 0"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "kb", *arguments)
    assert (code, out) == (2, "")
    assert text in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
