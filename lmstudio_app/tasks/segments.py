"""A text in pieces that a model can read at once, and the text that their translations make.

What is between the pieces (line breaks, empty lines, indents, the marks of list items, lines without a letter) is not
given to the model and stands in the result as it stood in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lmstudio_app.tasks.sentences import split_paragraphs, split_sentences

Span = tuple[int, int]
TooLong = Callable[[Sequence[str]], Sequence[bool]]

_MARK = re.compile(r"(?:[-*•–—>#|=+]+|\(?\d{1,3}[.)])[ \t\u3000]+")  # before a list item, a heading, a quote
_CLAUSE = re.compile(r"(?<=[;:—–])\s+|(?<=[；：，、])|(?<=,)\s+|\s+(?=[(–—])")
_SPACE = re.compile(r"\s+")
_WIDE = re.compile(r"[\u3000-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")  # no Korean


def cut_text(text: str, too_long: TooLong, *, by_sentence: bool = True) -> list[Span]:
    """Where the pieces begin and end: the sentences, or as much as is not ``too_long``.

    A sentence that is too long is cut at its clauses, or between words, or in the middle of one. Pieces without a
    letter are left out: there is nothing to translate.
    """
    spans = _sentences(text) if by_sentence else _strip(text, 0, len(text))
    level = 2 if by_sentence else 0
    for cut in (_paragraphs, _sentences, _clauses, _words, _middle)[level:]:
        if not spans:
            break
        flags = too_long([piece_text(text, span) for span in spans])
        if not any(flags):
            break
        spans = [
            part
            for span, flag in zip(spans, flags, strict=True)
            for part in (_shorten(text, span, cut, too_long) if flag else [span])
        ]
    return [span for span in spans if any(character.isalpha() for character in text[slice(*span)])]


def piece_text(text: str, span: Span) -> str:
    """A piece as the model is given it: in one line."""
    return _SPACE.sub(" ", text[slice(*span)])


@dataclass(frozen=True)
class Joined:
    """``text``, and where in it the translation of each piece stands."""

    text: str
    spans: tuple[Span, ...]


def join_text(text: str, spans: Sequence[Span], translations: Sequence[str]) -> Joined:
    """The translations in the places of their pieces.

    Sentences of one line stand apart by a space, but not around Chinese or Japanese characters.
    """
    made, places = "", []
    at = 0
    for (begin, end), translation in zip(spans, translations, strict=True):
        gap = text[at:begin]
        if at and not gap.strip() and "\n" not in gap:
            is_wide = _WIDE.match(made[-1:]) or _WIDE.match(translation[:1])
            gap = "" if is_wide or not translation else (gap or " ")
        made += gap
        places.append((len(made), len(made) + len(translation)))
        made += translation
        at = end
    return Joined(made + text[at:], tuple(places))


def _strip(text: str, begin: int, end: int) -> list[Span]:
    piece = text[begin:end]
    kept = piece.strip()
    start = begin + len(piece) - len(piece.lstrip())
    return [(start, start + len(kept))] if kept else []


def _paragraphs(text: str, begin: int = 0, end: int | None = None) -> list[Span]:
    stop = len(text) if end is None else end
    found = []
    for start, finish in split_paragraphs(text[begin:stop]):
        mark = _MARK.match(text, begin + start, begin + finish)
        found += _strip(text, mark.end() if mark else begin + start, begin + finish)
    return found


def _sentences(text: str, begin: int = 0, end: int | None = None) -> list[Span]:
    return [
        (start + first, start + last)
        for start, stop in _paragraphs(text, begin, end)
        for first, last in split_sentences(text[start:stop])
    ]


def _clauses(text: str, begin: int, end: int) -> list[Span]:
    return _at(text, begin, end, _CLAUSE)


def _words(text: str, begin: int, end: int) -> list[Span]:
    return _at(text, begin, end, _SPACE)


def _at(text: str, begin: int, end: int, pattern: re.Pattern[str]) -> list[Span]:
    found, at = [], begin
    for match in pattern.finditer(text, begin, end):
        found += _strip(text, at, match.start())
        at = match.end()
    return found + _strip(text, at, end)


def _middle(text: str, begin: int, end: int) -> list[Span]:
    return [(place, place + 1) for place in range(begin, end)]


def _shorten(text: str, span: Span, cut: Callable[[str, int, int], list[Span]], too_long: TooLong) -> Iterator[Span]:
    """The parts of a piece, put together again as far as they fit, about evenly."""
    parts = cut(text, *span)
    while parts:
        fits = _most(text, parts, too_long)
        yield parts[0][0], parts[fits - 1][1]
        parts = parts[fits:]


def _most(text: str, parts: Sequence[Span], too_long: TooLong) -> int:
    """How many of the parts, from the first on, fit together; 1 at least."""
    low, high = 1, len(parts)
    while low < high:
        middle = (low + high + 1) // 2
        if too_long([piece_text(text, (parts[0][0], parts[middle - 1][1]))])[0]:
            high = middle - 1
        else:
            low = middle
    return low
