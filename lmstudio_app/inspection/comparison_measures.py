"""How much a head looks elsewhere: numbers and a small signed picture, made of the rows of two maps as they come.

All is said of the common tokens. Their weights stay as they are and are not scaled to a sum of 1: what a row gives to
tokens that only one of both has is one share, "elsewhere", whichever token it is.

- Divergence: the Jensen-Shannon divergence of a row and its counterpart, H((a + b)/2) - (H(a) + H(b))/2 with H in bits
  (J. Lin 1991, Divergence Measures Based on the Shannon Entropy), in the mean over the common rows. 0 is the same, 1
  that no token is looked at by both. Clark et al. 2019, section 6, tell heads apart by it. Counting several tokens as
  one never makes it larger.
- Moved: the share of its attention that a row gives to other tokens, Σ |b - a| / 2.
- Difference: the mean of |b - a| over the cells of common tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.inspection.token_matching import Axis

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

THUMBNAIL = 48  # cells along a thumbnail's longer side, at most
_ROUNDING = 2e-3  # of the sum of a row in half precision


@dataclass(frozen=True)
class HeadChange:
    """How far the second map of a head is from the first.

    ``divergence`` in bits, ``moved`` 0 to 1, ``difference`` of weights. The cell that differs most is in the slots
    ``query`` and ``key``; its weights are ``before`` and ``after``.
    """

    divergence: float
    moved: float
    difference: float
    query: int
    key: int
    before: float
    after: float


class ChangeGatherer:
    """Of one layer. Rows may come in any chunks."""

    def __init__(self, queries: Axis, keys: Axis, heads: int) -> None:
        import torch

        self._query_slots, self._key_slots = queries.common, keys.common
        self._rows = torch.zeros(3, heads, dtype=torch.float64)  # sums of divergence, share moved, difference
        self._count = 0
        self._largest = torch.full((heads,), -1.0)
        self._found = [(0, 0, 0.0, 0.0)] * heads  # query, key, before, after
        scale = min(1.0, THUMBNAIL / max(len(queries), len(keys)))
        shape = max(1, round(len(queries) * scale)), max(1, round(len(keys) * scale))
        self._cells = tuple(
            torch.tensor([slot * size // len(axis) for slot in axis.common], dtype=torch.long)
            for axis, size in zip((queries, keys), shape, strict=True)
        )
        self._most, self._least = torch.zeros(heads, *shape), torch.zeros(heads, *shape)

    def add(self, rows: range, first: torch.Tensor, second: torch.Tensor) -> None:
        """Float32 ``[heads, row, key]`` of common tokens: ``rows`` are their places among the common queries."""
        import torch

        if not len(rows):
            return
        difference = second - first
        moved = difference.abs().sum(dim=2)
        rests = []
        for weights in (first, second):
            rest = 1 - weights.sum(dim=2)
            rests.append(torch.where(rest < _ROUNDING, 0.0, rest))
        divergence = _divergence(first, second) + _divergence(rests[0][..., None], rests[1][..., None])
        self._rows[0] += divergence.clamp(min=0).sum(dim=1)
        self._rows[1] += (moved + (rests[1] - rests[0]).abs()).sum(dim=1) / 2
        self._rows[2] += moved.sum(dim=1)
        self._count += len(rows)
        self._find_largest(rows, first, second, difference)
        self._pool(rows, difference)

    def _find_largest(self, rows: range, first: torch.Tensor, second: torch.Tensor, difference: torch.Tensor) -> None:
        flat = difference.abs().flatten(1)
        values, places = flat.max(dim=1)
        for head in (values > self._largest).nonzero()[:, 0].tolist():
            row, column = divmod(int(places[head]), difference.shape[2])
            self._largest[head] = values[head]
            self._found[head] = (
                self._query_slots[rows[row]],
                self._key_slots[column],
                float(first[head, row, column]),
                float(second[head, row, column]),
            )

    def _pool(self, rows: range, difference: torch.Tensor) -> None:
        """Into the patches of the thumbnail, what is largest and what is smallest in each."""
        lines = self._cells[0][rows.start : rows.stop]
        for picture, how in ((self._most, "amax"), (self._least, "amin")):
            narrow = difference.new_zeros(*difference.shape[:2], picture.shape[2])
            narrow.scatter_reduce_(2, self._cells[1].expand_as(difference), difference, how)
            picture.scatter_reduce_(1, lines[None, :, None].expand_as(narrow), narrow, how)

    def thumbnails(self) -> npt.NDArray[np.float32]:
        """``[heads, rows, columns]`` over all slots: of every patch the difference that is farthest from 0."""
        import torch

        signed: npt.NDArray[np.float32] = torch.where(self._most >= -self._least, self._most, self._least).numpy()
        return signed

    def result(self) -> tuple[HeadChange, ...]:
        """One entry a head. Raises ``ValueError`` when nothing came."""
        if not self._count:
            raise ValueError("no rows were received")
        divergence, moved, difference = (self._rows / self._count).tolist()
        keys = len(self._key_slots)
        return tuple(
            HeadChange(divergence[head], moved[head], difference[head] / keys, *found)
            for head, found in enumerate(self._found)
        )


def _divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """What the cells along the last axis add to the Jensen-Shannon divergence of their rows, in bits."""
    import torch

    entropy = torch.special.entr  # -p ln p
    both = entropy((first + second) / 2) - (entropy(first) + entropy(second)) / 2
    bits: torch.Tensor = both.sum(dim=-1, dtype=torch.float64) / math.log(2)
    return bits
