"""What is saved, layer by layer, wherever it comes from: one layer at most is in memory, unless all were already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.arrangement import Arrangement, arrange, arrange_side
from lmstudio_app.inspection.attention import (
    AttentionMap,
    AttentionMaps,
    AttentionRequest,
    ModelAndTokenizer,
)
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import torch

    from lmstudio_app.inspection.attention import Weights

# layer, weights float32 or float16 [heads, query, key]; valid only during the call
Receive = Callable[[int, "Weights"], None]


@dataclass(frozen=True, eq=False)
class Source:
    """``each(receive, ctx)`` hands over the layers in order, each with the heads in the order of ``heads``."""

    kind: str  # "encoder", "decoder" or "cross"
    queries: Tokens
    keys: Tokens
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    each: Callable[[Receive, JobContext], None]
    method: str = ""  # "rollout" and the like, where it is one map made of all heads

    @property
    def count(self) -> int:
        """How many weights come, all in all."""
        return len(self.layers) * len(self.heads) * len(self.queries) * len(self.keys)


def source_of_maps(maps: AttentionMaps) -> Source:
    def each(receive: Receive, ctx: JobContext) -> None:
        for item in maps.maps:
            ctx.check()
            receive(item.layer, item.weights)

    return Source(maps.maps[0].kind, maps.queries, maps.keys, maps.layers, maps.head_numbers, each)


def source_of_layer(item: AttentionMap) -> Source:
    """A layer that is in memory."""
    return source_of_maps(AttentionMaps((item,)))


def source_of_request(loaded: ModelAndTokenizer, request: AttentionRequest, ctx: JobContext) -> Source:
    """The text is read when the layers are asked for, and nothing is kept of it.

    Raises :class:`UserError` as :func:`prepare` does.
    """
    from lmstudio_app.inspection.attention import prepare, stream

    prepared = prepare(loaded, request, ctx)

    def each(receive: Receive, ctx: JobContext) -> None:
        stream(prepared, LayerGatherer(receive), ctx)

    return Source(prepared.kind, prepared.queries, prepared.keys, tuple(prepared.layers), tuple(prepared.heads), each)


class LayerGatherer:
    """Takes chunks of queries as they come from a model, and hands on whole layers; all in one buffer."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._buffer: Weights | None = None

    def __call__(self, layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
        """``weights`` are float32 ``[heads, chunk, key]``: the rows from query ``start`` on, of ``queries``."""
        import numpy as np
        import torch

        heads, rows, keys = weights.shape
        if self._buffer is None or self._buffer.shape != (heads, queries, keys):
            self._buffer = np.empty((heads, queries, keys), dtype=np.float32)
        torch.from_numpy(self._buffer)[:, start : start + rows].copy_(weights)
        if start + rows == queries:
            self._receive(layer, self._buffer)


def source_of_aggregate(loaded: ModelAndTokenizer, request: AttentionRequest, method: str, ctx: JobContext) -> Source:
    """One map made of all layers and heads, by a method of ``aggregates.AGGREGATES``."""
    from lmstudio_app.inspection.aggregates import AggregateRequest, read_aggregate

    found = read_aggregate(AggregateRequest(loaded, request, method), ctx)

    def each(receive: Receive, ctx: JobContext) -> None:
        receive(0, found.weights[None])

    return Source(found.kind, found.queries, found.keys, (0,), (0,), each, method)


def only_head(source: Source, layer: int, head: int) -> Source:
    """Nothing but one head of a source."""
    place = source.heads.index(head)

    def each(receive: Receive, ctx: JobContext) -> None:
        def receive_one(number: int, weights: Weights) -> None:
            if number == layer:
                receive(number, weights[place : place + 1])

        source.each(receive_one, ctx)

    return replace(source, layers=(layer,), heads=(head,), each=each)


def arranged(source: Source, arrangement: Arrangement) -> Source:
    """The same with special tokens hidden or words merged."""
    if arrangement == Arrangement():
        return source
    import numpy as np

    def each(receive: Receive, ctx: JobContext) -> None:
        def receive_arranged(layer: int, weights: Weights) -> None:
            shown = []
            for head in weights:
                ctx.check()
                shown.append(arrange(head, source.queries, source.keys, arrangement).weights)
            receive(layer, np.stack(shown))

        source.each(receive_arranged, ctx)

    queries, keys = (arrange_side(side, arrangement).tokens for side in (source.queries, source.keys))
    return replace(source, queries=queries, keys=keys, each=each)


def for_each_layer(source: Source, receive: Receive, ctx: JobContext) -> None:
    """``source.each`` with progress. Raises :class:`UserError` when a layer of the source does not come."""
    meter = ctx.meter(len(source.layers), "layers")
    came: list[int] = []

    def count(layer: int, weights: Weights) -> None:
        ctx.check()
        receive(layer, weights)
        came.append(layer)
        meter.update(len(came))

    source.each(count, ctx)
    if tuple(came) != source.layers:
        missing = sorted(set(source.layers) - set(came))
        raise UserError(
            "This model has no attention in the layers {missing}.",
            "Ask for the other layers only: {layers}.",
            missing=", ".join(map(str, missing)),
            layers=",".join(map(str, came)),
        )
