"""Colour maps, the overview, and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.inspection.attention import AttentionMap, AttentionMaps, AttentionRequest, read_attention
from lmstudio_app.inspection.colormaps import COLORMAPS, colormap
from lmstudio_app.inspection.export import AttentionJob, read_and_save, save_npz
from lmstudio_app.inspection.overview import (
    OverviewRequest,
    build_overview,
    read_overview,
    thumbnail_shades,
)
from lmstudio_app.inspection.picture import PictureStyle, draw_head, draw_overview
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import Control, JobContext

TEXT = "the film was not very good"


def oklab(colours: np.ndarray) -> np.ndarray:
    """sRGB ``[n, 3]`` to OKLab, by Ottosson's published matrices in the other direction."""
    srgb = colours / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_lms = np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )
    return np.cbrt(linear @ to_lms) @ to_lab


def seen_by_a_deuteranope(colours: np.ndarray) -> np.ndarray:
    """Machado, Oliveira and Fernandes 2009, severity 1.0, on linear sRGB."""
    srgb = colours / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    )
    seen = (linear @ matrix.T).clip(0, 1)
    return np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055) * 255


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", COLORMAPS)
def test_lightness_rises_or_falls_steadily_also_without_colour_vision(name: str, dark: bool) -> None:
    colours = colormap(name, dark=dark)
    assert colours.shape == (256, 3)
    assert colours.dtype == np.uint8
    for seen in (colours, seen_by_a_deuteranope(colours)):
        steps = np.diff(oklab(seen)[::8, 0])
        assert (steps > 0).all() or (steps < 0).all()


@pytest.mark.parametrize("dark", [False, True])
def test_ink_has_steps_of_equal_length_and_starts_at_the_paper(dark: bool) -> None:
    colours = colormap("ink", dark=dark)
    steps = np.linalg.norm(np.diff(oklab(colours)[::8], axis=0), axis=1)
    assert steps.max() / steps.min() < 1.25
    paper = np.array([0x1E, 0x24, 0x2D] if dark else [0xFF, 0xFF, 0xFF])
    assert np.abs(colours[0].astype(int) - paper).max() <= 10


def synthetic(weights: np.ndarray) -> AttentionMaps:
    """Maps of one layer with tokens t0, t1, …, the first of which is special."""
    count = weights.shape[-1]
    names = tuple(f"t{index}" for index in range(count))
    tokens = Tokens(names, names, (True, *[False] * (count - 1)), (None, *[0] * (count - 1)))
    return AttentionMaps((AttentionMap("encoder", 0, weights.astype(np.float32), tokens, tokens),))


def test_a_single_strong_cell_stays_visible_in_the_thumbnail() -> None:
    weights = np.full((1, 200, 200), 0.001)
    weights[0, 150, 20] = 0.9
    overview = build_overview(synthetic(weights), JobContext(), size=40)
    assert overview.thumbnails.shape == (1, 1, 40, 40)
    assert overview.thumbnails[0, 0, 30, 4] == pytest.approx(0.9)
    assert (overview.thumbnails > 0.5).sum() == 1


def test_the_summary_names_the_strongest_look_at_a_word_and_the_share_of_special_tokens() -> None:
    weights = np.zeros((2, 3, 3))
    weights[0] = [[1, 0, 0], [0.5, 0.2, 0.3], [0.6, 0.4, 0]]
    weights[1] = [[0, 0, 1], [0, 1, 0], [0, 0.9, 0.1]]
    first, second = build_overview(synthetic(weights), JobContext()).summaries[0]
    assert (first.query, first.key) == (2, 1)
    assert first.strongest == pytest.approx(0.4)
    assert first.special_share == pytest.approx(2.1 / 3)
    assert second.special_share == 0.0


def test_shades_use_a_heads_own_scale_or_a_common_one() -> None:
    thumbnails = np.array([[[[0.04, 0.01]], [[0.0, 0.0]]]], dtype=np.float32)
    np.testing.assert_allclose(thumbnail_shades(thumbnails)[0, 0], [[1.0, 0.5]])
    np.testing.assert_allclose(thumbnail_shades(thumbnails, shared=True)[0, 0], [[0.2, 0.1]])
    assert thumbnail_shades(thumbnails)[0, 1].max() == 0.0


def test_the_overview_job_reads_and_can_be_cancelled(make_loaded: Callable[..., Any], heard: Any) -> None:
    request = OverviewRequest(make_loaded("bert"), AttentionRequest(TEXT))
    maps, overview = read_overview(request, heard.ctx)
    assert overview.thumbnails.shape == maps.weights.shape == (2, 4, 8, 8)
    assert len(overview.summaries) == 2
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        read_overview(request, JobContext(control=control))


