"""All layers and heads at a glance: a small picture of each head, and what is worth saying about it in one
line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.inspection.attention import (
    AttentionMap,
    AttentionMaps,
    AttentionRequest,
    ModelAndTokenizer,
    read_attention,
)
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

THUMBNAIL = 48  # cells along a thumbnail's longer side, at most


@dataclass(frozen=True)
class HeadSummary:
    """What is worth saying about one head.

    ``strongest`` is the largest weight whose key is no special token, from position ``query`` to ``key``;
    ``special_share`` is the part of all attention that goes to special tokens, 0 to 1.
    """

    query: int
    key: int
    strongest: float
    special_share: float


@dataclass(frozen=True, eq=False)
class Overview:
    """``thumbnails`` are float32 ``[layers, heads, rows, columns]``, the largest weight of each patch."""

    thumbnails: npt.NDArray[np.float32]
    summaries: tuple[tuple[HeadSummary, ...], ...]


@dataclass(frozen=True, eq=False)
class OverviewRequest:
    """The configuration of :func:`read_overview`."""

    loaded: ModelAndTokenizer
    attention: AttentionRequest


def read_overview(request: OverviewRequest, ctx: JobContext) -> tuple[AttentionMaps, Overview]:
    """The job behind the attention tab: read the weights, then make the overview."""
    maps = read_attention(request.loaded, request.attention, ctx)
    return maps, build_overview(maps, ctx)


def build_overview(maps: AttentionMaps, ctx: JobContext, size: int = THUMBNAIL) -> Overview:
    """Pool every head with a maximum, so that a single strong cell stays visible however long the text is."""
    import numpy as np
    import torch

    thumbnails, summaries = [], []
    for item in maps.maps:
        ctx.check()
        weights = torch.from_numpy(item.weights)
        thumbnails.append(_pool(weights, size).numpy())
        summaries.append(_summarise(item, weights))
    heads = maps.heads
    block = np.zeros((len(thumbnails), heads, *thumbnails[0].shape[1:]), dtype=np.float32)
    for index, picture in enumerate(thumbnails):
        block[index, : len(picture)] = picture
    return Overview(block, tuple(summaries))


def thumbnail_shades(thumbnails: npt.NDArray[np.float32], *, shared: bool = False) -> npt.NDArray[np.float32]:
    """0 to 1, ready for a colour map: the square root brings out the weak weights, which make the shape.

    The last two axes are one thumbnail. ``shared``: 1 stands for a weight of 1, else for the head's largest.
    """
    import numpy as np

    top = 1.0 if shared else np.maximum(thumbnails.max(axis=(-2, -1), keepdims=True), 1e-12)
    shades: npt.NDArray[np.float32] = np.sqrt(np.maximum(thumbnails, 0) / top, dtype=np.float32)
    return shades


def _pool(weights: torch.Tensor, size: int) -> torch.Tensor:
    import torch

    queries, keys = weights.shape[1:]
    scale = min(1.0, size / max(queries, keys))
    rows, columns = max(1, round(queries * scale)), max(1, round(keys * scale))
    if (rows, columns) == (queries, keys):
        return weights
    return torch.nn.functional.adaptive_max_pool2d(weights, (rows, columns))


def _summarise(item: AttentionMap, weights: torch.Tensor) -> tuple[HeadSummary, ...]:
    import torch

    special = torch.tensor(item.keys.special)
    received = weights.mean(dim=1)  # [heads, key]; rows sum to 1, so this does too
    share = received[:, special].sum(dim=1).tolist()
    best, where = weights.max(dim=1)  # [heads, key]: the strongest look at each key
    words = best.masked_fill(special, -1.0) if not bool(special.all()) else best
    value, key = words.max(dim=1)
    query = where.gather(1, key[:, None])[:, 0]
    return tuple(
        HeadSummary(int(q), int(k), float(v), float(s)) for q, k, v, s in zip(query, key, value, share, strict=True)
    )
