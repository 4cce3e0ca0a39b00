"""Pictures by matplotlib: what they show, that nothing is cut off, and that text stays text."""

from __future__ import annotations

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from pypdf import PdfReader

from lmstudio_app.inspection.colormaps import colormap, diverging
from lmstudio_app.inspection.drawing import DPI, FORMATS, PictureStyle, Sheet, save_figure
from lmstudio_app.inspection.picture import Subtitles, draw_grid, draw_head, pool_largest, pooled
from lmstudio_app.inspection.picture_lines import MOST_LINES, draw_lines, strongest_lines
from lmstudio_app.inspection.scales import SCALES, scale_weights
from lmstudio_app.jobs import JobContext

TITLE = Subtitles("Layer 3, head 5", ("Each row is a token that looks, each column a token looked at.",))
WORDS = ["[CLS]", "not", "good", "$x_1$", "电影", "фильм", "<b>&", "a_token_as_long_as_" + "ever_" * 30, "[SEP]"]


def weights_of(rows: int, columns: int) -> np.ndarray:
    rng = np.random.default_rng(rows)
    weights = np.exp(2 * rng.normal(size=(rows, columns)))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def pixels(figure: Any) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def saved(figure: Any, form: str) -> bytes:
    buffer = io.BytesIO()
    save_figure(figure, buffer, form, "A title")
    return buffer.getvalue()


def count_of(image: np.ndarray, colour: np.ndarray) -> int:
    return int((image == colour).all(axis=-1).sum())


@pytest.mark.parametrize("dark", [False, True])
def test_the_picture_of_a_head_shows_its_weights(dark: bool) -> None:
    weights = np.zeros((4, 4), dtype=np.float32)
    weights[1, 3] = 1.0
    names = ["a", "b", "c", "d"]
    image = pixels(draw_head(weights, names, names, TITLE, PictureStyle(width=800, dark=dark, colormap="viridis")))
    lut = colormap("viridis")
    assert image.shape[1] == 800
    # fifteen empty cells and one full one; the colour bar holds a few of both colours, too
    assert 14 < count_of(image, lut[0]) / count_of(image, lut[255]) < 16
    assert tuple(image[2, 2]) == ((0x1E, 0x24, 0x2D) if dark else (255, 255, 255))


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_has_its_colours_and_says_what_they_mean(scale: str) -> None:
    weights, mean = weights_of(6, 6), np.full((6, 6), 1 / 6, dtype=np.float32)
    names = list("abcdef")
    figure = draw_head(weights, names, names, TITLE, PictureStyle(width=500, scale=scale), mean)
    lut = diverging() if scale == "difference" else colormap("ink")
    scaled = scale_weights(weights, scale, mean)
    row, column = np.unravel_index(scaled.shades.argmax(), weights.shape)
    assert count_of(pixels(figure), lut[scaled.shades[row, column]]) > 500
    assert any(text.get_text().startswith("Colours: ") for text in figure.axes[0].texts)


def drawn(kind: str, count: int, width: int) -> Any:
    names = [f"{WORDS[index % len(WORDS)]}" for index in range(count)]
    style = PictureStyle(width=width)
    if kind == "grid":
        thumbnails = np.stack([np.stack([weights_of(16, 16)] * 4)] * 2)
        return draw_grid(thumbnails, (0, 5), (0, 1, 2, 11), names, TITLE, JobContext(), style)
    draw = draw_head if kind == "head" else draw_lines
    return draw(weights_of(count, count), names, names, TITLE, style)


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("count", [3, 300])
@pytest.mark.parametrize("kind", ["head", "lines", "grid"])
def test_no_text_is_cut_off_or_lies_on_another(kind: str, count: int, width: int) -> None:
    figure = drawn(kind, count, width)
    renderer = figure.canvas.get_renderer()
    height = figure.get_figheight() * DPI
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    for box in boxes:
        assert min(box.x0, box.y0) >= -1, "cut off at the left or at the bottom"
        assert max(box.x1 - width, box.y1 - height) <= 1, "cut off at the right or at the top"
    shrunk = [box.padded(-0.12 * min(box.width, box.height)) for box in boxes]
    touching = [(a, b) for a in range(len(shrunk)) for b in range(a) if shrunk[a].overlaps(shrunk[b])]
    assert not touching, [(figure.axes[0].texts[a].get_text(), figure.axes[0].texts[b].get_text()) for a, b in touching]
    assert len(boxes) >= (count if kind == "lines" and width == 1600 else 6)


