"""What predictions yield. Each knows its row of ``OUT.jsonl``; views are keyed on the type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Label:
    """The output of a classification: ``scores`` maps every label to its probability.

    They sum to 1, unless the model was trained to give several labels at once.
    """

    label: str
    scores: Mapping[str, float]

    def to_row(self) -> dict[str, Any]:
        return {"label": self.label, "scores": dict(self.scores)}


@dataclass(frozen=True)
class Text:
    """Generated text."""

    text: str

    def to_row(self) -> dict[str, Any]:
        return {"text": self.text}


@dataclass(frozen=True)
class Answer:
    """A span of the context: ``context[start:end] == answer``; empty when there is none. ``score`` is in [0, 1]."""

    answer: str
    score: float
    start: int = 0
    end: int = 0

    def to_row(self) -> dict[str, Any]:
        return {"answer": self.answer, "score": self.score, "start": self.start, "end": self.end}


@dataclass(frozen=True)
class Candidate:
    """A token that may stand at a place, as text, and its probability."""

    token: str
    probability: float


@dataclass(frozen=True)
class Candidates:
    """The most probable tokens of each place that was asked for, the most probable first.

    ``places`` holds one tuple a masked position (or one tuple for the position behind the text); ``text`` is the
    input with the best candidates in their places.
    """

    text: str
    places: tuple[tuple[Candidate, ...], ...]

    def to_row(self) -> dict[str, Any]:
        places = [[{"token": c.token, "probability": c.probability} for c in place] for place in self.places]
        return {"text": self.text, "candidates": places}
