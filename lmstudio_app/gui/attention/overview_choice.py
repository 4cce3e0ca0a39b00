"""Which heads the overview shows, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lmstudio_app.inspection.statistics import PATTERNS, HeadStatistics

Place = tuple[int, int]  # row (a layer's place), column (a head's place)
Bounds = tuple[float | None, float | None]  # from, to; None: any
Table = Sequence[Sequence[HeadStatistics]]  # a row for each layer

MEASURES = ("entropy", "distance", "special", "strength")  # what can be limited, and sorted by
ORDERS = ("layer", "entropy", "distance", "special", "pattern", "strength")


def measured(head: HeadStatistics, measure: str) -> float | None:
    """Entropy in bits, distance in tokens (None between two texts), the others 0 to 1."""
    values = {
        "entropy": head.entropy,
        "distance": head.distance,
        "special": head.special_share,
        "strength": head.pattern_share,
    }
    return values[measure]


def span_of(table: Table, measure: str) -> tuple[float, float] | None:
    """The smallest and the largest value; None where there is none."""
    values = [value for row in table for head in row if (value := measured(head, measure)) is not None]
    return (min(values), max(values)) if values else None


@dataclass(frozen=True)
class HeadChoice:
    """``patterns``: heads of these only; empty: of all. ``ranges``: heads within these bounds only."""

    order: str = ORDERS[0]
    is_reversed: bool = False
    patterns: frozenset[str] = frozenset()
    ranges: Mapping[str, Bounds] = field(default_factory=dict)

    @property
    def is_filtered(self) -> bool:
        return bool(self.patterns) or any(bounds != (None, None) for bounds in self.ranges.values())

    def fitted(self, table: Table, *, has_special: bool = True) -> HeadChoice:
        """Without what these heads have no numbers for, would make no difference, or would hide all of them."""
        there = {head.pattern for row in table for head in row}
        spans = {measure: span_of(table, measure) for measure in MEASURES}
        if not has_special:
            spans["special"] = None
        ranges: dict[str, Bounds] = {}
        for measure, (low, high) in self.ranges.items():
            span = spans[measure]
            if span is None:
                continue
            low = low if low is not None and span[0] < low <= span[1] else None
            high = high if high is not None and span[0] <= high < span[1] else None
            if (low, high) != (None, None):
                ranges[measure] = (low, high)
        order = ORDERS[0] if self.order in MEASURES and spans[self.order] is None else self.order
        return replace(self, order=order, patterns=self.patterns & there, ranges=ranges)

    # --- as it is kept in the settings

    def saved(self) -> dict[str, Any]:
        return {
            "order": self.order,
            "reversed": self.is_reversed,
            "patterns": sorted(self.patterns),
            "ranges": {measure: list(bounds) for measure, bounds in self.ranges.items()},
        }

    @staticmethod
    def restored(saved: Any) -> HeadChoice:
        """What cannot be understood gives the default."""
        if not isinstance(saved, dict):
            return HeadChoice()
        patterns, ranges = saved.get("patterns"), saved.get("ranges")
        return HeadChoice(
            order=saved["order"] if saved.get("order") in ORDERS else ORDERS[0],
            is_reversed=saved.get("reversed") is True,
            patterns=frozenset(patterns if isinstance(patterns, list) else ()) & frozenset(PATTERNS),
            ranges={
                measure: (_number(bounds[0]), _number(bounds[1]))
                for measure, bounds in (ranges.items() if isinstance(ranges, dict) else ())
                if measure in MEASURES and isinstance(bounds, list) and len(bounds) == 2
            },
        )


def arrange_heads(table: Table, choice: HeadChoice) -> list[Place] | None:
    """The places of the heads that are shown, in their order; None: all of them, as a table."""
    if not choice.is_filtered and choice.order == ORDERS[0] and not choice.is_reversed:
        return None
    places = [
        (row, column) for row, heads in enumerate(table) for column, head in enumerate(heads) if _is_shown(head, choice)
    ]
    places.sort(key=lambda place: _sort_key(table[place[0]][place[1]], choice.order, place), reverse=choice.is_reversed)
    return places


def _is_shown(head: HeadStatistics, choice: HeadChoice) -> bool:
    if choice.patterns and head.pattern not in choice.patterns:
        return False
    for measure, (low, high) in choice.ranges.items():
        value = measured(head, measure)
        if value is not None and ((low is not None and value < low) or (high is not None and value > high)):
            return False
    return True


def _sort_key(head: HeadStatistics, order: str, place: Place) -> tuple[float, ...]:
    if order == "pattern":
        return (PATTERNS.index(head.pattern), -head.pattern_share, *place)
    if order == "layer":
        return place
    value = measured(head, order)
    return (0.0 if value is None else value, *place)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
