"""Attention weights as numbers: arrays for NumPy (``.npz``) or a table (``.csv``), written as the layers come."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.inspection.export_source import Source, for_each_layer
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.inspection.attention import Weights

MOST_ROWS = 100_000_000  # of a table; beyond that nothing opens it
_MANY_ROWS = 5_000_000  # worth a warning
_BATCH = 2**18  # rows at a time, about
ROW_BYTES = 36  # of a table, about


def write_npz(file: IO[bytes], source: Source, ctx: JobContext) -> None:
    """Arrays that ``numpy.load`` reads:

    - ``tokens``, strings: the keys, which are looked at. In self-attention they are the queries too.
    - ``target_tokens``, strings, for cross-attention only: the queries, which the decoder has written.
    - ``weights``, float32 ``[layers, heads, query, key]``; NaN where a layer has fewer heads than others.
    - ``layers`` and ``heads``, which ones these are, counted from 0; or, where the weights are one map made of all
      of them, ``method``, its name. ``kind``: encoder, decoder or cross.
    """
    import numpy as np

    shape = (len(source.layers), len(source.heads), len(source.queries), len(source.keys))
    _require_disk(file, 4 * source.count)
    named = {
        "tokens": np.array(source.keys.tokens, dtype=np.str_),
        "kind": np.array(source.kind),
    }
    if source.method:
        named["method"] = np.array(source.method)
    else:
        named.update(layers=np.array(source.layers), heads=np.array(source.heads))
    if source.kind == "cross":
        named["target_tokens"] = np.array(source.queries.tokens, dtype=np.str_)
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in named.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
        with archive.open("weights.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
            missing = np.full(shape[2:], np.nan, dtype="<f4")

            def receive(_: int, weights: Weights) -> None:
                for head in (*weights, *[missing] * (shape[1] - len(weights))):
                    ctx.check()
                    member.write(np.ascontiguousarray(head, dtype="<f4").data)

            for_each_layer(source, receive, ctx)


def write_csv(file: IO[bytes], source: Source, ctx: JobContext) -> None:
    """A row for every weight: ``layer``, ``head``, ``query``, ``query_token``, ``key``, ``key_token``, ``weight``.

    Tokens are the vocabulary's own; queries and keys are counted from 0. Raises :class:`UserError` for more than
    :data:`MOST_ROWS` rows; many are said beforehand.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    size = source.count * ROW_BYTES
    if source.count > MOST_ROWS:
        raise UserError(
            "The table would have {rows} rows, about {size}.",
            "Choose fewer layers or heads, or save as .npz, which takes a tenth of the room.",
            rows=f"{source.count:,}",
            size=format_bytes(size),
        )
    if source.count > _MANY_ROWS:
        ctx.warn("The table gets {rows} rows, about {size}.", rows=f"{source.count:,}", size=format_bytes(size))
    _require_disk(file, size)
    queries, keys = len(source.queries), len(source.keys)
    query_numbers = np.repeat(np.arange(queries, dtype=np.int32), keys)
    key_numbers = np.tile(np.arange(keys, dtype=np.int32), queries)
    query_tokens, key_tokens = (pa.array(side.tokens, pa.string()) for side in (source.queries, source.keys))
    whole, text = pa.int32(), pa.string()
    schema = pa.schema(
        {
            "layer": whole,
            "head": whole,
            "query": whole,
            "query_token": text,
            "key": whole,
            "key_token": text,
            "weight": pa.float32(),
        }
    )
    step = max(1, _BATCH // keys) * keys  # rows of the table at a time: whole queries

    def rows_of(layer: int, head: int, weights: Any, start: int) -> Any:
        part = slice(start, start + step)
        count = len(query_numbers[part])
        columns = [
            np.full(count, layer, dtype=np.int32),
            np.full(count, head, dtype=np.int32),
            query_numbers[part],
            query_tokens.take(pa.array(query_numbers[part])),
            key_numbers[part],
            key_tokens.take(pa.array(key_numbers[part])),
            weights[part].astype(np.float32),
        ]
        return pa.record_batch(columns, schema=schema)

    with csv.CSVWriter(file, schema) as writer:

        def receive(layer: int, weights: Weights) -> None:
            for head, of_head in zip(source.heads, weights, strict=False):  # a layer may have fewer heads
                flat = of_head.reshape(-1)
                for start in range(0, len(flat), step):
                    ctx.check()
                    writer.write_batch(rows_of(layer, head, flat, start))

        for_each_layer(source, receive, ctx)


def _require_disk(file: IO[bytes], needed: int) -> None:
    free = shutil.disk_usage(Path(file.name).resolve().parent).free
    if needed > 0.95 * free:
        raise UserError(
            "The file needs {needed}, and {free} are free on its disk.",
            "Choose fewer layers or heads, or another disk.",
            needed=format_bytes(needed),
            free=format_bytes(free),
        )
