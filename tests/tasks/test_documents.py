"""Sentences by their punctuation, documents out of rows, blocks of equal size."""

from __future__ import annotations

import pytest

from lmstudio_app.tasks.documents import by_document, even_blocks, frame, split_sentences, token_ids
from tests.conftest import build_tiny_tokenizer


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("One line without an end", ["One line without an end"]),
        ("It rains. We stay! Why? Because…", ["It rains.", "We stay!", "Why?", "Because…"]),
        ("Dr. Smith met J. Doe, i.e. a friend. They left.", ["Dr. Smith met J. Doe, i.e. a friend.", "They left."]),
        ("See Fig. 3 and approx. 4.5 metres. Then go.", ["See Fig. 3 and approx. 4.5 metres.", "Then go."]),
        (
            'He said "Stop." Then he left. "Go on!" she said.',
            ['He said "Stop."', "Then he left.", '"Go on!" she said.'],
        ),
        ("It is e.g. this. and that.", ["It is e.g. this. and that."]),
        ("The answer is no. It stays.", ["The answer is no.", "It stays."]),
        ("今天下雨。我们在家！“为什么？”他问。", ["今天下雨。", "我们在家！", "“为什么？”", "他问。"]),
        ("雨が降る。家にいる。", ["雨が降る。", "家にいる。"]),
        ("Wait... what? Fine... Then go.", ["Wait... what?", "Fine...", "Then go."]),
    ],
)
def test_sentences_end_where_people_end_them(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences
    assert "".join("".join(sentences).split()) == "".join(text.split())  # nothing is lost


def test_rows_are_grouped_by_their_document() -> None:
    rows = {"text": ["a", "b", "c", "d"], "document": [4, 4, 5, 7]}
    assert list(by_document(rows)) == [(0, 4, ["a", "b"]), (2, 5, ["c"]), (3, 7, ["d"])]
    assert list(by_document({"text": [], "document": []})) == []


def test_blocks_are_few_and_even() -> None:
    blocks = even_blocks(range(101), 25)
    assert [len(block) for block in blocks] == [21, 20, 20, 20, 20]
    assert [token for block in blocks for token in block] == list(range(101))
    assert even_blocks([], 25) == []


def test_special_tokens_are_found_around_a_text() -> None:
    tokenizer = build_tiny_tokenizer()
    before, behind = frame(tokenizer)
    assert tokenizer.convert_ids_to_tokens([*before, *behind]) == ["[CLS]", "[SEP]"]
    assert token_ids(tokenizer, ["the film", ""]) == [tokenizer.convert_tokens_to_ids(["the", "film"]), []]
