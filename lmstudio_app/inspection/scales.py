"""From weights to places in a colour map."""

from __future__ import annotations

SCALES = ("head", "shared")
