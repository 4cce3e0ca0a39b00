"""The rows that a task gets: which column of the table becomes which input, checked and in the right Arrow type."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.answers import START_COLUMNS, Answers, place_answers
from lmstudio_app.data.chats import messages_of, parse_messages
from lmstudio_app.data.columns import EXAMPLE_TYPES, ColumnSpec, message_form, needed_columns

if TYPE_CHECKING:
    import pyarrow as pa

DOCUMENT = "document"  # the column with the numbers of the documents
CONTEXT = "context"  # the input that answers stand in
_ROLE_ORDER = ("system", "user", "assistant")
SLICE = 2048  # rows that are Python objects at once


class Shape:
    """``columns`` says which column feeds each of the ``wanted`` inputs that are there."""

    def __init__(self, wanted: Sequence[ColumnSpec], columns: Mapping[str, str]) -> None:
        self.columns = dict(columns)
        self.specs = tuple(spec for spec in wanted if spec.name in columns)
        self.needed = tuple(spec for spec in needed_columns(wanted, columns) if spec.name in columns)
        self._chat = message_form(wanted)

    def _first(self, kind: str) -> str | None:
        return next((spec.name for spec in self.specs if spec.type == kind), None)

    @cached_property
    def label(self) -> str | None:
        return self._first("label")

    @cached_property
    def texts(self) -> list[str]:
        """The inputs by which rows are compared."""
        return [spec.name for spec in self.specs if spec.type in EXAMPLE_TYPES]

    @cached_property
    def running(self) -> bool:
        """Running text: order matters."""
        return self._first("document") is not None

    @cached_property
    def messages(self) -> str | None:
        return self._first("messages")

    @cached_property
    def answers(self) -> str | None:
        return self._first("answers")

    @cached_property
    def parts(self) -> tuple[ColumnSpec, ...]:
        """The inputs that become messages, in their order."""
        if self._chat is None or self._chat.name in self.columns:
            return ()
        return tuple(sorted((s for s in self.specs if s.role), key=lambda spec: _ROLE_ORDER.index(spec.role)))

    @property
    def has_objects(self) -> bool:
        """Do rows have to pass through Python one by one?"""
        return bool(self.messages or self.answers or self.parts)

    def show_example(self, text: str) -> str:
        """A text of the first column of :attr:`texts` as people read it: of a chat what is said first."""
        if self.messages is not None and self.texts[0] == self.messages:
            with contextlib.suppress(ValueError):
                return parse_messages(text)[0]["content"]
        return text

    # --- checking

    def start_column(self, names: Sequence[str]) -> str | None:
        """The column that says where the answer of a column of plain answers begins."""
        free = [name for name in names if name not in self.columns.values()]
        return next((name for name in free if name.strip().lower() in START_COLUMNS), None)

    def read_names(self, names: Sequence[str]) -> list[str]:
        """The columns that are read to check and write the inputs that are objects."""
        read = [self.columns[name] for name in (self.messages, self.answers) if name is not None]
        if self.answers is not None:
            read += [self.columns[CONTEXT]] if CONTEXT in self.columns else []
            read += [start for start in [self.start_column(names)] if start is not None]
        return list(dict.fromkeys(read))

    def place(self, row: Mapping[str, Any], start: str | None) -> Answers:
        """Raises :class:`ValueError` for answers that do not stand in the context."""
        assert self.answers is not None
        context = row.get(self.columns.get(CONTEXT, ""))
        return place_answers(
            row[self.columns[self.answers]], "" if context is None else str(context), row.get(start) if start else None
        )

    # --- writing

    def schema(self, source: pa.Schema, label_type: pa.DataType | None) -> pa.Schema:
        """The columns of the rows that are written."""
        import pyarrow as pa

        message = pa.struct([("role", pa.string()), ("content", pa.string())])
        types = {
            "text": pa.string(),  # numbers in a text column are texts, too
            "choice": pa.string(),
            "document": pa.string(),
            "messages": pa.list_(message),
            "answers": pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))]),
            "label": label_type,
        }
        parts = {spec.name for spec in self.parts}
        fields = [(spec.name, types[spec.type]) for spec in self.specs if spec.name not in parts]
        if parts and self._chat is not None:
            fields.append((self._chat.name, types["messages"]))
        if self.running:
            fields.append((DOCUMENT, pa.int64()))
        return pa.schema(fields)

    def batches(
        self, batch: pa.RecordBatch, mask: pa.Array, documents: pa.Array | None, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        """What the rows of ``mask`` become; ``documents`` are their numbers."""
        import pyarrow as pa

        kept = pa.RecordBatch.from_arrays([column.filter(mask) for column in batch.columns], batch.schema.names)
        step = SLICE if self.has_objects else max(1, kept.num_rows)
        for at in range(0, kept.num_rows, step):
            part = kept.slice(at, step)
            objects = self._objects(part)
            arrays = []
            for field in schema:
                if field.name == DOCUMENT and documents is not None:
                    arrays.append(documents.slice(at, step))
                elif field.name in objects:
                    arrays.append(pa.array(objects[field.name], field.type))
                else:
                    arrays.append(part.column(self.columns[field.name]).cast(field.type))
            yield pa.record_batch(arrays, schema=schema)

    def _objects(self, part: pa.RecordBatch) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        if self.messages is not None:
            found[self.messages] = [parse_messages(value) for value in _values(part, self.columns[self.messages])]
        if self.answers is not None:
            start = self.start_column(part.schema.names)
            rows = part.select(self.read_names(part.schema.names)).to_pylist()
            found[self.answers] = [self.place(row, start).to_row() for row in rows]
        if self.parts and self._chat is not None:
            roles = [spec.role for spec in self.parts]
            texts = [_values(part, self.columns[spec.name]) for spec in self.parts]
            found[self._chat.name] = [
                messages_of(
                    [(role, None if text is None else str(text)) for role, text in zip(roles, row, strict=True)]
                )
                for row in zip(*texts, strict=True)
            ]
        return found


def _values(batch: pa.RecordBatch, name: str) -> list[Any]:
    values: list[Any] = batch.column(name).to_pylist()
    return values
