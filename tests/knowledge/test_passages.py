"""How documents are cut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.documents import Document, Mark
from lmstudio_app.knowledge.passages import Passage, cut_passages


def count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def count_characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def cut(document: Document, size: int, overlap: int = 0, count: object = count_words) -> list[Passage]:
    return list(cut_passages(document, count, size, overlap, JobContext()))  # type: ignore[arg-type]


def texts(document: Document, passages: Sequence[Passage]) -> list[str]:
    return [document.text[passage.start : passage.end] for passage in passages]


def test_whole_sentences_with_an_overlap() -> None:
    document = Document("One two three. Four five, Dr. Six. Seven eight nine.\n\nTen eleven. Twelve.")
    assert texts(document, cut(document, 7, 4)) == [
        "One two three. Four five, Dr. Six.",
        "Four five, Dr. Six. Seven eight nine.",
        "Seven eight nine.\n\nTen eleven. Twelve.",
    ]


def test_every_character_of_a_sentence_is_in_a_passage() -> None:
    text = " ".join(f"Word{number} follows word{number - 1} in this text." for number in range(300))
    document = Document(text)
    passages = cut(document, 40, 10)
    assert passages[0].start == 0
    assert passages[-1].end == len(text)
    assert all(left.start < right.start < left.end < right.end for left, right in pairwise(passages))
    assert max(count_words(texts(document, passages))) <= 40


def test_a_heading_breaks_and_is_told_and_a_page_does_not_break() -> None:
    text = "# A\n\nfirst one\n\n## B\n\nsecond goes on\n\nhere."
    marks = (Mark(0, "A"), Mark(text.index("##"), "A › B"))
    document = Document(text, marks)
    passages = cut(document, 50, 10)
    assert [passage.heading for passage in passages] == ["A", "A › B"]
    pages = Document("One page ends\n\nand goes on.", (Mark(0, page=1, breaks=False), Mark(15, page=2, breaks=False)))
    assert [passage.page for passage in cut(pages, 50)] == [1]
    assert [passage.page for passage in cut(pages, 3)] == [1, 2]


def test_a_heading_alone_is_no_passage_unless_there_is_nothing_else() -> None:
    text = "# Title\n\n## Part\n\nText."
    document = Document(text, (Mark(0, "Title"), Mark(9, "Title › Part")))
    assert texts(document, cut(document, 50)) == ["## Part\n\nText."]
    alone = Document("# Title\n", (Mark(0, "Title"),))
    assert texts(alone, cut(alone, 50)) == ["# Title"]


def test_long_sentences_are_cut_between_words() -> None:
    document = Document("word " * 5000)
    passages = cut(document, 100)
    assert all(text.strip("word ") == "" and text.startswith("word") for text in texts(document, passages))
    assert max(count_words(texts(document, passages))) <= 100


def test_text_without_any_space_is_cut() -> None:
    document = Document("x" * 30_000)
    passages = cut(document, 100, 20, count_characters)
    assert max(passage.end - passage.start for passage in passages) <= 100
    assert "".join(texts(document, passages)) == document.text


def test_chinese_sentences() -> None:
    document = Document("今天下雨。明天晴天！后天呢？不知道。")
    assert texts(document, cut(document, 10, 0, count_characters)) == ["今天下雨。明天晴天！", "后天呢？不知道。"]


def test_a_text_of_nothing_has_no_passages() -> None:
    assert cut(Document(" \n\n "), 10) == []
