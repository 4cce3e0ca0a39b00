"""The knowledge bases with a name, in the app's data folder: a folder each, and the handbook, which is always there."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from lmstudio_app import settings
from lmstudio_app.errors import UserError
from lmstudio_app.files import move_to_trash
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.knowledge.handbook import HANDBOOK, ensure_handbook, handbook_folder
from lmstudio_app.knowledge.store import Store, build_lock, is_knowledge_base

LONGEST_NAME = 60  # characters
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')  # in names of files, on one system or another
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # what Windows takes for devices


@dataclass(frozen=True)
class ShelfEntry:
    """One knowledge base: ``files`` that are in it, those of ``problems`` are not; ``waiting`` passages lack a vector.

    ``error`` says why it cannot be opened. One that is new, or the handbook before its first use, has nothing in it.
    """

    name: str
    folder: Path
    files: int = 0
    problems: int = 0
    passages: int = 0
    waiting: int = 0
    error: UserError | None = None

    @property
    def is_handbook(self) -> bool:
        return self.folder == handbook_folder()

    @property
    def is_empty(self) -> bool:
        return not self.passages and self.error is None


def shelf_folder() -> Path:
    return settings.home() / "knowledge"


def list_shelf(ctx: JobContext) -> list[ShelfEntry]:
    """The handbook, then the others by name. Reads each database for some milliseconds; call it in a job."""
    found = [_look_at(HANDBOOK, handbook_folder())]
    for folder in _folders():
        ctx.check()
        found.append(_look_at(folder.name, folder))
    return found


def _folders() -> list[Path]:
    root = shelf_folder()
    paths = (path for path in root.iterdir() if path.is_dir() and path.name[0] != ".") if root.is_dir() else ()
    return sorted(paths, key=lambda path: (path.name.casefold(), path.name))


def _look_at(name: str, folder: Path) -> ShelfEntry:
    if not is_knowledge_base(folder):
        return ShelfEntry(name, folder)
    try:
        store = Store(folder)
    except UserError as error:
        return ShelfEntry(name, folder, error=error)
    try:
        files = store.files()
        usable = sum(1 for file in files if file.passages)
        return ShelfEntry(
            name, folder, usable, len(files) - usable, sum(file.passages for file in files), store.count_waiting()
        )
    except UserError as error:  # damage that is only met now
        return ShelfEntry(name, folder, error=error)
    finally:
        store.close()


def find_on_shelf(name: str) -> Path | None:
    """The folder of the knowledge base with this name (the handbook's too), whether it is built or not."""
    if name == HANDBOOK:
        return handbook_folder()
    wanted = _key(name)
    return next((folder for folder in _folders() if _key(folder.name) == wanted), None)


def folder_of(place: str | Path, ctx: JobContext, encoder: Encoder | None = None) -> Path:
    """The folder that a person means by a path or by a name of the shelf; the handbook is built when it has to be.

    A folder that is there goes before a name. What is neither is taken for a folder that is yet to be.
    """
    path = Path(place).expanduser()
    if is_knowledge_base(path):
        return path
    if str(place) == HANDBOOK:
        return ensure_handbook(ctx, encoder)
    return find_on_shelf(str(place)) or path


def create_base(name: str) -> Path:
    """A new one with nothing in it. Raises :class:`UserError` for a name that is taken, or cannot be one."""
    folder = _free_folder(name)
    folder.mkdir(parents=True)
    return folder


def rename_base(name: str, new: str) -> Path:
    """Raises :class:`UserError` for the handbook, while it is being built, and for a name that cannot be had."""
    folder = own_folder(name)
    is_same = _key(new) == _key(name)  # but for its capitals
    target = folder.with_name(_checked(new)) if is_same else _free_folder(new)
    with build_lock(folder):
        pass  # nobody builds; the lock lies in the folder itself, and some systems move no folder with an open file
    if target != folder:
        os.rename(folder, target)
    return target


def trash_base(name: str) -> None:
    """Move one to the system's trash; the files that it was built from stay where they are.

    Raises :class:`UserError` for the handbook, while it is being built, and when there is no trash.
    """
    folder = own_folder(name)
    with build_lock(folder):
        pass
    move_to_trash(folder)


def own_folder(name: str) -> Path:
    """The folder of one that a person may change. Raises :class:`UserError` for the handbook and unknown names."""
    if name == HANDBOOK:
        raise UserError("The handbook stays: it belongs to the application.", "Make a knowledge base of your own.")
    folder = find_on_shelf(name)
    if folder is None:
        raise UserError(
            "There is no knowledge base called {name}.", "`lmstudio-app kb list` shows those that are there.", name=name
        )
    return folder


def _free_folder(name: str) -> Path:
    name = _checked(name)
    if find_on_shelf(name) is not None or _key(name) == HANDBOOK:
        raise UserError("There is a knowledge base called {name} already.", "Choose another name.", name=name)
    return shelf_folder() / name


def _checked(name: str) -> str:
    """The name as it is kept. It is the folder's name too, so it must be one on every system."""
    name = " ".join(unicodedata.normalize("NFC", name).split())
    if not name:
        raise UserError("A knowledge base needs a name.", "Write what its files are about.")
    if len(name) > LONGEST_NAME:
        raise UserError("The name is too long.", "Use {count} characters at most.", count=LONGEST_NAME)
    if found := _FORBIDDEN.search(name):
        raise UserError("The name cannot have {sign} in it.", "Use letters, digits and spaces.", sign=repr(found[0]))
    if name[0] in ".~-" or name[-1] == "." or _DEVICES.fullmatch(name):
        raise UserError("{name} cannot be a name.", "Begin and end with a letter or a digit.", name=name)
    return name


def _key(name: str) -> str:
    """Equal for names that some systems take for the same."""
    return unicodedata.normalize("NFC", " ".join(name.split())).casefold()
