"""Colour maps for weights: perceptually uniform and rising steadily in lightness, so also right without
colour vision.

``ink`` follows the theme: nothing is the colour of the paper, much is the ink. It is drawn here through OKLab
(B. Ottosson 2020, https://bottosson.github.io/posts/oklab/) with steps of equal length. ``viridis`` and
``magma`` (S. van der Walt and N. Smith) and ``cividis`` (J. Nuñez et al. 2018) are CC0; 33 of their 256
colours are kept.

``diverging`` is for signed values: two straight lines through OKLab of equal length, from the colour of the paper to
blue (less) and to orange (more), which stay apart for every common deficiency of colour vision.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

COLORMAPS = ("ink", "viridis", "cividis", "magma")
SIZE = 256
MIDDLE = 128  # the place of 0 in :func:`diverging`

# lightness, chroma, hue in degrees (OKLCh)
_INK_ON_WHITE = (
    (0.985, 0.006, 250),
    (0.86, 0.065, 225),
    (0.67, 0.125, 245),
    (0.46, 0.165, 268),
    (0.26, 0.12, 285),
)
_INK_ON_BLACK = (
    (0.235, 0.02, 262),
    (0.40, 0.12, 270),
    (0.58, 0.14, 250),
    (0.77, 0.115, 212),
    (0.97, 0.07, 165),
)
# lightness and chroma of the ends, hue of less and of more
_DIVERGING_ON_WHITE = (0.985, 0.47, 0.135, 257, 42)
_DIVERGING_ON_BLACK = (0.265, 0.79, 0.115, 240, 58)
_WHEEL_ON_WHITE, _WHEEL_ON_BLACK = (0.56, 0.13), (0.76, 0.11)  # lightness, chroma
_ANCHORS = {
    "viridis": (
        "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e"
        "21918c1f978b1f9f8821a68527ad8131b57b3dbc744cc26c5cc8636ece5881d34d95d840aadc32c0df25d5e21aeae51a"
        "fde725"
    ),
    "cividis": (
        "00204d00265a002c6900306f06366e1f3c6d2d426c38486b414d6b4a536b52596c595f6d61646f686a716f7073767676"
        "7d7c788481798b8779938e789b9477a39a76aca174b4a872bcaf6fc5b56ccebc68d7c463e0cb5ee9d358f2da50fbe248"
        "ffea46"
    ),
    "magma": (
        "0000040303120a0822130d341d114729115a36106b440f7651127c5d177f6a1c81762181832681902a819c2e7faa337d"
        "b73779c23b75cf4070db476ae55064ee5b5ef4695cf9785dfb8761fd9668fea571feb47bfec287fed194fde0a1fceeb0"
        "fcfdbf"
    ),
}


@cache
def colormap(name: str, *, dark: bool = False) -> npt.NDArray[np.uint8]:
    """sRGB ``[256, 3]`` from no weight to the largest. ``dark`` matters only for ``ink``.

    Raises ``KeyError`` for a name that is not in :data:`COLORMAPS`.
    """
    import numpy as np

    if name == "ink":
        return _through_oklab(_INK_ON_BLACK if dark else _INK_ON_WHITE)
    anchors = np.frombuffer(bytes.fromhex(_ANCHORS[name]), dtype=np.uint8).reshape(-1, 3)
    places = np.linspace(0, SIZE - 1, len(anchors)).round()
    channels = [np.interp(np.arange(SIZE), places, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


@cache
def diverging(dark: bool = False) -> npt.NDArray[np.uint8]:
    """sRGB ``[256, 3]`` for signed values: 1 stands for the least, 128 (:data:`MIDDLE`) for 0, 255 for the most.

    Both arms have the same lightness at the same distance from the middle. 0 is the same colour as 1.
    """
    import numpy as np

    middle, end, chroma, less, more = _DIVERGING_ON_BLACK if dark else _DIVERGING_ON_WHITE
    signed = (np.arange(SIZE) - MIDDLE).clip(-(MIDDLE - 1)) / (MIDDLE - 1)
    share = np.abs(signed)
    hue = np.radians(np.where(signed < 0, less, more))
    lightness = middle + (end - middle) * share
    lab = np.stack([lightness, chroma * share * np.cos(hue), chroma * share * np.sin(hue)], axis=1)
    return (_oklab_to_srgb(lab) * 255).round().astype(np.uint8)


@cache
def wheel(count: int, *, dark: bool = False) -> npt.NDArray[np.uint8]:
    """sRGB ``[count, 3]``: colours of equal lightness, around the circle of hues, for the heads of a layer."""
    import numpy as np

    lightness, chroma = _WHEEL_ON_BLACK if dark else _WHEEL_ON_WHITE
    hue = np.radians(250 + 360 * np.arange(count) / max(count, 1))
    lab = np.stack([np.full(count, lightness), chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    return (_oklab_to_srgb(lab) * 255).round().astype(np.uint8)


def _through_oklab(anchors: tuple[tuple[float, float, float], ...]) -> npt.NDArray[np.uint8]:
    """A smooth path through ``anchors``, walked in steps of equal length."""
    import numpy as np

    lightness, chroma, hue = np.array(anchors, dtype=np.float64).T
    points = np.stack([lightness, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))], axis=1)
    fine = np.linspace(0, len(points) - 1, 64 * SIZE)
    path = np.stack([_catmull_rom(points[:, axis], fine) for axis in range(3)], axis=1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    even = np.linspace(0, length[-1], SIZE)
    walked = np.stack([np.interp(even, length, path[:, axis]) for axis in range(3)], axis=1)
    return (_oklab_to_srgb(walked) * 255).round().astype(np.uint8)


def _catmull_rom(values: npt.NDArray[np.float64], at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The cubic through ``values`` at 0, 1, 2, …, its slope at a value being that between its neighbours."""
    import numpy as np

    slopes = np.gradient(values)
    left = np.minimum(at.astype(int), len(values) - 2)
    t = at - left
    p0, p1, m0, m1 = values[left], values[left + 1], slopes[left], slopes[left + 1]
    curve: npt.NDArray[np.float64] = (
        p0 * (2 * t**3 - 3 * t**2 + 1) + m0 * (t**3 - 2 * t**2 + t) + p1 * (3 * t**2 - 2 * t**3) + m1 * (t**3 - t**2)
    )
    return curve


def _oklab_to_srgb(lab: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """OKLab ``[n, 3]`` to sRGB in 0 to 1; what lies outside is clipped."""
    import numpy as np

    lms = lab @ np.array(
        [
            [1, 1, 1],
            [0.3963377774, -0.1055613458, -0.0894841775],
            [0.2158037573, -0.0638541728, -1.2914855480],
        ]
    )
    linear = lms**3 @ np.array(
        [
            [4.0767416621, -1.2684380046, -0.0041960863],
            [-3.3077115913, 2.6097574011, -0.7034186147],
            [0.2309699292, -0.3413193965, 1.7076147010],
        ]
    )
    linear = linear.clip(0, 1)
    srgb: npt.NDArray[np.float64] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return srgb
