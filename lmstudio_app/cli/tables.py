"""Tables for people on a terminal."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence


def write_table(rows: Sequence[Sequence[str]]) -> None:
    """Print ``rows``, all of the same length, in aligned columns on stdout."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _width(text: str) -> int:
    """Columns of a terminal: East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
