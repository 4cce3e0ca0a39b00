"""When a model was used last. The file system's own note is of no use: many keep none, and a look at a card counts."""

from __future__ import annotations

import contextlib
from pathlib import Path

from lmstudio_app.models.conversion import conversions_folder
from lmstudio_app.settings import models_folder

FILE_NAME = ".last-used"  # its time of change is the time


def note_use(folder: Path) -> None:
    """The model in ``folder`` is being loaded. Folders elsewhere stay untouched, also behind a link."""
    if not folder.is_symlink() and folder.parent in (models_folder(), conversions_folder()):
        with contextlib.suppress(OSError):  # on a disk that is full or read-only it is just not known
            (folder / FILE_NAME).touch()


def last_used(folder: Path) -> float:
    """Seconds since the epoch; 0 when it was never loaded."""
    try:
        return (folder / FILE_NAME).stat().st_mtime
    except OSError:
        return 0.0
