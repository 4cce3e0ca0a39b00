"""``lmstudio-app datasets``: what a person reads and what a program parses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.cli import main
from lmstudio_app.data.catalog import bundled_data_sets
from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.tasks.sentiment import SENTIMENT


@pytest.fixture
def odd_file(tmp_path: Path) -> Path:
    path = tmp_path / "odd.csv"
    lines = ["text;label", *(f"电影很好看，第{i}集;{i % 2}" for i in range(12)), "短", ";1"]
    path.write_bytes("\n".join(lines).encode("gbk"))
    return path


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(["datasets", *args])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_names_every_bundled_set_with_its_licence(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()]
    assert names == ["NAME", *bundled_data_sets()]
    assert names[1:4] == ["uci-sentiment", "uci-imdb", "uci-amazon"]
    assert all(licence in out for licence in ("CC BY 4.0", "CC BY-SA 4.0", "CC BY 2.0 FR", "Apache-2.0"))
    entries = json.loads(run(capsys, "list", "--json")[1])
    assert entries[0]["rows"] == 2000
    assert "KDD 2015" in entries[0]["attribution"]


def test_preview_of_a_bundled_set(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "preview", "uci-sentiment", "--rows", "2")
    assert code == 0
    assert "2,000 rows, read as tsv, UTF-8, columns separated by tab" in out
    assert "label (int64)  -> label" in out
    assert "0: 1,000 (50.0 %)" in out
    assert "17 rows repeat an earlier text" in out


def test_preview_tells_what_is_odd_and_which_option_mends_it(
    capsys: pytest.CaptureFixture[str], odd_file: Path
) -> None:
    code, out, _ = run(capsys, "preview", str(odd_file))
    assert code == 0
    assert "it was read as GB18030. (try --encoding" in out
    assert "separated by semicolon, not by comma. (try --delimiter ',')" in out
    assert "do not have 2 fields, set aside: 1 (line 14)" in out
    assert "text (string, 1 empty)  -> text" in out
    assert "rows set aside are in" in out
    values: dict[str, Any] = json.loads(run(capsys, "preview", str(odd_file), "--json", "--rows", "1")[1])
    assert values["first_rows"] == [{"text": "电影很好看，第0集", "label": 0}]
    assert values["mapping"] == {"text": "text", "label": "label"}
    assert values["class_balance"] == {"1": 7, "0": 6}
    assert values["facts"]["encoding"] == "gb18030"
    assert {problem["kind"] for problem in values["problems"]} == {"encoding", "delimiter", "ragged"}
    aside = [json.loads(line) for line in Path(values["set_aside_files"][0]).read_text("utf-8").splitlines()]
    assert [(row["line"], row["raw"]) for row in aside] == [(14, "短")]


def test_preview_obeys_the_reading_options(capsys: pytest.CaptureFixture[str], odd_file: Path) -> None:
    _, out, _ = run(capsys, "preview", str(odd_file), "--delimiter", "|", "--no-header", "--json")
    values = json.loads(out)
    assert list(values["columns"]) == ["column 1"]
    assert values["rows"] == 15


def test_preview_of_several_files_is_one_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{name} one,1\n{name} two,1\n")
    files = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    values = json.loads(run(capsys, "preview", *files, "--json")[1])
    assert (values["rows"], values["class_balance"]) == (4, {"1": 4})
    assert [problem["kind"] for problem in values["problems"]] == ["one_class"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["preview", "uci-imbd"], "error: There is no data set or file uci-imbd. Did you mean uci-imdb?"),
        (["preview", "uci-imdb", "--task", "nothing"], "error: There is no task nothing."),
        (["preview"], "error: the following arguments are required: REF"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    try:
        code = main(["datasets", *args])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_list_needs_no_heavy_library() -> None:
    script = (
        "import sys; from lmstudio_app.cli import main; main(['datasets', 'list']);"
        "print(sorted({'torch', 'transformers', 'datasets', 'pyarrow', 'PySide6'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_report_says_what_a_training_would_get(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = [f"text number {at},{at % 2}" for at in range(40)]
    path.write_text("\n".join(["remark,liked", *lines, ",1"]) + "\n")
    code, out, _ = run(capsys, "report", str(path), "--column", "text=remark", "--eval-fraction", "0.25")
    assert code == 0
    assert "columns: remark -> text, liked -> label" in out
    assert "41 rows read, 30 for training, 10 for evaluation" in out
    assert "0: 15 for training, 5 for evaluation" in out
    assert "Rows without a value in remark, left out: 1 (line 42)." in out
    values = json.loads(run(capsys, "report", str(path), "--limit", "20", "--json")[1])
    assert (values["train_rows"], values["eval_rows"], values["limited"]) == (18, 2, 20)
    code, _, err = run(capsys, "report", str(path), "--column", "remark")
    assert code == 2
    assert "names no column" in err


def test_aligned_files_are_previewed_and_reported(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (ColumnSpec("source", "Source", ""), ColumnSpec("target", "Target", ""))
    monkeypatch.setattr("lmstudio_app.tasks.TASKS", (replace(SENTIMENT, name="pairs", columns=columns),))
    files = [tmp_path / "a.en", tmp_path / "a.de"]
    for path, word in zip(files, ("Sentence", "Satz"), strict=True):
        path.write_text("".join(f"{word} {at}\n" for at in range(20)))
    names = [str(path) for path in files]
    _, out, _ = run(capsys, "preview", *names, "--aligned", "--task", "pairs", "--rows", "1")
    assert "source (string)  -> source" in out
    assert "Satz 0" in out
    _, out, _ = run(capsys, "report", *names, "--aligned", "--task", "pairs")
    assert "20 rows read, 18 for training, 2 for evaluation" in out
    code, _, err = run(capsys, "report", names[0], "--aligned", "--task", "pairs")
    assert code == 2
    assert "two files, not 1" in err


def test_running_text_is_reported_in_documents(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (ColumnSpec("text", "Text", "", type="document"),)
    monkeypatch.setattr("lmstudio_app.tasks.TASKS", (replace(SENTIMENT, name="book", columns=columns),))
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(f"one {at}\ntwo {at}" for at in range(10)))
    _, out, _ = run(capsys, "report", str(path), "--task", "book")
    assert "training: 9 documents, 36 words" in out
    assert "evaluation: 1 documents, 4 words" in out


def test_chats_and_answers_are_previewed_as_people_read_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    chat = tmp_path / "chat.jsonl"
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    chat.write_text((json.dumps({"conversations": turns}) + "\n") * 3)
    _, out, _ = run(capsys, "preview", str(chat), "--task", "chat")
    assert "user: Hi · assistant: Hello" in out
    assert "duplicates: 2 rows" in out
    squad = tmp_path / "squad.jsonl"
    answers = {"text": ["cat"], "answer_start": [4]}
    squad.write_text(json.dumps({"question": "Who?", "context": "The cat sat.", "answers": answers}) + "\n")
    _, out, _ = run(capsys, "preview", str(squad), "--task", "question_answering")
    assert "Who?      The cat sat.  cat" in out
    assert "answer_start" not in out
