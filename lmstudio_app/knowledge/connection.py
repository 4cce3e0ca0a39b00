"""SQLite connections of knowledge bases: a page that is damaged is told of as such, whenever it is needed."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError, is_damaged_database

_BUSY = 30.0  # seconds that a reader waits for a writer's commit


class Connection(sqlite3.Connection):
    """Raises :class:`UserError` where SQLite finds damage."""

    folder: Path

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        return self.cursor(_Cursor).execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        return self.cursor(_Cursor).executemany(*arguments)


class _Cursor(sqlite3.Cursor):
    def execute(self, *arguments: Any) -> _Cursor:
        with self._damage_told():
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> _Cursor:
        with self._damage_told():
            return super().executemany(*arguments)

    def fetchone(self) -> Any:
        with self._damage_told():
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with self._damage_told():
            return super().fetchall()

    def __next__(self) -> Any:
        with self._damage_told():
            return super().__next__()

    @contextlib.contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not is_damaged_database(error):
                raise
            assert isinstance(self.connection, Connection)
            raise damage(self.connection.folder, error) from error


def connect(path: Path) -> Connection:
    """The database at ``path``, in the folder of its knowledge base."""
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False, factory=Connection)
    connection.folder = path.parent
    return connection


def damage(folder: Path, error: sqlite3.Error) -> UserError:
    return UserError(
        "The knowledge base in {folder} is damaged ({reason}).",
        "Delete the folder and build it again.",
        folder=str(folder),
        reason=str(error),
    )
