"""The SQLite file of the stored conversations: its tables, how old ones are brought up to date, and transactions.

``PRAGMA user_version`` is the number of :data:`STEPS` that a file has been through. Messages form trees: each knows the
one that it follows, and a conversation remembers the leaf of the branch that is shown. ``deleted`` is when that was.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError, database_on_bad_disk, is_damaged_database

_BUSY = 30.0  # seconds that one process waits for the commit of another

_TABLES = """
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, model TEXT NOT NULL, system TEXT NOT NULL,
    preset TEXT NOT NULL, options TEXT NOT NULL, created REAL NOT NULL, changed REAL NOT NULL, deleted REAL,
    leaf INTEGER REFERENCES messages (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    parent INTEGER REFERENCES messages (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('user', 'assistant', 'tool')), content TEXT NOT NULL, created REAL NOT NULL,
    model TEXT NOT NULL DEFAULT '', ending TEXT NOT NULL DEFAULT '', tokens INTEGER NOT NULL DEFAULT 0,
    first_seconds REAL NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0, pieces BLOB, deleted REAL
);
CREATE INDEX messages_conversation ON messages (conversation, id);
CREATE INDEX messages_parent ON messages (parent);
CREATE INDEX conversations_leaf ON conversations (leaf);
CREATE INDEX conversations_changed ON conversations (changed DESC) WHERE deleted IS NULL;
"""
# Three characters in a row are found anywhere in a text, so that it works for Chinese, which has no spaces, as well.
_SEARCH = """
CREATE VIRTUAL TABLE found USING fts5 (content, content = 'messages', content_rowid = 'id', tokenize = 'trigram');
INSERT INTO found (found) VALUES ('rebuild');
CREATE TRIGGER found_insert AFTER INSERT ON messages BEGIN
    INSERT INTO found (rowid, content) VALUES (new.id, new.content);
END;
CREATE TRIGGER found_delete AFTER DELETE ON messages BEGIN
    INSERT INTO found (found, rowid, content) VALUES ('delete', old.id, old.content);
END;
CREATE TRIGGER found_update AFTER UPDATE OF content ON messages BEGIN
    INSERT INTO found (found, rowid, content) VALUES ('delete', old.id, old.content);
    INSERT INTO found (rowid, content) VALUES (new.id, new.content);
END;
"""
STEPS = (_TABLES, _SEARCH)  # never change one: add another


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, whose triggers hold statements themselves."""
    begun = ""
    for line in script.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""


def _damaged(path: Path, error: BaseException) -> UserError:
    return UserError(
        "The stored conversations in {path} are damaged ({reason}).",
        "Move the file to another place; a new one is made then.",
        path=str(path),
        reason=str(error),
    )


class Database:
    """One connection, which threads take turns with. Makes the file when there is none.

    Raises :class:`UserError` for a file that is damaged (also later, when the damaged part is needed) or of a newer
    version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.execute("PRAGMA journal_mode = WAL")  # a reader waits for no writer
            self._connection.execute("PRAGMA synchronous = FULL")
            found = self._bring_up_to_date()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if "locked" in str(error):
                raise UserError("{path} is locked by another process.", "Try again.", path=str(path)) from error
            raise database_on_bad_disk(error, str(path)) or _damaged(path, error) from error
        if found > len(STEPS):
            self._connection.close()
            raise UserError(
                "The stored conversations in {path} are of a newer version of this application.",
                "Update the application.",
                path=str(path),
            )

    def _bring_up_to_date(self) -> int:
        """The version that the file had or has now: several processes may open it in the same moment."""
        if self._version() >= len(STEPS):
            return self._version()
        with self.transaction():
            for step in STEPS[self._version() :]:
                for statement in _statements(step):
                    self._connection.execute(statement)
            if self._version() < len(STEPS):
                self._connection.execute(f"PRAGMA user_version = {len(STEPS)}")
        return self._version()

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    @property
    def changes(self) -> int:
        """Another number whenever another connection has changed something."""
        return int(self.rows("PRAGMA data_version")[0][0])

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing. Raises ``OSError`` when the disk is full."""
        with self._lock:
            if self._connection.in_transaction:  # part of a larger one
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException as error:
                self._roll_back()
                if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path)) from error
                if is_damaged_database(error):
                    raise _damaged(self.path, error) from error
                raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # SQLite ends it by itself after some errors
            self._connection.execute("ROLLBACK")

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.DatabaseError as error:
                if is_damaged_database(error):  # of a page that only this statement needs
                    raise _damaged(self.path, error) from error
                raise

    def change(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run one statement; the number of the row that an INSERT has made."""
        with self.transaction():
            return int(self._connection.execute(statement, values).lastrowid or 0)

    def close(self) -> None:
        with self._lock:
            self._connection.close()
