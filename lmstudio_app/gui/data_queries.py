"""What the Data page asks the core, as jobs: open a source, check a choice, measure its texts."""

from __future__ import annotations

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
class LengthRequest:
    """Without a tokenizer, words are counted."""

    table: Table
    column: str
    tokenizer: Any = None


def measure_lengths(request: LengthRequest, ctx: JobContext) -> npt.NDArray[np.int64]:
    """Tokens (or words) of each text of an even sample, int64 ``[min(rows, SAMPLE)]``."""
    from lmstudio_app.data.statistics import token_lengths, word_lengths

    if request.tokenizer is None:
        return word_lengths(request.table.dataset, request.column, SAMPLE)
    return token_lengths(request.table.dataset, request.column, request.tokenizer, ctx, SAMPLE)


def list_rejected(table: Table, ctx: JobContext) -> list[dict[str, Any]]:
    """The first rows that were set aside."""
    return list(itertools.islice(table.rejected_rows(), REJECTED_SHOWN))
