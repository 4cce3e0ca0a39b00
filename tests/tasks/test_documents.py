"""Documents out of rows, blocks of equal size."""

from __future__ import annotations

from lmstudio_app.tasks.documents import by_document, even_blocks, frame, token_ids
from tests.conftest import build_tiny_tokenizer


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
