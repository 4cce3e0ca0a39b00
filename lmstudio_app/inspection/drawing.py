"""A sheet to draw pictures of attention on: paper, pens and measures in pixels, for PNG, SVG and PDF alike.

Drawn by matplotlib's objects and never through pyplot, which belongs to one thread; several threads may draw at once.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import IO, TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.colormaps import colormap
from lmstudio_app.inspection.typeface import families_for

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

    Colours = npt.NDArray[np.uint8]

DPI = 96  # a pixel of CSS, so that an SVG has the size that was asked for
MINIMUM_WIDTH, MAXIMUM_WIDTH, DEFAULT_WIDTH = 400, 8000, 1600
FORMATS = ("png", "svg", "pdf")
# paper, text, faint text, lines, what stands out
_PAPER = {
    False: ("#ffffff", "#1a2230", "#667085", "#cfd6df", "#2f6fde"),
    True: ("#1e242d", "#e6eaf0", "#94a0b2", "#3a4452", "#7fb2ff"),
}
_VECTOR_CELLS = 48 * 48  # up to so many cells are rectangles in SVG and PDF; more are an image
_setting = threading.Lock()


@dataclass(frozen=True)
class PictureStyle:
    """``width`` in pixels; the height follows. ``colormap`` is one of ``colormaps.COLORMAPS``, ``scale`` one of
    ``scales.SCALES``."""

    width: int = DEFAULT_WIDTH
    dark: bool = False
    colormap: str = "ink"
    scale: str = "head"


def check_width(width: int) -> None:
    """Raises :class:`UserError` for a width in pixels that no picture can have."""
    if not MINIMUM_WIDTH <= width <= MAXIMUM_WIDTH:
        raise UserError(
            "A picture cannot be {width} pixels wide.",
            "Choose a width from {minimum} to {maximum}.",
            width=width,
            minimum=MINIMUM_WIDTH,
            maximum=MAXIMUM_WIDTH,
        )


class Sheet:
    """The measures and pens of one picture. First what is needed is measured, then :meth:`open` fixes the height."""

    def __init__(self, style: PictureStyle, texts: Sequence[str]) -> None:
        _prepare_matplotlib()
        _keep_quiet()
        self.style = style
        self.width = style.width
        self.paper, self.text, self.faint, self.line, self.accent = _PAPER[style.dark]
        self.families = families_for(texts)
        self.small = max(9.0, style.width / 100)  # heights of letters, in pixels
        self.large = max(13.0, style.width / 62)
        self.line_height = self.small * 1.45
        self.margin = max(12.0, style.width / 50)
        self.lut = colormap(style.colormap, dark=style.dark)
        self._axes: Axes | None = None
        self._height = 0

    # --- measuring

    def font(self, size: float) -> FontProperties:
        """``size`` in pixels."""
        return _font(tuple(self.families), round(size * 72 / DPI, 2))

    def width_of(self, text: str, size: float | None = None) -> float:
        """In pixels."""
        if not text:
            return 0.0
        width, _, _ = _ruler().get_text_width_height_descent(text, self.font(size or self.small), False)
        return float(width)

    def shorten(self, text: str, width: float, size: float | None = None) -> str:
        """``text``, cut with an ellipsis when it is wider than ``width`` pixels."""
        if self.width_of(text, size) <= width:
            return text
        few, many = 0, len(text)  # so many characters fit, so many do not
        while many - few > 1:
            middle = (few + many) // 2
            if self.width_of(text[:middle] + "…", size) <= width:
                few = middle
            else:
                many = middle
        return text[:few] + "…"

    def wrapped(self, words: Sequence[str], width: float, lines: int) -> list[str]:
        """Words as running text of at most ``lines`` lines."""
        gap = self.width_of("a a") - 2 * self.width_of("a")
        found: list[list[str]] = [[]]
        used = 0.0
        for number, word in enumerate(words):
            needed = self.width_of(word)
            if found[-1] and used + gap + needed > width:
                if len(found) == lines:
                    while found[-1] and used + gap + self.width_of("…") > width:
                        used -= self.width_of(found[-1].pop()) + gap
                    found[-1].append("…" if number < len(words) else "")
                    break
                found.append([])
                used = 0.0
            shown = self.shorten(word, width)
            used += self.width_of(shown) + (gap if found[-1] else 0)
            found[-1].append(shown)
        return [" ".join(line) for line in found if line]

    # --- drawing

    def open(self, height: float) -> Figure:
        """The empty figure, of the style's width; what is drawn comes onto it. Its origin is the top left corner."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        height = round(height)
        figure = Figure(figsize=(self.width / DPI, height / DPI), dpi=DPI, facecolor=self.paper)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_autoscale_on(False)
        self._axes = axes
        self._height = height
        self._fit_axes()
        return figure

    def _fit_axes(self) -> None:
        self.axes.set_xlim(0, self.width)
        self.axes.set_ylim(self._height, 0)

    @property
    def axes(self) -> Axes:
        assert self._axes is not None, "open comes first"
        return self._axes

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float | None = None,
        colour: str | None = None,
        across: str = "left",
        down: str = "center_baseline",
        upright: bool = False,
    ) -> None:
        """``across`` and ``down`` are matplotlib's alignments; ``upright`` text is read from below."""
        self.axes.text(
            x,
            y,
            text,
            fontproperties=self.font(size or self.small),
            color=colour or self.text,
            horizontalalignment=across,
            verticalalignment=down,
            rotation=90 if upright else 0,
            rotation_mode="anchor",
            parse_math=False,  # a token may be "$"
        )

    def frame(self, left: float, top: float, width: float, height: float) -> None:
        from matplotlib.patches import Rectangle

        pen = max(1.0, self.width / 1600)
        self.axes.add_patch(
            Rectangle((left, top), width, height, fill=False, edgecolor=self.line, linewidth=pen * 72 / DPI)
        )

    def paint(self, colours: Colours, left: float, top: float, width: float, height: float, *, parts: int = 1) -> None:
        """Cells ``[rows, columns, 3]``, as rectangles when they are few and as an image otherwise.

        ``parts``: of how many such pieces the picture is made.
        """
        rows, columns = colours.shape[:2]
        if rows * columns * parts <= _VECTOR_CELLS:
            self.axes.pcolormesh(
                _edges(left, width, columns), _edges(top, height, rows), colours / 255.0, edgecolors="face", linewidth=0
            )
            return
        self.axes.imshow(
            colours,
            extent=(left, left + width, top + height, top),
            interpolation="none",  # SVG and PDF keep the cells as they are
            aspect="auto",
            origin="upper",
            resample=False,
        )
        # imshow has fitted the axes to the image
        self._fit_axes()

    def title(self, title: str, captions: Sequence[str]) -> None:
        inner = self.width - 2 * self.margin
        self.write(self.margin, self.margin, self.shorten(title, inner, self.large), size=self.large, down="top")
        for number, caption in enumerate(captions):
            top = self.margin + self.large * 1.5 + number * self.line_height
            self.write(self.margin, top, self.shorten(caption, inner), colour=self.faint, down="top")

    def title_height(self, captions: Sequence[str]) -> float:
        """From the top of the sheet to below the captions, a little air included."""
        return self.margin + self.large * 1.5 + self.line_height * (len(captions) + 0.4)


