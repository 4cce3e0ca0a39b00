"""Who writes a run: one process at a time claims its folder, and any other one can tell.

``process.json`` holds the number and the birth of the process that writes, and a token of this one claim. A killed
process leaves it behind, which is why the process is asked for as well.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import psutil

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_write_text

PROCESS = "process.json"
_LOCK = ".lock"
_LOCK_TIMEOUT = 30.0  # seconds; whoever holds it writes one small file


@dataclass(frozen=True)
class Claim:
    """``started`` in seconds since the epoch: process numbers are used again."""

    pid: int
    started: float
    token: str = ""


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keep all other processes out for a moment: between a look at the folder and the write that it leads to."""
    lock = filelock.FileLock(folder / _LOCK, timeout=_LOCK_TIMEOUT)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UserError(
            "Another process keeps {folder} locked.", "End it, or try again in a while.", folder=str(folder)
        ) from error
    try:
        yield
    finally:
        lock.release()


def read_claim(folder: Path) -> Claim | None:
    """Who claimed the folder last, dead or alive; None when nobody did, or when the file is garbled."""
    try:
        values = json.loads((folder / PROCESS).read_text(encoding="utf-8"))
        return Claim(int(values["pid"]), float(values["started"]), str(values.get("token", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def is_running(folder: Path) -> bool:
    """Is the process that claimed this folder alive (and not another one that got its number)?"""
    claim = read_claim(folder)
    return claim is not None and is_alive(claim)


def is_alive(claim: Claim) -> bool:
    try:
        process = psutil.Process(claim.pid)
        # a killed process that nobody waited for keeps its number, in a container for ever
        is_dead = process.status() == psutil.STATUS_ZOMBIE
        return bool(abs(process.create_time() - claim.started) < 1.0) and not is_dead
    except (psutil.Error, ValueError, OverflowError):
        return False


def claim(folder: Path) -> Claim:
    """Claim the folder for this process. Raises :class:`UserError` when a living one has it."""
    process = psutil.Process()
    mine = Claim(process.pid, process.create_time(), secrets.token_hex(8))
    with folder_lock(folder):
        require_nobody(folder)
        atomic_write_text(folder / PROCESS, json.dumps(asdict(mine)) + "\n")
    return mine


def require_nobody(folder: Path) -> None:
    """Raise :class:`UserError` while somebody writes the run."""
    if is_running(folder):
        raise UserError("The run in {folder} is still running.", "Stop it first, then resume.", folder=str(folder))


def release(folder: Path, claim: Claim) -> None:
    """Give the folder back, if it is still ours."""
    if read_claim(folder) == claim:
        (folder / PROCESS).unlink(missing_ok=True)
