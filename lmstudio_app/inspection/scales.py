"""From weights to places in a colour map: bytes, so that an image of 4,096 × 4,096 cells is 16 MB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.inspection.colormaps import MIDDLE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.floating]
    Shades = npt.NDArray[np.uint8]

SCALES = ("head", "shared", "row", "column", "log", "difference")
"""What the last colour stands for.

``head``: the largest weight of this head. ``shared``: a weight of 1, so that heads can be compared. ``row``: the
largest weight of each row, so that a token that spreads its attention shows its favourites too. ``column``: the largest
weight of each column: who looks most at this token. (Not its sum: tokens that all others look at equally, which are the
ones that drown the rest, would be faint.) ``log``: as ``head``, in powers of ten; a ten-thousandth and less is 0.
``difference``: the weight minus the mean of all heads of the layer, with a colour map for signed values.
"""
DECADES = 4  # of the scale "log"
_TINY = 1e-9
_BLOCK = 1 << 18  # numbers worked on at a time, which stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Scaled:
    """``shades`` are uint8 ``[query, key]``, places in a colour map of 256.

    ``low`` and ``high`` are what its ends stand for: weights, differences of weights, or (rows and columns) shares of
    the largest one. ``is_signed``: 128 is 0, and the map is one for signed values.
    """

    shades: Shades
    scale: str
    low: float
    high: float

    @property
    def is_signed(self) -> bool:
        return self.low < 0

    @property
    def is_relative(self) -> bool:
        return self.scale in ("row", "column")

    def value_at(self, place: float) -> float:
        """What a place of the colour map, 0 to 1, stands for."""
        if self.scale == "log":
            return float(self.high * 10 ** (DECADES * (place - 1)))
        return self.low + place * (self.high - self.low)


def scale_weights(weights: Numbers, scale: str, mean: Numbers | None = None) -> Scaled:
    """``weights`` float ``[query, key]``; ``mean`` of all heads of the layer, which ``difference`` needs.

    Raises ``ValueError`` for an unknown scale or a missing mean.
    """
    import numpy as np

    if scale == "difference":
        if mean is None:
            raise ValueError("the scale 'difference' needs the mean of the layer's heads")
        return scale_signed(weights, mean=mean)
    if scale == "shared":
        return scale_to(weights, 1.0, scale=scale)
    if scale == "head":
        return scale_to(weights, largest(weights), scale=scale)
    if scale == "log":
        return _scale_log(weights)
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}")
    axis = 1 if scale == "row" else 0
    tops = np.maximum(_tops(weights, axis), np.float32(_TINY))
    factors = np.float32(255) / tops

    def shade(block: Numbers, rows: slice, out: Numbers) -> None:
        np.multiply(block, factors[rows] if axis == 1 else factors, out=out)
        np.minimum(out, 255, out=out)

    return Scaled(_in_blocks(weights, shade), scale, 0.0, 1.0)


def _tops(weights: Numbers, axis: int) -> Numbers:
    """The largest of each row or column; the axis is kept."""
    import numpy as np

    parts = [widened(weights[rows]).max(axis=axis, keepdims=True) for rows in _blocks(weights)]
    return np.concatenate(parts) if axis == 1 else np.max(parts, axis=0)


def scale_to(weights: Numbers, top: float, scale: str = "head") -> Scaled:
    """The last colour stands for ``top`` and whatever is more."""
    import numpy as np

    factor = np.float32(255 / max(top, _TINY))

    def shade(block: Numbers, rows: slice, out: Numbers) -> None:
        np.multiply(block, factor, out=out)
        np.clip(out, 0, 255, out=out)

    return Scaled(_in_blocks(weights, shade), scale, 0.0, max(top, _TINY))


def scale_signed(values: Numbers, top: float | None = None, mean: Numbers | None = None) -> Scaled:
    """Values of either sign, less ``mean``; ``top`` (None: the largest without its sign) is what the ends stand for."""
    import numpy as np

    if top is None:
        top = 0.0
        for rows in _blocks(values):
            part = widened(values[rows]) if mean is None else widened(values[rows]) - mean[rows]
            top = max(top, float(np.abs(part).max(initial=0)))
    top = max(top, _TINY)
    factor, reach = np.float32((MIDDLE - 1) / top), MIDDLE - 1

    def shade(block: Numbers, rows: slice, out: Numbers) -> None:
        np.subtract(block, 0 if mean is None else mean[rows], out=out)
        out *= factor
        np.clip(out, -reach, reach, out=out)
        out += MIDDLE

    return Scaled(_in_blocks(values, shade), "difference", -top, top)


def _scale_log(weights: Numbers) -> Scaled:
    import numpy as np

    top = largest(weights)
    floor = np.float32(top * 10**-DECADES)
    factor, offset = np.float32(255 / (DECADES * np.log(10))), np.float32(np.log(floor))

    def shade(block: Numbers, rows: slice, out: Numbers) -> None:
        np.maximum(block, floor, out=out)
        np.log(out, out=out)
        out -= offset
        out *= factor
        np.clip(out, 0, 255, out=out)

    return Scaled(_in_blocks(weights, shade), "log", float(floor), top)


def largest(weights: Numbers) -> float:
    """The largest weight, not less than 1e-9."""
    return max([_TINY, *(float(widened(weights[rows]).max()) for rows in _blocks(weights))])


def widened(weights: Numbers) -> npt.NDArray[np.float32]:
    """Half precision as float32, by torch, which is ten times as fast at it as numpy; others come back as they are."""
    if weights.dtype != "float16":
        return weights
    import torch

    wide: npt.NDArray[np.float32] = torch.from_numpy(weights).float().numpy()
    return wide


def pool_shades(shades: Shades, *, signed: bool = False) -> Shades:
    """The largest of every 2 × 2 cells (``signed``: the farthest from 128), so that no single strong one is lost."""
    return pool_pairs(pool_pairs(shades, 0, signed=signed), 1, signed=signed)


def pool_pairs(shades: Shades, axis: int, *, signed: bool = False) -> Shades:
    """The same of every two neighbours along one axis only."""
    import numpy as np

    length = shades.shape[axis]
    if length == 1:
        return shades
    evens = shades[0:length:2] if axis == 0 else shades[:, 0:length:2]
    odds = shades[1:length:2] if axis == 0 else shades[:, 1:length:2]
    pooled = evens.copy()
    part = pooled[: odds.shape[0]] if axis == 0 else pooled[:, : odds.shape[1]]
    if signed:
        nearer = np.abs(part.astype(np.int16) - MIDDLE) < np.abs(odds.astype(np.int16) - MIDDLE)
        np.copyto(part, odds, where=nearer)
    else:
        np.maximum(part, odds, out=part)
    return pooled


def _blocks(weights: Numbers) -> list[slice]:
    rows = max(1, _BLOCK // max(1, weights.shape[1]))
    return [slice(start, start + rows) for start in range(0, len(weights), rows)]


def _in_blocks(weights: Numbers, shade: Callable[[Numbers, slice, Numbers], None]) -> Shades:
    """``shade`` writes 0 to 255 for a block of rows; rounded to bytes."""
    import numpy as np

    shades = np.empty(weights.shape, dtype=np.uint8)
    for rows in _blocks(weights):
        block = widened(weights[rows])
        out = np.empty(block.shape, dtype=np.float32)
        shade(block, rows, out)
        out += np.float32(0.5)
        np.copyto(shades[rows], out, casting="unsafe")
    return shades
