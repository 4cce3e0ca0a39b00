"""What the lines view draws: shares of 0 to 1 of one head, or of all heads of a layer, and the strongest of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.inspection.arrangement import Groups, Side
from lmstudio_app.inspection.attention import AttentionMap
from lmstudio_app.inspection.colormaps import MIDDLE
from lmstudio_app.inspection.scales import widened
from lmstudio_app.inspection.shading import ShadedHead

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Shares = npt.NDArray[np.float32]

FAINTEST = 0.02  # of the strongest: fainter lines are not seen


@dataclass(frozen=True, eq=False)
class Lines:
    """The strongest first; ``total`` counts those that could be seen as well."""

    heads: list[int]
    queries: list[int]
    keys: list[int]
    shares: list[float]
    total: int


class HeadShares:
    """Of one head, as its scale has them. Signed ones are two groups of lines: more, and less."""

    def __init__(self, shaded: ShadedHead) -> None:
        self._shades = shaded.scaled.shades
        self._is_signed = shaded.scaled.is_signed
        self.count = 2 if self._is_signed else 1

    def rows(self, first: int, last: int) -> Shares:
        """Float32 ``[count, last - first, key]``."""
        return self._shares(self._shades[first:last])

    def column(self, key: int) -> Shares:
        """Float32 ``[count, query, 1]``."""
        return self._shares(self._shades[:, key : key + 1])

    def _shares(self, shades: npt.NDArray[np.uint8]) -> Shares:
        import numpy as np

        if not self._is_signed:
            return (shades[None] / np.float32(255)).astype(np.float32, copy=False)
        signed = (shades.astype(np.float32) - MIDDLE) / (MIDDLE - 1)
        return np.stack([np.maximum(signed, 0), np.maximum(-signed, 0)])


class LayerShares:
    """Of all heads of a layer. Only the rows that are in view are ever arranged."""

    def __init__(self, item: AttentionMap, rows: Side, columns: Side) -> None:
        self._weights = item.weights
        self._rows, self._columns = rows, columns
        self.count = len(item.weights)

    def rows(self, first: int, last: int) -> Shares:
        import numpy as np

        groups = self._rows.groups[first:last]
        order = [index for group in groups for index in group]
        picked = widened(self._weights[:, order])
        if len(order) != len(groups):
            picked = _summed(picked, groups, 1) / np.array([len(group) for group in groups], np.float32)[:, None]
        if self._columns.is_whole:
            whole: Shares = picked
            return whole
        order = [index for group in self._columns.groups for index in group]
        picked = picked[:, :, order]
        if len(order) != len(self._columns.groups):
            picked = _summed(picked, self._columns.groups, 2)
        shares: Shares = picked
        return shares

    def column(self, key: int) -> Shares:
        import numpy as np

        picked = widened(self._weights[:, :, list(self._columns.groups[key])]).sum(axis=2, keepdims=True)
        if self._rows.is_whole:
            whole: Shares = picked
            return whole
        order = [index for group in self._rows.groups for index in group]
        counts = np.array([len(group) for group in self._rows.groups], np.float32)[:, None]
        shares: Shares = _summed(picked[:, order], self._rows.groups, 1) / counts
        return shares


def _summed(picked: Shares, groups: Groups, axis: int) -> Shares:
    import numpy as np

    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
    summed: Shares = np.add.reduceat(picked, starts, axis=axis)
    return summed


def strongest_lines(shares: Shares, first_query: int, first_key: int, heads: list[int], most: int) -> Lines:
    """``shares`` is ``[heads, query, key]`` from ``first_query`` and ``first_key`` on; ``heads`` are those shown."""
    import numpy as np

    if not heads or not shares.size:
        return Lines([], [], [], [], 0)
    chosen = shares if len(heads) == len(shares) else shares[heads]
    flat = chosen.reshape(-1)
    seen = np.flatnonzero(flat >= FAINTEST)
    total = len(seen)
    if total > most:
        seen = seen[np.argpartition(flat[seen], total - most)[total - most :]]
    seen = seen[np.argsort(-flat[seen], kind="stable")]
    head, query, key = np.unravel_index(seen, chosen.shape)
    return Lines(
        [heads[index] for index in head.tolist()],
        (query + first_query).tolist(),
        (key + first_key).tolist(),
        flat[seen].tolist(),
        total,
    )
