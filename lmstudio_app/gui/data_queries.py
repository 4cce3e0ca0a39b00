"""What the Data page asks the core, as jobs: open a source, check a choice, measure its texts."""

from __future__ import annotations

import contextlib
import importlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.splits import DataConfig
from lmstudio_app.jobs import JobContext
from lmstudio_app.libraries import load_group

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from datasets import Dataset

    from lmstudio_app.data.reports import DataReport
    from lmstudio_app.data.sources import Table

REJECTED_SHOWN = 300
SAMPLE = 10_000  # texts whose tokens are counted


@dataclass(frozen=True)
class OpenRequest:
    """``source`` and ``options`` as in :class:`DataConfig`."""

    source: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    task: str = "sentiment"


@dataclass(frozen=True)
class OpenedData:
    """``types`` of the columns by name; ``mapping`` is the guess, which may lack required inputs."""

    request: OpenRequest
    table: Table
    types: Mapping[str, str]
    mapping: Mapping[str, str]


def open_data(request: OpenRequest, ctx: JobContext) -> OpenedData:
    """Read a source (or open its cache) and guess its columns. Also imports what the charts need."""
    load_group("data", ctx)
    from lmstudio_app.data.columns import guess_columns
    from lmstudio_app.data.sources import ReadOptions, read_table
    from lmstudio_app.tasks import find_task

    table = read_table(request.source, ctx, ReadOptions.from_dict(request.options))
    mapping = guess_columns(table.dataset, find_task(request.task).columns)
    types = {name: str(table.dataset.features[name].dtype) for name in table.dataset.column_names}
    importlib.import_module("pyqtgraph")  # a quarter of a second, which the window's thread does not have
    return OpenedData(request, table, types, mapping)


@dataclass(frozen=True)
class CheckRequest:
    config: DataConfig
    task: str


def check_data(request: CheckRequest, ctx: JobContext) -> DataReport:
    """What a training with this configuration would get."""
    load_group("data", ctx)
    from lmstudio_app.data.splits import report_on
    from lmstudio_app.tasks import find_task

    return report_on(request.config, find_task(request.task).columns, ctx)


@dataclass(frozen=True)
class TextColumn:
    """A column whose texts are measured: of a chat (``is_chat``) all that is said counts as one text."""

    title: str
    column: str
    is_chat: bool = False


@dataclass(frozen=True)
class LengthRequest:
    """Without a tokenizer, words are counted."""

    table: Table
    columns: tuple[TextColumn, ...]
    tokenizer: Any = None


@dataclass(frozen=True)
class TextLengths:
    """Tokens or words of each text of an even sample, int64 ``[min(rows, SAMPLE)]``."""

    title: str
    lengths: npt.NDArray[np.int64]


def measure_lengths(request: LengthRequest, ctx: JobContext) -> tuple[TextLengths, ...]:
    """The lengths of each of the columns, in their order."""
    from lmstudio_app.data.statistics import token_lengths, word_lengths

    found = []
    for text in request.columns:
        ctx.check()
        dataset = _said(request.table, text.column) if text.is_chat else request.table.dataset
        if request.tokenizer is None:
            lengths = word_lengths(dataset, text.column, SAMPLE)
        else:
            lengths = token_lengths(dataset, text.column, request.tokenizer, ctx, SAMPLE)
        found.append(TextLengths(text.title, lengths))
    return tuple(found)


def _said(table: Table, column: str) -> Dataset:
    """A sample of the chats as texts; one that is none is empty."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    from lmstudio_app.data.chats import chat_text, parse_messages
    from lmstudio_app.data.statistics import arrow_column, sample_rows

    rows = pa.array(sample_rows(len(table.dataset), SAMPLE))
    texts = []
    for value in arrow_column(table.dataset, column).take(rows).to_pylist():
        text = ""
        with contextlib.suppress(ValueError):
            text = chat_text(parse_messages(value))
        texts.append(text)
    return Dataset(InMemoryTable(pa.table({column: pa.array(texts, pa.string())})))


def list_rejected(table: Table, ctx: JobContext) -> list[dict[str, Any]]:
    """The first rows that were set aside."""
    return list(itertools.islice(table.rejected_rows(), REJECTED_SHOWN))
