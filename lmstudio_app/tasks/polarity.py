"""Which of a classifier's labels are negative, neutral and positive, and what lies in between."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

NEGATIVE, NEUTRAL, POSITIVE = "negative", "neutral", "positive"
POLARITIES = (NEGATIVE, NEUTRAL, POSITIVE)
_WORDS = {
    NEGATIVE: "negative neg negativ négatif negatif negativo bad unfavourable 消极 负面 负向 差评 贬义 -",
    NEUTRAL: "neutral neu neutre neutro mixed 中性 中立 中评",
    POSITIVE: "positive pos positiv positif positivo good favourable 积极 正面 正向 好评 褒义 +",
}
_POLARITY_BY_WORD = {word: polarity for polarity, words in _WORDS.items() for word in words.split()}
_DEGREE = re.compile(r"^(?:very|extremely|strongly|somewhat|slightly|mostly|非常)[\s_-]*")
_NUMBERED = re.compile(r"^(?:label[\s_-]?)?(-?\d+)(?:[\s_-]*(?:stars?|星|sterne?|étoiles?))?$")
_SPELLED = {
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "一": "1",
    "二": "2",
    "三": "3",
    "四": "4",
    "五": "5",
}


def polarity_of(labels: Sequence[str]) -> dict[str, str]:
    """``negative``, ``neutral`` or ``positive`` for each label; empty when these classes are not about sentiment.

    Words are known in several languages, with degrees (``very negative``). Numbers that follow one another, 0 and 1,
    ``LABEL_0`` to ``LABEL_2``, -1 to 1 or 1 to 5 stars, rise from negative to positive; the middle one is neutral.
    """
    found = _by_word(labels) or _by_number(labels)
    return found if {NEGATIVE, POSITIVE} <= set(found.values()) else {}


def _by_word(labels: Sequence[str]) -> dict[str, str]:
    found = {}
    for label in labels:
        word = _DEGREE.sub("", label.strip().lower())
        polarity = _POLARITY_BY_WORD.get(word)
        if polarity is None:
            return {}
        found[label] = polarity
    return found


def _by_number(labels: Sequence[str]) -> dict[str, str]:
    numbers = {}
    for label in labels:
        text = label.strip().lower()
        for word, digit in _SPELLED.items():
            text = re.sub(rf"^{word}(?![a-z])", digit, text)
        match = _NUMBERED.match(text)
        if match is None:
            return {}
        numbers[label] = int(match[1])
    ordered = sorted(numbers.values())
    if len(ordered) not in (2, 3, 5) or ordered != list(range(ordered[0], ordered[0] + len(ordered))):
        return {}
    middle = (ordered[0] + ordered[-1]) / 2
    return {
        label: NEUTRAL if number == middle else POSITIVE if number > middle else NEGATIVE
        for label, number in numbers.items()
    }


def two_sided(labels: Sequence[str]) -> tuple[str, str] | None:
    """The negative and the positive label of a model that has just these two, so that a neutral band fits between."""
    polarity = polarity_of(labels)
    if len(polarity) != 2:
        return None
    by_polarity = {name: label for label, name in polarity.items()}
    return by_polarity[NEGATIVE], by_polarity[POSITIVE]


def positive_share(scores: Mapping[str, float], negative: str, positive: str) -> float:
    """The probability of the positive one of two labels, also where a model gives each a probability of its own."""
    total = scores[negative] + scores[positive]
    return scores[positive] / total if total > 0 else 0.5


def is_neutral(share: float, band: float) -> bool:
    """Does a positive share lie in the neutral band, which is ``band`` wide and has 0.5 in its middle?"""
    return abs(share - 0.5) < band / 2
