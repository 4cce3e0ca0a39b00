"""A long text in parts that a model can read: whole paragraphs and sentences, about equally long, nothing left out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.sentences import split_sentences

Span = tuple[int, int]
Counter = Callable[[Sequence[str]], list[int]]  # texts -> tokens of each
_EMPTY_LINE = re.compile(r"\n[ \t\r]*\n")
_AT_ONCE = 256  # sentences that are counted between two looks at the context
_NEAR = 0.8  # of a part's share: from here on the end of a paragraph ends it


def split_parts(text: str, limit: int, count: Counter, ctx: JobContext) -> list[Span]:
    """Where each part begins and ends, without outer spaces; none has more than ``limit`` tokens by ``count``.

    Parts are as few as it takes and about equally long, so that the last one is no scrap. They end with a paragraph
    where one ends near by, else with a sentence; only a sentence that is longer than the limit is cut, between words,
    and a word that is, between characters. Every character that is no space is in exactly one part.
    """
    spans: list[Span] = []
    sizes: list[int] = []
    waiting = list(reversed(split_sentences(text)))
    while waiting:
        ctx.check()
        batch = [waiting.pop() for _ in range(min(_AT_ONCE, len(waiting)))]
        for span, size in zip(batch, count([text[begin:end] for begin, end in batch]), strict=True):
            if size > limit and span[1] - span[0] > 1:
                for piece in _cut(text, span, limit, count, ctx):
                    spans.append(piece)
                    sizes.append(limit)
            else:
                spans.append(span)
                sizes.append(size)
    found: list[Span] = []
    for begin, end in _group(text, spans, sizes, limit):
        ctx.check()
        found += _checked(text, spans[begin:end], limit, count, ctx)
    return found


def _cut(text: str, span: Span, limit: int, count: Counter, ctx: JobContext) -> list[Span]:
    """A sentence that is too long, halved at the space nearest to its middle until each piece fits."""
    ctx.check()
    begin, end = span
    if end - begin <= 1 or count([text[begin:end]])[0] <= limit:
        return [span]
    middle = (begin + end) // 2
    left, right = text.rfind(" ", begin + 1, middle), text.find(" ", middle, end - 1)
    near = [place for place in (left, right) if place > 0]
    at = min(near, key=lambda place: abs(place - middle)) if near else middle
    halves = [_trim(text, begin, at), _trim(text, at, end)]
    return [piece for half in halves if half[0] < half[1] for piece in _cut(text, half, limit, count, ctx)]


def _trim(text: str, begin: int, end: int) -> Span:
    piece = text[begin:end]
    stripped = piece.strip()
    begin += len(piece) - len(piece.lstrip())
    return begin, begin + len(stripped)


def _group(text: str, spans: Sequence[Span], sizes: Sequence[int], limit: int) -> list[Span]:
    """Runs of sentences (numbers from, to) with at most ``limit`` tokens by the sum of their sizes."""
    total = sum(sizes)
    share = total / max(1, math.ceil(total / limit))
    ends_paragraph = [_EMPTY_LINE.search(text, one[1], other[0]) is not None for one, other in pairwise(spans)]
    runs: list[Span] = []
    begin = filled = 0
    for index, size in enumerate(sizes):
        full = filled + size > limit or filled >= share or (
            index > begin and ends_paragraph[index - 1] and filled >= _NEAR * share
        )  # fmt: skip
        if index > begin and full:
            runs.append((begin, index))
            begin, filled = index, 0
        filled += size
    return [*runs, (begin, len(sizes))] if len(sizes) > begin else runs


def _checked(text: str, run: Sequence[Span], limit: int, count: Counter, ctx: JobContext) -> list[Span]:
    """The part that a run makes; what lies between sentences has tokens, too, so it may have to be halved."""
    ctx.check()
    whole = (run[0][0], run[-1][1])
    if len(run) == 1 or count([text[whole[0] : whole[1]]])[0] <= limit:
        return [whole]
    middle = len(run) // 2
    return _checked(text, run[:middle], limit, count, ctx) + _checked(text, run[middle:], limit, count, ctx)
