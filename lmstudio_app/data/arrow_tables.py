"""Arrow tables on disk: written in blocks while a file is read, cached, memory-mapped afterwards.

A cache entry is a folder with ``data.arrow`` (the Arrow stream format, which ``datasets`` maps), ``table.json``
(what was found while reading), ``lines.npy`` (which line of the file a row comes from), ``documents.npy`` (the first
row of each document, where rows belong to such) and, if rows were set aside, ``rejected.jsonl``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app import settings
from lmstudio_app.files import atomic_folder
from lmstudio_app.jobs import JobContext
from lmstudio_app.process import no_garbage_collection

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

FORMAT = 5  # part of every key: raise it when a reader changes what it makes of the same file
DATA, META, LINES, REJECTED = "data.arrow", "table.json", "lines.npy", "rejected.jsonl"
DOCUMENTS = "documents.npy"
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^-?[0-9]{1,16}(\.[0-9]{1,17})?([eE][-+]?[0-9]{1,3})?$"
_LEADING_ZERO = r"^-?0[0-9]"
_BATCH_ROWS = 1 << 16
_BATCH_BYTES = 1 << 24


def tables_folder() -> Path:
    return settings.cache_folder() / "tables"


def file_key(path: Path) -> dict[str, Any]:
    """What tells that a file is the same as last time."""
    state = path.stat()
    return {"path": str(path.resolve()), "size": state.st_size, "mtime": state.st_mtime_ns}


def entry_folder(key: Mapping[str, Any]) -> Path:
    text = json.dumps({"format": FORMAT, **key}, sort_keys=True, default=str)
    return tables_folder() / hashlib.sha256(text.encode()).hexdigest()[:32]


def is_complete(folder: Path, files: Sequence[str] = (DATA,)) -> bool:
    """An entry takes its place whole or not at all; a half-deleted one lacks a file."""
    return all((folder / name).is_file() for name in (META, *files))


def open_table(folder: Path, file: str = DATA) -> Dataset:
    """The memory-mapped data set of a cache entry; its last use is noted for :func:`prune`."""
    from datasets import Dataset

    with contextlib.suppress(OSError):
        os.utime(folder)
    return Dataset.from_file(str(folder / file))


def prune(keep_bytes: int = 8_000_000_000) -> int:
    """Delete the entries that were not used for longest until at most ``keep_bytes`` remain; returns how many.

    Entries can be made again. The ones of the last hour stay, a job may be reading them.
    """
    entries = []
    for folder in tables_folder().glob("*"):
        with contextlib.suppress(OSError):
            size = sum(file.stat().st_size for file in folder.iterdir())
            entries.append((folder.stat().st_mtime, size, folder))
    total = sum(size for _, size, _ in entries)
    newest = max((used for used, _, _ in entries), default=0.0)
    deleted = 0
    for used, size, folder in sorted(entries):
        if total <= keep_bytes or used > newest - 3600:
            break
        shutil.rmtree(folder, ignore_errors=True)
        total -= size
        deleted += 1
    return deleted


def _arrow_type(values: Sequence[Any]) -> str:
    """ "null", "bool", "int", "float", "string" or "json": the narrowest that holds every value."""
    kinds = {type(value) for value in values}
    kinds.discard(type(None))
    if not kinds:
        return "null"
    if kinds == {str}:
        return "string"
    if kinds == {bool}:
        return "bool"
    if kinds == {int}:
        return "int" if all(-(2**63) <= value < 2**63 for value in values if value is not None) else "string"
    if kinds <= {int, float}:
        return "float"
    return "string"


def _widen(first: str, second: str) -> str:
    if first == second or second == "null":
        return first
    if first == "null":
        return second
    return "float" if {first, second} == {"int", "float"} else "string"


def as_text(value: Any) -> str | None:
    """A value of a column that holds more than one type: text stays, the rest is written as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


