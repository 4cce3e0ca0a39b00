"""What is worth saying about a head in numbers: how widely it looks, how far, at what, and after which pattern.

Every number is a mean over the rows that have a choice: a row that sees one key only (the first of a causal model) has
weight 1 on it whatever the head has learned. Which keys a row sees is told by the weights, which a mask makes exactly 0
in all heads of a layer. Where a row sums to less than 1 (attention sinks), it is scaled to 1.

- Entropy, H = -Σ a log₂ a of a row (Clark et al. 2019, section 3.3): 0 bits is one key, log₂ n bits is n keys evenly.
  Its share of what the row could have, H / log₂ n with n the keys it sees, is the spread: short rows of a causal model
  can be compared with long ones by it.
- Distance, Σ a |i - j| of row i, in tokens (Vig and Belinkov 2019). Between two texts there is none.
- Pattern: the share of attention that goes to one relation: to the token itself, the one before, the one after, the
  first, or separators. A head has the pattern when the share is at least half; Clark et al. (2019, section 3.1) single
  out heads that put more than half of their attention on the neighbour. Voita et al. (2019) ask for the largest weight
  to be there in 90 % of the rows, which needs more rows than a sentence has. These are the diagonal and the vertical
  pattern of Kovaleva et al. (2019), told apart further. A head without one is broad when its spread is at least
  :data:`BROAD`, else mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.inspection.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Floats = npt.NDArray[np.floating]
    Flags = npt.NDArray[np.bool_]

PATTERNS = ("diagonal", "previous", "next", "first", "separator", "broad", "mixed")
POSITIONAL = ("diagonal", "previous", "next")  # they mean nothing between two texts
PATTERN_SHARE = 0.5
BROAD = 0.85
_SEPARATORS = frozenset(
    ".,;:!?…。，、；：！？⏎"
)  # Clark et al. 2019: [SEP], full stops and commas are where heads rest
_TINY = 1e-30
_BLOCK = 1 << 18  # weights worked on at a time, which stay in the processor's cache


@dataclass(frozen=True)
class HeadStatistics:
    """One head on one text.

    ``entropy`` is in bits, ``distance`` in tokens (None between two texts), ``special_share`` the part of the attention
    that goes to special tokens, 0 to 1. ``pattern`` is one of :data:`PATTERNS`, and ``pattern_share`` what made it: the
    attention that follows it; for "broad" the spread, for "mixed" the largest share of all patterns. ``strongest`` is
    the largest weight whose key is no special token, from ``query`` to ``key``. ``spread`` is 0 to 1.
    """

    entropy: float
    distance: float | None
    special_share: float
    pattern: str
    pattern_share: float
    strongest: float
    query: int
    key: int
    spread: float


class StatisticsGatherer:
    """Takes one layer in chunks of rows, as they are read, and holds sums only.

    ``crosses``: the rows are of another text than the columns (cross-attention); None: when the tokens differ. The work
    is numpy's: its logarithm is many times as fast as torch's, and it does not wait for other threads.
    """

    def __init__(self, queries: Tokens, keys: Tokens, *, crosses: bool | None = None) -> None:
        import numpy as np

        self._crosses = queries != keys if crosses is None else crosses
        self._special = np.flatnonzero(keys.special)
        self._separators = np.flatnonzero([_separates(keys, place) for place in range(len(keys))])
        self._hidden = self._special if len(self._special) < len(keys) else self._special[:0]
        self._places = np.arange(len(keys), dtype=np.float32)
        self._sums: dict[bool, _Sums] = {}  # of the rows that have a choice, and of the others

    def add(self, start: int, weights: torch.Tensor) -> None:
        """``weights`` are float ``[heads, chunk, key]``: the rows from query ``start`` on, each row once."""
        array = weights.detach().float().cpu().numpy()
        heads, rows, keys = array.shape
        step = max(1, _BLOCK // (heads * keys))
        for first in range(0, rows, step):
            self._add_block(start + first, array[:, first : first + step])

    def result(self) -> tuple[HeadStatistics, ...]:
        """One of each head. Raises ``ValueError`` when no row was added."""
        sums = self._sums.get(True) or self._sums.get(False)  # the others, when no row has a choice
        if sums is None:
            raise ValueError("no rows were added")
        return tuple(self._summed_up(sums, head) for head in range(sums.heads))

    # --- inside

    def _add_block(self, start: int, weights: Floats) -> None:
        import numpy as np

        heads, rows, keys = weights.shape
        places = np.arange(start, start + rows)
        visible = np.count_nonzero(weights.max(axis=0) > 0, axis=1)  # [row]
        total = np.maximum(weights.sum(axis=2), np.float32(_TINY))  # [heads, row], as are all values
        bits = _bits(weights, total)
        values = {
            "entropy": bits,
            "spread": bits / np.log2(np.maximum(visible, 2)),
            "special": weights[:, :, self._special].sum(axis=2) / total,
            "separator": weights[:, :, self._separators].sum(axis=2) / total,
            "first": weights[:, :, 0] / total,
        }
        if not self._crosses:
            far = np.abs(self._places[None, :] - places[:, None].astype(np.float32))
            values["distance"] = np.einsum("hrk,rk->hr", weights, far) / total
            for name, offset in (("diagonal", 0), ("previous", -1), ("next", 1)):
                values[name] = _at(weights, places + offset) / total
        exists = {  # the rows in which there is such a key; row 0 of a text that looks at the first looks at itself
            "first": (places > 0) | self._crosses,
            "previous": places > 0,
            "next": places < keys - 1,
        }
        words = weights.copy()
        words[:, :, self._hidden] = -1.0
        for has_choice, chosen in ((True, visible > 1), (False, visible <= 1)):
            if chosen.any():
                sums = self._sums.setdefault(has_choice, _Sums(heads))
                sums.add(values, exists, chosen)
                sums.add_strongest(words, places, chosen)

    def _summed_up(self, sums: _Sums, head: int) -> HeadStatistics:
        spread = sums.mean("spread", head)
        names = [name for name in PATTERNS[:5] if not (self._crosses and name in POSITIONAL)]
        shares = {name: sums.mean(name, head) for name in names}
        pattern = max(names, key=lambda name: shares[name])
        share = shares[pattern]
        if spread >= BROAD:  # first: of two keys looked at evenly, each has half
            pattern, share = "broad", spread
        elif share < PATTERN_SHARE:
            pattern = "mixed"
        return HeadStatistics(
            entropy=sums.mean("entropy", head),
            distance=None if self._crosses else sums.mean("distance", head),
            special_share=sums.mean("special", head),
            pattern=pattern,
            pattern_share=share,
            strongest=float(sums.strongest[head]),
            query=int(sums.query[head]),
            key=int(sums.key[head]),
            spread=spread,
        )


class _Sums:
    """Running sums over rows, of every head."""

    def __init__(self, heads: int) -> None:
        import numpy as np

        self.heads = heads
        self._sums: dict[str, Floats] = {}
        self._counts: dict[str, int] = {}
        self.strongest = np.full(heads, -2.0)
        self.query = np.zeros(heads, dtype=np.int64)
        self.key = np.zeros(heads, dtype=np.int64)

    def add(self, values: dict[str, Floats], exists: dict[str, Flags], rows: Flags) -> None:
        import numpy as np

        for name, value in values.items():
            counted = rows & exists[name] if name in exists else rows
            added = value[:, counted].sum(axis=1, dtype=np.float64)
            self._sums[name] = self._sums[name] + added if name in self._sums else added
            self._counts[name] = self._counts.get(name, 0) + int(counted.sum())

    def add_strongest(self, words: Floats, places: npt.NDArray[np.int64], rows: Flags) -> None:
        """``words`` are the weights, below 0 where the key does not count."""
        import numpy as np

        largest = np.where(rows, words.max(axis=2), np.float32(-2.0))  # [heads, row]
        row = largest.argmax(axis=1)
        value = largest[np.arange(self.heads), row]
        key = words[np.arange(self.heads), row].argmax(axis=1)  # of the one row of each head
        better = value > self.strongest
        self.strongest = np.where(better, value, self.strongest)
        self.query = np.where(better, places[row], self.query)
        self.key = np.where(better, key, self.key)

    def mean(self, name: str, head: int) -> float:
        count = self._counts.get(name, 0)
        return float(self._sums[name][head]) / count if count else 0.0


def _bits(weights: Floats, total: Floats) -> Floats:
    """Entropy of rows that are scaled to 1: with b = a / s of a row that sums to s, H(b) = H(a) / s + log₂ s."""
    import numpy as np

    logarithms = np.maximum(weights, np.float32(_TINY))
    np.log2(logarithms, out=logarithms)
    entropy: Floats = np.log2(total) - np.einsum("hrk,hrk->hr", logarithms, weights) / total
    return np.maximum(entropy, 0)


def _at(weights: Floats, keys: npt.NDArray[np.int64]) -> Floats:
    """``[heads, row]``: the weight at the key of each row; 0 where there is no such key."""
    import numpy as np

    inside = (keys >= 0) & (keys < weights.shape[2])
    found: Floats = weights[:, np.arange(len(keys)), np.clip(keys, 0, weights.shape[2] - 1)] * inside
    return found


def _separates(tokens: Tokens, place: int) -> bool:
    """Is it a special token or a mark of punctuation, and not the first of all?"""
    label = tokens.labels[place].strip()
    return place > 0 and (tokens.special[place] or (bool(label) and set(label) <= _SEPARATORS))