def test_three_hundred_tokens_are_thinned_and_few_are_not() -> None:
    few, many = drawn("head", 12, 1000), drawn("head", 300, 1000)
    texts = [text.get_text() for text in few.axes[0].texts]
    assert texts.count("not") == 4  # twice along each side
    assert 40 < len(many.axes[0].texts) < 140
    assert many.get_figheight() < 2 * many.get_figwidth()


def test_long_tokens_are_elided_to_the_last_pixel() -> None:
    sheet = Sheet(PictureStyle(), WORDS)
    shown = sheet.shorten(WORDS[7], 200)
    assert shown.endswith("…")
    assert sheet.width_of(shown) <= 200 < sheet.width_of(WORDS[7][: len(shown)] + "…")
    assert sheet.shorten("short", 200) == "short"


def test_text_stays_text_in_svg() -> None:
    names = [word for word in WORDS if len(word) < 20]
    root = ElementTree.fromstring(saved(draw_head(weights_of(8, 8), names, names, TITLE), "svg"))
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for name in names:
        assert texts.count(name) == 2
    assert TITLE.title in texts
    assert root.get("width") == "1200pt"  # 1600 pixels of CSS


def test_text_stays_text_in_pdf() -> None:
    names = [word for word in WORDS if len(word) < 20]
    figure = draw_lines(weights_of(8, 8), names, names, TITLE)
    reader = PdfReader(io.BytesIO(saved(figure, "pdf")))
    fonts: Any = reader.pages[0]["/Resources"]["/Font"]  # type: ignore[index]
    outlines = [font.get_object()["/CharProcs"] for font in fonts.values()]  # CJK ones would be empty as /Type0
    assert sum(map(len, outlines)) >= len({character for name in names for character in name})
    text = reader.pages[0].extract_text()
    for name in (*(name for name in names if name.isascii()), "фильм", TITLE.title):
        assert name in text
    assert reader.metadata is not None
    assert reader.metadata.title == "A title"


def test_few_cells_are_shapes_and_many_an_image() -> None:
    few, many = (drawn("head", count, 800) for count in (9, 100))
    assert saved(few, "svg").count(b"<image") == 1  # the colour bar
    assert saved(many, "svg").count(b"<image") == 2


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_picture_gives_the_same_bytes_also_from_several_threads(form: str) -> None:
    def draw(_: int) -> bytes:
        return saved(drawn("head", 20, 500), form)

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(draw, range(4)))) == 1


def test_a_character_that_no_typeface_has_is_a_box_and_no_complaint() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = ["a", "\U000fffff"]
        for form in FORMATS:
            assert len(saved(draw_head(weights_of(2, 2), names, names, TITLE, PictureStyle(400)), form)) > 1000


def test_pooling_loses_no_strong_cell() -> None:
    weights = np.full((3, 200, 150), 0.001, dtype=np.float32)
    weights[1, 150, 20] = 0.9
    small = pool_largest(weights, 40, 40)
    assert small.shape == (3, 40, 40)
    assert (small > 0.5).sum() == 1
    assert small[1, 30, 5] == np.float32(0.9)
    assert pool_largest(weights, 500, 500) is weights
    signed = np.zeros((8, 8), dtype=np.float32)
    signed[0, 0], signed[1, 1], signed[7, 7] = 0.2, -0.6, 0.5
    shades = pooled(scale_weights(signed, "difference", np.zeros_like(signed)), 4, 4)
    assert shades[0, 0] == 1
    assert shades[3, 3] > 220
    assert shades[1, 1] == 128


def test_lines_are_the_strongest_and_the_strongest_lies_on_top() -> None:
    weights = np.array([[0.9, 0.1], [0.001, 0.3]], dtype=np.float32)
    rows, columns, strengths, left_out = strongest_lines(weights, 1.0)
    assert list(zip(rows, columns, strict=True)) == [(0, 1), (1, 1), (0, 0)]
    np.testing.assert_allclose(strengths, [0.1, 0.3, 0.9])
    assert left_out == 0
    even = np.full((100, 100), 0.01, dtype=np.float32)
    assert strongest_lines(even, 0.01)[3] == 10_000 - MOST_LINES


def test_the_legend_ends_with_an_ellipsis_when_the_text_is_long() -> None:
    sheet = Sheet(PictureStyle(), [])
    lines = sheet.wrapped(["word"] * 1000, 400, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert max(sheet.width_of(line) for line in lines) <= 401
    assert sheet.wrapped(["one", "two"], 400, 3) == ["one two"]
