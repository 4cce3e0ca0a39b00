"""One text as one model sees it: every head at a glance, and the weights of the layers one by one.

A short text is kept whole. Of a long one the overview is kept, and a layer is read again when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from lmstudio_app.inspection.attention import (
    AttentionMap,
    AttentionMaps,
    AttentionRequest,
    ModelAndTokenizer,
    Prepared,
    as_map,
    as_maps,
    no_attention,
    prepare,
    stream,
)
from lmstudio_app.inspection.attention_store import LayerStore, layer_bytes, require_memory
from lmstudio_app.inspection.overview import Overview, OverviewGatherer
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import torch

KEPT_BYTES = 100 * 2**20  # of all layers of a reading together


@dataclass(frozen=True, eq=False)
class ReadingRequest:
    """The configuration of :func:`read_text`. ``first`` are layers that are kept in preference to others."""

    loaded: ModelAndTokenizer
    attention: AttentionRequest
    first: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Reading:
    """``kept`` has the layers whose weights are in memory, by number; ``heads`` is the largest number of a layer.

    ``request`` has the target that the model has written itself, so that whatever reads it again need not let it write.
    ``prepared`` says what stands on the axes: see :class:`lmstudio_app.inspection.attention.Prepared` for the rows of a
    decoder, and for ``written`` and ``writes``.
    """

    loaded: ModelAndTokenizer
    request: AttentionRequest
    prepared: Prepared
    layers: tuple[int, ...]
    heads: int
    overview: Overview
    kept: Mapping[int, AttentionMap]

    @property
    def kind(self) -> str:
        """``encoder``, ``decoder`` or ``cross``."""
        return self.prepared.kind

    @property
    def queries(self) -> Tokens:
        return self.prepared.queries

    @property
    def keys(self) -> Tokens:
        return self.prepared.keys

    @property
    def head_numbers(self) -> tuple[int, ...]:
        """Which heads of the model these are."""
        return self.prepared.heads

    @property
    def written(self) -> str:
        """The target of an encoder-decoder, given or written by the model itself; empty where there is none."""
        return self.prepared.written

    @property
    def writes(self) -> tuple[str, ...]:
        """What the model writes while it looks as each row says; empty where it writes nothing."""
        return self.prepared.writes

    @property
    def dropped(self) -> int:
        """How many tokens did not fit the model."""
        return self.prepared.dropped

    @property
    def is_whole(self) -> bool:
        return len(self.kept) == len(self.layers)

    @cached_property
    def maps(self) -> AttentionMaps | None:
        """All layers, when all are in memory."""
        if not self.is_whole:
            return None
        return as_maps(self.prepared, [self.kept[layer] for layer in self.layers])


@dataclass(frozen=True, eq=False)
class LayerRequest:
    """The configuration of :func:`read_layer`."""

    reading: Reading
    layer: int


def read_text(request: ReadingRequest, ctx: JobContext) -> Reading:
    """Read all layers in one pass, and keep as many as fit into :data:`KEPT_BYTES`.

    Raises :class:`UserError` as :func:`lmstudio_app.inspection.attention.prepare` and
    :func:`lmstudio_app.inspection.attention.stream` do, and for a model none of whose layers attends.
    """
    prepared = prepare(request.loaded, request.attention, ctx)
    gatherer = OverviewGatherer(prepared.queries, prepared.keys, crosses=prepared.kind == "cross")
    chosen, dtype = _worth_keeping(prepared, request.first)
    store = LayerStore(chosen, dtype)
    meter = ctx.meter(len(prepared.layers), "layers")

    def receive(layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
        gatherer.receive(layer, start, queries, weights)
        if layer in chosen:
            store.receive(layer, start, queries, weights)
        if start + weights.shape[1] == queries:
            meter.update(len(gatherer.layers))

    stream(prepared, receive, ctx)
    if not gatherer.layers:
        raise no_attention(prepared.layers)
    overview = gatherer.result()
    asked = replace(request.attention, kind=prepared.kind)
    return Reading(
        loaded=request.loaded,
        request=replace(asked, target=prepared.written) if prepared.writes else asked,
        prepared=prepared,
        layers=gatherer.layers,
        heads=overview.thumbnails.shape[1],
        overview=overview,
        kept={layer: as_map(prepared, layer, weights) for layer, weights in store.found()},
    )


def read_layer(request: LayerRequest, ctx: JobContext) -> AttentionMap:
    """The weights of one layer of a reading, from memory or from the model.

    Raises :class:`UserError` when there is too little memory.
    """
    reading = request.reading
    if request.layer in reading.kept:
        return reading.kept[request.layer]
    one = replace(reading.prepared, layers=(request.layer,))
    require_memory(one)
    store = LayerStore(one.layers)
    stream(one, store.receive, ctx)
    ((layer, weights),) = store.found()
    return as_map(one, layer, weights)


def _worth_keeping(prepared: Prepared, first: Sequence[int]) -> tuple[tuple[int, ...], str]:
    """Which layers are kept, and as what: in half precision where not all would fit."""
    shape = (len(prepared.heads), len(prepared.queries), len(prepared.keys))
    count, dtype = len(prepared.layers), "float32"
    if count * layer_bytes(*shape, dtype) > KEPT_BYTES:
        dtype = "float16"
    room = KEPT_BYTES // layer_bytes(*shape, dtype)
    ordered = [layer for layer in first if layer in prepared.layers]
    ordered += [layer for layer in prepared.layers if layer not in ordered]
    return tuple(sorted(ordered[:room])), dtype
