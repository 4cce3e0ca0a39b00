"""Pictures of attention without a screen: one head with its tokens, or all layers and heads side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from lmstudio_app.inspection.colormaps import MIDDLE, SIZE, diverging
from lmstudio_app.inspection.drawing import DEFAULT_WIDTH, MAXIMUM_WIDTH, MINIMUM_WIDTH, PictureStyle, Sheet
from lmstudio_app.inspection.overview import thumbnail_shades
from lmstudio_app.inspection.scales import Scaled, scale_weights

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.figure import Figure

    from lmstudio_app.inspection.attention import Weights
    from lmstudio_app.jobs import JobContext

    Number = TypeVar("Number", bound=np.generic)

__all__ = ["DEFAULT_WIDTH", "MAXIMUM_WIDTH", "MINIMUM_WIDTH", "PictureStyle", "Subtitles", "draw_grid", "draw_head"]

_TALLEST = 1.5  # the map of a head, by its width
_PIXELS = 2  # cells a pixel keeps, so that a picture may be looked at enlarged
_LEGEND_LINES = 6


@dataclass(frozen=True)
class Subtitles:
    """What is written over a picture: its title, and lines that explain it."""

    title: str
    captions: tuple[str, ...] = ()


def draw_head(
    weights: Weights,
    queries: Sequence[str],
    keys: Sequence[str],
    subtitles: Subtitles,
    style: PictureStyle | None = None,
    mean: Weights | None = None,
) -> Figure:
    """The heat map of one head: query tokens down the side, key tokens along the top, and a colour bar.

    ``weights`` are float32 ``[query, key]``; ``mean`` of all heads of the layer, for the scale "difference".
    """
    style = style or PictureStyle()
    sheet = Sheet(style, [*queries, *keys, subtitles.title, *subtitles.captions])
    scaled = scale_weights(weights, style.scale, mean)
    captions = (*subtitles.captions, _scale_caption(scaled))
    marks = bar_marks(scaled)
    bar = sheet.line_height * 0.8
    bar_space = sheet.margin + bar + sheet.line_height / 2 + max(sheet.width_of(text) for _, text in marks)
    most = sheet.width / 5
    least_width = sheet.width - 2 * sheet.margin - most - sheet.line_height / 2 - bar_space
    row_step = token_step(_height_of(sheet, queries, keys, least_width) / len(queries), sheet.line_height)
    gutter = min(max(sheet.width_of(label) for label in queries[::row_step]), most)
    left = sheet.margin + gutter + sheet.line_height / 2
    width = sheet.width - left - bar_space - sheet.margin
    cell = width / len(keys)
    height = _height_of(sheet, queries, keys, width)
    # names that all fit above their columns lie flat
    column_step = token_step(cell, sheet.line_height)
    longest = max(sheet.width_of(label) for label in keys[::column_step])
    flat = longest < cell * 0.94
    roof = sheet.line_height if flat else min(longest, most)
    top = sheet.title_height(captions) + sheet.line_height / 2 + roof
    figure = sheet.open(top + height + sheet.margin)
    sheet.title(subtitles.title, captions)
    shades = pooled(scaled, round(height * _PIXELS), round(width * _PIXELS))
    lut = diverging(style.dark) if scaled.is_signed else sheet.lut
    sheet.paint(lut[shades], left, top, width, height)
    sheet.frame(left, top, width, height)
    for index in range(0, len(queries), row_step):
        y = top + (index + 0.5) * height / len(queries)
        sheet.write(left - sheet.line_height / 2, y, sheet.shorten(queries[index], gutter), across="right")
    for index in range(0, len(keys), column_step):
        x, y = left + (index + 0.5) * cell, top - sheet.line_height / 3
        if flat:
            sheet.write(x, y, keys[index], across="center", down="baseline")
        else:
            sheet.write(x, y, sheet.shorten(keys[index], roof), upright=True)
    bar_left = left + width + sheet.margin
    sheet.paint(lut[::-1, None], bar_left, top, bar, height, parts=SIZE)
    sheet.frame(bar_left, top, bar, height)
    for place, text in marks:
        down = "baseline" if place == 0 else "top" if place == 1 else "center_baseline"
        y = top + (1 - place) * height
        sheet.write(bar_left + bar + sheet.line_height / 3, y, text, colour=sheet.faint, down=down)
    return figure


def draw_grid(
    thumbnails: npt.NDArray[np.float32],
    layers: Sequence[int],
    heads: Sequence[int],
    queries: Sequence[str],
    subtitles: Subtitles,
    ctx: JobContext,
    style: PictureStyle | None = None,
) -> Figure:
    """A thumbnail of every head, layers downwards, and the tokens below.

    ``thumbnails`` are float32 ``[layers, heads, rows, columns]``. One shows the shape: the square root of the weights,
    on the head's own scale (or, with the style's scale "shared", a common one).
    """
    style = style or PictureStyle()
    sheet = Sheet(style, [*queries, subtitles.title, *subtitles.captions])
    shared = style.scale == "shared"
    captions = (
        *subtitles.captions,
        "Square root of the weights, "
        + ("the last colour stands for a weight of 1." if shared else "each head on its own scale."),
    )
    margin = sheet.margin
    left = round(margin + max(sheet.width_of(f"Layer {layer}") for layer in layers) + sheet.line_height / 2)
    top = round(sheet.title_height(captions) + sheet.line_height)
    gap = max(2, sheet.width // 260)
    space = (sheet.width - left - margin + gap) / len(heads)
    size = max(2, min(round(space - 0.5), sheet.width // 3) - gap)
    rows, columns = thumbnails.shape[2:]
    cell_height = max(2, round(size * min(rows / columns, 3.0)))
    legend = sheet.wrapped(queries, sheet.width - 2 * margin, _LEGEND_LINES)
    bottom = top + len(layers) * (cell_height + gap)
    figure = sheet.open(bottom + margin + len(legend) * sheet.line_height + margin / 2)
    sheet.title(subtitles.title, captions)
    fits = size > sheet.width_of(f"Head {max(heads)}") * 1.1
    step = 1 if fits else token_step(size + gap, sheet.width_of(f"{max(heads)}") * 1.3)
    for column in range(0, len(heads), step):
        label = f"Head {heads[column]}" if fits else str(heads[column])
        x = left + column * (size + gap) + size / 2
        sheet.write(x, top - sheet.line_height / 3, label, colour=sheet.faint, across="center", down="baseline")
    step = token_step(cell_height + gap, sheet.line_height)
    for row, layer in enumerate(layers):
        ctx.check()
        y = top + row * (cell_height + gap)
        if row % step == 0:
            sheet.write(margin, y + cell_height / 2, f"Layer {layer}", colour=sheet.faint)
        shades = (thumbnail_shades(thumbnails[row], shared=shared) * (SIZE - 1)).round().clip(0, SIZE - 1)
        for column in range(len(heads)):
            x = left + column * (size + gap)
            colours = sheet.lut[shades[column].astype("uint8")]
            sheet.paint(colours, x, y, size, cell_height, parts=len(layers) * len(heads))
            sheet.frame(x, y, size, cell_height)
    for number, line in enumerate(legend):
        sheet.write(margin, bottom + margin / 2 + number * sheet.line_height, line, down="top")
    return figure


def pooled(scaled: Scaled, rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """At most so many shades, the strongest of each patch, so that no single strong cell is lost."""
    import numpy as np

    most = pool_largest(scaled.shades, rows, columns)
    if not scaled.is_signed:
        return most
    least = pool_largest(scaled.shades, rows, columns, how=np.minimum)
    return np.where(most.astype(int) - MIDDLE >= MIDDLE - least.astype(int), most, least)


def pool_largest(
    values: npt.NDArray[Number], rows: int, columns: int, how: np.ufunc | None = None
) -> npt.NDArray[Number]:
    """``values`` ``[…, row, column]`` with at most so many rows and columns: the largest of each patch (``how``: the
    smallest)."""
    import numpy as np

    for axis, wanted in ((-2, rows), (-1, columns)):
        length = values.shape[axis]
        if length > wanted:
            starts = [index * length // wanted for index in range(wanted)]
            values = (how or np.maximum).reduceat(values, starts, axis=axis)
    return values


def token_step(cell: float, line: float) -> int:
    """Label every how-manieth token, so that the labels do not touch."""
    return max(1, math.ceil(line * 0.95 / cell))


def _height_of(sheet: Sheet, queries: Sequence[str], keys: Sequence[str], width: float) -> float:
    """Of a head's map: square cells, but a row for every token of a short text, and no tower of a long one."""
    room_for_names = min(sheet.line_height * len(queries), width)
    return min(max(width / len(keys) * len(queries), room_for_names), _TALLEST * width)


def bar_marks(scaled: Scaled) -> list[tuple[float, str]]:
    """Places on the colour bar, 0 to 1, and what they stand for."""
    places = (0.0, 0.25, 0.5, 0.75, 1.0)
    if scaled.is_relative:
        return [(place, f"{round(100 * place)} %") for place in places]
    if scaled.is_signed:
        return [(place, f"{scaled.value_at(place):+.2g}" if place != 0.5 else "0") for place in places]
    return [(place, f"{scaled.value_at(place):.2g}") for place in places]


def _scale_caption(scaled: Scaled) -> str:
    return {
        "head": "Colours: the weight, up to the largest of this map.",
        "shared": "Colours: the weight, from 0 to 1.",
        "row": "Colours: the weight as a share of the largest in its row.",
        "column": "Colours: the weight as a share of the largest in its column.",
        "log": "Colours: the weight in powers of ten, up to the largest of this map.",
        "difference": "Colours: the weight minus the mean of the layer's heads.",
    }[scaled.scale]
