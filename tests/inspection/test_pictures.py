"""Colour maps, and the shades of thumbnails."""

from __future__ import annotations

import numpy as np
import pytest

from lmstudio_app.inspection.colormaps import COLORMAPS, colormap
from lmstudio_app.inspection.overview import thumbnail_shades


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


def test_shades_use_a_heads_own_scale_or_a_common_one() -> None:
    thumbnails = np.array([[[[0.04, 0.01]], [[0.0, 0.0]]]], dtype=np.float32)
    np.testing.assert_allclose(thumbnail_shades(thumbnails)[0, 0], [[1.0, 0.5]])
    np.testing.assert_allclose(thumbnail_shades(thumbnails, shared=True)[0, 0], [[0.2, 0.1]])
    assert thumbnail_shades(thumbnails)[0, 1].max() == 0.0
