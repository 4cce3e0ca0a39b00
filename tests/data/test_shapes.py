"""Chats, answers, running text and choices: from the forms they come in to the rows that a task gets."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmstudio_app.data.answers import place_answers
from lmstudio_app.data.chats import parse_messages
from lmstudio_app.data.choosing import choose_documents, number_pieces, sample_evenly
from lmstudio_app.data.columns import ColumnSpec, guess_columns, resolve_columns
from lmstudio_app.data.problems import Problem
from lmstudio_app.data.reports import DataReport
from lmstudio_app.data.sources import read_table
from lmstudio_app.data.splits import DataConfig, DataSplits, prepare_data, report_on
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import Control, JobContext

CHAT = (
    ColumnSpec("messages", "Chat", "", type="messages", required=False, aliases=("conversations",)),
    ColumnSpec("system", "Instructions", "", required=False, role="system"),
    ColumnSpec("prompt", "Prompt", "", required=False, aliases=("instruction",), role="user"),
    ColumnSpec("response", "Response", "", required=False, aliases=("output",), role="assistant"),
)
QUESTIONS = (
    ColumnSpec("question", "Question", ""),
    ColumnSpec("context", "Context", ""),
    ColumnSpec("answers", "Answers", "", type="answers", aliases=("answer",)),
)
TEXT = (ColumnSpec("text", "Text", "", type="document"),)
PAIRS = (
    ColumnSpec("source", "Source", "", aliases=("en",)),
    ColumnSpec("target", "Target", "", aliases=("de",)),
    ColumnSpec("language", "Language", "", type="choice", required=False, aliases=("lang",)),
)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, Any], str]:
    """Writes a text, or rows as JSON Lines or CSV."""

    def write(name: str, content: Any) -> str:
        path = tmp_path / name
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif name.endswith(".csv"):
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(content[0]))
                writer.writeheader()
                writer.writerows(content)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
        return str(path)

    return write


def prepare(source: Any, wanted: Sequence[ColumnSpec], **values: Any) -> DataSplits:
    return prepare_data(DataConfig(source, **values), wanted, JobContext())


def problem(report: DataReport, kind: str) -> Problem:
    return next(found for found in report.problems if found.kind.startswith(kind))


def all_rows(splits: DataSplits) -> list[dict[str, Any]]:
    return [*splits.train, *splits.eval]


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


# --- chats


@pytest.mark.parametrize("name", ["chat.jsonl", "chat.csv"])
def test_share_gpt_and_messages_become_the_same_rows(put: Any, name: str) -> None:
    def share(at: int) -> Any:
        said = [("system", "Be kind."), ("human", f"Question {at}?"), ("gpt", f"Answer {at}.")]
        chat = [{"from": role, "value": text} for role, text in said]
        return json.dumps(chat) if name.endswith(".csv") else chat

    splits = prepare(put(name, [{"id": at, "conversations": share(at)} for at in range(10)]), CHAT)
    assert splits.train.column_names == splits.eval.column_names == ["messages"]
    found = {row["messages"][1]["content"]: row["messages"] for row in all_rows(splits)}
    assert found["Question 3?"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Question 3?"},
        {"role": "assistant", "content": "Answer 3."},
    ]
    assert splits.report.columns == {"messages": "conversations"}


def test_prompt_and_response_become_messages(put: Any) -> None:
    rows = [{"instruction": f"Say {at}", "output": str(at), "system": "Count." if at % 2 else ""} for at in range(10)]
    rows.append({"instruction": "Say nothing", "output": "", "system": ""})
    splits = prepare(put("alpaca.jsonl", rows), CHAT)
    assert splits.report.columns == {"system": "system", "prompt": "instruction", "response": "output"}
    assert splits.train.column_names == ["messages"]
    chats = sorted((row["messages"] for row in all_rows(splits)), key=lambda chat: chat[-1]["content"])
    assert len(chats) == 10
    assert chats[4] == turns("Say 4", "4")
    assert chats[5] == [{"role": "system", "content": "Count."}, *turns("Say 5", "5")]
    assert problem(splits.report, "missing:response").row == 11


def test_a_chat_is_found_by_what_is_in_it(put: Any) -> None:
    rows = [{"n": at, "long": "words " * 50, "talk": turns(f"Hi {at}", "Hello")} for at in range(5)]
    table = read_table(put("a.jsonl", rows), JobContext()).dataset
    assert guess_columns(table, CHAT) == {"messages": "talk"}
    rows = [{"n": at, "asked": f"a longer question {at}", "said": f"yes {at}"} for at in range(5)]
    table = read_table(put("b.jsonl", rows), JobContext()).dataset
    assert guess_columns(table, CHAT) == {"prompt": "asked", "response": "said"}
    assert guess_columns(["messages", "prompt", "response"], CHAT) == {"messages": "messages"}
    both = [{"messages": turns("a", "b"), "prompt": "c", "response": "d"}] * 3
    table = read_table(put("c.jsonl", both), JobContext()).dataset
    assert resolve_columns(table, CHAT, {"prompt": "prompt"}) == {"prompt": "prompt", "response": "response"}
    assert resolve_columns(table, CHAT, {"messages": ""}) == {"prompt": "prompt", "response": "response"}
    table = read_table(put("d.jsonl", [{"text": "only this"}]), JobContext()).dataset
    with pytest.raises(UserError, match="No column for messages was found among: text") as caught:
        resolve_columns(table, CHAT)
    assert caught.value.remedy.endswith("or the ones for prompt and response.")


def test_chats_that_do_not_fit_are_left_out_and_named(put: Any) -> None:
    good = [{"messages": turns(f"Hi {at}", "Hello")} for at in range(8)]
    bad: list[Any] = [
        {"messages": [{"role": "user"}]},
        {"messages": turns("nobody answers")},
        {"messages": [{"role": "wizard", "content": "Abracadabra"}]},
        {"messages": [{"from": "gremlin", "value": "Hehe"}]},
        {"messages": "no list"},
        {"messages": None},
    ]
    report = prepare(put("bad.jsonl", [*good, *bad]), CHAT).report
    assert (report.rows, report.dropped, report.train_rows + report.eval_rows) == (14, 6, 8)
    assert problem(report, "misfit:messages:a message without").message == (
        "Rows whose messages cannot be used, left out: 1 (line 9): a message without role or content."
    )
    assert problem(report, "misfit:messages:an unknown role").message == (
        "Rows whose messages cannot be used, left out: 2 (line 11, 12): an unknown role: wizard."
    )
    assert problem(report, "misfit:messages:no answer").row == 10
    assert problem(report, "misfit:messages:not JSON").row == 13
    assert problem(report, "missing:messages").row == 14
    assert [row.line for row in report.dropped_rows] == [14, 9, 10, 11, 12, 13]


def test_the_same_chat_in_two_places_is_leakage(put: Any) -> None:
    train = put("train.jsonl", [{"messages": turns(f"Hi {at}", "Hello")} for at in range(8)])
    held = put("held.jsonl", [{"messages": turns("Hi 3", "Hello")}, {"messages": turns("Bye", "Bye")}])
    splits = prepare(train, CHAT, eval=held)
    assert splits.report.leakage == 1
    other = put("other.jsonl", [{"prompt": "Hi 3", "response": "Hello"}, {"prompt": "x", "response": "y"}])
    splits = prepare(train, CHAT, eval=other)
    assert splits.report.leakage == 0
    assert splits.eval[0]["messages"] == turns("Hi 3", "Hello")


def test_contents_may_be_lists_of_parts() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    chat = [{"role": "human", "content": parts}, {"role": "model", "content": "Hi"}]
    assert parse_messages({"messages": chat}) == turns("Hello", "Hi")
    with pytest.raises(ValueError, match="content is no text"):
        parse_messages([{"role": "user", "content": [{"type": "image"}]}, *turns("a", "b")])


# --- answers

CONTEXT = "The cat sat on the mat. The dog sat on the cat."


def test_answers_come_in_every_form_and_stand_in_their_context(put: Any) -> None:
    forms: list[Any] = [
        {"text": ["The cat", "cat"], "answer_start": [0, 4]},
        [{"text": "the mat", "answer_start": 15}],
        {"text": [], "answer_start": []},
        {"text": "The dog", "answer_start": 24},
        "mat",
    ]
    rows = [{"question": f"Q{at}?", "context": CONTEXT, "answers": form} for at, form in enumerate(forms)]
    splits = prepare(put("forms.jsonl", rows), QUESTIONS, eval_fraction=0.4)
    found = {row["question"]: row["answers"] for row in all_rows(splits)}
    assert found == {
        "Q0?": {"text": ["The cat", "cat"], "answer_start": [0, 4]},
        "Q1?": {"text": ["the mat"], "answer_start": [15]},
        "Q2?": {"text": [], "answer_start": []},
        "Q3?": {"text": ["The dog"], "answer_start": [24]},
        "Q4?": {"text": ["mat"], "answer_start": [19]},
    }
    assert problem(splits.report, "mended").message.endswith("right now: 1 (line 5).")


def test_wrong_starts_are_mended_only_where_that_is_safe(put: Any) -> None:
    starts = [(7, "the mat"), (1, "The cat"), (5, "The bird"), (2, "cat"), (0, "The cat"), (None, "The dog")]
    rows = [
        {"question": f"Q{at}?", "context": CONTEXT, "answer": text, "answer_start": "" if start is None else start}
        for at, (start, text) in enumerate(starts)
    ]
    splits = prepare(put("plain.csv", rows), QUESTIONS, eval_fraction=0.4)
    found = {row["question"]: row["answers"]["answer_start"] for row in all_rows(splits)}
    assert found == {"Q0?": [15], "Q1?": [0], "Q4?": [0], "Q5?": [24]}
    assert splits.train.column_names == ["question", "context", "answers"]
    assert problem(splits.report, "misfit:answers:the answer does not stand").row == 4
    assert problem(splits.report, "misfit:answers:the answer stands in the context more").row == 5
    assert problem(splits.report, "mended").parameters["count"] == 3


def test_answers_that_are_none_say_why() -> None:
    with pytest.raises(ValueError, match="not as many starts"):
        place_answers({"text": ["a", "b"], "answer_start": [0]}, "ab")
    with pytest.raises(ValueError, match="without a text"):
        place_answers({"start": 3}, "ab")
    assert place_answers(7, "part 7 of 9").to_row() == {"text": ["7"], "answer_start": [5]}
    assert place_answers("[sic]", "so [sic] he said").starts == (3,)
    assert place_answers({"text": ["so"], "answer_start": [float("nan")]}, "so it is").starts == (0,)


def test_squad_files_and_columns_give_the_same_rows(put: Any) -> None:
    answers = [{"text": "The cat", "answer_start": 0}, {"text": "cat", "answer_start": 4}]
    asked = [{"id": str(at), "question": f"Q{at}?", "answers": answers} for at in range(6)]
    asked[5] = {"id": "5", "question": "Q5?", "is_impossible": True, "answers": []}
    squad = {"data": [{"title": "T", "paragraphs": [{"context": CONTEXT, "qas": asked}]}]}
    first = prepare(put("squad.json", json.dumps(squad)), QUESTIONS)
    columns = [
        {
            "context": CONTEXT,
            "question": q["question"],
            "answers": {key: [answer[key] for answer in q["answers"]] for key in ("text", "answer_start")},
        }
        for q in asked
    ]
    second = prepare(put("squad.jsonl", columns), QUESTIONS)
    assert first.train[:] == second.train[:]
    assert first.eval[:] == second.eval[:]


# --- running text


def book(documents: int, lines: int) -> str:
    return "\n\n".join("\n".join(f"line {n} of document {d}" for n in range(lines)) for d in range(documents)) + "\n"


def test_running_text_is_split_by_whole_documents_in_order(put: Any) -> None:
    splits = prepare(put("book.txt", book(40, 5)), TEXT, eval_fraction=0.2)
    assert splits.train.column_names == ["text", "document"]
    assert (len(splits.train), len(splits.eval)) == (160, 40)
    for side in (splits.train, splits.eval):
        numbers = side["document"][:]
        assert numbers == [at // 5 for at in range(len(side))]
        assert [text.split()[1] for text in side["text"]] == [str(at % 5) for at in range(len(side))]
        assert [int(text.split()[-1]) for text in side["text"]] == sorted(int(t.split()[-1]) for t in side["text"])
    report = splits.report
    assert report.running is not None
    assert (report.running.train_documents, report.running.eval_documents) == (32, 8)
    assert (report.running.train_words, report.running.eval_words) == (800, 200)
    other = prepare(put("book.txt", book(40, 5)), TEXT, eval_fraction=0.2, seed=1)
    assert set(other.eval["text"]) != set(splits.eval["text"])


def test_one_document_is_split_into_runs(put: Any) -> None:
    splits = prepare(put("book.txt", book(1, 4000)), TEXT)
    taken = sorted(int(text.split()[1]) for text in splits.eval["text"])
    assert 350 <= len(taken) <= 450
    runs = np.split(np.array(taken), np.flatnonzero(np.diff(taken) != 1) + 1)
    assert len(runs) <= 8
    assert all(len(run) % 50 == 0 for run in runs)
    numbers = splits.train["document"][:]
    lines = [int(text.split()[1]) for text in splits.train["text"]]
    breaks = [at for at in range(1, len(lines)) if lines[at] != lines[at - 1] + 1]
    assert [
        at for at in range(1, len(numbers)) if numbers[at] != numbers[at - 1]
    ] == breaks  # no sentence follows a gap


def test_a_document_too_large_for_the_part_is_cut(put: Any) -> None:
    documents = np.repeat([0, 1], [1000, 1000])
    chosen = choose_documents(documents, 0.1, 3)
    assert 150 <= chosen.sum() <= 250
    pieces = number_pieces(documents, chosen)
    assert (np.diff(pieces) >= 0).all()
    assert np.flatnonzero(np.diff(pieces)).tolist() == sorted(
        {*np.flatnonzero(np.diff(chosen.astype(int))).tolist(), 999}
    )
    with_small = np.repeat(np.arange(5), [1000, 40, 40, 40, 40])
    assert not choose_documents(with_small, 0.1, 3)[:1000].any()
    assert choose_documents(np.zeros(10, dtype=np.int64), 0.1, 0).sum() == 2
    assert choose_documents(np.arange(3), 0.1, 0).sum() == 1
    assert not choose_documents(np.zeros(1, dtype=np.int64), 0.1, 0).any()


def test_repeats_in_running_text_stay_and_are_told(put: Any) -> None:
    text = "\n\n".join("\n".join([f"first of {at}", "CHAPTER", f"last of {at}"]) for at in range(20))
    splits = prepare(put("book.txt", text), TEXT, deduplicate=True)
    report = splits.report
    assert (report.train_rows + report.eval_rows, report.removed) == (60, 0)
    assert [problem(report, kind).severity for kind in ("duplicates", "leakage")] == ["info", "info"]
    assert all(found.fix is None for found in report.problems)


def test_rows_of_a_table_are_documents_of_their_own(put: Any) -> None:
    rows = [{"body": f"A whole article, number {at}.\n\nWith two paragraphs."} for at in range(30)]
    splits = prepare(put("articles.jsonl", rows), TEXT)
    assert splits.report.columns == {"text": "body"}
    assert splits.train["document"][:] == list(range(27))
    assert len(splits.eval) == 3


# --- choices, limits, aligned files


def test_a_choice_is_no_example_text(put: Any) -> None:
    rows = [{"en": f"Hello {at // 2}", "xx": f"Hallo {at // 2}", "lang": ("de", "nl")[at % 2]} for at in range(40)]
    splits = prepare(put("pairs.jsonl", rows), PAIRS)
    assert splits.report.columns == {"source": "en", "target": "xx", "language": "lang"}
    assert splits.report.duplicates + len(set(splits.train["source"])) == len(splits.train)
    assert splits.report.leakage == 0
    assert set(splits.train["language"]) == {"de", "nl"}
    numbers = [{"source": f"a {at}", "target": f"b {at}", "language": at % 2} for at in range(10)]
    assert set(prepare(put("codes.jsonl", numbers), PAIRS).train["language"]) == {"0", "1"}


def test_an_input_mapped_to_nothing_is_not_used(put: Any) -> None:
    path = put("pairs.jsonl", [{"en": f"Hello {at}", "de": f"Hallo {at}", "lang": "de"} for at in range(10)])
    assert prepare(path, PAIRS).train.column_names == ["source", "target", "language"]
    assert prepare(path, PAIRS, columns={"language": ""}).train.column_names == ["source", "target"]
    both = prepare(path, PAIRS, columns={"language": ""}, eval=path)
    assert both.eval.column_names == ["source", "target"]
    with pytest.raises(ValueError, match="no type image"):
        ColumnSpec("picture", "Picture", "", type="image")


def test_texts_without_telling_names_are_taken_in_the_order_of_the_file(put: Any) -> None:
    rows = [{"id": at, "first": f"short {at}", "second": f"a longer sentence, number {at}"} for at in range(10)]
    table = read_table(put("pairs.jsonl", rows), JobContext()).dataset
    assert guess_columns(table, PAIRS) == {"source": "first", "target": "second"}


def test_aligned_files_train_and_evaluate(put: Any) -> None:
    source = put("a.en", "".join(f"Sentence {at}\n" for at in range(20)) + "\n")
    target = put("a.de", "".join(f"Satz {at}\n" for at in range(20)) + "Mehr\n")
    pair = {"source": source, "target": target}
    splits = prepare(pair, PAIRS)
    assert (len(splits.train), len(splits.eval), splits.report.dropped) == (18, 2, 1)
    assert all(row["source"].split()[1] == row["target"].split()[1] for row in all_rows(splits))
    assert len(prepare(pair, PAIRS, eval=pair).eval) == 20


def test_a_limit_takes_an_even_sample_that_the_seed_decides(put: Any) -> None:
    path = put("pairs.jsonl", [{"source": f"a {at}", "target": f"b {at}"} for at in range(1000)])
    splits = prepare(path, PAIRS, limit=100)
    assert (len(splits.train), len(splits.eval), splits.report.limited) == (90, 10, 900)
    taken = sorted(int(row["source"].split()[1]) for row in all_rows(splits))
    assert [number // 10 for number in taken] == list(range(100))
    again = prepare(path, PAIRS, limit=100, seed=5)
    assert {row["source"] for row in all_rows(again)} != {row["source"] for row in all_rows(splits)}
    assert prepare(path, PAIRS, limit=5000).report.limited == 0
    assert sample_evenly(7, 3, 0).tolist() == sorted(set(sample_evenly(7, 3, 0).tolist()))
    with pytest.raises(UserError, match=r"data\.limit is -1"):
        DataConfig(path, limit=-1)


def test_a_limit_of_running_text_takes_the_first_documents(put: Any) -> None:
    splits = prepare(put("book.txt", book(40, 5)), TEXT, limit=100)
    assert {int(row["text"].split()[-1]) for row in all_rows(splits)} == set(range(20))
    assert splits.report.limited == 100


def test_checking_many_rows_can_be_cancelled(put: Any) -> None:
    path = put("chat.jsonl", [{"messages": turns(f"Hi {at}", "Hello")} for at in range(50)])
    read_table(path, JobContext())
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        report_on(DataConfig(path), CHAT, JobContext(None, control))
