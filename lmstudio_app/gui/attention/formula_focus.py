"""What of a formula is pointed at, and which part of it is in view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lmstudio_app.gui.attention.formula_matrix import Span
from lmstudio_app.gui.attention.formula_terms import FEATURE, KEY, QUERY, VALUE

_NEAREST = 4  # tokens in view at the closest zoom


@dataclass(frozen=True)
class Focus:
    """What is pointed at: a score (``query`` and ``key``), or a number of the output (``query`` and ``value``).

    Queries are counted among the rows that are shown. ``feature`` is one of the numbers of a query or key.
    """

    query: int
    key: int
    feature: int | None = None
    value: int | None = None

    def at(self, axis: str) -> int | None:
        """Where it is along a side; an output is a sum over all keys, so it is at none of them."""
        if axis == KEY and self.value is not None:
            return None
        return {QUERY: self.query, KEY: self.key, FEATURE: self.feature, VALUE: self.value}[axis]


class Spans:
    """The stretch of queries and of keys that is in view, the same in every matrix; all other numbers always are."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)
        self._spans: dict[str, Span] = {}
        self.show_all()

    def __getitem__(self, axis: str) -> Span:
        return self._spans[axis]

    def show_all(self) -> None:
        self._spans = {axis: (0.0, float(count)) for axis, count in self.counts.items()}

    def zoom(self, factor: float, around: Mapping[str, float]) -> None:
        """``factor`` below 1 is nearer. What ``around`` does not say stays where it is in the middle."""
        for axis in (QUERY, KEY):
            first, last = self._spans[axis]
            count = float(self.counts[axis])
            length = min(count, max(min(_NEAREST, count), (last - first) * factor))
            point = around.get(axis, (first + last) / 2)
            self._set(axis, point - (point - first) / (last - first) * length, length)

    def move(self, axis: str, by: float) -> None:
        if axis in (QUERY, KEY):
            first, last = self._spans[axis]
            self._set(axis, first + by, last - first)

    def reveal(self, axis: str, index: int) -> None:
        """As little as is needed to have a token in view."""
        first, last = self._spans[axis]
        self.move(axis, min(0.0, index - first) + max(0.0, index + 1 - last))

    def _set(self, axis: str, first: float, length: float) -> None:
        first = min(max(0.0, first), self.counts[axis] - length)
        self._spans[axis] = (first, first + length)
