"""Parquet: batches in plain types; names of class labels restored, nested values as JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.arrow_tables import as_text
from lmstudio_app.data.json_files import TRANSLATION
from lmstudio_app.data.problems import Findings
from lmstudio_app.data.text_files import TextFile
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 8192


def read_parquet(path: Path, ctx: JobContext, findings: Findings) -> Iterator[pa.RecordBatch]:
    """Yield at least one batch, so that the schema is known. Raises :class:`UserError` for a damaged file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(_source(path), memory_map=True) as file:
            labels = _class_labels(file.schema_arrow)
            kept = [field.name for field in file.schema_arrow if _is_kept(field, findings)]
            whole = pa.schema([file.schema_arrow.field(name) for name in kept])
            schema = pa.schema([(field.name, _plain_type(field, labels)) for field in _by_language(whole)])
            if not len(schema):
                raise UserError("{path} has no column with text or numbers.", "Choose another file.", path=str(path))
            meter = ctx.meter(file.metadata.num_rows, "rows")
            done = 0
            for batch in file.iter_batches(_BATCH_ROWS, columns=kept):
                meter.update(done)
                done += batch.num_rows
                columns = _columns(batch, schema.names)
                arrays = [_plain(columns[field.name], field.type, labels.get(field.name)) for field in schema]
                yield pa.record_batch(arrays, schema=schema)
            meter.update(done)
            if not done:
                yield pa.record_batch([pa.array([], field.type) for field in schema], schema=schema)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            "{path} is not a readable Parquet file.",
            "Fetch or export it again.",
            path=str(path),
            details=str(error),
        ) from error


def _source(path: Path) -> Path | pa.BufferReader:
    """The file itself; a gzipped one is unpacked into memory, as its end must be read first."""
    import pyarrow as pa

    if path.suffix.lower() != ".gz":
        return path
    with TextFile(path) as file:
        return pa.BufferReader(file.read(-1))


def _class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """The label names that ``datasets`` stores in a schema's metadata."""
    text = (schema.metadata or {}).get(b"huggingface")
    if not text:
        return {}
    features: dict[str, Any] = json.loads(text).get("info", {}).get("features", {})
    return {name: value["names"] for name, value in features.items() if value.get("_type") == "ClassLabel"}


def _is_kept(field: pa.Field, findings: Findings) -> bool:
    import pyarrow as pa

    kind = field.type
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    if binary:
        findings.add(
            f"binary:{field.name}",
            "Column {name} holds binary data and was left out.",
            severity="info",
            name=field.name,
        )
    return not binary


def _by_language(schema: pa.Schema) -> list[pa.Field]:
    """The fields, with those of a struct ``translation`` of texts in its place (``en``, ``de``)."""
    import pyarrow as pa

    found: list[pa.Field] = []
    for field in schema:
        inner = [field.type.field(at) for at in range(field.type.num_fields)] if pa.types.is_struct(field.type) else []
        texts = [part for part in inner if pa.types.is_string(part.type) or pa.types.is_large_string(part.type)]
        is_free = not {part.name for part in inner} & set(schema.names)
        found += inner if field.name == TRANSLATION and inner and texts == inner and is_free else [field]
    return found


def _columns(batch: pa.RecordBatch, names: Sequence[str]) -> dict[str, pa.Array]:
    import pyarrow.compute as pc

    there = set(batch.schema.names)
    return {
        name: batch.column(name) if name in there else pc.struct_field(batch.column(TRANSLATION), name)
        for name in names
    }


def _plain_type(field: pa.Field, labels: dict[str, list[str]]) -> pa.DataType:
    import pyarrow as pa

    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if field.name in labels:
        return pa.string()
    if pa.types.is_boolean(kind):
        return pa.bool_()
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    return pa.string()


def _plain(column: pa.Array, kind: pa.DataType, names: list[str] | None) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if names is not None:
        texts = [
            names[index] if index is not None and 0 <= index < len(names) else None for index in column.to_pylist()
        ]
        return pa.array(texts, pa.string())
    if pa.types.is_nested(column.type):
        return pa.array([as_text(_jsonable(value)) for value in column.to_pylist()], pa.string())
    return column.cast(kind)


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