def test_npz_holds_tokens_and_weights(make_loaded: Callable[..., Any], heard: Any, tmp_path: Path) -> None:
    loaded = make_loaded("bert")
    output = read_and_save(loaded, AttentionJob("", TEXT, tmp_path / "new" / "a.npz", pair="bad food"), heard.ctx)
    with np.load(output) as data:
        assert list(data["tokens"]) == ["[CLS]", *TEXT.split(), "[SEP]", "bad", "food", "[SEP]"]
        assert data["weights"].dtype == np.float32
        maps = read_attention(loaded, AttentionRequest(TEXT, "bad food"), heard.ctx)
        np.testing.assert_array_equal(data["weights"], maps.weights)
        assert list(data["layers"]) == [0, 1]
        assert list(data["heads"]) == [0, 1, 2, 3]


def test_npz_of_one_head(make_loaded: Callable[..., Any], heard: Any, tmp_path: Path) -> None:
    loaded = make_loaded("llama")
    output = read_and_save(loaded, AttentionJob("", TEXT, tmp_path / "a.npz", layer=1, head=2), heard.ctx)
    whole = read_attention(loaded, AttentionRequest(TEXT), heard.ctx).weights
    with np.load(output) as data:
        np.testing.assert_allclose(data["weights"], whole[1:2, 2:3], atol=1e-6)
        assert (list(data["layers"]), list(data["heads"])) == ([1], [2])


def colour_counts(image: Image.Image) -> dict[tuple[int, ...], int]:
    return {colour: count for count, colour in image.convert("RGB").getcolors(2**24) or []}


@pytest.mark.parametrize("dark", [False, True])
def test_the_picture_of_a_head_shows_its_weights(dark: bool) -> None:
    weights = np.zeros((1, 4, 4))
    weights[0, 1, 3] = 1.0
    style = PictureStyle(width=800, dark=dark, colormap="viridis")
    image = draw_head(synthetic(weights), 0, 0, style)
    colours = colour_counts(image)
    first, last = (tuple(int(c) for c in colormap("viridis")[index]) for index in (0, 255))
    assert image.width == 800
    # fifteen empty cells and one full one; the colour bar holds a few of both colours, too
    assert 14 < colours[first] / colours[last] < 16
    assert image.getpixel((2, 2)) == ((0x1E, 0x24, 0x2D) if dark else (255, 255, 255))


@pytest.mark.parametrize("width", [400, 1600])
def test_pictures_of_long_texts_have_the_asked_width(width: int) -> None:
    rng = np.random.default_rng(0)
    maps = synthetic(rng.random((3, 700, 700)))
    for image in (draw_head(maps, 0, 1, PictureStyle(width)), draw_overview(maps, JobContext(), PictureStyle(width))):
        assert image.width == width
        assert len(colour_counts(image)) > 20


def test_png_is_an_overview_or_one_head(make_loaded: Callable[..., Any], heard: Any, tmp_path: Path) -> None:
    loaded = make_loaded("bert")
    sizes = []
    for name, layer, head in (("all", None, None), ("layer", 1, None), ("column", None, 2), ("one", 1, 2)):
        output = tmp_path / f"{name}.PNG"
        read_and_save(loaded, AttentionJob("", TEXT, output, layer=layer, head=head), heard.ctx)
        with Image.open(output) as image:
            assert image.format == "PNG"
            sizes.append(image.size)
    assert {size[0] for size in sizes} == {1600}
    assert len({size[1] for size in sizes}) == 4


@pytest.mark.parametrize("name", ["a.gif", "a"])
def test_another_kind_of_file_is_refused_before_the_work(
    name: str, make_loaded: Callable[..., Any], heard: Any, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="cannot be written") as caught:
        read_and_save(make_loaded("bert"), AttentionJob("", TEXT, tmp_path / name), heard.ctx)
    assert ".npz" in caught.value.remedy
    assert heard.events == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "a.npz"
    output.write_bytes(b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="No space"):
        save_npz(synthetic(np.ones((1, 2, 2))), output)
    assert output.read_bytes() == b"old"
    assert list(tmp_path.glob(".a.npz*")) == []


def test_characters_of_any_script_find_a_typeface_or_a_box() -> None:
    names = ("[CLS]", "电影", "фильм", "\U000fffff")
    tokens = Tokens(names, names, (True, False, False, False), (None, 0, 0, 0))
    maps = AttentionMaps((AttentionMap("encoder", 0, np.eye(4, dtype=np.float32)[None], tokens, tokens),))
    assert len(colour_counts(draw_head(maps, 0, 0, PictureStyle(500)))) > 10
