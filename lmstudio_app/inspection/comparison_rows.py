"""The rows of a map as they are compared: of single tokens or of words, of every head or of the heads' mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmstudio_app.inspection.arrangement import Side
from lmstudio_app.inspection.attention import Prepared, stream
from lmstudio_app.inspection.token_matching import Axis
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class ComparedSide:
    rows: Side
    columns: Side
    is_mean: bool


def side_of(queries: Axis, keys: Axis, which: int, *, is_paired: bool) -> ComparedSide:
    if which == 0:
        return ComparedSide(queries.first, keys.first, not is_paired)
    return ComparedSide(queries.second, keys.second, not is_paired)


def stream_compared(
    prepared: Prepared,
    layers: Sequence[int],
    side: ComparedSide,
    receive: Callable[[int, int, int, torch.Tensor], None],
    ctx: JobContext,
) -> None:
    """As :func:`lmstudio_app.inspection.attention.stream`, of the tokens and heads that are compared, on the CPU."""
    arrangers: dict[int, _RowArranger] = {}

    def arrange(layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
        weights = weights.cpu()
        if side.is_mean:
            weights = weights.mean(dim=0, keepdim=True)
        if side.rows.is_whole and side.columns.is_whole:
            receive(layer, start, queries, weights)
            return
        if layer not in arrangers:
            arrangers[layer] = _RowArranger(side.rows, side.columns)
        first, rows = arrangers[layer].add(weights)
        if rows.shape[1]:
            receive(layer, first, len(side.rows.groups), rows)

    stream(replace(prepared, layers=tuple(sorted(layers))), arrange, ctx)


class _RowArranger:
    """Makes words of the tokens of one layer, as its rows come: columns are summed, rows averaged (Clark et al. 2019).

    As :func:`lmstudio_app.inspection.arrangement.arrange`, which needs all rows at once.
    """

    def __init__(self, rows: Side, columns: Side) -> None:
        import torch

        self._groups = rows.groups
        self._words = torch.tensor([place for place in columns.places if place is not None])
        self._count = len(columns.groups)
        self._next = 0  # the word whose rows come next
        self._rest: torch.Tensor | None = None  # rows of a word that is not complete

    def add(self, weights: torch.Tensor) -> tuple[int, torch.Tensor]:
        """Rows that follow the last ones; returns the words that are complete with them, from which one on."""
        import torch

        summed = weights.new_zeros(*weights.shape[:2], self._count).index_add_(2, self._words, weights)
        if self._rest is not None:
            summed = torch.cat([self._rest, summed], dim=1)
        first, used = self._next, 0
        rows = []
        while self._next < len(self._groups) and used + len(self._groups[self._next]) <= summed.shape[1]:
            size = len(self._groups[self._next])
            rows.append(summed[:, used : used + size].mean(dim=1))
            used += size
            self._next += 1
        self._rest = summed[:, used:].clone()
        return first, torch.stack(rows, dim=1) if rows else summed[:, :0]