def save_figure(figure: Figure, file: IO[bytes], format: str, title: str) -> None:
    """``format`` is one of :data:`FORMATS`. Text stays text in SVG and PDF; the same picture gives the same bytes."""
    metadata: dict[str, dict[str, str | None]] = {
        "png": {"Title": title, "Software": "lmstudio-app"},
        "svg": {"Title": title, "Date": None, "Creator": "lmstudio-app"},
        "pdf": {"Title": title, "CreationDate": None, "Creator": "lmstudio-app"},
    }
    _keep_quiet()
    figure.savefig(file, format=format, dpi=DPI, metadata=metadata[format], facecolor=figure.get_facecolor())


def _edges(start: float, length: float, count: int) -> npt.NDArray[np.float64]:
    import numpy as np

    return np.linspace(start, start + length, count + 1)


@cache
def _prepare_matplotlib() -> None:
    """What holds for the process: matplotlib knows it no other way. A person's own matplotlibrc does not count."""
    import matplotlib as mpl

    with _setting:
        mpl.rcdefaults()
        mpl.rcParams["svg.fonttype"] = "none"  # text, and no outlines
        # also text, that can be searched; as 42 nothing is seen of CJK typefaces with PostScript outlines
        mpl.rcParams["pdf.fonttype"] = 3
        mpl.rcParams["svg.hashsalt"] = "lmstudio-app"
        mpl.rcParams["text.parse_math"] = False
        mpl.rcParams["image.composite_image"] = False  # or all images become one, of the paper's resolution


def _keep_quiet() -> None:
    """A character that no typeface has becomes a box, which says it."""
    warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font", category=UserWarning)


@cache
def _font(families: tuple[str, ...], points: float) -> FontProperties:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=list(families), size=points)


_rulers = threading.local()


def _ruler() -> Any:
    """A renderer to measure text with, one a thread."""
    from matplotlib.backends.backend_agg import RendererAgg

    if not hasattr(_rulers, "ruler"):
        _rulers.ruler = RendererAgg(1, 1, DPI)  # type: ignore[no-untyped-call]
    return _rulers.ruler
