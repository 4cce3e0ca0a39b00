"""Cutting a document into passages: whole sentences, about as many tokens as the encoder likes, with an overlap."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.documents import HEADING_SEPARATOR, Document, Mark
from lmstudio_app.tasks.sentences import split_sentences

CountTokens = Callable[[Sequence[str]], Sequence[int]]
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*|\n(?=[ \t]*(?:[-*•–|]|\d{1,3}[.)])[ \t])")  # an empty line, or the next item
_LONGEST_PIECE = 2000  # characters that are looked at as one sentence: a file may have none at all
_AT_ONCE = 1024  # sentences that are counted at once


@dataclass(frozen=True)
class Passage:
    """A stretch of a document: its characters ``start`` to ``end``, the heading above it, and the page it begins on."""

    start: int
    end: int
    heading: str = ""
    page: int | None = None


@dataclass(frozen=True)
class _Sentence:
    start: int
    end: int
    tokens: int


def cut_passages(
    document: Document, count_tokens: CountTokens, size: int, overlap: int, ctx: JobContext
) -> Iterator[Passage]:
    """Passages of at most ``size`` tokens, in order; each begins with the last sentences of the one before.

    These are as many as fit into ``overlap`` tokens. A sentence that is longer than ``size`` is cut between words. No
    passage goes on across a mark that breaks.
    """
    borders = [0, *sorted({mark.start for mark in document.marks if mark.breaks and mark.start}), len(document.text)]
    passages = _group(document, borders, count_tokens, size, overlap, ctx)
    bare: Passage | None = None  # a heading with nothing below it says where others stand, and nothing itself
    is_empty = True
    for passage in passages:
        if _is_heading(document.text[passage.start : passage.end], passage.heading):
            bare = bare or passage
            continue
        is_empty = False
        yield passage
    if is_empty and bare:
        yield bare


def _is_heading(text: str, heading: str) -> bool:
    return bool(heading) and text.strip("# \n") == heading.rpartition(HEADING_SEPARATOR)[2]


def _group(
    document: Document, borders: Sequence[int], count_tokens: CountTokens, size: int, overlap: int, ctx: JobContext
) -> Iterator[Passage]:
    marks = document.marks
    starts = [mark.start for mark in marks]
    kept: list[_Sentence] = []
    group = -1
    for sentence in _count(document.text, borders, count_tokens, size, ctx):
        here = bisect_right(borders, sentence.start)
        used = sum(item.tokens for item in kept)
        if kept and (here != group or used + sentence.tokens > size):
            yield _passage(kept, marks, starts)
            kept = [] if here != group else _last(kept, min(overlap, size - sentence.tokens))
        group = here
        kept.append(sentence)
    if kept:
        yield _passage(kept, marks, starts)


def _passage(sentences: Sequence[_Sentence], marks: Sequence[Mark], starts: Sequence[int]) -> Passage:
    index = bisect_right(starts, sentences[0].start) - 1
    mark = marks[index] if index >= 0 else Mark(0)
    return Passage(sentences[0].start, sentences[-1].end, mark.heading, mark.page)


def _last(sentences: Sequence[_Sentence], room: int) -> list[_Sentence]:
    """As many of the last sentences as fit into ``room`` tokens, but never all of them."""
    begin = len(sentences)
    while begin > 1 and sentences[begin - 1].tokens <= room:
        begin -= 1
        room -= sentences[begin].tokens
    return list(sentences[begin:])


def _count(
    text: str, borders: Sequence[int], count_tokens: CountTokens, size: int, ctx: JobContext
) -> Iterator[_Sentence]:
    """The sentences in order with their tokens, none of more than ``size``."""
    waiting: list[tuple[int, int]] = []

    def _counted() -> Iterator[_Sentence]:
        ctx.check()
        counts = count_tokens([text[start:end] for start, end in waiting])
        for (start, end), tokens in zip(waiting, counts, strict=True):
            yield from _halve(text, start, end, tokens, count_tokens, size)
        waiting.clear()

    for begin, end in pairwise(borders):
        for piece_start, piece_end in _pieces(text, begin, end):
            for start, stop in split_sentences(text[piece_start:piece_end]):
                waiting.append((piece_start + start, piece_start + stop))
            if len(waiting) >= _AT_ONCE:
                yield from _counted()
    yield from _counted()


def _pieces(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Paragraphs, and where these are very long, parts of them."""
    ends = (found.end() for found in _PARAGRAPH.finditer(text, begin, end))
    for stop in (*ends, end):
        while stop - begin > _LONGEST_PIECE:
            cut = _cut(text, begin, begin + _LONGEST_PIECE)
            yield begin, cut
            begin = cut
        if stop > begin:
            yield begin, stop
        begin = stop


def _cut(text: str, begin: int, latest: int) -> int:
    """Where to cut at ``latest`` or before it: behind a sentence, else between words, else right there."""
    for pattern in (". ", "。", "\n", " "):
        found = text.rfind(pattern, begin + (latest - begin) // 2, latest)
        if found >= 0:
            return found + len(pattern)
    return latest


def _halve(text: str, start: int, end: int, tokens: int, count_tokens: CountTokens, size: int) -> Iterator[_Sentence]:
    """The sentence, cut in two between words until no part has more than ``size`` tokens."""
    if tokens <= size or end - start < 2:
        if text[start:end].strip():
            yield _Sentence(start, end, min(tokens, size))
        return
    middle = start + (end - start) // 2
    space = text.find(" ", middle, end - 1)
    cut = space + 1 if space >= 0 else text.rfind(" ", start + 1, middle) + 1 or middle
    parts = ((start, cut), (cut, end))
    for (left, right), count in zip(parts, count_tokens([text[left:right] for left, right in parts]), strict=True):
        yield from _halve(text, left, right, count, count_tokens, size)
