"""Colour maps for signed weights, and the colours of heads: even steps, and apart for everybody's eyes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from lmstudio_app.inspection.colormaps import MIDDLE, diverging, wheel

# G. M. Machado et al. 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency", severity 1.0
DEFICIENCIES = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    share = colours / 255
    found: npt.NDArray[np.float64] = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return found


def oklab(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of linear sRGB (B. Ottosson 2020)."""
    lms = light.clip(0, 1) @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    found: npt.NDArray[np.float64] = np.cbrt(lms) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_signed_values_have_even_steps_of_lightness_on_both_arms(dark: bool) -> None:
    lab = oklab(linear(diverging(dark)))
    lightness = lab[1:, 0]
    less, more = lightness[MIDDLE - 1 :: -1], lightness[MIDDLE - 1 :]
    assert np.hypot(*lab[MIDDLE, 1:]) < 0.004  # grey
    assert np.abs(less - more).max() < 0.006
    for arm in (less, more):
        steps = np.diff(arm) * (1 if dark else -1)
        assert steps.min() > 0
        assert abs(arm[-1] - arm[0]) > 0.5
        # 8-bit colours round each step; eight together are even
        eight = np.abs(arm[8:] - arm[:-8])
        assert eight.max() / eight.min() < 1.25
    for arm in (lab[MIDDLE:], lab[MIDDLE:0:-1]):
        lengths = np.linalg.norm(arm[8:] - arm[:-8], axis=1)
        assert lengths.max() / lengths.min() < 1.25


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("deficiency", [None, *DEFICIENCIES])
def test_less_and_more_are_told_apart_without_full_colour_vision(dark: bool, deficiency: str | None) -> None:
    seen = linear(diverging(dark))
    if deficiency is not None:
        seen = seen @ np.array(DEFICIENCIES[deficiency]).T
    lab = oklab(seen)
    for distance in (32, 64, 127):
        apart = float(np.linalg.norm(lab[MIDDLE + distance] - lab[MIDDLE - distance]))
        assert apart > 0.12 * distance / 127, distance  # 0.02 is a difference that is just seen
        assert abs(lab[MIDDLE + distance, 0] - lab[MIDDLE, 0]) > 0.3 * distance / 127


@pytest.mark.parametrize("dark", [False, True])
def test_heads_have_colours_of_equal_lightness(dark: bool) -> None:
    for count in (1, 4, 12):
        colours = wheel(count, dark=dark)
        lab = oklab(linear(colours))
        assert len({tuple(colour) for colour in colours.tolist()}) == count
        assert np.ptp(lab[:, 0]) < 0.02
