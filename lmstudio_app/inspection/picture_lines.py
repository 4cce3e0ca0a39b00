"""The bipartite picture of one head: the tokens twice, and a line from each to those that it looks at.

After J. Vig 2019, "A Multiscale Visualization of Attention in the Transformer Model".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmstudio_app.inspection.drawing import DPI, PictureStyle, Sheet
from lmstudio_app.inspection.picture import Subtitles, token_step

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.figure import Figure

    from lmstudio_app.inspection.attention import Weights

MOST_LINES = 4000
_FAINTEST = 0.02  # of the darkest line: fainter ones cannot be seen
_LOOKS, _LOOKED_AT = "looks", "is looked at"
_TALLEST = 5.0  # by the picture's width


def draw_lines(
    weights: Weights,
    queries: Sequence[str],
    keys: Sequence[str],
    subtitles: Subtitles,
    style: PictureStyle | None = None,
) -> Figure:
    """``weights`` are float32 ``[query, key]``; the query tokens stand at the left, the key tokens at the right."""
    from matplotlib.collections import LineCollection

    style = style or PictureStyle()
    sheet = Sheet(style, [*queries, *keys, subtitles.title, *subtitles.captions])
    top_weight = 1.0 if style.scale == "shared" else max(float(weights.max()), 1e-9)
    rows, columns, strengths, left_out = strongest_lines(weights, top_weight)
    share = "of a weight of 1" if style.scale == "shared" else f"of this head's largest weight, {top_weight:.2g}"
    drawn = f"{len(rows):,} lines" if not left_out else f"The {len(rows):,} strongest lines"
    captions = (*subtitles.captions, f"{drawn}; the stronger the colour, the larger the share {share}.")
    tokens = max(len(queries), len(keys))
    pitch = min(sheet.line_height * 1.15, _TALLEST * sheet.width / tokens)
    most = sheet.width * 0.28
    left = sheet.margin + min(max(map(sheet.width_of, (*queries, _LOOKS))), most)
    right = sheet.width - sheet.margin - min(max(map(sheet.width_of, (*keys, _LOOKED_AT))), most)
    top = sheet.title_height(captions) + sheet.line_height * 1.6
    figure = sheet.open(top + pitch * tokens + sheet.margin)
    sheet.title(subtitles.title, captions)
    heading = top - sheet.line_height * 0.6
    sheet.write(left, heading, _LOOKS, colour=sheet.faint, across="right", down="baseline")
    sheet.write(right, heading, _LOOKED_AT, colour=sheet.faint, down="baseline")
    gap = sheet.line_height / 3
    ends = (top + (rows + 0.5) * pitch, top + (columns + 0.5) * pitch)
    pen = max(1.0, min(pitch * 0.16, sheet.small / 6)) * 72 / DPI
    sheet.axes.add_collection(
        LineCollection(
            [((left + gap, y), (right - gap, z)) for y, z in zip(*ends, strict=True)],
            colors=[(*_rgb(sheet.accent), float(strength)) for strength in strengths],
            linewidths=pen,
            capstyle="butt",
        ),
        autolim=False,
    )
    step = token_step(pitch, sheet.line_height)
    for labels, x, across in ((queries, left, "right"), (keys, right, "left")):
        for index in range(0, len(labels), step):
            sheet.write(x, top + (index + 0.5) * pitch, sheet.shorten(labels[index], most), across=across)
    return figure


def strongest_lines(
    weights: Weights, top: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32], int]:
    """The rows, columns and strengths (0 to 1, by ``top``) of the lines to draw, the strongest last, so that it lies
    on top; and how many visible ones are left out because there are too many."""
    import numpy as np

    shown = np.flatnonzero(weights >= _FAINTEST * top)
    strengths = weights.ravel()[shown]
    left_out = max(0, len(shown) - MOST_LINES)
    order = np.argsort(strengths, kind="stable")[left_out:]
    rows, columns = np.unravel_index(shown[order], weights.shape)
    return rows, columns, (strengths[order] / top).clip(0, 1).astype(np.float32), left_out


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red / 255, green / 255, blue / 255
