"""A knowledge base on disk: ``passages.sqlite`` is the truth, ``vectors-N.f32`` what it points into.

Vectors are only ever added at the end of their file, and synced before the transaction that points to them. So a
process that is killed at any moment leaves a valid knowledge base: at worst some vectors that nothing points to, and
passages that still have none. Passages that go leave holes; when these are more than half, the others move to a new
file. float32 takes 1.5 kB for each passage of the starter encoder, and can be multiplied as it lies on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from lmstudio_app.errors import UserError, database_on_bad_disk
from lmstudio_app.knowledge import words
from lmstudio_app.knowledge.connection import connect, damage
from lmstudio_app.knowledge.documents import HEADING_SEPARATOR
from lmstudio_app.knowledge.passages import Passage

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1  # raised when passages or words are made in another way: old knowledge bases are then built anew
DATABASE = "passages.sqlite"
_LOCK = "build.lock"
_WORTH_MOVING = 1000  # vectors
_SCHEMA = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sources (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
    digest TEXT NOT NULL, text BLOB, notes TEXT NOT NULL
);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
    heading TEXT NOT NULL, page INTEGER, text TEXT NOT NULL, slot INTEGER
);
CREATE INDEX passages_document ON passages (document);
CREATE INDEX passages_slot ON passages (slot);
CREATE INDEX passages_waiting ON passages (length(text) DESC, id) WHERE slot IS NULL;
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = '{words.TOKENIZER}');
"""


@dataclass(frozen=True)
class FileState:
    """What tells that a file is the same as last time; ``digest`` is the SHA-256 of its bytes."""

    size: int
    mtime: int
    digest: str


@dataclass(frozen=True)
class Note:
    """A sentence about a file, kept as a template and its parameters. ``is_problem``: nothing of the file is there."""

    template: str
    parameters: Mapping[str, Any]
    remedy: str = ""
    is_problem: bool = False

    @property
    def message(self) -> str:
        return self.template.format(**self.parameters)


@dataclass(frozen=True)
class StoredFile:
    """A file of the knowledge base, with the number of its passages."""

    path: str
    size: int
    passages: int
    notes: tuple[Note, ...] = ()


