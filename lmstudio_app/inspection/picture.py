"""Pictures of attention without a screen: one head with its tokens, or all layers and heads side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstudio_app.inspection.attention import AttentionMaps
from lmstudio_app.inspection.colormaps import colormap
from lmstudio_app.inspection.overview import build_overview, thumbnail_shades
from lmstudio_app.inspection.typeface import typeface_for
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from lmstudio_app.inspection.attention import Weights

DEFAULT_WIDTH = 1600
MINIMUM_WIDTH, MAXIMUM_WIDTH = 400, 8000
HEAD_CAPTION = "Each row is a token that looks (query), each column a token looked at (key). A row sums to 1."
OVERVIEW_CAPTION = "Rows look, columns are looked at. Square root of the weights, each head on its own scale."
_PAPER = {
    False: ("#ffffff", "#1a2230", "#667085", "#cfd6df"),
    True: ("#1e242d", "#e6eaf0", "#94a0b2", "#3a4452"),
}


@dataclass(frozen=True)
class PictureStyle:
    """``width`` in pixels; the height follows. ``colormap`` is one of :data:`colormaps.COLORMAPS`.

    ``shared_scale``: the darkest colour stands for a weight of 1; otherwise for the head's own largest
    weight.
    """

    width: int = DEFAULT_WIDTH
    dark: bool = False
    colormap: str = "ink"
    shared_scale: bool = False


class _Sheet:
    """The measures and pens of one picture."""

    def __init__(self, style: PictureStyle, texts: Sequence[str]) -> None:
        self.style = style
        self.paper, self.text, self.faint, self.line = _PAPER[style.dark]
        self.small = typeface_for(texts, max(9, style.width // 100))
        self.large = typeface_for(texts, max(13, style.width // 62))
        self.line_height = round(self.small.size * 1.45)
        self.margin = max(12, style.width // 50)
        self.lut = colormap(style.colormap, dark=style.dark)

    def width_of(self, text: str) -> int:
        return round(self.small.getlength(text))

    def shorten(self, text: str, width: float) -> str:
        """``text``, cut with an ellipsis when it is wider than ``width`` pixels."""
        if self.small.getlength(text) <= width:
            return text
        while text and self.small.getlength(text + "…") > width:
            text = text[:-1]
        return text + "…"

    def coloured(self, weights: npt.NDArray[np.float32], top: float) -> Image:
        """One pixel a weight."""
        import numpy as np
        from PIL import Image

        index = (weights * (255.0 / max(top, 1e-12))).round().clip(0, 255).astype(np.uint8)
        return Image.fromarray(self.lut[index])

    def top_of(self, weights: npt.NDArray[np.float32]) -> float:
        """The weight that the last colour stands for."""
        return 1.0 if self.style.shared_scale else float(weights.max())

    def new(self, height: int) -> tuple[Image, ImageDraw]:
        from PIL import Image, ImageDraw

        image = Image.new("RGB", (self.style.width, height), self.paper)
        return image, ImageDraw.Draw(image)


def draw_head(maps: AttentionMaps, layer: int, head: int, style: PictureStyle | None = None) -> Image:
    """The heat map of one head: query tokens down the side, key tokens along the top, and a colour bar."""
    weights = maps.head(layer, head)
    queries, keys = maps.queries.labels, maps.keys.labels
    sheet = _Sheet(style or PictureStyle(), [*queries, *keys])
    margin = sheet.margin
    gutter = min(max(sheet.width_of(label) for label in queries), sheet.style.width // 6)
    roof = min(max(sheet.width_of(label) for label in keys), sheet.style.width // 6)
    bar = round(sheet.line_height * 0.8)
    bar_space = margin + bar + round(sheet.width_of("0.0000") * 1.3)
    left = margin + gutter + sheet.line_height // 2
    top = margin + round(sheet.large.size * 1.5) + sheet.line_height * 2 + roof
    space = sheet.style.width - left - bar_space - margin
    cell = space / len(keys)
    width, height = round(cell * len(keys)), max(1, round(cell * len(queries)))
    image, draw = sheet.new(top + height + margin)
    _title(draw, sheet, f"Layer {layer}, head {head}", HEAD_CAPTION)
    image.paste(
        _resized(sheet.coloured(_fitted(weights, height, width), sheet.top_of(weights)), width, height),
        (left, top),
    )
    draw.rectangle((left - 1, top - 1, left + width, top + height), outline=sheet.line)
    _label_rows(draw, sheet, queries, left - sheet.line_height // 2, top, height / len(queries), gutter)
    _label_columns(image, sheet, keys, left, top - sheet.line_height // 3, cell, roof)
    _draw_bar(image, draw, sheet, (left + width + margin, top, bar, height), sheet.top_of(weights))
    return image


def draw_overview(maps: AttentionMaps, ctx: JobContext, style: PictureStyle | None = None) -> Image:
    """A thumbnail of every head, layers downwards, and the tokens below.

    A thumbnail shows the shape: the square root of the weights, on the head's own scale.
    """
    from PIL import Image

    queries = maps.queries.labels
    sheet = _Sheet(style or PictureStyle(), queries)
    overview = build_overview(maps, ctx, size=max(16, sheet.style.width // (maps.heads + 1)))
    margin = sheet.margin
    left = margin + round(sheet.width_of("Layer 00") * 1.15)
    top = margin + round(sheet.large.size * 1.5) + round(sheet.line_height * 2.8)
    gap = max(2, sheet.style.width // 260)
    space = (sheet.style.width - left - margin + gap) / maps.heads
    widest = sheet.style.width // 3
    size = max(4, min(round(space), widest) - gap)
    rows, columns = overview.thumbnails.shape[2:]
    cell_height = max(2, round(size * rows / columns))
    legend = _wrapped(sheet, queries, sheet.style.width - 2 * margin)
    bottom = top + len(maps.maps) * (cell_height + gap)
    image, draw = sheet.new(bottom + margin + len(legend) * sheet.line_height + margin // 2)
    _title(draw, sheet, "Attention of every layer and head", OVERVIEW_CAPTION)
    for column in range(maps.heads):
        name = maps.first_head + column
        label = sheet.shorten(f"Head {name}" if size > sheet.width_of("Head 00") else str(name), size)
        x = left + column * (size + gap) + (size - sheet.width_of(label)) / 2
        draw.text((x, top - sheet.line_height), label, fill=sheet.faint, font=sheet.small)
    for row, item in enumerate(maps.maps):
        ctx.check()
        y = top + row * (cell_height + gap)
        text_top = y + (cell_height - sheet.line_height) / 2
        draw.text((margin, text_top), f"Layer {item.layer}", fill=sheet.faint, font=sheet.small)
        for column in range(len(item.weights)):
            thumbnail = overview.thumbnails[row, column]
            tile = sheet.coloured(thumbnail_shades(thumbnail, shared=sheet.style.shared_scale), 1.0)
            tile = tile.resize((size, cell_height), Image.Resampling.NEAREST)
            x = left + column * (size + gap)
            image.paste(tile, (x, y))
            draw.rectangle((x, y, x + size - 1, y + cell_height - 1), outline=sheet.line)
    for number, line in enumerate(legend):
        draw.text(
            (margin, bottom + margin // 2 + number * sheet.line_height),
            line,
            fill=sheet.text,
            font=sheet.small,
        )
    return image


def _title(draw: ImageDraw, sheet: _Sheet, title: str, caption: str) -> None:
    draw.text((sheet.margin, sheet.margin), title, fill=sheet.text, font=sheet.large)
    caption = sheet.shorten(caption, sheet.style.width - 2 * sheet.margin)
    top = sheet.margin + round(sheet.large.size * 1.5)
    draw.text((sheet.margin, top), caption, fill=sheet.faint, font=sheet.small)


def _fitted(weights: Weights, height: int, width: int) -> Weights:
    """Pooled with a maximum when there are more weights than pixels."""
    import torch

    rows, columns = min(weights.shape[0], height), min(weights.shape[1], width)
    if (rows, columns) == weights.shape:
        return weights
    pooled: Weights = torch.nn.functional.adaptive_max_pool2d(torch.from_numpy(weights)[None], (rows, columns))[
        0
    ].numpy()
    return pooled


def _resized(image: Image, width: int, height: int) -> Image:
    from PIL import Image

    return image.resize((width, height), Image.Resampling.NEAREST)


def _step(cell: float, line: float) -> int:
    """Label every how-manieth token, so that the labels do not touch."""
    return max(1, -int(-line // cell))


def _label_rows(
    draw: ImageDraw, sheet: _Sheet, labels: Sequence[str], right: float, top: float, cell: float, width: float
) -> None:
    for index in range(0, len(labels), _step(cell, sheet.line_height * 0.95)):
        label = sheet.shorten(labels[index], width)
        place = (right, top + (index + 0.5) * cell)
        draw.text(place, label, fill=sheet.text, font=sheet.small, anchor="rm")


def _label_columns(
    image: Image, sheet: _Sheet, labels: Sequence[str], left: float, bottom: float, cell: float, height: float
) -> None:
    """Upright along the top, read from below."""
    from PIL import Image, ImageDraw

    line = sheet.line_height
    for index in range(0, len(labels), _step(cell, line * 0.95)):
        label = sheet.shorten(labels[index], height)
        strip = Image.new("RGB", (max(1, sheet.width_of(label)), line), sheet.paper)
        ImageDraw.Draw(strip).text((0, line / 2), label, fill=sheet.text, font=sheet.small, anchor="lm")
        strip = strip.transpose(Image.Transpose.ROTATE_90)
        image.paste(strip, (round(left + (index + 0.5) * cell - line / 2), round(bottom - strip.height)))


def _draw_bar(image: Image, draw: ImageDraw, sheet: _Sheet, box: tuple[int, int, int, int], top: float) -> None:
    import numpy as np

    x, y, width, height = box
    ramp = np.linspace(1, 0, height, dtype=np.float32)[:, None].repeat(width, axis=1)
    image.paste(sheet.coloured(ramp, 1.0), (x, y))
    draw.rectangle((x - 1, y - 1, x + width, y + height), outline=sheet.line)
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        place = (x + width + sheet.line_height // 3, y + (1 - part) * height)
        anchor = "ls" if part == 0 else "lt" if part == 1 else "lm"
        draw.text(place, f"{part * top:.3g}", fill=sheet.faint, font=sheet.small, anchor=anchor)


def _wrapped(sheet: _Sheet, labels: Sequence[str], width: float, lines: int = 6) -> list[str]:
    """The tokens as running text of at most ``lines`` lines."""
    found: list[str] = []
    current = ""
    for label in labels:
        longer = f"{current} {label}".strip()
        if sheet.small.getlength(longer) <= width or not current:
            current = longer
            continue
        found.append(current)
        current = label
        if len(found) == lines:
            found[-1] = sheet.shorten(found[-1] + " …", width)
            return found
    return [*found, sheet.shorten(current, width)]
