"""Exact match and token F1 of answers, as SQuAD counts them (Rajpurkar et al., 2016 and 2018).

Answers are compared in small letters, without punctuation, without the English articles and with single spaces. On
English these are the figures of the official script. For other languages it is done as MLQA and XQuAD do it (Lewis et
al., 2020; Artetxe et al., 2020): punctuation is what Unicode calls so, and Chinese characters and kana, which are
written without spaces, count one by one.
"""

from __future__ import annotations

import collections
import re
import string
import unicodedata
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
# Han with its extensions and compatibility forms, hiragana, katakana and its half-width forms
_UNSPACED = re.compile(
    "([\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff])"
)


def normalise(text: str) -> str:
    """The form in which two answers are compared."""
    kept = "".join(letter for letter in text.lower() if not _is_punctuation(letter))
    return " ".join(_ARTICLES.sub(" ", kept).split())


def _is_punctuation(letter: str) -> bool:
    return letter in string.punctuation or unicodedata.category(letter).startswith("P")


def answer_tokens(text: str) -> list[str]:
    """Words of the normalised text, and single characters where no spaces are written."""
    return _UNSPACED.sub(r" \1 ", normalise(text)).split()


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1 when the answer equals any of the right ones. No right answer: 1 when there is none either (SQuAD 2.0)."""
    return float(any(normalise(answer) == normalise(right) for right in gold or ("",)))


def token_f1(answer: str, gold: Sequence[str]) -> float:
    """The best F1 = 2PR / (P + R) over the right answers, of the tokens that both have in common."""
    return max(_f1(answer_tokens(answer), answer_tokens(right)) for right in gold or ("",))


def _f1(found: Sequence[str], right: Sequence[str]) -> float:
    if not found or not right:  # both say that there is no answer, or one does
        return float(not found and not right)
    common = (collections.Counter(found) & collections.Counter(right)).total()
    return 2 * common / (len(found) + len(right))
