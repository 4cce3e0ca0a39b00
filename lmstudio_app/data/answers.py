"""Answers to questions about a text, in the forms they come in, checked against the text and mended where that is safe.

The form is the one of SQuAD (Rajpurkar et al., 2016 and 2018): the texts of the answers, and the character of the
context each of them begins at. A question without an answer has two empty lists (SQuAD 2.0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

START_COLUMNS = ("answer_start", "start", "answer_start_index", "start_char")  # beside a column with a plain answer


@dataclass(frozen=True)
class Answers:
    """``mended``: a start was missing or wrong, and the text stands in the context exactly once."""

    texts: tuple[str, ...]
    starts: tuple[int, ...]
    mended: bool = False

    def to_row(self) -> dict[str, Any]:
        return {"text": list(self.texts), "answer_start": list(self.starts)}


def read_answers(value: Any) -> list[tuple[str, int | None]]:
    """(text, start or None) of every answer.

    ``value`` is ``{"text": […], "answer_start": […]}``, a list of ``{"text", "answer_start"}``, a list of texts, any of
    them as JSON text, or one answer's text. Raises :class:`ValueError` for anything else.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except ValueError:
            return [(value, None)]  # an answer that begins with a bracket
    if isinstance(value, Mapping):
        value = _pairs(value)
    if not isinstance(value, list):
        return [(str(value), None)]
    return [_pair(item) for item in value]


def _pairs(value: Mapping[str, Any]) -> list[Any]:
    texts, starts = value.get("text"), value.get("answer_start")
    if isinstance(texts, str):
        return [{"text": texts, "answer_start": starts}]
    if not isinstance(texts, list):
        raise ValueError("answers without a text")
    if starts is None:
        starts = [None] * len(texts)
    if not isinstance(starts, list) or len(starts) != len(texts):
        raise ValueError("not as many starts as answers")
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]


def _pair(item: Any) -> tuple[str, int | None]:
    if isinstance(item, str):
        return item, None
    if not isinstance(item, Mapping) or not isinstance(item.get("text"), str):
        raise ValueError("an answer without a text")
    return item["text"], as_start(item.get("answer_start"))


def as_start(value: Any) -> int | None:
    """A whole number of 0 or more, else None: the answer is looked for then."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value >= 0 else None


def is_answers(value: str) -> bool:
    """Whether a JSON text has the form of answers with their starts."""
    try:
        parsed = json.loads(value)
    except ValueError:
        return False
    items = [parsed] if isinstance(parsed, Mapping) else parsed
    return isinstance(items, list) and all(
        isinstance(item, Mapping) and "text" in item and "answer_start" in item for item in items
    )


def place_answers(value: Any, context: str, start: Any = None) -> Answers:
    """The answers with starts that are right: ``context[start : start + len(text)] == text`` for each.

    ``start`` is that of a single answer given as plain text. A missing or wrong start is mended if the text stands in
    the context exactly once; else :class:`ValueError` says so.
    """
    found = [(text, begin) for text, begin in read_answers(value) if text.strip()]
    if len(found) == 1 and found[0][1] is None:
        found = [(found[0][0], as_start(start))]
    mended, starts = False, []
    for text, begin in found:
        if begin is None or not context.startswith(text, begin):
            begin, mended = _only_place(text, context), True
        starts.append(begin)
    return Answers(tuple(text for text, _ in found), tuple(starts), mended)


def _only_place(text: str, context: str) -> int:
    first = context.find(text)
    if first < 0:
        raise ValueError("the answer does not stand in the context")
    if context.find(text, first + 1) >= 0:
        raise ValueError("the answer stands in the context more than once, and not where it should begin")
    return first
