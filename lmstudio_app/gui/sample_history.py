"""What a model wrote at each evaluation, for a few rows: how its outputs improve. No Qt here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

BUDGET = 400_000  # characters of outputs that are kept; beyond, every second evaluation is let go of


@dataclass(frozen=True)
class Sample:
    """``reference`` is what the data says; empty where there is no one right answer."""

    input: str
    reference: str
    output: str


class SampleHistory:
    """The samples of the evaluations, by step. Of very many evaluations the first, the last and some between stay."""

    def __init__(self) -> None:
        self._by_step: dict[int, tuple[Sample, ...]] = {}
        self._texts: dict[str, str] = {}  # inputs and references are the same in every evaluation: one copy of each

    def __bool__(self) -> bool:
        return bool(self._by_step)

    @property
    def steps(self) -> tuple[int, ...]:
        return tuple(self._by_step)

    def at(self, step: int) -> tuple[Sample, ...]:
        return self._by_step.get(step, ())

    def add(self, step: int, samples: Iterable[Mapping[str, Any]]) -> None:
        """Take in ``details["samples"]`` of an evaluation; an empty list is none."""
        found = tuple(
            Sample(self._shared(item.get("input")), self._shared(item.get("reference")), _text(item.get("output")))
            for item in samples
        )
        if not found:
            return
        self._by_step[step] = found
        while self._size() > BUDGET and len(self._by_step) > 2:
            first, *between, last = self._by_step
            kept = (first, *between[1::2], last)
            self._by_step = {number: self._by_step[number] for number in kept}

    def rewind(self, step: int) -> None:
        """Forget the evaluations from ``step`` on."""
        self._by_step = {number: samples for number, samples in self._by_step.items() if number < step}

    def _size(self) -> int:
        return sum(len(sample.output) for samples in self._by_step.values() for sample in samples)

    def _shared(self, value: Any) -> str:
        text = _text(value)
        return self._texts.setdefault(text, text)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
