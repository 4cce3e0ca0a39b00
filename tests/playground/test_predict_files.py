"""Whole files through a prediction: order, tables, interruptions, and everything that must not be taken over."""

import csv
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Event, RowPredicted, Status
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.playground.files import FileRequest, part_of, predict_file
from lmstudio_app.tasks.streaming import BadRow, Row
from lmstudio_app.tasks.task import Prediction, PredictOptions


@dataclass(frozen=True)
class Shout:
    text: str

    def to_row(self) -> dict[str, Any]:
        return {"text": self.text, "scores": {"loud": 1.0}}


@dataclass(frozen=True)
class ShoutOptions(PredictOptions):
    mark: str = "!"
    pause: float = 0.0


asked: list[str] = []


def shout(loaded: Any, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: ShoutOptions) -> Iterator[Shout]:
    """Capital letters; a prediction without a model, so that only the file's way is tested."""
    for row in rows:
        if ctx.stopping:
            return
        ctx.check()
        if not isinstance(row.get("text"), str):
            raise BadRow(row, "A row has no text: {row}.", "Give it one.")
        asked.append(row["text"])
        time.sleep(options.pause)
        yield Shout(row["text"].upper() + options.mark)


TEXT = ColumnSpec("text", "Text", "A text.")
SHOUT = Prediction("shout", "Shout", "Capital letters.", (TEXT,), ("base",), Shout, shout, ShoutOptions)


@pytest.fixture(autouse=True)
def _nothing_asked() -> None:
    asked.clear()


