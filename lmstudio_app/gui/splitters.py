"""Splitters that are where somebody has put them, also after a restart."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QSplitter

from lmstudio_app.settings import Settings


def keep_sizes(splitter: QSplitter, settings: Settings, key: str, default: Sequence[int]) -> None:
    """Give the panes the sizes that ``settings`` has under ``key``, and keep there what they are dragged to.

    ``default`` are shares: Qt scales them to the width.
    """
    sizes = settings.get(key, [])
    is_known = (
        isinstance(sizes, list)
        and len(sizes) == splitter.count()
        and all(isinstance(size, int) and size > 0 for size in sizes)
    )
    splitter.setSizes(sizes if is_known else list(default))
    splitter.splitterMoved.connect(lambda: settings.set(key, splitter.sizes()))
