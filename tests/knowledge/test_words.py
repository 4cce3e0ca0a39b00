"""The words of passages and questions, in the index that SQLite keeps."""

from __future__ import annotations

import sqlite3

import pytest

from lmstudio_app.knowledge import words


def matches(question: str, *texts: str) -> list[int]:
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = '{words.TOKENIZER}')")
    connection.executemany("INSERT INTO words (text) VALUES (?)", [(words.index_text(text),) for text in texts])
    rows = connection.execute("SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank", (words.query(question),))
    return [row - 1 for (row,) in rows]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Which tokens?", "One TOKEN."),  # stems and case
        ("naive cafe", "a naïve café"),
        ("词元", "模型阅读词元。"),  # a word of two characters within a run
        ("词", "模型阅读词元。"),  # one character: the beginning of a pair
        ("ﬁne ＧＰＴ", "fine gpt"),  # ligatures and wide letters
        ("GPT模型", "一个GPT，一个模型"),
        ('"OR" AND NOT (near*', "near the shore"),  # no syntax of the index
    ],
)
def test_found(question: str, text: str) -> None:
    assert matches(question, "Nothing of it here: zzz.", text) == [1]


def test_more_of_the_words_come_first() -> None:
    assert matches("green apple", "an apple", "a green apple", "a pear") == [1, 0]


def test_a_question_of_stop_words_is_asked_as_it_is() -> None:
    assert words.query("What is the who?") == '"what" OR "is" OR "the" OR "who"'
    assert words.query("What is attention?") == '"attention"'
    assert words.query("?!") == ""


def test_coverage_is_the_share_of_the_telling_words() -> None:
    assert words.coverage("What is a token id?", "Tokens have numbers") == 0.5
    assert words.coverage("How is text classified?", "classes of texts, and a classifier") == 1.0
    assert words.coverage("什么是词元", "词元") == pytest.approx(1 / 4)
    assert words.coverage("?!", "text") == 0.0