@contextlib.contextmanager
def build_lock(folder: Path) -> Iterator[None]:
    """Let one process build at a time. Raises :class:`UserError` when another one does."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UserError(
            "Another process is building {folder}.", "Wait for it, or end it first.", folder=str(folder)
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_knowledge_base(folder: Path) -> bool:
    return (folder / DATABASE).is_file()


class Store:
    """The database and the vectors of one knowledge base. ``Store(folder, write=True)`` makes a new one of nothing.

    Raises :class:`UserError` when there is none, and for one that is damaged or of a newer version.
    """

    def __init__(self, folder: Path, *, write: bool = False) -> None:
        self.folder = folder
        path = folder / DATABASE
        if not write and not path.is_file():
            raise UserError(
                "There is no knowledge base in {folder}.",
                "Build one first: lmstudio-app kb build {folder} FILE…",
                folder=str(folder),
            )
        self._connection = connect(path)
        try:
            self._connection.execute("PRAGMA synchronous = FULL")
            if write:
                self._connection.execute("PRAGMA journal_mode = WAL")  # so that questions wait for no commit
                with self.transaction():
                    if not self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                        for statement in _SCHEMA.split(";"):
                            self._connection.execute(statement)
                        self.set_fact("format", FORMAT)
            found = self.fact("format")
        except UserError:
            self._connection.close()
            raise
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if "locked" in str(error):
                raise UserError("{folder} is locked by another process.", "Try again.", folder=str(folder)) from error
            raise database_on_bad_disk(error, str(folder)) or damage(folder, error) from error
        if not isinstance(found, int) or found > FORMAT:
            self._connection.close()
            raise UserError(
                "The knowledge base in {folder} is of a newer version of this application.",
                "Update the application, or build it again in another folder.",
                folder=str(folder),
            )

    def close(self, *, at_rest: bool = False) -> None:
        """``at_rest``: nobody writes any longer, so leave one plain file that can be read from read-only places too."""
        if at_rest:
            self._connection.execute("PRAGMA busy_timeout = 0")
            with contextlib.suppress(sqlite3.OperationalError):  # somebody reads it: the next build tries again
                self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing. Raises ``OSError`` when the disk is full."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder)) from error
            raise

    @property
    def version(self) -> int:
        """Another number whenever another connection has changed something."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    # --- facts and sources

    def fact(self, name: str) -> Any:
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set_fact(self, name: str, value: Any) -> None:
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def sources(self) -> list[Path]:
        return [Path(path) for (path,) in self._connection.execute("SELECT path FROM sources ORDER BY path")]

    def add_sources(self, paths: Sequence[Path]) -> None:
        self._connection.executemany("INSERT OR IGNORE INTO sources VALUES (?)", [(str(path),) for path in paths])

    def remove_source(self, path: Path) -> None:
        self._connection.execute("DELETE FROM sources WHERE path = ?", (str(path),))

    # --- documents

    def states(self) -> dict[str, FileState]:
        """What is known of each file, by its path."""
        rows = self._connection.execute("SELECT path, size, mtime, digest FROM documents")
        return {path: FileState(size, mtime, digest) for path, size, mtime, digest in rows}

    def files(self) -> list[StoredFile]:
        rows = self._connection.execute(
            "SELECT path, size, notes, (SELECT count(*) FROM passages WHERE document = documents.id) "
            "FROM documents ORDER BY path"
        )
        return [
            StoredFile(path, size, count, tuple(Note(**note) for note in json.loads(notes)))
            for path, size, notes, count in rows
        ]

    def text(self, path: str) -> str | None:
        """The text that was taken out of a file; None when the file is not in here."""
        row = self._connection.execute("SELECT text FROM documents WHERE path = ?", (path,)).fetchone()
        return None if row is None or row[0] is None else zlib.decompress(row[0]).decode("utf-8", "surrogatepass")

    def set_state(self, path: str, state: FileState) -> None:
        self._connection.execute(
            "UPDATE documents SET size = ?, mtime = ?, digest = ? WHERE path = ?",
            (state.size, state.mtime, state.digest, path),
        )

    def replace_document(
        self,
        path: str,
        state: FileState,
        text: str,
        passages: Sequence[Passage],
        notes: Sequence[Note],
        check: Callable[[], object] = lambda: None,
    ) -> None:
        """Put a file in, without vectors yet, in the place of what it was before. ``check`` may raise Cancelled."""
        self.remove_document(path)
        packed = zlib.compress(text.encode("utf-8", "surrogatepass"), 1) if text else None
        stored = json.dumps([{**vars(note), "parameters": dict(note.parameters)} for note in notes])
        number = self._connection.execute(
            "INSERT INTO documents (path, size, mtime, digest, text, notes) VALUES (?, ?, ?, ?, ?, ?)",
            (path, state.size, state.mtime, state.digest, packed, stored),
        ).lastrowid
        for passage in passages:
            check()
            part = text[passage.start : passage.end].encode("utf-8", "replace").decode("utf-8")
            identifier = self._connection.execute(
                "INSERT INTO passages (document, start, stop, heading, page, text) VALUES (?, ?, ?, ?, ?, ?)",
                (number, passage.start, passage.end, passage.heading, passage.page, part),
            ).lastrowid
            indexed = words.index_text(with_heading(passage.heading, part))
            self._connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (identifier, indexed))

    def remove_document(self, path: str) -> None:
        row = self._connection.execute("SELECT id FROM documents WHERE path = ?", (path,)).fetchone()
        if row is None:
            return
        self._connection.execute("DELETE FROM words WHERE rowid IN (SELECT id FROM passages WHERE document = ?)", row)
        self._connection.execute("DELETE FROM passages WHERE document = ?", row)
        self._connection.execute("DELETE FROM documents WHERE id = ?", row)

    # --- passages and their vectors

    def count_passages(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM passages").fetchone()[0])

    def count_waiting(self) -> int:
        """Passages without a vector."""
        return int(self._connection.execute("SELECT count(*) FROM passages WHERE slot IS NULL").fetchone()[0])

    def waiting(self, count: int) -> list[tuple[int, str]]:
        """Identifiers and texts (with headings) of passages without a vector, the longest first."""
        rows = self._connection.execute(
            "SELECT id, heading, text FROM passages INDEXED BY passages_waiting WHERE slot IS NULL "
            "ORDER BY length(text) DESC, id LIMIT ?",
            (count,),
        )
        return [(identifier, with_heading(heading, text)) for identifier, heading, text in rows]

    def forget_vectors(self) -> None:
        """Every passage waits for a vector again (within a transaction), which will be in a new file."""
        self._connection.execute("UPDATE passages SET slot = NULL")
        self._use_new_file()

    def _use_new_file(self) -> str:
        number = int(self.fact("vectors_number") or 0) + 1
        self.set_fact("vectors_number", number)
        return f"vectors-{number}.f32"

    @property
    def _vectors_file(self) -> Path:
        return self.folder / f"vectors-{int(self.fact('vectors_number') or 0)}.f32"

    def slots(self) -> int:
        """Vectors that the file holds, those that no passage has any longer included."""
        return int(self._connection.execute("SELECT coalesce(max(slot) + 1, 0) FROM passages").fetchone()[0])

    def add_vectors(self, identifiers: Sequence[int], vectors: np.ndarray) -> None:
        """Write the vectors of passages, sync them, and only then say where they are."""
        first = self.slots()
        with self._vectors_file.open("r+b" if self._vectors_file.exists() else "w+b") as file:
            file.seek(first * vectors.shape[1] * 4)
            file.write(vectors.astype("<f4", copy=False).tobytes())
            file.flush()
            os.fsync(file.fileno())
        with self.transaction():
            self._connection.executemany(
                "UPDATE passages SET slot = ? WHERE id = ?",
                [(first + index, identifier) for index, identifier in enumerate(identifiers)],
            )

    def vectors(self, dimension: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 ``[slots, dimension]``, mapped from the disk, and int64 ``[slots]``: whose they are (-1: nobody)."""
        import numpy as np

        self._connection.execute("BEGIN")  # name, count and slots of one moment
        try:
            count, path = self.slots(), self._vectors_file
            rows = self._connection.execute("SELECT slot, id FROM passages WHERE slot IS NOT NULL").fetchall()
            owners = np.full(count, -1, dtype=np.int64)
            if not rows:
                return np.zeros((0, dimension), dtype=np.float32), owners
            pairs = np.array(rows, dtype=np.int64)
            owners[pairs[:, 0]] = pairs[:, 1]
            try:
                return np.memmap(path, dtype="<f4", mode="r", shape=(count, dimension)), owners
            except (OSError, ValueError) as error:
                raise UserError(
                    "The vectors of the knowledge base in {folder} are damaged or missing.",
                    "Delete the folder and build it again.",
                    folder=str(self.folder),
                ) from error
        finally:
            self._connection.execute("COMMIT")

    def has_vectors(self, dimension: int) -> bool:
        """Is the file as long as the passages say? A copied or restored folder may lack it."""
        slots = self.slots()
        path = self._vectors_file
        return slots == 0 or (path.is_file() and path.stat().st_size >= slots * dimension * 4)

    def tidy(self, dimension: int) -> None:
        """Move the vectors to a new file when most places in it are holes; delete the files that are no longer used."""
        import numpy as np

        vectors, owners = self.vectors(dimension)
        (kept,) = np.nonzero(owners >= 0)
        path = self._vectors_file
        places = path.stat().st_size // (4 * dimension) if path.exists() else 0
        if places - len(kept) > max(len(kept), _WORTH_MOVING):
            with self.transaction():
                target = self.folder / self._use_new_file()
                with target.open("wb") as file:
                    for start in range(0, len(kept), 1 << 14):
                        file.write(vectors[kept[start : start + (1 << 14)]].tobytes())
                    file.flush()
                    os.fsync(file.fileno())
                self._connection.executemany(
                    "UPDATE passages SET slot = ? WHERE id = ?", list(enumerate(owners[kept].tolist()))
                )
        del vectors
        for path in self.folder.glob("vectors-*.f32"):
            if path != self._vectors_file:
                with contextlib.suppress(OSError):  # Windows keeps a file that somebody has mapped; next time
                    path.unlink()

    # --- finding

    def search_words(self, question: str, count: int) -> list[tuple[int, float]]:
        """Identifiers of passages and their BM25 scores, the best first."""
        query = words.query(question)
        if not query:
            return []
        rows = self._connection.execute(
            "SELECT rowid, -rank FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?", (query, count)
        )
        return [(int(identifier), float(score)) for identifier, score in rows]

    def passages(self, identifiers: Sequence[int]) -> dict[int, tuple[str, Passage, str, int | None]]:
        """File, passage, text and slot of some passages, by their identifiers."""
        marks = ", ".join("?" * len(identifiers))
        rows = self._connection.execute(
            "SELECT passages.id, path, start, stop, heading, page, passages.text, slot FROM passages "
            f"JOIN documents ON documents.id = document WHERE passages.id IN ({marks})",
            list(identifiers),
        )
        return {
            identifier: (path, Passage(start, stop, heading, page), text, slot)
            for identifier, path, start, stop, heading, page, text, slot in rows
        }


def with_heading(heading: str, text: str) -> str:
    """What is embedded and indexed of a passage: its text below its heading, unless that is its first line."""
    last = heading.rpartition(HEADING_SEPARATOR)[2]
    return text if not heading or (last and last in text[: len(last) + 10]) else f"{heading}\n{text}"
