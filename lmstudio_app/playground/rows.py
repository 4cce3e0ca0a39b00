"""The rows of a file of inputs: JSON Lines as they are, tables by their columns."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks import Prediction
from lmstudio_app.tasks.streaming import Row

_SLICE = 1024  # rows of a table that become Python objects at once
JSON_LINES = (".jsonl", ".ndjson")


def read_rows(
    path: Path, prediction: Prediction, columns: Mapping[str, str], ctx: JobContext, *, first: int = 0
) -> Iterator[Row]:
    """The rows from number ``first`` on; each knows its line and its number.

    Lines of JSON keep all they hold. Of a table come the inputs of the prediction, from the ``columns`` named for them,
    else from those that look like them; a text in place of a conversation is its only message. Raises
    :class:`UserError` naming the line that is no row, and as :func:`lmstudio_app.data.sources.read_table` and
    :func:`lmstudio_app.data.columns.resolve_columns` do.
    """
    if is_json_lines(path) and not columns:
        yield from itertools.islice(_json_lines(path), first, None)
    else:
        yield from _table_rows(path, prediction, columns, ctx, first)


def count_rows(path: Path, ctx: JobContext) -> int:
    if is_json_lines(path):
        return sum(1 for _ in _json_lines(path))
    from lmstudio_app.data.sources import read_table

    return len(read_table(str(path), ctx).dataset)


def is_json_lines(path: Path) -> bool:
    """Is this file read line by line, as it is?"""
    return path.suffix.lower() in JSON_LINES or not path.suffix


def _json_lines(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            count = 0
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    values = json.loads(line)
                except (ValueError, RecursionError):
                    values = None
                if not isinstance(values, dict):
                    raise UserError(
                        "Line {number} of {path} is no JSON object.",
                        'Write one object a line, for example {{"text": "A fine film."}}.',
                        number=number,
                        path=str(path),
                    )
                yield Row(values, line=number, number=count)
                count += 1
    except FileNotFoundError:
        raise UserError("There is no file {path}.", "Check the path.", path=str(path)) from None
    except UnicodeDecodeError as error:
        raise UserError("{path} is not in UTF-8.", "Save it as UTF-8.", path=str(path)) from error


def _table_rows(
    path: Path, prediction: Prediction, columns: Mapping[str, str], ctx: JobContext, first: int
) -> Iterator[Row]:
    from lmstudio_app.data.columns import resolve_columns
    from lmstudio_app.data.sources import read_table

    table = read_table(str(path), ctx)
    found = resolve_columns(table.dataset, prediction.inputs, columns)
    if not found:
        raise UserError(
            "None of the columns {names} holds what the model is asked.",
            "Say which one does.",
            names=", ".join(table.dataset.column_names),
        )
    texts = {spec.name for spec in prediction.inputs if spec.type == "text"}
    chats = {spec.name for spec in prediction.inputs if spec.type == "messages"}
    for start in range(first, len(table.dataset), _SLICE):
        batch = table.dataset[start : start + _SLICE]
        for offset in range(len(batch[next(iter(found.values()))])):
            values: dict[str, Any] = {}
            for name, column in found.items():
                value = batch[column][offset]
                if name in chats and isinstance(value, str) and value.strip():
                    value = [{"role": "user", "content": value}]
                values[name] = str(value) if name in texts and value is not None else value
            _, line = table.line(start + offset)
            yield Row(values, line=line or start + offset + 1, number=start + offset)