class TableWriter:
    """Collects blocks of columns into ``data.arrow``, whose column types are only known at the end.

    Blocks go into segment files; a column that appears late or widens its type starts a new segment. ``close`` unifies
    them. ``infer`` (text formats): columns of nothing but whole numbers become int64, of numbers float64.
    """

    def __init__(self, folder: Path, *, infer: bool) -> None:
        self._folder = folder
        self._infer = infer
        self._documents: list[int] = []
        self._types: dict[str, str] = {}
        self._numeric: dict[str, str] = {}  # of text columns: "int", "float" so far
        self._writer: Any = None
        self._segments: list[Path] = []
        self._line_breaks: list[tuple[int, int]] = []
        self._next_line: int | None = None
        self._rejected: Any = None
        self.rows = 0
        self.rejected = 0

    def note_lines(self, first: int, count: int, at: int) -> None:
        """Rows ``at … at + count`` of the table are the lines ``first …`` of the file."""
        if first != self._next_line:
            self._line_breaks.append((at, first))
        self._next_line = first + count

    def keep_texts(self) -> None:
        """Numbers stay texts, too; to be said before the first block."""
        self._infer = False

    def note_document(self, row: int) -> None:
        """A document begins at this row."""
        self._documents.append(row)

    def add(self, columns: Mapping[str, Sequence[Any]], lines: int | Sequence[int] | None = None) -> None:
        """Append a block. ``lines``: the first line of consecutive ones, or the line of every row."""
        import pyarrow as pa

        count = len(next(iter(columns.values()), ()))
        if not count:
            return
        if isinstance(lines, int):
            self.note_lines(lines, count, self.rows)
        elif lines is not None:
            for index, line in enumerate(lines):
                self.note_lines(line, 1, self.rows + index)
        changed = False
        for name, values in columns.items():
            kind = "string" if self._infer else _arrow_type(values)
            wider = _widen(self._types.get(name, "null"), kind)
            changed |= name not in self._types or wider != self._types[name]
            self._types[name] = wider
        arrays = []
        for name, kind in self._types.items():
            values = columns.get(name, [None] * count)
            if kind == "string" and not self._infer:
                values = [as_text(value) for value in values]
            arrays.append(_array(values, _pa_type(kind)))
        if self._infer:
            self._narrow(arrays)
        schema = pa.schema([(name, _pa_type(kind)) for name, kind in self._types.items()])
        if changed or self._writer is None:
            self._begin_segment(schema)
        self._writer.write_batch(pa.record_batch(arrays, schema=schema))
        self.rows += count

    def add_batch(self, batch: pa.RecordBatch) -> None:
        """Append a batch whose types are settled (Parquet)."""
        if self._writer is None:
            self._begin_segment(batch.schema)
        self._writer.write_batch(batch)
        self.rows += batch.num_rows

    def _begin_segment(self, schema: pa.Schema) -> None:
        import pyarrow as pa

        if self._writer is not None:
            self._writer.close()
        path = self._folder / f"segment-{len(self._segments)}.arrow"
        self._segments.append(path)
        self._writer = pa.ipc.new_stream(str(path), schema)

    def _narrow(self, arrays: Sequence[pa.Array]) -> None:
        import pyarrow.compute as pc

        for name, array in zip(self._types, arrays, strict=True):
            kind = self._numeric.setdefault(name, "int")
            if kind == "string":
                continue
            filled = array.filter(pc.not_equal(array, ""))
            if kind == "int" and not _all(pc.match_substring_regex(filled, _INTEGER)):
                kind = "float"
            if kind == "float" and not (
                _all(pc.match_substring_regex(filled, _NUMBER))
                and not pc.any(pc.match_substring_regex(filled, _LEADING_ZERO)).as_py()
            ):
                kind = "string"
            self._numeric[name] = kind

    def reject(self, line: int, reason: str, raw: str) -> None:
        """Set a row aside: it is kept word for word in ``rejected.jsonl``."""
        if self._rejected is None:
            self._rejected = (self._folder / REJECTED).open("w", encoding="utf-8")
        text = raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        self._rejected.write(json.dumps({"line": line, "reason": reason, "raw": text}, ensure_ascii=False) + "\n")
        self.rejected += 1

    def close(self, ctx: JobContext, meta: Mapping[str, Any], columns: Sequence[str] = ()) -> None:
        """Write the final files. ``columns`` names the columns of a table that got no row."""
        import numpy as np
        import pyarrow as pa

        self.release()
        if self._types:
            kinds = {name: self._final_kind(name, kind) for name, kind in self._types.items()}
            schema = pa.schema([(name, _pa_type(kind)) for name, kind in kinds.items()])
        elif self._segments:
            with pa.memory_map(str(self._segments[0])) as source:
                schema = pa.ipc.open_stream(source).schema
        else:
            schema = pa.schema([(name, pa.string()) for name in columns])
        with pa.ipc.new_stream(str(self._folder / DATA), schema) as writer:
            for batch in _merged(_conformed(self._segments, schema, ctx), schema):
                writer.write_batch(batch)
        for path in self._segments:
            path.unlink()
        np.save(self._folder / LINES, np.array(self._line_breaks, dtype=np.int64).reshape(-1, 2))
        if self._documents:
            np.save(self._folder / DOCUMENTS, np.array(self._documents, dtype=np.int64))
        text = json.dumps({**meta, "rejected": self.rejected, "rows": self.rows}, ensure_ascii=False)
        (self._folder / META).write_text(text, encoding="utf-8")

    def release(self) -> None:
        """Close the open files; also after a failure, so that the folder can be deleted on Windows."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._rejected is not None:
            self._rejected.close()
            self._rejected = None

    def _final_kind(self, name: str, kind: str) -> str:
        if kind == "null":
            return "string"
        return self._numeric.get(name, "string") if self._infer else kind


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # lone surrogates, which JSON can spell and UTF-8 cannot
        mended = [
            value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else value
            for value in values
        ]
        return pa.array(mended, kind)


def _all(mask: Any) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(mask, min_count=0).as_py())


def _pa_type(kind: str) -> pa.DataType:
    import pyarrow as pa

    types = {"null": pa.null, "bool": pa.bool_, "int": pa.int64, "float": pa.float64, "string": pa.string}
    return types[kind]()


def _conformed(segments: Iterable[Path], schema: pa.Schema, ctx: JobContext) -> Iterator[pa.RecordBatch]:
    """The batches of all segments in the final types."""
    import pyarrow as pa

    for path in segments:
        with pa.memory_map(str(path)) as source:
            for batch in pa.ipc.open_stream(source):
                ctx.check()
                yield pa.record_batch([_conform(batch, field) for field in schema], schema=schema)


def _conform(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(field.name)
    if column.type == field.type:
        return column
    if pa.types.is_string(column.type):  # an inferred number: an empty cell is a missing value
        column = pc.if_else(pc.equal(column, ""), None, column)
    return column.cast(field.type)


def _merged(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Fewer, larger batches: a table of many small ones is slow to slice."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield _one(waiting, schema)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield _one(waiting, schema)


def _one(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    table = pa.Table.from_batches(list(batches), schema=schema).combine_chunks()
    return pa.record_batch([column.chunk(0) for column in table.columns], schema=schema)


@contextlib.contextmanager
def new_entry(folder: Path, *, infer: bool) -> Iterator[TableWriter]:
    """A writer whose folder becomes the cache entry when (and only when) the block ends without an exception.

    Rows are millions of small lists without cycles: looking for some among them would take most of the time.
    """
    prune()
    ready = functools.partial(is_complete, folder)
    with atomic_folder(folder, unless=ready) as temporary, no_garbage_collection:
        writer = TableWriter(temporary, infer=infer)
        try:
            yield writer
        finally:
            writer.release()
