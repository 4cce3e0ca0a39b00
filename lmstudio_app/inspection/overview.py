"""All layers and heads at a glance: a small picture of each head, and what is worth saying about it in numbers.

Both are made of the weights as they come, chunk by chunk, so that a text may be of any length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.inspection.statistics import HeadStatistics, StatisticsGatherer
from lmstudio_app.inspection.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

THUMBNAIL = 48  # cells along a thumbnail's longer side, at most


@dataclass(frozen=True, eq=False)
class Overview:
    """``thumbnails`` are float32 ``[layers, heads, rows, columns]``, the largest weight of each patch.

    ``statistics`` has an entry for every head of every layer; a layer may have fewer heads than others, whose
    thumbnails are 0 then.
    """

    thumbnails: npt.NDArray[np.float32]
    statistics: tuple[tuple[HeadStatistics, ...], ...]


class OverviewGatherer:
    """Takes the weights of all layers as :func:`lmstudio_app.inspection.attention.stream` hands them on."""

    def __init__(self, queries: Tokens, keys: Tokens, *, crosses: bool | None = None, size: int = THUMBNAIL) -> None:
        """``crosses``: the rows are of another text than the columns; None: when the tokens differ."""
        self._queries, self._keys, self._crosses, self._size = queries, keys, crosses, size
        self._pools: dict[int, MaximumPool] = {}
        self._statistics: dict[int, StatisticsGatherer] = {}

    def receive(self, layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
        if layer not in self._pools:
            self._pools[layer] = MaximumPool(len(weights), queries, weights.shape[2], self._size)
            self._statistics[layer] = StatisticsGatherer(self._queries, self._keys, crosses=self._crosses)
        self._pools[layer].add(start, weights)
        self._statistics[layer].add(start, weights)

    @property
    def layers(self) -> tuple[int, ...]:
        """Those that came, in order."""
        return tuple(sorted(self._pools))

    def result(self) -> Overview:
        """Raises ``ValueError`` when nothing came."""
        import numpy as np

        if not self._pools:
            raise ValueError("no layers were received")
        pictures = [self._pools[layer].picture for layer in self.layers]
        heads = max(len(picture) for picture in pictures)
        block = np.zeros((len(pictures), heads, *pictures[0].shape[1:]), dtype=np.float32)
        for index, picture in enumerate(pictures):
            block[index, : len(picture)] = picture.numpy()
        return Overview(block, tuple(self._statistics[layer].result() for layer in self.layers))


class MaximumPool:
    """A small picture of each head, in which a single strong cell stays visible however long the text is.

    It has ``size`` cells along its longer side, each the maximum of a patch, as ``adaptive_max_pool2d`` cuts them: of n
    cells, cell i of m covers ⌊i n/m⌋ up to ⌈(i + 1) n/m⌉.
    """

    def __init__(self, heads: int, queries: int, keys: int, size: int) -> None:
        import torch

        scale = min(1.0, size / max(queries, keys))
        self._rows, self._columns = max(1, round(queries * scale)), max(1, round(keys * scale))
        self._edges = _edges(queries, self._rows)
        self.picture = torch.zeros(heads, self._rows, self._columns)  # weights are never below 0

    def add(self, start: int, weights: torch.Tensor) -> None:
        """``[heads, chunk, key]``: the rows from query ``start`` on."""
        import torch

        stop = start + weights.shape[1]
        for row, (first, last) in enumerate(self._edges):
            if last <= start or first >= stop:
                continue
            strongest = weights[:, max(first, start) - start : min(last, stop) - start].amax(dim=1).float().cpu()
            if self._columns < strongest.shape[1]:
                strongest = torch.nn.functional.adaptive_max_pool1d(strongest, self._columns)
            torch.maximum(self.picture[:, row], strongest, out=self.picture[:, row])


def _edges(count: int, cells: int) -> Sequence[tuple[int, int]]:
    return [(cell * count // cells, math.ceil((cell + 1) * count / cells)) for cell in range(cells)]


def thumbnail_shades(thumbnails: npt.NDArray[np.float32], *, shared: bool = False) -> npt.NDArray[np.float32]:
    """0 to 1, ready for a colour map: the square root brings out the weak weights, which make the shape.

    The last two axes are one thumbnail. ``shared``: 1 stands for a weight of 1, else for the head's largest.
    """
    import numpy as np

    top = 1.0 if shared else np.maximum(thumbnails.max(axis=(-2, -1), keepdims=True), 1e-12)
    shades: npt.NDArray[np.float32] = np.sqrt(np.maximum(thumbnails, 0) / top, dtype=np.float32)
    return shades
