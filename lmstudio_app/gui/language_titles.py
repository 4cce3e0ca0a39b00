"""Languages by their names in the reader's language."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import QCoreApplication

from lmstudio_app.models.language_names import LANGUAGE_NAMES


def language_title(code: str) -> str:
    """``German`` for ``de``; a code that nobody knows stays as it is."""
    name = LANGUAGE_NAMES.get(code)
    return QCoreApplication.translate("languages", name) if name else code


def sorted_by_title(codes: Iterable[str]) -> list[str]:
    return sorted(codes, key=lambda code: language_title(code).casefold())
