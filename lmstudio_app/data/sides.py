"""One source on its way to a training: the rows still in play, and why the others left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.chats import parse_messages
from lmstudio_app.data.problems import Findings
from lmstudio_app.data.reports import DroppedRow
from lmstudio_app.data.shapes import SLICE, Shape
from lmstudio_app.data.sources import Table
from lmstudio_app.data.statistics import arrow_column, missing
from lmstudio_app.jobs import JobContext
from lmstudio_app.process import no_garbage_collection

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Integers = npt.NDArray[np.int64]

_ROWS_LISTED = 20


@dataclass
class Side:
    """``rows`` are row numbers of ``table``, in their order.

    ``texts`` numbers them by their texts (equal texts of either side have equal numbers), ``documents`` by the document
    they belong to (of running text); int64 ``[rows]`` all three.
    """

    table: Table
    shape: Shape
    rows: Integers
    texts: Integers
    documents: Integers

    @classmethod
    def of(cls, table: Table, shape: Shape) -> Side:
        """All rows."""
        import numpy as np

        none = np.zeros(0, dtype=np.int64)
        documents = table.documents() if shape.running else none
        return cls(table, shape, np.arange(len(table.dataset), dtype=np.int64), none, documents)

    @property
    def columns(self) -> Mapping[str, str]:
        return self.shape.columns

    def take(self, which: Any) -> Side:
        """The rows of a mask, a slice or an array of positions."""
        return replace(
            self,
            rows=self.rows[which],
            texts=self.texts[which] if len(self.texts) else self.texts,
            documents=self.documents[which] if len(self.documents) else self.documents,
        )

    def column(self, name: str) -> pa.ChunkedArray:
        """The column of an input, in the rows' order."""
        import pyarrow as pa

        whole = arrow_column(self.table.dataset, self.columns[name])
        return whole if len(self.rows) == len(whole) else whole.take(pa.array(self.rows))

    def write(self, path: Path, ctx: JobContext) -> None:
        """Stream the rows in the shape that the task wants into a new Arrow file, a batch at a time."""
        import numpy as np
        import pyarrow as pa

        whole = self.table.dataset.data.table
        needed = [*self.columns.values(), *self.shape.read_names(whole.column_names)]
        source = whole.select(list(dict.fromkeys(needed)))
        kept = np.zeros(source.num_rows, dtype=bool)
        kept[self.rows] = True
        numbers = _counted(self.documents)
        label = self.shape.label
        schema = self.shape.schema(source.schema, None if label is None else _label_type(self.column(label)))
        with pa.ipc.new_stream(str(path), schema) as writer, no_garbage_collection:
            at = done = 0
            for batch in source.to_batches():
                mask = kept[at : at + batch.num_rows]
                at += batch.num_rows
                count = int(mask.sum())
                documents = pa.array(numbers[done : done + count]) if self.shape.running else None
                done += count
                ctx.check()
                for ready in self.shape.batches(batch, pa.array(mask), documents, schema):
                    ctx.check()
                    writer.write_batch(ready)


def _counted(numbers: Integers) -> Integers:
    """The same documents, numbered 0, 1, 2, …"""
    import numpy as np

    return np.cumsum(np.diff(numbers, prepend=numbers[:1]) != 0).astype(np.int64)


def _label_type(column: pa.ChunkedArray) -> pa.DataType:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(column.type):
        return pa.int64()
    if pa.types.is_floating(column.type):
        whole = pc.all(pc.equal(pc.floor(column), column), min_count=0).as_py()
        return pa.int64() if whole else column.type
    return column.type


def without_missing(side: Side, findings: Findings, dropped: list[DroppedRow]) -> Side:
    """Without the rows that lack a value that is needed."""
    import numpy as np

    keep = np.ones(len(side.rows), dtype=bool)
    for spec in side.shape.needed:
        column = side.columns[spec.name]
        empty = missing(side.column(spec.name))
        rows = np.flatnonzero(empty & keep)
        for at, row in enumerate(rows[:_ROWS_LISTED]):
            file, line = side.table.line(int(row))
            findings.add(
                f"missing:{spec.name}",
                "Rows without a value in {column}, left out: {count} (line {rows}).",
                row=line,
                times=1 if at < _ROWS_LISTED - 1 else len(rows) - at,
                column=column,
            )
            dropped.append(DroppedRow(str(file), line, column))
        keep &= ~empty
    return side.take(keep)


def without_misfits(side: Side, findings: Findings, dropped: list[DroppedRow], ctx: JobContext) -> Side:
    """Without the rows whose chat or answers are not what they should be."""
    import numpy as np

    shape = side.shape
    if shape.messages is None and shape.answers is None:
        return side
    kept = np.zeros(len(side.table.dataset), dtype=bool)
    kept[side.rows] = True
    fits = np.ones(len(kept), dtype=bool)
    whole = side.table.dataset.data.table
    source = whole.select(shape.read_names(whole.column_names))
    start = shape.start_column(whole.column_names) if shape.answers is not None else None
    misfits = _Misfits(side, findings, dropped)
    at = 0
    with no_garbage_collection:
        for batch in source.to_batches():
            for begin in range(0, batch.num_rows, SLICE):
                ctx.check()
                rows = batch.slice(begin, SLICE).to_pylist()
                for offset in np.flatnonzero(kept[at : at + len(rows)]).tolist():
                    fits[at + offset] = _fits(shape, rows[offset], start, at + offset, misfits)
                at += len(rows)
    return side.take(fits[side.rows])


def _fits(shape: Shape, row: Mapping[str, Any], start: str | None, number: int, misfits: _Misfits) -> bool:
    if shape.messages is not None:
        try:
            parse_messages(row[shape.columns[shape.messages]])
        except ValueError as error:
            misfits.add(shape.messages, number, error)
            return False
    if shape.answers is not None:
        try:
            answers = shape.place(row, start)
        except ValueError as error:
            misfits.add(shape.answers, number, error)
            return False
        if answers.mended:
            misfits.mended(shape.answers, number)
    return True


class _Misfits:
    """Says which rows leave, and why: one problem a reason."""

    def __init__(self, side: Side, findings: Findings, dropped: list[DroppedRow]) -> None:
        self._side, self._findings, self._dropped = side, findings, dropped

    def add(self, name: str, row: int, error: ValueError) -> None:
        file, line = self._side.table.line(row)
        kind, column = f"misfit:{name}:{str(error).partition(':')[0]}", self._side.columns[name]
        if self._findings.count(kind) < _ROWS_LISTED:
            self._dropped.append(DroppedRow(str(file), line, column))
        self._findings.add(
            kind,
            "Rows whose {column} cannot be used, left out: {count} (line {rows}): {reason}.",
            row=line,
            column=column,
            reason=str(error),
        )

    def mended(self, name: str, row: int) -> None:
        self._findings.add(
            f"mended:{name}",
            "Answers whose place in the context was missing or wrong and is right now: {count} (line {rows}).",
            row=self._side.table.line(row)[1],
            severity="info",
        )
