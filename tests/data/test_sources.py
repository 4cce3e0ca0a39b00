"""Real files of every kind, whole and broken: what is read, which line is named, which fix is offered."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmstudio_app.data import arrow_tables
from lmstudio_app.data.catalog import bundled_data_sets
from lmstudio_app.data.problems import Problem, fix_title
from lmstudio_app.data.sources import ReadOptions, Table, read_table
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Progress
from lmstudio_app.jobs import Control, JobContext, Meter

CHINESE = "这部电影真的很好看，我非常喜欢第{i}集。"


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def read(source: Any, **options: Any) -> Table:
    return read_table(source, JobContext(), ReadOptions(**options))


def problem(table: Table, kind: str) -> Problem:
    return next(found for found in table.problems if found.kind == kind)


def chinese_csv(rows: int = 20) -> str:
    return "text,label\n" + "".join(f"{CHINESE.format(i=i)},{i % 2}\n" for i in range(rows))


# --- formats


@pytest.mark.parametrize("name", ["plain.csv", "plain.csv.gz"])
def test_csv_keeps_texts_and_types_numbers(put: Any, name: str) -> None:
    content = b'text,label,score,code\n"a, ""b""",1,0.5,007\nc,0,2,008\n'
    table = read(put(name, gzip.compress(content) if name.endswith(".gz") else content))
    assert table.dataset[:] == {
        "text": ['a, "b"', "c"],
        "label": [1, 0],
        "score": [0.5, 2.0],
        "code": ["007", "008"],
    }
    assert table.problems == ()
    assert [table.line(row)[1] for row in (0, 1)] == [2, 3]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_real_line_ends_end_a_line(put: Any, end: str) -> None:
    table = read(put("unicode.tsv", end.join(["text\tlabel", "a\x85b\t1", "c\u2028d\t0", ""])))
    assert table.dataset["text"][:] == ["a\x85b", "c\u2028d"]


def test_quoted_fields_span_lines_and_rows_keep_their_line(put: Any) -> None:
    table = read(put("lines.csv", 'text,label\n"one\ntwo, three",1\n\nfour,0\n'))
    assert table.dataset["text"][:] == ["one\ntwo, three", "four"]
    assert [table.line(row)[1] for row in (0, 1)] == [2, 5]


def test_a_quoted_field_may_cross_the_blocks_of_reading(put: Any) -> None:
    long = "x" * 100 + "\n"
    field = long * 3000  # 300 kB: several blocks
    table = read(put("long.csv", f'text,label\nfirst,0\n"{field}",1\nlast,0\n'))
    assert table.dataset["text"][1] == field
    assert table.line(2)[1] == 3004


def test_json_lines(put: Any) -> None:
    content = '{"text": "a", "label": 1}\n\n{"text": "b", "label": 0, "extra": {"x": [1, 2]}}\n'
    table = read(put("rows.jsonl", content))
    assert table.dataset[:] == {"text": ["a", "b"], "label": [1, 0], "extra": [None, '{"x": [1, 2]}']}
    assert table.line(1)[1] == 3


