"""A typeface that has every character of some tokens: one of the system's, or the one that comes with
Pillow."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# Pillow looks for these in the system's font folders; in this order, the first that has all characters is
# taken.
_CANDIDATES = (
    "DejaVuSans.ttf",
    "Arial.ttf",
    "SegoeUI.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSerifCJK-Regular.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "Arial Unicode.ttf",
)


def typeface_for(texts: Iterable[str], size: int) -> FreeTypeFont:
    """``size`` in pixels. When no typeface has everything, the one that lacks the least."""
    wanted = frozenset(char for text in texts for char in text if not char.isspace())
    candidates = [font for name in (None, *_CANDIDATES) if (font := _load(name, size)) is not None]
    best, fewest = candidates[0], len(wanted) + 1
    for font in candidates:
        lacking = sum(not _has(font, char) for char in wanted)
        if lacking < fewest:
            best, fewest = font, lacking
        if fewest == 0:
            break
    return best


@lru_cache(maxsize=64)
def _load(name: str | None, size: int) -> FreeTypeFont | None:
    """``None`` is Pillow's own typeface; a typeface the system lacks gives None."""
    from PIL import ImageFont

    if name is None:
        own = ImageFont.load_default(size)
        return own if isinstance(own, ImageFont.FreeTypeFont) else None
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _has(font: FreeTypeFont, char: str) -> bool:
    """A missing character is drawn as the same box as one that no typeface has."""
    return char.isascii() or bytes(font.getmask(char)) != bytes(font.getmask("\U000fffff"))
