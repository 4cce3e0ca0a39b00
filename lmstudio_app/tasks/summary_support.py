"""Which sentences of a text support a sentence of its summary, and which are supported by none.

Two methods, both without a network:

* ``words``: the share of the summary sentence's words that a source sentence has, each weighted by its inverse document
  frequency over the sentences of the source (TF-IDF after Spärck Jones 1972; the recall of ROUGE-1, Lin 2004). Words
  that the source never uses weigh most. Source sentences are added while each brings new words, so that a sentence
  drawn from two of them is supported by both.
* ``meaning``: the cosine of the sentences' vectors, when an encoder is given.

Neither proves anything: a sentence that turns what it was drawn from into its opposite still looks supported. So
``unknown`` names the numbers and names of a summary sentence that the source does not have, which is how inventions of
small models can often be told.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.sentences import split_sentences
from lmstudio_app.tasks.text_metrics import units

if TYPE_CHECKING:
    import numpy as np

Embed = Callable[[Sequence[str], JobContext], "np.ndarray"]  # texts -> float32 [texts, dimension] of length 1

MOST_SOURCES = 3  # sentences that are named for one of the summary
WORDS_NEEDED = 0.5  # share of the weighted words
MEANING_NEEDED = 0.5  # cosine; sentences of one subject that say different things are below it in most cases
_NEW_WORDS = 0.1  # share that a further source sentence has to bring
_NEAR_BEST = 0.1  # cosine below the best source sentence up to which others are named
_CHECK_EVERY = 200  # sentences
_SHORTEST = 4  # words of a sentence that can support anything, where there are longer ones
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")


@dataclass(frozen=True)
class Source:
    """``text[start:end]`` supports a summary sentence with ``score`` in [0, 1]."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Supported:
    """A sentence of the summary, ``summary[start:end]``, and what supports it, the best first.

    ``score`` is that of all sources together. ``unknown`` are its numbers and names that the source does not have.
    """

    start: int
    end: int
    sources: tuple[Source, ...]
    score: float
    supported: bool
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Support:
    """``method`` is ``words`` or ``meaning``: which one was used."""

    method: str
    sentences: tuple[Supported, ...]

    @property
    def unsupported(self) -> int:
        return sum(not sentence.supported for sentence in self.sentences)


def find_support(text: str, summary: str, ctx: JobContext, embed: Embed | None = None) -> Support:
    """What of ``text`` supports each sentence of ``summary``: by meaning where ``embed`` is given, else by words."""
    spans = split_sentences(text)
    # a heading says nothing, though it is near to everything below it
    sources = [span for span in spans if len(units(text[slice(*span)])) >= _SHORTEST] or spans
    sentences = split_sentences(summary)
    known = set(units(text))
    source_texts = [text[begin:end] for begin, end in sources]
    sentence_texts = [summary[begin:end] for begin, end in sentences]
    if not sources or not sentences:
        chosen: list[tuple[list[tuple[int, float]], float]] = [([], 0.0)] * len(sentences)
    elif embed is None:
        chosen = _by_words(source_texts, sentence_texts, ctx)
    else:
        chosen = _by_meaning(source_texts, sentence_texts, ctx, embed)
    needed = WORDS_NEEDED if embed is None else MEANING_NEEDED
    found = []
    for (begin, end), sentence, (places, score) in zip(sentences, sentence_texts, chosen, strict=True):
        named = tuple(Source(*sources[place], share) for place, share in places)
        unknown = _unknown(sentence, known)
        found.append(Supported(begin, end, named, score, score >= needed and not unknown, unknown))
    return Support("words" if embed is None else "meaning", tuple(found))


def _by_words(
    sources: Sequence[str], sentences: Sequence[str], ctx: JobContext
) -> list[tuple[list[tuple[int, float]], float]]:
    """For each sentence its sources with their shares, and the share of all of them together."""
    words = [_stems(source) for source in sources]
    frequency = Counter(word for source in words for word in source)
    weight = {word: math.log((1 + len(sources)) / (1 + count)) + 1 for word, count in frequency.items()}
    rarest = math.log(1 + len(sources)) + 1
    holders: dict[str, list[int]] = {}
    for place, source in enumerate(words):
        if place % _CHECK_EVERY == 0:
            ctx.check()
        for word in source:
            holders.setdefault(word, []).append(place)
    found = []
    for sentence in sentences:
        ctx.check()
        left = _stems(sentence)
        total = sum(weight.get(word, rarest) for word in left) or 1.0
        shares: Counter[int] = Counter()
        for word in left:
            for place in holders.get(word, ()):
                shares[place] += weight[word] / total  # type: ignore[assignment]
        places: list[tuple[int, float]] = []
        covered = 0.0
        gains: dict[int, float] = dict(shares)
        while gains and len(places) < MOST_SOURCES:
            best = max(gains, key=lambda place: (round(gains[place], 9), -place))
            if gains[best] < _NEW_WORDS:
                break
            places.append((best, float(shares[best])))
            covered += gains[best]
            taken = left & words[best]
            left -= taken
            for word in taken:
                for place in holders[word]:
                    gains[place] -= weight[word] / total
            del gains[best]
        found.append((places, min(1.0, covered)))
    return found


def _by_meaning(
    sources: Sequence[str], sentences: Sequence[str], ctx: JobContext, embed: Embed
) -> list[tuple[list[tuple[int, float]], float]]:
    import numpy as np

    vectors = embed([*sources, *sentences], ctx)
    ctx.check()
    cosines = vectors[len(sources) :] @ vectors[: len(sources)].T
    found = []
    for row in cosines:
        order = np.argsort(-row, kind="stable")[:MOST_SOURCES].tolist()
        best = float(row[order[0]])
        places = [(place, _share(row[place])) for place in order if row[place] >= best - _NEAR_BEST and row[place] > 0]
        found.append((places, _share(best)))
    return found


def _share(cosine: float) -> float:
    return min(1.0, max(0.0, float(cosine)))


def _stems(text: str) -> set[str]:
    """Words in small letters without the endings of English plurals and verbs, so that ``repairs`` meets ``repair``."""
    return {_stem(word) for word in units(text)}


def _stem(word: str) -> str:
    for ending in ("ing", "es", "ed", "s", "e"):
        if len(word) - len(ending) >= 4 and word.endswith(ending) and word.isascii():
            return word[: -len(ending)]
    return word


def _unknown(sentence: str, known: set[str]) -> tuple[str, ...]:
    """Numbers, and words with a capital within the sentence, that occur nowhere in the source."""
    found = [number for number in _NUMBER.findall(sentence) if not set(units(number)) <= known]
    for match in _NAME.finditer(sentence):
        word = match[0]
        is_first = not sentence[: match.start()].strip(" \"'“‘«([¿¡\n\t")
        if word[:1].isupper() and not is_first and not set(units(word)) <= known:
            found.append(word)
    return tuple(dict.fromkeys(found))
