"""One head made ready to be drawn: arranged, scaled, and pooled for every zoom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.inspection.arrangement import Arranged, Arrangement, Cell, arrange
from lmstudio_app.inspection.attention import AttentionMap
from lmstudio_app.inspection.scales import Scaled, pool_shades, scale_weights
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmstudio_app.inspection.scales import Shades

_COARSEST = 256  # cells along the longer side of the last level


@dataclass(frozen=True, eq=False)
class ShadingRequest:
    """The configuration of :func:`shade_head`. ``mean`` is that of the layer's heads, where it is known already."""

    map: AttentionMap
    head: int
    arrangement: Arrangement
    scale: str
    mean: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class ShadedHead:
    """``levels`` are the shades, each pooled 2 × 2 from the one before.

    ``mean`` of the layer's heads is float32 ``[query, key]`` of the own tokens, ``shown_mean`` as it is arranged; None
    where no difference from it is shown.
    """

    arranged: Arranged
    scaled: Scaled
    levels: tuple[Shades, ...]
    mean: npt.NDArray[np.float32] | None = None
    shown_mean: npt.NDArray[np.float32] | None = None

    def mean_at(self, cell: Cell) -> float | None:
        """Of a shown cell."""
        return None if self.shown_mean is None else float(self.shown_mean[cell])


def shade_head(request: ShadingRequest, ctx: JobContext) -> ShadedHead:
    item = request.map
    arranged = arrange(item.weights[request.head], item.queries, item.keys, request.arrangement)
    ctx.check()
    mean = request.mean
    if request.scale == "difference" and mean is None:
        mean = mean_of_heads(item, ctx)
    shown_mean = None
    if request.scale == "difference" and mean is not None:
        shown_mean = arrange(mean, item.queries, item.keys, request.arrangement).weights
    ctx.check()
    scaled = scale_weights(arranged.weights, request.scale, shown_mean)
    ctx.check()
    return ShadedHead(arranged, scaled, pool_levels(scaled), mean, shown_mean)


def pool_levels(scaled: Scaled) -> tuple[Shades, ...]:
    levels = [scaled.shades]
    while max(levels[-1].shape) > _COARSEST:
        levels.append(pool_shades(levels[-1], signed=scaled.is_signed))
    return tuple(levels)


def mean_of_heads(item: AttentionMap, ctx: JobContext) -> npt.NDArray[np.float32]:
    """Float32 ``[query, key]``, one head after the other, so that half precision is never widened as a whole."""
    import torch

    total = torch.zeros(item.weights.shape[1:])
    for weights in item.weights:
        ctx.check()
        total += torch.from_numpy(weights)
    total /= len(item.weights)
    mean: npt.NDArray[np.float32] = total.numpy()
    return mean
