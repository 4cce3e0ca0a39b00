"""Typefaces that together have every character of some tokens: matplotlib's own, and those of this system that help."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

BASE = "DejaVu Sans"  # comes with matplotlib, so a picture looks the same everywhere
# In this order, those that have what is lacking are added.
_CANDIDATES = (
    "Noto Sans CJK SC",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Hiragino Sans",
    "Yu Gothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Noto Serif CJK SC",
    "Noto Sans",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
    "Noto Sans Thai",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Nirmala UI",
    "Leelawadee UI",
    "Segoe UI",
    "Segoe UI Symbol",
    "Arial Unicode MS",
    "Apple Symbols",
    "Noto Emoji",
)


def families_for(texts: Iterable[str]) -> list[str]:
    """Names for matplotlib's ``FontProperties(family=…)``: each is asked for what those before it lack.

    What no typeface has is drawn as a box.
    """
    lacking = {char for text in texts for char in text if not char.isspace() and not _has(BASE, char)}
    families = [BASE]
    for name in _CANDIDATES:
        if not lacking:
            break
        found = {char for char in lacking if _has(name, char)}
        if found:
            families.append(name)
            lacking -= found
    return families


@lru_cache(maxsize=2**14)
def _has(family: str, char: str) -> bool:
    from matplotlib.font_manager import get_font

    path = _path_of(family)
    return path is not None and get_font(path).get_char_index(ord(char)) != 0


@lru_cache(maxsize=64)
def _path_of(family: str) -> str | None:
    """None when this system has no such typeface."""
    from matplotlib.font_manager import FontProperties, fontManager

    if not any(entry.name == family for entry in fontManager.ttflist):
        return None
    return fontManager.findfont(FontProperties(family=[family]), fallback_to_default=False)
