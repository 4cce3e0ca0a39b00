"""One text as one model sees it: every head at a glance, and the weights of the layers one by one.

A short text is read whole. Of a long one the overview is kept, and a layer is read again when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from lmstudio_app.inspection.attention import (
    AttentionMap,
    AttentionMaps,
    AttentionRequest,
    ModelAndTokenizer,
    read_attention,
)
from lmstudio_app.inspection.overview import Overview, build_overview
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import JobContext


@dataclass(frozen=True, eq=False)
class ReadingRequest:
    """The configuration of :func:`read_text`."""

    loaded: ModelAndTokenizer
    attention: AttentionRequest


@dataclass(frozen=True, eq=False)
class Reading:
    """``kept`` has the layers whose weights are in memory, by number; ``heads`` is the largest number of a layer."""

    loaded: ModelAndTokenizer
    request: AttentionRequest
    kind: str  # "encoder", "decoder" or "cross"
    layers: tuple[int, ...]
    heads: int
    queries: Tokens
    keys: Tokens
    overview: Overview
    kept: Mapping[int, AttentionMap]
    dropped: int = 0

    @property
    def is_whole(self) -> bool:
        return len(self.kept) == len(self.layers)

    @cached_property
    def maps(self) -> AttentionMaps | None:
        """All layers, when all are in memory."""
        if not self.is_whole:
            return None
        return AttentionMaps(tuple(self.kept[layer] for layer in self.layers), self.dropped)


@dataclass(frozen=True, eq=False)
class LayerRequest:
    """The configuration of :func:`read_layer`."""

    reading: Reading
    layer: int


def read_text(request: ReadingRequest, ctx: JobContext) -> Reading:
    """Read all layers. Raises :class:`UserError` as :func:`read_attention` does."""
    maps = read_attention(request.loaded, request.attention, ctx)
    return Reading(
        loaded=request.loaded,
        request=request.attention,
        kind=maps.maps[0].kind,
        layers=maps.layers,
        heads=maps.heads,
        queries=maps.queries,
        keys=maps.keys,
        overview=build_overview(maps, ctx),
        kept={item.layer: item for item in maps.maps},
        dropped=maps.dropped,
    )


def read_layer(request: LayerRequest, ctx: JobContext) -> AttentionMap:
    """The weights of one layer of a reading, from memory or from the model."""
    reading = request.reading
    if request.layer in reading.kept:
        return reading.kept[request.layer]
    one = replace(reading.request, layers=(request.layer,))
    return read_attention(reading.loaded, one, ctx).maps[0]
