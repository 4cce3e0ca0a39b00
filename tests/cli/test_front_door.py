"""What every command does alike: exit codes, details on demand, and text that any terminal and program can take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmstudio_app.cli import main
from lmstudio_app.cli.tables import write_table
from lmstudio_app.tasks import TASKS, Task


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "lmstudio_app", *arguments]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, check=False)


@pytest.fixture
def chinese(tmp_path: Path) -> str:
    path = tmp_path / "chinese.csv"
    path.write_text("text,label\n电影很好看,1\n很无聊,0\n", encoding="utf-8")
    return str(path)


def test_a_terminal_that_lacks_a_character_shows_a_question_mark(chinese: str) -> None:
    done = run("datasets", "preview", chinese, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert b"?????  1" in done.stdout


def test_programs_read_utf_8_whatever_the_locale(chinese: str) -> None:
    done = run("datasets", "preview", chinese, "--json", PYTHONIOENCODING="cp1252")
    assert json.loads(done.stdout.decode("utf-8"))["first_rows"][0]["text"] == "电影很好看"


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is another error there")
def test_a_reader_that_has_enough_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "lmstudio_app", "datasets", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_details_of_an_error_are_told_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["models", "info", "no-such-model"]
    assert main(command) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["--debug", *command]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: There is no model called no-such-model.")
    assert "Traceback (most recent call last)" in error


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_can_be_asked(task: Task, capsys: pytest.CaptureFixture[str]) -> None:
    for prediction in task.predictions:
        with pytest.raises(SystemExit) as leaving:
            main(["predict", prediction.name, "--help"])
        assert leaving.value.code == 0
        text = capsys.readouterr().out
        assert all(f"{column.name}: " in text for column in prediction.inputs)


def test_tables_align_wide_characters(capsys: pytest.CaptureFixture[str]) -> None:
    write_table([("电影", "1"), ("film", "2")])
    assert capsys.readouterr().out == "电影  1\nfilm  2\n"
