"""The job behind the view of all heads together: put them together, and make the map ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

from lmstudio_app.inspection.aggregates import Aggregate, AggregateRequest, read_aggregate
from lmstudio_app.inspection.arrangement import Arrangement
from lmstudio_app.inspection.attention import AttentionMap
from lmstudio_app.inspection.shading import ShadedHead, ShadingRequest, shade_head
from lmstudio_app.jobs import JobContext


@dataclass(frozen=True, eq=False)
class TogetherRequest:
    """``known``: what is to be read has been read already, and only looks different."""

    aggregate: AggregateRequest
    arrangement: Arrangement
    scale: str
    known: Aggregate | None = None


@dataclass(frozen=True, eq=False)
class Together:
    aggregate: Aggregate
    shaded: ShadedHead


def read_together(request: TogetherRequest, ctx: JobContext) -> Together:
    """Raises :class:`UserError` as :func:`read_aggregate` does."""
    found = request.known or read_aggregate(request.aggregate, ctx)
    ctx.check()
    as_head = AttentionMap(found.kind, found.layers[-1], found.weights[None], found.queries, found.keys)
    scale = "head" if request.scale == "difference" else request.scale  # there is no mean that it could differ from
    return Together(found, shade_head(ShadingRequest(as_head, 0, request.arrangement, scale), ctx))
