"""The pictures of the views, drawn of what a source hands over, and what is written over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmstudio_app.inspection.drawing import PictureStyle
from lmstudio_app.inspection.export_source import Source, for_each_layer
from lmstudio_app.inspection.picture import Subtitles, draw_grid, draw_head, pool_largest
from lmstudio_app.inspection.picture_lines import draw_lines
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.figure import Figure

    from lmstudio_app.inspection.attention import Weights

    Thumbnails = npt.NDArray[np.float32]

VIEWS = ("grid", "head", "lines", "rollout")
_ROWS_AND_COLUMNS = {
    "encoder": "Each row is a token that looks (query), each column a token looked at (key). A row sums to 1.",
    "decoder": "Each row is a token that looks (query), each column one looked at, itself or earlier (key).",
    "cross": "Each row is a written token (query), each column a token of the source that it looks at (key).",
}
_ENDS = {
    "encoder": "The tokens that look stand at the left, those that are looked at at the right.",
    "decoder": "The tokens that look stand at the left, those that are looked at at the right.",
    "cross": "The written tokens stand at the left, those of the source that they look at at the right.",
}
_AGGREGATES = {
    "rollout": Subtitles(
        "Attention rollout",
        (
            "How much of each token (column) has come into each token (row) through all layers.",
            "Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers.",
        ),
    )
}


def subtitles_of(view: str, source: Source, chosen: tuple[int, int] | None) -> Subtitles:
    """``chosen``: layer and head, for the views of one head."""
    if source.method:
        return _AGGREGATES[source.method]
    if chosen is None:
        of = {"encoder": "", "decoder": "", "cross": " to the source"}[source.kind]
        return Subtitles(f"Attention{of} in every layer and head", (_ROWS_AND_COLUMNS[source.kind],))
    caption = (_ENDS if view == "lines" else _ROWS_AND_COLUMNS)[source.kind]
    return Subtitles(f"Layer {chosen[0]}, head {chosen[1]}", (caption,))


def draw_view(
    view: str,
    source: Source,
    chosen: tuple[int, int] | None,
    style: PictureStyle,
    ctx: JobContext,
    thumbnails: Thumbnails | None = None,
) -> Figure:
    """``chosen`` is the layer and head of the views of one head; ``thumbnails`` of the grid, where there are some."""
    subtitles = subtitles_of(view, source, chosen)
    queries, keys = source.queries.labels, source.keys.labels
    if view == "grid":
        if thumbnails is None:
            thumbnails = _thumbnails(source, style, ctx)
        return draw_grid(thumbnails, source.layers, source.heads, queries, subtitles, ctx, style)
    weights, mean = _head_of(source, chosen or (source.layers[0], source.heads[0]), style, ctx)
    ctx.check()
    if view == "lines":
        return draw_lines(weights, queries, keys, subtitles, style)
    return draw_head(weights, queries, keys, subtitles, style, mean)


def _thumbnails(source: Source, style: PictureStyle, ctx: JobContext) -> Thumbnails:
    """As large as they come to be drawn."""
    import numpy as np

    size = max(16, style.width // (len(source.heads) + 1))
    scale = min(1.0, size / max(len(source.queries), len(source.keys)))
    shape = (max(1, round(len(source.queries) * scale)), max(1, round(len(source.keys) * scale)))
    gathered: list[Thumbnails] = []

    def receive(_: int, weights: Weights) -> None:
        block = np.zeros((len(source.heads), *shape), dtype=np.float32)  # a layer may have fewer heads than others
        block[: len(weights)] = pool_largest(weights, *shape)
        gathered.append(block)

    for_each_layer(source, receive, ctx)
    return np.stack(gathered)


def _head_of(
    source: Source, chosen: tuple[int, int], style: PictureStyle, ctx: JobContext
) -> tuple[Weights, Weights | None]:
    """Float32 ``[query, key]``; and the mean of the heads that the source has, where the scale is the difference."""
    import numpy as np

    found: list[tuple[Weights, Weights | None]] = []

    def receive(layer: int, weights: Weights) -> None:
        if layer == chosen[0]:
            mean = weights.mean(axis=0, dtype=np.float32) if style.scale == "difference" else None
            found.append((np.array(weights[source.heads.index(chosen[1])], dtype=np.float32), mean))

    for_each_layer(source, receive, ctx)
    return found[0]
