"""A picture of one head compared: its first map, its second, and the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.inspection.colormaps import SIZE, diverging
from lmstudio_app.inspection.comparison import Comparison, HeadPair
from lmstudio_app.inspection.drawing import PictureStyle, Sheet
from lmstudio_app.inspection.picture import Subtitles, bar_marks, pooled, token_step
from lmstudio_app.inspection.scales import Scaled, largest, scale_signed, scale_to

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.figure import Figure

_TALLEST = 1.5  # a map, by its width
_PIXELS = 2  # cells a pixel keeps, so that a picture may be looked at enlarged


@dataclass(frozen=True, eq=False)
class Panel:
    """One of the three maps, as it is drawn; ``missing`` are the cells for which there is no number."""

    queries: tuple[str, ...]
    keys: tuple[str, ...]
    scaled: Scaled
    missing: npt.NDArray[np.bool_]


def panels_of(comparison: Comparison, head: HeadPair) -> tuple[Panel, Panel, Panel]:
    """The first, the second and the difference, the former two on one scale so that their colours compare."""
    import numpy as np

    maps = [np.nan_to_num(weights) for weights in (head.first, head.second)]
    top = max(largest(weights) for weights in maps)
    scaled = [scale_to(weights, top) for weights in maps]
    scaled.append(scale_signed(np.nan_to_num(head.difference)))
    first, second, third = (
        Panel(comparison.queries.labels(which), comparison.keys.labels(which), values, np.isnan(weights))
        for which, (values, weights) in enumerate(zip(scaled, (head.first, head.second, head.difference), strict=True))
    )
    return first, second, third


def draw_comparison(
    panels: Sequence[Panel], names: Sequence[str], subtitles: Subtitles, style: PictureStyle | None = None
) -> Figure:
    """The maps side by side, each with its name, its tokens and its colour bar.

    Where there is no number, the paper shows.
    """
    style = style or PictureStyle()
    texts = [label for panel in panels for label in (*panel.queries, *panel.keys)]
    sheet = Sheet(style, [*texts, *names, subtitles.title, *subtitles.captions])
    place = _Place(sheet, panels)
    top = sheet.title_height(subtitles.captions) + sheet.line_height * 1.6 + place.roof
    figure = sheet.open(top + place.height + sheet.margin)
    sheet.title(subtitles.title, subtitles.captions)
    for number, (panel, name) in enumerate(zip(panels, names, strict=True)):
        _draw_panel(sheet, panel, name, place, sheet.margin + number * place.step, top)
    return figure


class _Place:
    """The measures that all panels share."""

    def __init__(self, sheet: Sheet, panels: Sequence[Panel]) -> None:
        rows, columns = panels[0].missing.shape
        gap = sheet.margin
        panel = (sheet.width - 2 * sheet.margin - (len(panels) - 1) * gap) / len(panels)
        self.step = panel + gap
        self.bar = sheet.line_height * 0.6
        marks = [text for item in panels for _, text in bar_marks(item.scaled)]
        bar_space = self.bar + sheet.line_height + max(sheet.width_of(text) for text in marks)
        longest = max(sheet.width_of(label) for item in panels for label in item.queries)
        self.gutter = min(longest, panel / 4) + sheet.line_height / 2
        self.width = panel - self.gutter - bar_space
        self.cell = self.width / columns
        self.height = min(max(self.cell, sheet.line_height) * rows, _TALLEST * self.width)
        names = max(sheet.width_of(label) for item in panels for label in item.keys)
        self.roof = min(names, panel / 4)
        self.row_step = token_step(self.height / rows, sheet.line_height)
        self.column_step = token_step(self.cell, sheet.line_height)


def _draw_panel(sheet: Sheet, panel: Panel, name: str, place: _Place, start: float, top: float) -> None:
    left = start + place.gutter
    lut = diverging(sheet.style.dark) if panel.scaled.is_signed else sheet.lut
    heading = top - place.roof - sheet.line_height * 1.3
    sheet.write(left, heading, sheet.shorten(name, place.step - place.gutter), colour=sheet.accent)
    rows, columns = round(place.height * _PIXELS), round(place.width * _PIXELS)
    colours = lut[pooled(panel.scaled, rows, columns)]
    if colours.shape[:2] == panel.missing.shape:
        colours[panel.missing] = [int(sheet.paper[digit : digit + 2], 16) for digit in (1, 3, 5)]
    sheet.paint(colours, left, top, place.width, place.height, parts=3)
    sheet.frame(left, top, place.width, place.height)
    for index in range(0, len(panel.queries), place.row_step):
        y = top + (index + 0.5) * place.height / len(panel.queries)
        label = sheet.shorten(panel.queries[index], place.gutter - sheet.line_height / 2)
        sheet.write(left - sheet.line_height / 3, y, label, across="right")
    for index in range(0, len(panel.keys), place.column_step):
        x = left + (index + 0.5) * place.cell
        sheet.write(x, top - sheet.line_height / 3, sheet.shorten(panel.keys[index], place.roof), upright=True)
    bar_left = left + place.width + sheet.line_height / 2
    sheet.paint(lut[::-1, None], bar_left, top, place.bar, place.height, parts=SIZE)
    sheet.frame(bar_left, top, place.bar, place.height)
    for part, text in bar_marks(panel.scaled):
        down = "baseline" if part == 0 else "top" if part == 1 else "center_baseline"
        y = top + (1 - part) * place.height
        sheet.write(bar_left + place.bar + sheet.line_height / 4, y, text, colour=sheet.faint, down=down)
