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
_FAR = 0.5  # of a part's share: a paragraph that is longer is ended within


def split_parts(text: str, limit: int, count: Counter, ctx: JobContext) -> list[Span]:
    """Where each part begins and ends, without outer spaces; none has more than ``limit`` tokens by ``count``.

    Parts are as few as it takes and about equally long, so that the last one is no scrap. They end with a paragraph
    where one ends near by, else with a sentence; only a sentence that is longer than the limit is cut, between words,
    and a word that is, between characters. Every character that is no space is in exactly one part.
    """
    spans: list[Span] = []
    sizes: list[int] = []
    sentences = split_sentences(text)
    for first in range(0, len(sentences), _AT_ONCE):
        ctx.check()
        batch = sentences[first : first + _AT_ONCE]
        # what stands between two sentences has tokens, too
        behind = [begin for begin, _ in sentences[first + 1 : first + 1 + len(batch)]] + [batch[-1][1]]
        counted = count([text[span[0] : end] for span, end in zip(batch, behind, strict=False)])
        for span, size in zip(batch, counted, strict=True):
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
    """Runs of sentences (numbers from, to) with at most ``limit`` tokens by the sum of their sizes.

    The ends are sought near the equal shares of the whole: at the paragraph's end that is nearest to one, unless that
    is too far away.
    """
    if not sizes:
        return []
    total = sum(sizes)
    share = total / math.ceil(total / limit)
    ends = [_EMPTY_LINE.search(text, one[1], other[0]) is not None for one, other in pairwise(spans)]
    following = [0] * len(sizes)  # tokens of the paragraph that begins with a sentence
    for index in range(len(sizes) - 1, -1, -1):
        goes_on = index + 1 < len(sizes) and not ends[index]
        following[index] = sizes[index] + (following[index + 1] if goes_on else 0)
    runs: list[Span] = []
    begin = filled = passed = paragraph = 0  # tokens of this run, of all, and of the paragraph
    for index, size in enumerate(sizes):
        at_end = index == 0 or ends[index - 1]
        paragraph = following[index] if at_end else paragraph
        left = share * (len(runs) + 1) - passed  # to the end of this share
        is_far = paragraph > _FAR * share
        enough = left <= (following[index] / 2 if at_end and not is_far else 0) and (at_end or is_far)
        if index > begin and (enough or filled + size > limit):
            runs.append((begin, index))
            begin, filled = index, 0
        filled += size
        passed += size
    return [*runs, (begin, len(sizes))]


def _checked(text: str, run: Sequence[Span], limit: int, count: Counter, ctx: JobContext) -> list[Span]:
    """The part that a run makes; what lies between sentences has tokens, too, so it may have to be halved."""
    ctx.check()
    whole = (run[0][0], run[-1][1])
    if len(run) == 1 or count([text[whole[0] : whole[1]]])[0] <= limit:
        return [whole]
    middle = len(run) // 2
    return _checked(text, run[:middle], limit, count, ctx) + _checked(text, run[middle:], limit, count, ctx)
