"""What can go wrong: one sentence that says what happened, and a remedy that says what to do next.

The sentences are templates. The window translates the template and fills in the parameters afterwards, so a
template is never glued together from parts.
"""

from __future__ import annotations

import errno
import traceback
from typing import Any


class UserError(Exception):
    """Something the user can mend.

    ``message`` and ``remedy`` are the filled-in English sentences; ``template``, ``remedy_template`` and
    ``parameters`` are what a translation needs; ``details`` is for the "copy details" button.
    """

    def __init__(self, template: str, remedy: str = "", *, details: str = "", **parameters: Any) -> None:
        self.template = template
        self.remedy_template = remedy
        self.parameters = parameters
        self.details = details
        super().__init__(self.message)

    @property
    def message(self) -> str:
        return self.template.format(**self.parameters)

    @property
    def remedy(self) -> str:
        return self.remedy_template.format(**self.parameters)

    def one_line(self) -> str:
        """Message and remedy on one line, as the command line prints them."""
        return " ".join(" ".join(part.split()) for part in (self.message, self.remedy) if part)


class Cancelled(Exception):
    """The user stopped the job. It unwinds silently from wherever the job was."""


_OUT_OF_MEMORY_REMEDY = (
    "Lower the batch size or the maximal length, raise gradient accumulation, choose bf16 precision or a smaller model."
)


def as_user_error(error: BaseException) -> UserError:
    """Turn any exception into a :class:`UserError`; an unknown one keeps its text and its traceback as details."""
    details = "".join(traceback.format_exception(error))
    if isinstance(error, UserError):
        error.details = error.details or details
        return error
    if is_out_of_memory(error):
        return UserError("The memory is not enough for this job.", _OUT_OF_MEMORY_REMEDY, details=details)
    if is_disk_full(error):
        return UserError(
            "The disk is full.", "Free some space, or choose another folder, and start again.", details=details
        )
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
        return UserError(
            "No permission to use {path}.",
            "Choose a folder you may write to, or change its permissions.",
            details=details,
            path=error.filename or "this file",
        )
    if isinstance(error, OSError) and error.filename and error.strerror:
        return UserError(
            "{path} cannot be used: {reason}.",
            "Check the path and the disk, or choose another one.",
            details=details,
            path=error.filename2 or error.filename,
            reason=error.strerror,
        )
    return UserError(
        "Something unexpected happened ({kind}): {text}",
        "Copy the details and report them; your files are as they were.",
        details=details,
        kind=type(error).__name__,
        text=str(error) or "no further text",
    )


def first_line(error: BaseException) -> str:
    """What an exception says, short enough for a sentence; its name when it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):  # as torch announces a list of what does not fit
        return lines[1][:200]
    return lines[0][:200] if lines else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """True for ``MemoryError``, torch's CUDA and MPS errors, and the message of its CPU allocator."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if not isinstance(error, RuntimeError | ImportError):
        return False
    text = str(error).lower()
    if isinstance(error, ImportError):  # a library that cannot be brought into memory
        return "failed to map segment" in text or "cannot allocate memory" in text
    return any(words in text for words in ("out of memory", "allocate memory", "bad_alloc"))


def is_disk_full(error: BaseException) -> bool:
    """No space, no quota, or over the largest file allowed. Libraries in Rust tell it only in the text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return any(f"(os error {number})" in str(error) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def is_damaged_database(error: BaseException) -> bool:
    """Does SQLite say that the file is no whole database? Extended codes have the kind of error in the lowest byte."""
    import sqlite3

    return _sqlite_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def database_on_bad_disk(error: BaseException, path: str) -> UserError | None:
    """What to tell when SQLite has met a full, read-only or failing disk, and the file itself may be whole."""
    import sqlite3

    if _sqlite_code(error) not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY):
        return None
    return UserError(
        "{path} cannot be used: {reason}.",
        "Check that the disk has room and that you may write there, and start again.",
        path=path,
        reason=str(error),
    )


def _sqlite_code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
