"""Which passage says what a sentence of a written answer says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answers import Citation
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.knowledge.marking import passage_sentences
from lmstudio_app.tasks.sentences import split_sentences

SAYS_THE_SAME = 0.6  # cosine of two sentences from which on one is taken for the other's source
_NEARLY = 0.05  # other passages that come so close to the best one are named, too
_MOST = 3  # sources of a sentence
_OWN = re.compile(r"\[(\d{1,2})\]")


def cite(answer: str, passages: Sequence[str], encoder: Encoder, ctx: JobContext) -> tuple[Citation, ...]:
    """For each sentence of ``answer`` the passages that say the same, counted from 1; often there is none.

    A passage says it when one of its sentences is near enough by the encoder, or when the answer names it as ``[2]``.
    """
    places = [(start, end) for start, end in split_sentences(answer) if any(c.isalnum() for c in answer[start:end])]
    if not places or not passages:
        return tuple(Citation(start, end, ()) for start, end in places)
    parts = [[text[start:end] for start, end in passage_sentences(text)] for text in passages]
    ends = list(accumulate(len(part) for part in parts))
    written = encoder.embed([_OWN.sub("", answer[start:end]) for start, end in places], ctx)
    found = encoder.embed([sentence for part in parts for sentence in part], ctx)
    similarities = written @ found.T
    citations = []
    for row, (start, end) in zip(similarities, places, strict=True):
        best = [
            float(row[stop - len(part) : stop].max()) if part else -1.0
            for part, stop in zip(parts, ends, strict=True)
        ]  # fmt: skip
        least = max(SAYS_THE_SAME, max(best) - _NEARLY)
        near = sorted((index for index, value in enumerate(best) if value >= least), key=lambda index: -best[index])
        named = [int(number) for number in _OWN.findall(answer[start:end]) if 1 <= int(number) <= len(passages)]
        numbers = dict.fromkeys([*named, *(index + 1 for index in near)])
        citations.append(Citation(start, end, tuple(sorted(list(numbers)[:_MOST]))))
    return tuple(citations)
