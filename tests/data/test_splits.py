"""Columns are guessed and corrected, rows cleaned and split: the same rows for the same seed, and no leak."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmstudio_app.data.choosing import splitmix64
from lmstudio_app.data.columns import ColumnSpec, guess_columns, resolve_columns
from lmstudio_app.data.problems import Problem
from lmstudio_app.data.reports import DataReport
from lmstudio_app.data.sources import read_table
from lmstudio_app.data.splits import DataConfig, prepare_data, report_on
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext

TEXT = ColumnSpec("text", "Text", "", aliases=("sentence", "review"))
LABEL = ColumnSpec("label", "Label", "", type="label", aliases=("class", "sentiment"))
WANTED = (TEXT, LABEL)


def write(path: Path, rows: Sequence[tuple[str, Any]], header: str = "text\tlabel") -> Path:
    path.write_text("\n".join([header, *(f"{text}\t{label}" for text, label in rows)]) + "\n", encoding="utf-8")
    return path


def rows_of(count: int) -> list[tuple[str, int]]:
    return [(f"this is the text number {index}", int(index % 4 == 0)) for index in range(count)]


def problem(report: DataReport, kind: str) -> Problem:
    return next(found for found in report.problems if found.kind == kind)


# --- columns


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["text", "label"], {"text": "text", "label": "label"}),
        (["Label", " TEXT "], {"text": " TEXT ", "label": "Label"}),
        (["id", "Review", "Class"], {"text": "Review", "label": "Class"}),
        (["sentence", "text", "class"], {"text": "text", "label": "class"}),
        (["a", "b"], {}),
    ],
)
def test_names_and_aliases_map_columns(names: list[str], expected: dict[str, str]) -> None:
    assert guess_columns(names, WANTED) == expected


def test_content_maps_columns_without_telling_names(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [f"{i},this is a rather long sentence {i},{'good' if i % 2 else 'bad'},x{i}" for i in range(100)]
    path.write_text("k,w,m,n\n" + "\n".join(lines) + "\n")
    dataset = read_table(path, JobContext()).dataset
    assert guess_columns(dataset, WANTED) == {"text": "w", "label": "m"}


def test_a_mapping_is_checked_and_completed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", rows_of(10), "stars\tremark")
    dataset = read_table(path, JobContext()).dataset
    assert resolve_columns(dataset, WANTED, {"text": "stars"}) == {"text": "stars", "label": "remark"}
    with pytest.raises(UserError, match="The data has no column remarks") as caught:
        resolve_columns(dataset, WANTED, {"label": "remarks"})
    assert caught.value.remedy == "Did you mean remark? There are: stars, remark."
    with pytest.raises(UserError, match="The task has no input txt") as caught:
        resolve_columns(dataset, WANTED, {"txt": "stars"})
    assert caught.value.remedy == "Did you mean text? There are: text, label."
    (tmp_path / "only.csv").write_text("content\na b c\nd e f\n")
    dataset = read_table(tmp_path / "only.csv", JobContext()).dataset
    with pytest.raises(UserError, match="No column for label was found among: content") as caught:
        resolve_columns(dataset, WANTED)
    assert caught.value.remedy.startswith("Say which one it is, for example data.columns: {label: ")


# --- splits


def test_a_split_by_fraction_is_stratified_repeatable_and_complete(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", rows_of(1000))
    first = prepare_data(DataConfig(str(path), eval_fraction=0.2), WANTED, JobContext())
    assert (len(first.train), len(first.eval)) == (800, 200)
    assert first.report.eval_balance == {"0": 150, "1": 50}
    assert first.train.column_names == ["text", "label"]
    texts = set(first.train["text"]) | set(first.eval["text"])
    assert texts == {text for text, _ in rows_of(1000)}
    other = prepare_data(DataConfig(str(path), eval_fraction=0.2, seed=7), WANTED, JobContext())
    assert set(other.eval["text"]) != set(first.eval["text"])
    assert prepare_data(DataConfig(str(path), eval_fraction=0.2), WANTED, JobContext()).eval[:] == first.eval[:]


def test_the_split_is_the_same_everywhere(tmp_path: Path) -> None:
    """These rows were chosen by the published SplitMix64; another platform or library version must choose them too."""
    assert [int(x) for x in splitmix64(np.array([1, 2], dtype=np.uint64))] == [
        0xE220A8397B1DCDAF,  # the first two outputs of the reference implementation for seed 0
        0x6E789E6AA1B965F4,
    ]
    path = write(tmp_path / "t.tsv", rows_of(20))
    splits = prepare_data(DataConfig(str(path), eval_fraction=0.25), WANTED, JobContext())
    assert [int(text.split()[-1]) for text in splits.eval["text"]] == [2, 3, 10, 12, 15]


def test_equal_texts_stay_on_one_side(tmp_path: Path) -> None:
    rows = [(f"text {index % 50}", index % 2) for index in range(500)]
    rows += [(f"  TEXT {index % 50} ", index % 2) for index in range(50)]
    splits = prepare_data(DataConfig(str(write(tmp_path / "t.tsv", rows)), eval_fraction=0.3), WANTED, JobContext())
    sides = [{" ".join(text.lower().split()) for text in side["text"]} for side in (splits.train, splits.eval)]
    assert not sides[0] & sides[1]
    assert splits.report.leakage == 0
    assert 0.25 < len(splits.eval) / 550 < 0.35
    assert splits.report.duplicates == len(splits.train) - len(sides[0])


def test_a_label_that_only_repeats_texts_of_another_one_does_not_stop_the_split(tmp_path: Path) -> None:
    rows = [*((f"text {index}", "a") for index in range(20)), ("text 3", "b"), ("other", "c"), ("more", "c")]
    splits = prepare_data(DataConfig(str(write(tmp_path / "t.tsv", rows))), WANTED, JobContext())
    assert len(splits.train) + len(splits.eval) == 23
    assert splits.report.leakage == 0


def test_a_split_by_file_maps_each_side_and_reports_leakage(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", [*rows_of(20), ("Seen  Before", 1), ("seen before", 0)])
    evaluation = write(tmp_path / "eval.tsv", [("seen before", 1), ("new", 0)], "review\tclass")
    splits = prepare_data(DataConfig(str(train), eval=str(evaluation)), WANTED, JobContext())
    assert splits.eval[:] == {"text": ["seen before", "new"], "label": [1, 0]}
    report = splits.report
    assert (report.duplicates, report.leakage) == (1, 1)
    assert problem(report, "leakage").message == (
        "1 of 2 evaluation rows have a text that is also in the training data."
    )
    assert problem(report, "conflicting").parameters["texts"] == 1
    clean = prepare_data(DataConfig(str(train), eval=str(evaluation), deduplicate=True), WANTED, JobContext()).report
    assert (clean.train_rows, clean.removed, clean.duplicates, clean.leakage) == (20, 2, 0, 0)


def test_rows_with_missing_values_are_left_out_and_named(tmp_path: Path) -> None:
    rows = [("good", 1), ("", 0), ("fine", ""), (" ", 0), ("ok", 0), ("yes", 1), ("no", 0)]
    report = prepare_data(
        DataConfig(str(write(tmp_path / "t.tsv", rows)), eval_fraction=0.4), WANTED, JobContext()
    ).report
    assert (report.rows, report.dropped, report.train_rows + report.eval_rows) == (7, 3, 4)
    assert [(row.line, row.column) for row in report.dropped_rows] == [(3, "text"), (5, "text"), (4, "label")]
    assert problem(report, "missing:text").message == "Rows without a value in text, left out: 2 (line 3, 5)."


@pytest.mark.parametrize(
    ("labels", "kind", "severity"),
    [
        (["1"] * 10, "one_class", "error"),
        (["positive", "negative"] * 5, "text_labels", "info"),
    ],
)
def test_odd_labels_are_reported(tmp_path: Path, labels: list[str], kind: str, severity: str) -> None:
    rows = [(f"text {index}", label) for index, label in enumerate(labels)]
    splits = prepare_data(DataConfig(str(write(tmp_path / "t.tsv", rows))), WANTED, JobContext())
    assert problem(splits.report, kind).severity == severity
    assert set(map(str, splits.train["label"])) == set(labels)


def test_a_column_of_numbers_is_no_label(tmp_path: Path) -> None:
    rows = [(f"text {index}", index) for index in range(300)]
    report = report_on(DataConfig(str(write(tmp_path / "t.tsv", rows))), WANTED, JobContext())
    assert problem(report, "many_classes").parameters["classes"] == 270
    assert (report.train_rows, report.eval_rows) == (270, 30)


def test_labels_only_in_the_evaluation_data_are_reported(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", [("a", "x"), ("b", "y")])
    evaluation = write(tmp_path / "eval.tsv", [("c", "z")])
    report = report_on(DataConfig(str(train), eval=str(evaluation)), WANTED, JobContext())
    assert problem(report, "unseen_labels").message.endswith(": z.")


def test_labels_keep_their_kind(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text(
        "".join(f'{{"text": "t{i}", "label": {["true", "false"][i % 2]}}}\n' for i in range(8))
    )
    assert set(prepare_data(DataConfig(str(tmp_path / "b.jsonl")), WANTED, JobContext()).train["label"]) == {0, 1}
    floats = write(tmp_path / "f.tsv", [(f"t{i}", f"{i % 2}.0") for i in range(8)])
    assert set(prepare_data(DataConfig(str(floats)), WANTED, JobContext()).train["label"]) == {0, 1}
    words = write(tmp_path / "w.tsv", [(f"t{i}", "ab"[i % 2]) for i in range(8)])
    assert set(prepare_data(DataConfig(str(words)), WANTED, JobContext()).train["label"]) == {"a", "b"}


def test_a_configuration_that_cannot_work_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no training data"):
        DataConfig("")
    with pytest.raises(UserError, match=r"data\.eval_fraction is 0") as caught:
        DataConfig("uci-imdb", eval_fraction=0)
    assert "between 0 and 1" in caught.value.remedy
    with pytest.raises(UserError, match="There is no reading option seperator"):
        DataConfig("uci-imdb", options={"seperator": ","})
    one = write(tmp_path / "one.tsv", [("a single row", 1)])
    with pytest.raises(UserError, match="Of 1 usable rows 1 would be for training and 0 for evaluation"):
        prepare_data(DataConfig(str(one)), WANTED, JobContext())
    empty = write(tmp_path / "none.tsv", [("", 1), ("", 0)])
    with pytest.raises(UserError, match=r"None of the 2 rows can be used: Rows without a value in text, left out: 2"):
        prepare_data(DataConfig(str(empty)), WANTED, JobContext())


def test_several_may_prepare_the_same_data_at_once(tmp_path: Path) -> None:
    """Trainings that are started together do so."""
    path = write(tmp_path / "rows.tsv", [(f"row {number}", number % 2) for number in range(50)])
    for seed in range(10):
        start = threading.Barrier(4)

        def prepare(seed: int = seed, start: threading.Barrier = start) -> int:
            start.wait()
            return len(prepare_data(DataConfig(str(path), seed=seed), WANTED, JobContext()).train)

        with ThreadPoolExecutor(4) as pool:
            counts = [future.result() for future in [pool.submit(prepare) for _ in range(4)]]
        assert len(set(counts)) == 1


def test_the_second_preparation_reads_the_cache(tmp_path: Path) -> None:
    config = DataConfig("uci-imdb", seed=3)
    first = prepare_data(config, WANTED, JobContext())
    events: list[Any] = []
    second = prepare_data(config, WANTED, JobContext(events.append))
    assert events == []
    assert second.report == first.report
    assert second.report == report_on(config, WANTED, JobContext())
    assert second.train[:] == first.train[:]


def test_optional_inputs_may_be_absent_or_empty(tmp_path: Path) -> None:
    pair = ColumnSpec("pair", "Second text", "", required=False)
    path = write(tmp_path / "t.tsv", rows_of(10))
    assert prepare_data(DataConfig(str(path)), (*WANTED, pair), JobContext()).train.column_names == ["text", "label"]


def test_numbers_in_a_text_column_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "numbers.jsonl"
    path.write_text("".join(json.dumps({"text": n, "label": n % 2}) + "\n" for n in range(40)))
    splits = prepare_data(DataConfig(str(path)), WANTED, JobContext())
    assert all(isinstance(text, str) for side in (splits.train, splits.eval) for text in side["text"])
