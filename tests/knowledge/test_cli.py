"""``lmstudio-app kb``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmstudio_app.cli import main
from lmstudio_app.models.loading import LoadedModel


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
        (("build", "handbook", "none.txt"), "handbook stays"),
        (("new", "a/b"), "cannot have"),
        (("rename", "nobody", "somebody"), "no knowledge base called nobody"),
        (("delete", "handbook"), "handbook stays"),
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


def test_knowledge_bases_by_name(
    tmp_path: Path,
    folder: Path,
    tiny_encoder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "kb", "new", "My files")
    assert (code, Path(out.strip()).name) == (0, "My files")
    code, _, err = run(capsys, "kb", "build", "my files", folder, "--encoder", tiny_encoder)
    assert (code, "3 files added" in err) == (0, True)
    code, out, _ = run(capsys, "kb", "rename", "my files", "Kitchen")
    assert Path(out.strip()).name == "Kitchen"
    code, out, _ = run(capsys, "kb", "list")
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [["0", "0", "handbook"], ["4", "3", "Kitchen"]]
    code, out, _ = run(capsys, "kb", "list", "--json")
    listed = json.loads(out)[1]
    assert (listed["name"], listed["passages"], listed["error"]) == ("Kitchen", 4, None)
    code, out, _ = run(capsys, "kb", "list", "Kitchen", "--json")
    assert len(json.loads(out)["files"]) == 3
    code, _, err = run(capsys, "kb", "delete", "Kitchen")
    assert (code, "needs a yes" in err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_both_answers_are_there(
    tmp_path: Path, folder: Path, tiny_encoder: Path, reader: LoadedModel, chat: LoadedModel,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    base = tmp_path / "base"
    run(capsys, "kb", "build", base, folder, "--encoder", tiny_encoder)
    asked = ("kb", "ask", base, "When do cats hunt?", "--min-probability", "0", "--min-score", "0",
             "--max-new-tokens", "9", "--model", reader.reference, "--chat-model", chat.reference)  # fmt: skip
    code, out, _ = run(capsys, *asked, "--json")
    row = json.loads(out)
    assert (code, row["kind"]) == (0, "generated")
    marked = row["extracted"]
    assert Path(marked["file"]).read_text(encoding="utf-8")[marked["start"] : marked["end"]] == marked["answer"]
    code, out, _ = run(capsys, *asked)
    assert code == 0
    written, _, rest = out.partition("\n\n")
    assert written.strip() == row["answer"]
    assert rest.startswith(f"In the text: {' '.join(marked['answer'].split())}\n\n[1] ")
    code, out, _ = run(capsys, *asked[:-1], "none", "--json")
    assert json.loads(out)["kind"] == "extracted"
