"""Sources of data as the window keeps and names them: a bundled name, a file, a list of files, or two aligned files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QCoreApplication

from lmstudio_app.data.catalog import bundled_data_sets


def plain_source(source: Any) -> Any:
    """A source as it is kept in settings and recipes: names and absolute paths."""
    if isinstance(source, Mapping):
        return {key: plain_source(item) for key, item in source.items()}
    if isinstance(source, str | Path):
        name = str(source)
        return name if name in bundled_data_sets() else str(Path(name).expanduser().absolute())
    return [plain_source(item) for item in source]


def source_files(source: Any) -> list[Path]:
    """The user's own files in it; none for a bundled data set."""
    if isinstance(source, Mapping):
        return [Path(name) for name in source.values()]
    names = [source] if isinstance(source, str) else source
    return [Path(name) for name in names if name not in bundled_data_sets()]


def source_title(source: Any) -> str:
    """What a person calls it."""
    if isinstance(source, str):
        entry = bundled_data_sets().get(source)
        return entry.title if entry is not None else Path(source).name
    names = [source_title(str(name)) for name in (source.values() if isinstance(source, Mapping) else source)]
    if isinstance(source, Mapping):
        return _translate("{source} and {target}").format(source=names[0], target=names[-1])
    return _translate("{first} and {count} more").format(first=names[0], count=len(names) - 1)


def _translate(text: str) -> str:
    return QCoreApplication.translate("data sources", text)
