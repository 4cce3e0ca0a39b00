"""How long a summary is to be: in words of the text, and from there in tokens of a model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmstudio_app.tasks.text_metrics import units

LENGTHS = ("short", "medium", "long")
# share of the text's words, and the fewest and most of them
_SHARES = {"short": (0.1, 15, 30), "medium": (0.2, 40, 80), "long": (0.35, 70, 200)}
_SENTENCE = 20  # words of one, about
_ROOM = 2.0  # times the words that are wanted, so that the last sentence has room to end
_SLACK = 12  # tokens more than counted


@dataclass(frozen=True)
class Target:
    """What a summary should come to: words and sentences for people and prompts, tokens for decoders.

    From ``aim_tokens`` on it is long enough, and may end with its sentence.
    """

    words: int
    sentences: int
    min_tokens: int
    max_tokens: int
    aim_tokens: int


def count_words(text: str) -> int:
    """Words; single characters where a script puts no spaces between words."""
    return len(units(text))


def target_words(words: int, length: str, sentences: int = 0) -> int:
    """Words of the summary of a text of ``words`` words: a share of it within limits, or so many sentences."""
    if sentences:
        return sentences * _SENTENCE
    share, fewest, most = _SHARES[length]
    return min(max(round(words * share), fewest), most)


def target_for(wanted: int, tokens_per_word: float, *, sentences: int = 0) -> Target:
    """``wanted`` words in tokens: between half of them and a little more than all."""
    return Target(
        words=wanted,
        sentences=sentences or max(1, round(wanted / _SENTENCE)),
        min_tokens=math.floor(0.5 * wanted * tokens_per_word),
        max_tokens=math.ceil(_ROOM * wanted * tokens_per_word) + _SLACK,
        aim_tokens=math.ceil(wanted * tokens_per_word),
    )


def target_for_part(words: int, parts: int, wanted: int, tokens_per_word: float, limit: int) -> Target:
    """What the summary of a part of ``words`` words should come to, when ``parts`` of them make one of ``wanted``.

    The partial summaries together have about three times the words of the whole one, so that there is something to
    choose from, and each at most a third of the ``limit`` tokens that a part may have: so every round of summarising
    summaries leaves less.
    """
    share = min(max(round(3 * wanted / parts), 25), 80, max(round(0.5 * words), 8))
    target = target_for(share, tokens_per_word)
    most = max(4, min(target.max_tokens, limit // 3))
    return Target(share, target.sentences, min(target.min_tokens, most // 2), most, min(target.aim_tokens, most))
