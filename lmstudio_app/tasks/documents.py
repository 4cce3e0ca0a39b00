"""Running text: from the rows of documents to tokens, sentences and blocks."""

from __future__ import annotations

import re
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

# words before a full stop that end no sentence
_ABBREVIATIONS = frozenset(
    re.findall(
        r"\S+",
        "dr mr mrs ms prof st nos vol fig eq ch pp p vs al e.g i.e cf ca approx jr sr dept jan feb aug sept oct nov "
        "z.b d.h u.a bzw nr",
    )
)
_END = re.compile(
    r"""[。！？｡]+[”’」』）】》"']*"""  # where no space follows a sentence
    r"""|[.!?…]+[”’»)\]"']*(?=\s)"""
)
_OPENERS = "\"'“‘«([¿¡"
_LOOK = 64  # characters around a full stop that say whether it ends a sentence


def split_sentences(text: str) -> list[str]:
    """The sentences of a text without outer spaces; see :func:`sentence_spans`. Nothing but spaces is lost."""
    return [text[begin:end] for begin, end in sentence_spans(text)]


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each sentence begins and ends, by its punctuation, Latin or Chinese and Japanese; without outer spaces.

    After a full stop a sentence ends when the next one begins like one (no small letter) and the word before it is no
    common abbreviation and no initial.
    """
    begin = 0
    ends = [found.end() for found in _END.finditer(text) if found[0][0] not in ".!?…" or _ends_here(text, found)]
    for end in (*ends, len(text)):
        sentence = text[begin:end]
        if stripped := sentence.strip():
            start = begin + len(sentence) - len(sentence.lstrip())
            yield start, start + len(stripped)
        begin = end


def _ends_here(text: str, found: re.Match[str]) -> bool:
    following = text[found.end() : found.end() + _LOOK].lstrip().lstrip(_OPENERS)
    if following[:1].islower():
        return False
    if not found[0].startswith(".") or found[0].startswith(".."):
        return True
    words = text[max(0, found.start() - _LOOK) : found.start()].split()
    last = words[-1].lstrip(_OPENERS) if words else ""
    return not (last.lower() in _ABBREVIATIONS or (len(last) == 1 and last.isalpha() and last.isupper()))


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
