"""Writing so that a crash leaves either the old file or the new one, never half of one; and folders of one's own."""

from __future__ import annotations

import contextlib
import datetime
import errno
import itertools
import os
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from lmstudio_app.errors import UserError


def _sync(path: Path) -> None:
    """Flush a file or (where the system allows it) a folder to the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        with contextlib.suppress(OSError):  # some network file systems refuse fsync on folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


_NAME_BYTES = 200  # of the target's name in a temporary one: file systems allow 255 in all


def _beside(target: Path, suffix: str) -> Path:
    """An unused hidden name in ``target``'s folder. Not by ``tempfile``, whose files only their owner may read."""
    name = target.name.encode("utf-8", "surrogateescape")[:_NAME_BYTES].decode("utf-8", "ignore")
    return target.with_name(f".{name}.{secrets.token_hex(4)}{suffix}")


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on a clean exit it is synced and renamed over ``target``.

    The file has the mode of the one it replaces; a new one has what the umask allows. A symbolic link stays one, and
    what is no file (``/dev/null``, a pipe) is written to and never replaced.
    """
    if target.is_dir():  # told now, not after an hour of work
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if target.exists() and not target.is_file():
        with tempfile.TemporaryDirectory() as folder:
            yield (collected := Path(folder) / "collected")
            with collected.open("rb") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        return
    target = Path(os.path.realpath(target)) if target.is_symlink() else target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target, ".part")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(target, temporary)
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_text(target: Path, text: str) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def atomic_folder(target: Path, *, unless: Callable[[], bool] | None = None) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``; on a clean exit it takes ``target``'s place.

    A folder that already stands at ``target`` is moved aside first and removed only after the rename. ``unless`` is for
    caches, where others may make the same folder in the meantime and have it open: when it is true at the end, what
    stands at ``target`` stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(target, ".part")
    temporary.mkdir()
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                _sync(Path(folder) / name)
            _sync(Path(folder))
        moved: list[Path] = []
        with _replacing:
            for attempt in itertools.count():
                try:
                    os.replace(temporary, target)  # fails where something stands, which may be another one's work
                    break
                except OSError:
                    if unless is not None and unless():
                        break
                    if attempt == _ATTEMPTS or (unless is None and moved):
                        raise
                moved.append(_beside(target, ".old"))
                with contextlib.suppress(FileNotFoundError):  # it was another error, or is gone by now
                    os.replace(target, moved[-1])
        for aside in moved:
            shutil.rmtree(aside, ignore_errors=True)
        _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_ATTEMPTS = 20  # of several processes that replace one damaged entry of a cache
_replacing = threading.Lock()  # so that no thread moves aside what another one has just put there


_LEFT_BEHIND = re.compile(r"\.(?P<target>.+)\.[0-9a-f]{8}\.(?P<kind>part|old)")


def new_folder(root: Path, name: str) -> Path:
    """Make ``root/name``, or ``name-2`` and so on: one of its own, also when several ask in the same moment."""
    for number in itertools.count(1):
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        break
    return folder


def timestamp() -> str:
    """The local time as the names of folders begin with it: ``20260131-235959``."""
    return datetime.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


def sweep(folder: Path, name: str | None = None) -> None:
    """Tidy up in ``folder`` what a killed process left of its atomic writes; call it only when nobody writes there.

    With a ``name``, only what was left of writing this file or folder, which nobody else must write then. A folder that
    was moved aside for a new one that never came goes back to its place.
    """
    if not folder.is_dir():
        return
    for path in list(folder.iterdir()):
        found = _LEFT_BEHIND.fullmatch(path.name)
        if found is None or name not in (None, found["target"]):
            continue
        target = folder / found["target"]
        if found["kind"] == "old" and not target.exists():
            os.replace(path, target)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def move_to_trash(
    folder: Path,
    remedy: str = "This system may have no trash for that disk: delete the folder yourself.",
    **parameters: str,
) -> None:
    """Move a folder to the system's trash. Raises :class:`UserError` where a disk has none, with ``remedy``, a template
    for ``parameters``.
    """
    from send2trash import send2trash

    try:
        send2trash(str(folder))
    except OSError as error:  # also what it raises where a disk has no trash
        raise UserError(
            "{folder} cannot be moved to the trash ({reason}).",
            remedy,
            folder=str(folder),
            reason=error.strerror or str(error) or type(error).__name__,
            **parameters,
        ) from error


def require_free_space(folder: Path, needed: int) -> None:
    """Raise a :class:`UserError` when ``folder``'s disk has fewer than ``needed`` bytes free (5 % margin)."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed * 1.05:
        raise UserError(
            "{needed} are needed in {folder}, and {free} are free.",
            "Free some space, or set another data folder (LMSTUDIO_APP_HOME).",
            needed=format_bytes(needed),
            free=format_bytes(free),
            folder=str(folder),
        )


def format_bytes(count: float) -> str:
    """A size as people read it, in powers of 1000 as disks and hubs state it: 90,868,376 is ``"90.9 MB"``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
