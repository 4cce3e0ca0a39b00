"""Many heads as one map: their mean, their largest weight, attention rollout and attention flow.

The layers are streamed: what is held is one or two matrices ``[query, key]``; attention flow, which is for short texts,
holds one a layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.attention import (
    AttentionRequest,
    ModelAndTokenizer,
    Prepared,
    no_attention,
    prepare,
    stream,
)
from lmstudio_app.inspection.flow import attention_flow, require_affordable
from lmstudio_app.inspection.rollout import RolloutGatherer, with_residual
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Weights = npt.NDArray[np.float32]
    TakesRows = Callable[[int, int, torch.Tensor, int], None]  # layer, start, rows, heads

AGGREGATES = ("mean", "max", "rollout", "flow")
THROUGH_LAYERS = ("rollout", "flow")  # these follow tokens through the layers, and so need one text


@dataclass(frozen=True, eq=False)
class AggregateRequest:
    """The configuration of :func:`read_aggregate`.

    ``method`` is one of :data:`AGGREGATES`. ``layer``: for "mean" and "max" the heads of this layer only, for "rollout"
    and "flow" all layers up to and with it; None: all layers. ``token``: nothing but its row; None: all rows. Of
    ``attention`` the layers do not count; where it names heads, these alone are put together.
    """

    loaded: ModelAndTokenizer
    attention: AttentionRequest
    method: str
    layer: int | None = None
    token: int | None = None


@dataclass(frozen=True, eq=False)
class Aggregate:
    """``weights`` is float32 ``[query, key]``; ``layers`` are those it is made of."""

    weights: Weights
    queries: Tokens
    keys: Tokens
    method: str
    kind: str  # "encoder", "decoder" or "cross"
    layers: tuple[int, ...]


def read_aggregate(request: AggregateRequest, ctx: JobContext) -> Aggregate:
    """Run the model and put its heads together.

    Raises :class:`UserError` as :func:`prepare` and :func:`stream` do, for rollout and flow between two texts, for a
    flow that takes too long, and for a token that is not there; ``ValueError`` for an unknown method.
    """
    if request.method not in AGGREGATES:
        raise ValueError(f"unknown aggregate {request.method!r}")
    prepared = prepare(request.loaded, replace(request.attention, layers=_layers(request)), ctx)
    _check(prepared, request)
    weights = _METHODS[request.method](prepared, request, ctx)
    queries = prepared.queries
    if request.token is not None:
        queries = _only(queries, request.token)
        if len(weights) > 1:
            weights = weights[request.token : request.token + 1]
    return Aggregate(weights, queries, prepared.keys, request.method, prepared.kind, prepared.layers)


def _layers(request: AggregateRequest) -> tuple[int, ...] | None:
    if request.layer is None:
        return None
    below = range(request.layer) if request.method in THROUGH_LAYERS else ()
    return (request.layer, *below)


def _check(prepared: Prepared, request: AggregateRequest) -> None:
    if prepared.kind == "cross" and request.method in THROUGH_LAYERS:
        raise UserError(
            "Cross-attention cannot be followed through the layers: each of them looks at the same finished text.",
            "Choose the mean or the largest weight, or look at the encoder.",
        )
    count = len(prepared.queries)
    if request.token is not None and not 0 <= request.token < count:
        raise UserError(
            "There is no token {token}.", "Choose a token from 0 to {last}.", token=request.token, last=count - 1
        )
    if request.method == "flow":
        require_affordable(len(prepared.layers), count, count if request.token is None else 1)


def _stream_means(prepared: Prepared, receive: TakesRows, ctx: JobContext, *, largest: bool = False) -> None:
    """``receive(layer, start, rows, heads)``: the mean of a layer's heads (or the largest), float32 on the CPU."""
    meter = ctx.meter(len(prepared.layers) * len(prepared.queries), "rows")
    done = 0

    def receive_chunk(layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
        nonlocal done
        rows = weights.amax(dim=0) if largest else weights.mean(dim=0)
        receive(layer, start, rows.cpu(), len(weights))
        done += len(rows)
        meter.update(done)

    meter.update(0)
    stream(prepared, receive_chunk, ctx)
    if done == 0:
        raise no_attention(prepared.layers)


def _mean(prepared: Prepared, request: AggregateRequest, ctx: JobContext) -> Weights:
    import torch

    total = torch.zeros(len(prepared.queries), len(prepared.keys))
    counts: dict[int, int] = {}  # heads of each layer: every head counts the same

    def receive(layer: int, start: int, rows: torch.Tensor, heads: int) -> None:
        total[start : start + len(rows)] += rows * heads
        counts[layer] = heads

    _stream_means(prepared, receive, ctx)
    return _as_array(total / sum(counts.values()))


def _max(prepared: Prepared, request: AggregateRequest, ctx: JobContext) -> Weights:
    import torch

    largest = torch.zeros(len(prepared.queries), len(prepared.keys))

    def receive(layer: int, start: int, rows: torch.Tensor, heads: int) -> None:
        part = largest[start : start + len(rows)]
        torch.maximum(part, rows, out=part)

    _stream_means(prepared, receive, ctx, largest=True)
    return _as_array(largest)


def _rollout(prepared: Prepared, request: AggregateRequest, ctx: JobContext) -> Weights:
    gatherer = RolloutGatherer(ctx.check)
    _stream_means(prepared, lambda layer, start, rows, heads: gatherer.add(layer, start, rows), ctx)
    found = gatherer.result()
    assert found is not None  # or there would have been no rows
    return _as_array(found)


def _flow(prepared: Prepared, request: AggregateRequest, ctx: JobContext) -> Weights:
    import torch

    count = len(prepared.queries)
    layers: dict[int, torch.Tensor] = {}

    def receive(layer: int, start: int, rows: torch.Tensor, heads: int) -> None:
        matrix = layers.setdefault(layer, torch.zeros(count, count))
        matrix[start : start + len(rows)] = with_residual(rows, start)

    _stream_means(prepared, receive, ctx)
    sources = range(count) if request.token is None else (request.token,)
    return attention_flow([_as_array(layers[layer]) for layer in sorted(layers)], sources, ctx)


_METHODS = {"mean": _mean, "max": _max, "rollout": _rollout, "flow": _flow}


def _as_array(matrix: torch.Tensor) -> Weights:
    array: Weights = matrix.numpy()
    return array


def _only(tokens: Tokens, place: int) -> Tokens:
    here = slice(place, place + 1)
    return Tokens(
        tokens.tokens[here],
        tokens.labels[here],
        tokens.special[here],
        tokens.segments[here],
        tokens.words[here],
        tokens.spans[here],
    )