@pytest.mark.parametrize(
    "document",
    [
        [{"text": "a", "label": 1}, {"text": "b", "label": 0}],
        {"data": [{"text": "a", "label": 1}, {"text": "b", "label": 0}], "version": "1"},
        {"text": ["a", "b"], "label": [1, 0]},
        {"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}},
    ],
    ids=["rows", "data key", "columns", "pandas columns"],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_json_documents(put: Any, document: Any, indent: int | None) -> None:
    table = read(put("document.json", json.dumps(document, indent=indent)))
    assert table.dataset[:] == {"text": ["a", "b"], "label": [1, 0]}


def test_a_column_that_mixes_types_becomes_text(put: Any) -> None:
    rows = [{"v": 1, "w": 1}, {"v": "two", "w": 2.5}, {"v": None, "w": None}, {"v": [3], "w": 3}]
    table = read(put("mixed.json", json.dumps(rows)))
    assert table.dataset[:] == {"v": ["1", "two", None, "[3]"], "w": [1.0, 2.5, None, 3.0]}


def test_late_columns_and_types_reach_back(put: Any) -> None:
    lines = [json.dumps({"text": "x" * 1000, "n": i}) for i in range(500)]
    lines.append(json.dumps({"text": "last", "n": 0.5, "late": True}))
    table = read(put("late.jsonl", "\n".join(lines)))
    assert table.dataset.column_names == ["text", "n", "late"]
    assert table.dataset[0] == {"text": "x" * 1000, "n": 0.0, "late": None}
    assert table.dataset[500] == {"text": "last", "n": 0.5, "late": True}


def test_lone_surrogates_in_json_do_not_stop_the_import(put: Any) -> None:
    table = read(put("tweet.jsonl", '{"text": "half an emoji \\ud83d", "label": 1}\n'))
    assert table.dataset["text"][0] == "half an emoji \ufffd"


def test_squad_is_flattened_with_all_its_answers(put: Any) -> None:
    context = "The cat sat on the mat."
    given = [{"text": "The cat", "answer_start": 0}, {"text": "cat", "answer_start": 4}]
    questions = [
        {"id": "1", "question": "Who?", "answers": [*given, given[0]]},
        {"id": "2", "question": "Why?", "answers": [], "is_impossible": True},
    ]
    squad = {"version": "1.1", "data": [{"title": "T", "paragraphs": [{"context": context, "qas": questions}]}]}
    table = read(put("squad.json", json.dumps(squad)))
    assert table.dataset[0] == {
        "id": "1",
        "title": "T",
        "context": context,
        "question": "Who?",
        "answers": '{"text": ["The cat", "cat"], "answer_start": [0, 4]}',
    }
    assert table.dataset[1]["answers"] == '{"text": [], "answer_start": []}'


def test_translations_by_language_become_columns(put: Any, tmp_path: Path) -> None:
    pairs = [{"en": "Hello", "de": "Hallo"}, {"en": "Bye", "de": None}]
    rows = [{"id": at, "translation": pair} for at, pair in enumerate(pairs)]
    expected = {"id": [0, 1], "en": ["Hello", "Bye"], "de": ["Hallo", None]}
    table = read(put("opus.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    assert table.dataset[:] == expected
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "opus.parquet")
    assert read(tmp_path / "opus.parquet").dataset[:] == expected
    clash = read(put("clash.jsonl", json.dumps({"en": "x", "translation": pairs[0]}) + "\n"))
    assert clash.dataset[0] == {"en": "x", "translation": json.dumps(pairs[0])}


def test_parquet_restores_label_names_and_keeps_nested_values_as_json(tmp_path: Path) -> None:
    features = {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}
    meta = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    columns = {
        "text": pa.array(["a", "b"]).dictionary_encode(),
        "label": [1, 0],
        "tags": [["x"], []],
        "image": [b"1", b"2"],
    }
    pq.write_table(pa.table(columns).replace_schema_metadata(meta), tmp_path / "t.parquet")
    (tmp_path / "t.parquet.gz").write_bytes(gzip.compress((tmp_path / "t.parquet").read_bytes()))
    table = read(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet.gz").dataset[:] == table.dataset[:]
    assert table.dataset[:] == {"text": ["a", "b"], "label": ["good", "bad"], "tags": ['["x"]', "[]"]}
    assert problem(table, "binary:image").severity == "info"
    assert table.line(0)[1] is None


def test_plain_text_is_a_text_a_line_and_blank_lines_separate_documents(put: Any) -> None:
    table = read(put("plain.txt", "Hello, world.\nSecond.\n\n \nNew document.\n"))
    assert table.dataset[:] == {"text": ["Hello, world.", "Second.", "New document."]}
    assert table.line(2)[1] == 5
    assert table.documents().tolist() == [0, 0, 1]
    assert read(put("numbers.txt", "1\n2\n")).dataset[:] == {"text": ["1", "2"]}
    both = read([put("a.txt", "\none\ntwo\n\nthree\n"), put("b.txt", "four\nfive\n")])
    assert both.documents().tolist() == [0, 0, 1, 2, 2]
    rows = read(put("rows.jsonl", '{"text": "a"}\n{"text": "b"}\n'))
    assert rows.documents().tolist() == [0, 1]


def test_documents_are_kept_across_the_blocks_of_reading(put: Any) -> None:
    lines = [f"line {i} of a rather long text that goes on and on" for i in range(9000)]
    content = "".join(line + ("\n\n" if i % 100 == 99 else "\n") for i, line in enumerate(lines))
    table = read(put("book.txt", content))
    assert table.dataset["text"][:] == lines
    assert table.documents().tolist() == [i // 100 for i in range(9000)]


def test_text_with_tabs_in_every_line_is_a_table(put: Any) -> None:
    path = put("labelled.txt", "good film\t1\nbad film\t0\n")
    table = read(path)
    assert table.dataset[:] == {"column 1": ["good film", "bad film"], "column 2": [1, 0]}
    fix = problem(table, "tabbed_text").fix
    assert fix is not None
    assert read_table(path, JobContext(), table.options.with_fix(fix)).dataset.column_names == ["text"]


def test_parallel_text_is_aligned_by_line(put: Any) -> None:
    source, target = put("a.en", "Hello\nBye\n"), put("a.de", "Hallo\nTschüss\n")
    table = read({"source": source, "target": target})
    assert table.dataset[1] == {"source": "Bye", "target": "Tschüss"}
    put("a.de", "Hallo\n")
    with pytest.raises(UserError, match=r"a\.en has 2 lines, but .*a\.de has 1\."):
        read({"source": source, "target": target})
    with pytest.raises(UserError, match="source and target, not source"):
        read({"source": source})


def test_a_list_of_files_is_one_table(put: Any) -> None:
    first, second = put("1.csv", "text,label\na,1\n"), put("2.csv", "text,label\nb,0.5\n")
    table = read([first, second])
    assert table.dataset[:] == {"text": ["a", "b"], "label": [1.0, 0.5]}
    assert table.line(1) == (second, 2)
    with pytest.raises(UserError, match=r"3\.csv has the columns comment, but .*1\.csv has text, label"):
        read([first, put("3.csv", "comment\nc d\n")])


def test_a_list_may_name_bundled_sets_too(put: Any) -> None:
    own = put("own.txt", "A line.\n\nAnother document.\n")
    table = read(["handbook", own])
    bundled = read("handbook")
    assert len(table.dataset) == len(bundled.dataset) + 2
    assert table.dataset[len(bundled.dataset)]["text"] == "A line."
    assert table.documents()[-1] == bundled.documents()[-1] + 2


@pytest.mark.parametrize("name", ["uci-sentiment", "uci-imdb", "uci-amazon"])
def test_the_sentiment_sets_have_two_labels(name: str) -> None:
    assert list(bundled_data_sets())[:3] == ["uci-sentiment", "uci-imdb", "uci-amazon"]
    assert set(read(name).dataset.unique("label")) == {0, 1}


# --- what can be wrong


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", "", "is empty"),
        ("blank.csv", "\n\n  \n", "holds no rows"),
        ("header.csv", "text,label\n", "holds no rows"),
        ("empty.jsonl", "\n", "holds no rows"),
        ("empty.txt", "\n\n", "holds no rows"),
        ("list.json", "[]", "holds no rows"),
        ("book.xlsx", b"PK\x03\x04....", "is a ZIP archive or an Excel workbook"),
        ("bytes.csv", b"\x00\x01\x02\x00\x00\xff" * 50, "is not a text file"),
        ("broken.parquet", b"PAR1 and no more", "is not a readable Parquet file"),
        ("cut.csv.gz", gzip.compress(b"text,label\n" + b"abc,1\n" * 5000)[:60], "cannot be unpacked"),
        ("broken.json", '[{"text": "a"},\n{"text": "b",}\n]', r"Line 2 of .* is not valid JSON"),
        ("cut.json", '[{"text": "a"},\n', r"Line 2 of .* is not valid JSON"),
        ("uneven.json", '{"text": ["a", "b"], "label": [1]}', "not equally long: text 2, label 1"),
        ("rows.jsonl", "broken\n", "None of the 1 rows"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(put: Any, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(put(name, content))
    assert caught.value.remedy
    assert not list(arrow_tables.tables_folder().glob("*"))


def test_ragged_rows_are_set_aside_word_for_word(put: Any) -> None:
    table = read(put("ragged.csv", "text,label\ngood,1\nbad, really bad,0\nshort\nfine,1,,\n"))
    assert table.dataset["text"][:] == ["good", "fine"]
    found = problem(table, "ragged")
    assert (found.row, found.fix) == (3, "rejected")
    assert found.message == "Rows that do not have 2 fields, set aside: 2 (line 3, 4)."
    assert [(row["line"], row["raw"]) for row in table.rejected_rows()] == [(3, "bad, really bad,0"), (4, "short")]
    assert [path.name for path in table.rejected_files] == ["rejected.jsonl"]


def test_another_delimiter_is_found_and_can_be_overruled(put: Any) -> None:
    path = put("semicolon.csv", "text;label\nGood, very good;1\nBad, sad;0\nOh;0\n")
    table = read(path)
    assert table.dataset.column_names == ["text", "label"]
    assert table.dataset["label"][:] == [1, 0, 0]
    assert problem(table, "delimiter").message == "The columns are separated by semicolon, not by comma."
    wrong = read(path, delimiter="|")
    found = problem(wrong, "delimiter")
    assert (found.severity, found.fix) == ("error", "delimiter=;")
    assert fix_title("delimiter=;") == ("Use {value} between columns", {"value": "semicolon"})
    assert read_table(path, JobContext(), wrong.options.with_fix("delimiter=;")).dataset[:] == table.dataset[:]


def test_prose_with_commas_under_one_name_is_one_column(put: Any) -> None:
    table = read(put("prose.csv", "text\nHello, world\nPlain\nYes, no, maybe\n"))
    assert table.dataset[:] == {"text": ["Hello, world", "Plain", "Yes, no, maybe"]}


def test_one_column_in_quotation_marks_loses_them(put: Any) -> None:
    table = read(put("one.csv", 'review\n"Warm, funny."\n"It is ""great"""\nplain\n'))
    assert table.dataset[:] == {"review": ["Warm, funny.", 'It is "great"', "plain"]}
    stray = read(put("two.csv", 'review\n"Warm" he said\n"Cold" she said, slowly\n'))
    assert stray.dataset[:] == {"review": ['"Warm" he said', '"Cold" she said, slowly']}


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_stray_quotation_mark_swallows_nothing(put: Any, suffix: str) -> None:
    mark = "," if suffix == "csv" else "\t"
    rows = ["good|1", '"bad start|0', "fine|1", "ok|0", 'he said "hi"|1', '"Great" movie|1', "end|0"]
    table = read(put(f"stray.{suffix}", "\n".join(["text|label", *rows]).replace("|", mark) + "\n"))
    assert table.dataset["text"][:] == [row.split("|")[0] for row in rows]
    assert table.dataset["label"][:] == [1, 0, 1, 0, 1, 1, 0]
    if suffix == "csv":
        assert problem(table, "stray_quote").row == 3
        assert problem(table, "inner_quote").row == 7


def test_a_tab_separated_file_that_needs_its_quotation_marks_keeps_them(put: Any) -> None:
    table = read(put("quoted.tsv", 'text\tlabel\n"a\tb"\t1\n"say ""c"""\t0\n'))
    assert table.dataset["text"][:] == ["a\tb", 'say "c"']


def test_a_missing_header_is_noticed_and_can_be_overruled(put: Any) -> None:
    path = put("headless.csv", "good film,1\nbad film,0\nnice,1\n")
    table = read(path)
    assert table.dataset.column_names == ["column 1", "column 2"]
    assert len(table.dataset) == 3
    assert problem(table, "no_header").fix == "header=true"
    assert read(path, header=True).dataset.column_names == ["good film", "1"]
    assert read(path, names=("text", "label")).dataset.column_names == ["text", "label"]
    named = put("named.csv", "a,b\ngood film,1\nbad,0\n")
    assert read(named).dataset.column_names == ["a", "b"]
    assert len(read(named, header=False).dataset) == 3


def test_columns_of_one_name_are_told_apart(put: Any) -> None:
    assert read(put("twice.csv", "text,text,\na,b,c\n")).dataset.column_names == ["text", "text (2)", "column 3"]


@pytest.mark.parametrize(
    ("encoding", "mark", "found"),
    [
        ("utf-8-sig", b"", "utf-8-sig"),
        ("utf-16", b"", "utf-16"),
        ("utf-16-be", b"\xfe\xff", "utf-16"),
        ("utf-16-le", b"", "utf-16-le"),
        ("gbk", b"", "gb18030"),
        ("gb18030", b"", "gb18030"),
    ],
)
def test_encodings_of_chinese_files(put: Any, encoding: str, mark: bytes, found: str) -> None:
    table = read(put("chinese.csv", mark + chinese_csv().encode(encoding)))
    assert table.facts["encoding"] == found
    assert table.dataset["text"][3] == CHINESE.format(i=3)
    assert table.dataset.column_names == ["text", "label"]
    if encoding == "gbk":
        assert problem(table, "encoding").row == 2
        assert problem(table, "encoding").message.startswith(
            "The file is not UTF-8 (first in line 2); it was read as GB18030"
        )


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        ("C'est très bien, déjà vu", "cp1252", "cp1252"),
        ("Очень хороший фильм про любовь и войну", "cp1251", "cp1251"),
        ("この映画はとても面白かったです", "cp932", "cp932"),
        ("이 영화는 정말 재미있었습니다", "euc_kr", "cp949"),
        ("這部電影真的很好看，我非常喜歡。", "big5", "big5"),
    ],
)
def test_other_encodings(put: Any, text: str, encoding: str, found: str) -> None:
    table = read(put("other.tsv", b"text\tlabel\n" + f"{text}\t1\n".encode(encoding) * 8))
    assert (table.facts["encoding"], table.dataset["text"][0]) == (found, text)


def test_a_wrong_encoding_can_be_mended_with_the_offered_fix(put: Any) -> None:
    path = put("short.csv", "text,label\nna\xefve,1\n".encode("latin-1"))
    fixes = problem(read(path), "encoding").fixes
    assert "encoding=latin-1" in fixes
    assert read_table(path, JobContext(), ReadOptions().with_fix("encoding=latin-1")).dataset["text"][0] == "naïve"
    with pytest.raises(UserError, match=r"Line 2 of .* is not in the encoding utf-8"):
        read(path, encoding="utf-8")
    with pytest.raises(UserError, match="There is no encoding klingon"):
        read(path, encoding="klingon")
    for no_text in ("hex", "rot13", "undefined", "idna"):
        with pytest.raises(UserError, match=f"There is no encoding {no_text}"):
            read(path, encoding=no_text)


@pytest.mark.parametrize("name", ["damaged.csv", "damaged.jsonl", "damaged.txt"])
def test_single_damaged_lines_of_a_utf8_file_are_set_aside(put: Any, name: str) -> None:
    lines = [CHINESE.format(i=i) for i in range(40)]
    form = {"csv": "{},1", "jsonl": '{{"text": "{}"}}', "txt": "{}"}[name.split(".")[1]]
    content = [form.format(line).encode() for line in lines]
    content[20] = form.format("br\udcffken").encode("utf-8", "surrogateescape")
    head = [b"text,label"] if name.endswith("csv") else []
    table = read(put(name, b"\n".join(head + content)))
    assert table.dataset["text"][:] == lines[:20] + lines[21:]
    assert problem(table, "damaged").row == 21 + len(head)
    assert problem(table, "damaged").fixes[:2] == ("rejected", "encoding=latin-1")
    assert "br\\xffken" in next(table.rejected_rows())["raw"]


def test_broken_json_lines_are_set_aside_with_their_numbers(put: Any) -> None:
    table = read(put("rows.jsonl", '{"text": "a"}\n{"text": broken\n[1]\n{"text": "b"}\n'))
    assert table.dataset["text"][:] == ["a", "b"]
    assert (problem(table, "broken_json").row, problem(table, "no_object").row) == (2, 3)
    assert table.rejected == 2


def test_names_that_do_not_exist_get_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read("uci-sentimant")
    assert caught.value.remedy == "Did you mean uci-sentiment?"
    with pytest.raises(UserError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(UserError, match="There is no reading option delimeter") as caught:
        ReadOptions.from_dict({"delimeter": ";"})
    assert caught.value.remedy == "Did you mean delimiter?"
    with pytest.raises(UserError, match="There is no data format xls"):
        ReadOptions(format="xls")


def test_paths_are_relative_to_the_recipe(put: Any, tmp_path: Path) -> None:
    put("near.csv", "text,label\na,1\n")
    assert len(read_table("near.csv", JobContext(), base=tmp_path).dataset) == 1


# --- the cache


def test_the_second_open_reads_the_cache_and_a_change_is_noticed(put: Any) -> None:
    path = put("cached.csv", "text,label\na,1\n")
    events: list[Any] = []
    read(path)
    read_table(path, JobContext(events.append))
    assert events == []  # nothing was read
    put("cached.csv", "text,label\na,1\nb,0\n")
    assert len(read(path).dataset) == 2
    assert len(list(arrow_tables.tables_folder().glob("*"))) == 2


def test_everything_written_is_in_the_apps_cache(put: Any, tmp_path: Path, app_home: Path) -> None:
    path = put("inside.csv", "text,label\na,1\nb,0\n")
    before = {item for item in tmp_path.rglob("*") if app_home not in item.parents}
    table = read(path)
    assert Path(table.dataset.cache_files[0]["filename"]).is_relative_to(app_home / "cache")
    assert {item for item in tmp_path.rglob("*") if app_home not in item.parents} == before


def test_an_import_shows_progress_and_can_be_cancelled_without_a_trace(
    put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Meter, "interval", 0.0)
    path = put("large.csv", "text,label\n" + "some words in a row,1\n" * 300_000)
    control = Control()
    seen: list[Progress] = []

    def listen(event: Any) -> None:
        if isinstance(event, Progress):
            seen.append(event)
            control.cancel()

    with pytest.raises(Cancelled):
        read_table(path, JobContext(listen, control))
    assert seen[0].unit == "B"
    assert seen[0].total == path.stat().st_size
    assert 0 < seen[0].done < path.stat().st_size
    assert not list(arrow_tables.tables_folder().iterdir())
    start = time.monotonic()
    assert len(read(path).dataset) == 300_000
    assert time.monotonic() - start < 10


def test_old_entries_are_pruned_and_recent_ones_stay(put: Any) -> None:
    import os

    old, new = (read(put(f"{name}.csv", f"text,label\n{name},1\n")).parts[0].folder for name in ("old", "new"))
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert arrow_tables.prune(keep_bytes=0) == 1
    assert (old.exists(), new.exists()) == (False, True)
