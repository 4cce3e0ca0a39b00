"""Undoing what PySide6 does to ``import``.

PySide6 replaces ``builtins.__import__`` by a function that reads the whole source of every module that is imported
from then on and looks for the word PySide6 in it, for the sake of ``from __feature__ import …``, which nothing here
uses. For torch and transformers that is 2,600 files, 0.4 s and 150 MB that :mod:`linecache` keeps for ever.
"""

from __future__ import annotations

import builtins


def restore_import() -> None:
    """Call it once Qt is imported. Where PySide6 has no such hook (any more), nothing happens."""
    builtins.__import__ = getattr(builtins, "__orig_import__", builtins.__import__)
