"""Running text: from the rows of documents to tokens and blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.columns import ColumnSpec

if TYPE_CHECKING:
    import numpy as np

DOCUMENTS = ColumnSpec(
    "text",
    "Text",
    "Running text: a sentence, a line or a paragraph a row. In text files an empty line begins a new document.",
    type="document",
    aliases=("text", "content", "document", "body", "article", "sentence"),
)


def by_document(rows: Mapping[str, Sequence[Any]]) -> Iterator[tuple[int, int, list[str]]]:
    """(index of the first row, number of the document, texts) of each document among the rows, in their order.

    Rows come in portions, so a long document may come in several pieces.
    """
    texts, numbers = rows["text"], rows["document"]
    begin = 0
    for index in range(1, len(texts) + 1):
        if index == len(texts) or numbers[index] != numbers[begin]:
            yield begin, int(numbers[begin]), [str(text) for text in texts[begin:index]]
            begin = index


def frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and behind a text."""
    inner = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    for begin in range(len(whole) - len(inner) + 1):
        if whole[begin : begin + len(inner)] == inner:
            return list(whole[:begin]), list(whole[begin + len(inner) :])
    return [], []


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text without special ones, however many there are."""
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )["input_ids"]
    return ids


def even_blocks(tokens: Sequence[int], size: int) -> list[np.ndarray]:
    """``tokens`` cut into as few blocks of at most ``size`` as possible, which differ by one token at most."""
    import numpy as np

    count = -(-len(tokens) // size)
    return np.array_split(np.asarray(tokens, dtype=np.int64), count) if count else []