def write(path: Path, texts: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def outputs(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def request(source: Path, target: Path, **more: Any) -> FileRequest:
    return FileRequest(SHOUT, source, target, ShoutOptions(**more.pop("options", {})), **more)


def stopped_after(count: int, how: str) -> JobContext:
    """A context whose job is stopped or cancelled once it has told of ``count`` rows."""
    control = Control()

    def _hear(event: Event) -> None:
        if isinstance(event, RowPredicted) and event.number + 1 == count:
            getattr(control, how)()

    return JobContext(_hear, control)


def test_the_rows_come_out_in_their_order(tmp_path: Path) -> None:
    events: list[Event] = []
    report = predict_file(
        request(write(tmp_path / "in.jsonl", "abc"), tmp_path / "out.jsonl", preview=2), None, JobContext(events.append)
    )
    assert (report.rows, report.continued, report.stopped) == (3, 0, False)
    assert outputs(tmp_path / "out.jsonl") == ["A!", "B!", "C!"]
    previews = [event for event in events if isinstance(event, RowPredicted)]
    assert [(event.number, event.inputs["text"], event.output["text"]) for event in previews] == [
        (0, "a", "A!"),
        (1, "b", "B!"),
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "app-home") == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize("how", ["stop", "cancel"])
def test_what_was_done_is_not_done_again(tmp_path: Path, how: str) -> None:
    source, target = write(tmp_path / "in.jsonl", "abcdef"), tmp_path / "out.jsonl"
    try:
        report = predict_file(request(source, target, preview=9), None, stopped_after(3, how))
        assert how == "stop"
        assert report.stopped
    except Cancelled:
        assert how == "cancel"
    assert not target.exists()
    asked.clear()
    events: list[Event] = []
    report = predict_file(request(source, target, preview=9), None, JobContext(events.append))
    assert (report.rows, report.continued) == (6, 3)
    assert asked == ["d", "e", "f"]
    assert outputs(target) == ["A!", "B!", "C!", "D!", "E!", "F!"]
    assert [event.number for event in events if isinstance(event, RowPredicted)] == list(range(6))
    assert "3 rows are done already" in [event.message for event in events if isinstance(event, Status)]


def test_a_killed_process_goes_on_where_it_was(tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", [f"row {number}" for number in range(400)]), tmp_path / "out.jsonl"
    slow = request(source, target, options={"pause": 0.01})
    child = multiprocessing.get_context("fork").Process(target=predict_file, args=(slow, None, JobContext()))
    child.start()
    deadline = time.monotonic() + 20
    while not part_of(target).exists() or part_of(target).stat().st_size < 2000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    with part_of(target).open("ab") as file:
        file.write(b'{"row": "half a li')  # as a full page of the disk's cache may leave it
    report = predict_file(request(source, target, options={"pause": 0.0}), None, JobContext())
    assert report.continued == 0  # the pause is an option of this prediction: others may change the answers
    again = multiprocessing.get_context("fork").Process(target=predict_file, args=(slow, None, JobContext()))
    again.start()
    deadline = time.monotonic() + 20
    while not part_of(target).exists() or part_of(target).stat().st_size < 2000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(again.pid or 0, signal.SIGKILL)
    again.join()
    with part_of(target).open("ab") as file:
        file.write(b'{"row": "half a li')
    report = predict_file(slow, None, JobContext())
    assert report.continued >= 10
    assert len(asked) == 400 + 400 - report.continued
    assert outputs(target) == [f"ROW {number}!" for number in range(400)]


def test_rows_that_have_changed_are_asked_again(tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", "abcdef"), tmp_path / "out.jsonl"
    predict_file(request(source, target, preview=9), None, stopped_after(4, "stop"))
    asked.clear()
    write(source, "abXdef")
    report = predict_file(request(source, target), None, JobContext())
    assert report.continued == 2
    assert asked == list("Xdef")
    assert outputs(target) == ["A!", "B!", "X!", "D!", "E!", "F!"]


@pytest.mark.parametrize("change", [{"options": {"mark": "?"}}, {"subject": "another knowledge base"}])
def test_other_settings_begin_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    source, target = write(tmp_path / "in.jsonl", "abc"), tmp_path / "out.jsonl"
    predict_file(request(source, target, preview=9), None, stopped_after(2, "stop"))
    report = predict_file(request(source, target, **change), None, JobContext())
    assert report.continued == 0
    assert outputs(target)[0] == ("A?" if "options" in change else "A!")


def test_how_many_go_through_at_once_changes_nothing(tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", "abc"), tmp_path / "out.jsonl"
    predict_file(request(source, target, preview=9), None, stopped_after(2, "stop"))
    assert predict_file(request(source, target, options={"batch_size": 1}), None, JobContext()).continued == 2


def test_a_bad_row_names_its_line_and_what_is_done_stays(tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", ["a", "b", None, "d"]), tmp_path / "out.jsonl"
    target.write_text("old")
    with pytest.raises(UserError, match=f"Line 3 of {source}: A row has no text"):
        predict_file(request(source, target), None, JobContext())
    assert target.read_text() == "old"
    write(source, "abcd")
    assert predict_file(request(source, target), None, JobContext()).continued == 2
    assert outputs(target) == ["A!", "B!", "C!", "D!"]


def test_tables_come_in_and_go_out(tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text('review,stars\n很好,5\n"two\nlines",1\n', encoding="utf-8")
    report = predict_file(request(source, target, columns={"text": "review"}), None, JobContext())
    assert report.rows == 2
    with target.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"text": "很好", "output_text": "很好!", "scores_loud": "1.0"},
        {"text": "two\nlines", "output_text": "TWO\nLINES!", "scores_loud": "1.0"},
    ]


def test_a_table_without_the_named_column_is_told(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("review,stars\ngood,5\n")
    with pytest.raises(UserError, match="no column revue"):
        predict_file(request(tmp_path / "in.csv", tmp_path / "o.jsonl", columns={"text": "revue"}), None, JobContext())
    assert not part_of(tmp_path / "o.jsonl").exists()


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", "a")
    with pytest.raises(UserError, match="would replace the input"):
        request(source, tmp_path / "." / "in.jsonl")


def test_two_do_not_write_the_same_output(tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", "ab"), tmp_path / "out.jsonl"
    refusals: list[str] = []

    def _hear(event: Event) -> None:
        if isinstance(event, RowPredicted) and event.number == 0:
            with pytest.raises(UserError) as caught:
                predict_file(request(source, target), None, JobContext())
            refusals.append(caught.value.message)

    predict_file(request(source, target, preview=1), None, JobContext(_hear))
    assert refusals == [f"Another window or command writes to {target}."]
    assert outputs(target) == ["A!", "B!"]


def test_a_folder_is_no_output_and_that_is_told_before_the_work(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", "a")
    with pytest.raises(UserError, match="is a folder"):
        request(source, tmp_path)


def test_a_device_may_be_the_output(tmp_path: Path) -> None:
    assert predict_file(request(write(tmp_path / "in.jsonl", "ab"), Path(os.devnull)), None, JobContext()).rows == 2


def test_rows_know_where_they_stand(tmp_path: Path) -> None:
    from lmstudio_app.playground.rows import read_rows

    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a"}\n\n{"text": "b"}\n{"text": "c"}\n')
    rows = list(read_rows(source, SHOUT, {}, JobContext(), first=1))
    assert [(row["text"], row.line, row.number) for row in rows] == [("b", 3, 1), ("c", 4, 2)]
    assert all(isinstance(row, Row) for row in rows)


def test_the_questions_of_a_table_begin_conversations(tmp_path: Path) -> None:
    from lmstudio_app.playground.rows import read_rows
    from lmstudio_app.tasks import find_prediction

    source = tmp_path / "in.csv"
    source.write_text("id,question\n1,What is a token?\n2,And a model?\n")
    rows = list(read_rows(source, find_prediction("chat"), {}, JobContext()))
    assert [row["messages"] for row in rows] == [
        [{"role": "user", "content": "What is a token?"}],
        [{"role": "user", "content": "And a model?"}],
    ]


def test_a_table_of_which_no_column_is_asked_is_told(tmp_path: Path) -> None:
    from lmstudio_app.playground.rows import read_rows
    from lmstudio_app.tasks import find_prediction

    source = tmp_path / "in.csv"
    source.write_text("id,price\n1,2.5\n2,3.5\n")
    with pytest.raises(UserError, match="id, price"):
        list(read_rows(source, find_prediction("chat"), {"messages": ""}, JobContext()))
