"""From a source to what a task trains and evaluates on: chosen columns, no missing values, a split that repeats.

The split by fraction is stratified on the label and keeps equal texts on one side, so it cannot leak. It depends on the
rows and the seed alone: the random numbers are SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
Generators, OOPSLA 2014), the same on every platform and with every library version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.data import arrow_tables
from lmstudio_app.data.columns import ColumnSpec, resolve_columns
from lmstudio_app.data.problems import Findings, by_severity
from lmstudio_app.data.reports import MANY_CLASSES, DataReport, DroppedRow, note_duplicates, note_labels
from lmstudio_app.data.sources import ReadOptions, Table, in_file, read_table
from lmstudio_app.data.statistics import (
    arrow_column,
    codes,
    count_values,
    find_duplicates,
    first_rows,
    joint_text_codes,
    missing,
)
from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_folder
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    from datasets import Dataset

    Integers = npt.NDArray[np.int64]

_TRAIN, _EVAL = "train.arrow", "eval.arrow"
_ROWS_LISTED = 20


def _is_source(value: Any) -> bool:
    if value is None or isinstance(value, str | Path):
        return True
    files = value.values() if isinstance(value, Mapping) else value
    return isinstance(value, Sequence | Mapping) and all(isinstance(file, str | Path) for file in files)


@dataclass(frozen=True)
class DataConfig:
    """The ``data`` section of a recipe. Files are relative to the recipe's folder."""

    train: Any = field(
        metadata={
            "title": "Training data",
            "help": "A bundled data set's name, a file, a list of files.",
            "basic": True,
        }
    )
    eval: Any = field(
        default=None,
        metadata={"title": "Evaluation data", "help": "The same for evaluation; empty: a part of the training data."},
    )
    columns: Mapping[str, str] = field(
        default_factory=dict,
        metadata={"title": "Columns", "help": "Which column feeds which input of the task; the rest is guessed."},
    )
    eval_fraction: float = field(
        default=0.1,
        metadata={
            "title": "Evaluation part",
            "help": "Share of the rows that is kept for evaluation when there is no evaluation data.",
            "minimum": 0.0,
            "maximum": 0.9,
        },
    )
    seed: int = field(
        default=42, metadata={"title": "Split seed", "help": "Another seed keeps other rows for evaluation."}
    )
    deduplicate: bool = field(
        default=False,
        metadata={
            "title": "Leave out duplicates",
            "help": "Keep one row of each text, and none for training that is in the evaluation data.",
        },
    )
    options: Mapping[str, Any] = field(
        default_factory=dict,
        metadata={
            "title": "Reading options",
            "help": "How the files are read (format, encoding, delimiter, header, quoting, names); empty: found out.",
        },
    )

    def __post_init__(self) -> None:
        if not self.train:
            raise UserError("The recipe names no training data.", "Set data.train to a bundled data set or a file.")
        if not self.eval:
            object.__setattr__(self, "eval", None)  # an empty text or list in a recipe means none, too
        for name, source in (("data.train", self.train), ("data.eval", self.eval)):
            if not _is_source(source):
                raise UserError(
                    "{name} is {value}.",
                    "Name a bundled data set, a file, or a list of files.",
                    name=name,
                    value=str(source),
                )
        for name, column in self.columns.items():
            if not isinstance(column, str):
                raise UserError(
                    "data.columns.{name} is {value}.",
                    "Name one column, in quotation marks if it is a number.",
                    name=name,
                    value=str(column),
                )
        if self.eval is None and not 0 < self.eval_fraction < 1:
            raise UserError(
                "data.eval_fraction is {value}.",
                "It must lie between 0 and 1, for example 0.1, or name evaluation data in data.eval.",
                value=self.eval_fraction,
            )
        ReadOptions.from_dict(self.options)


@dataclass(frozen=True)
class DataSelection:
    """What the data tab offers to the training: a recipe's data section, its task, and a title for people."""

    config: DataConfig
    task: str
    title: str


@dataclass(frozen=True)
class DataSplits:
    """Memory-mapped; columns have the names that the task wants, rows are in the order of the file."""

    train: Dataset
    eval: Dataset
    report: DataReport


@dataclass
class _Side:
    """One source on its way: the rows still in play, and the wanted columns."""

    table: Table
    columns: dict[str, str]
    rows: Integers
    texts: Integers  # of those rows: equal texts (of either side) have equal numbers

    def keep(self, mask: Any) -> _Side:
        return _Side(self.table, self.columns, self.rows[mask], self.texts[mask])

    def column(self, name: str) -> pa.ChunkedArray:
        import pyarrow as pa

        whole = arrow_column(self.table.dataset, self.columns[name])
        return whole if len(self.rows) == len(whole) else whole.take(pa.array(self.rows))


def prepare_data(
    config: DataConfig, wanted: Sequence[ColumnSpec], ctx: JobContext, *, base: Path | None = None
) -> DataSplits:
    """Read, map, clean and split. The result is cached: the second time it opens at once.

    ``base`` is the folder that relative paths are relative to. Label values stay as they are in the file (int or str;
    booleans and whole floats become int). Raises :class:`UserError` for data that cannot be read or split.
    """
    options = ReadOptions.from_dict(config.options)
    tables = [read_table(config.train, ctx, options, base=base)]
    if config.eval is not None:
        tables.append(read_table(config.eval, ctx, options, base=base))
    folder = arrow_tables.entry_folder(
        {
            "tables": [table.key for table in tables],
            "columns": dict(config.columns),
            "wanted": [[spec.name, spec.type, spec.required, list(spec.aliases)] for spec in wanted],
            "fraction": config.eval_fraction if config.eval is None else None,
            "seed": config.seed,
            "deduplicate": config.deduplicate,
        }
    )
    if not arrow_tables.is_complete(folder, (_TRAIN, _EVAL)):
        ctx.status("Preparing training and evaluation rows")
        train, evaluation, report = plan_splits(config, wanted, tables, ctx)
        label = _label_name(wanted, train.columns)
        texts = [spec.name for spec in wanted if spec.type == "text" and spec.name in train.columns]
        with atomic_folder(folder) as temporary:
            for side, name in ((train, _TRAIN), (evaluation, _EVAL)):
                _write(side, texts, label, temporary / name, ctx)
            (temporary / arrow_tables.META).write_text(json.dumps(report.to_dict(), ensure_ascii=False), "utf-8")
    values = json.loads((folder / arrow_tables.META).read_text(encoding="utf-8"))
    return DataSplits(
        arrow_tables.open_table(folder, _TRAIN), arrow_tables.open_table(folder, _EVAL), DataReport.from_dict(values)
    )


def report_on(
    config: DataConfig,
    wanted: Sequence[ColumnSpec],
    ctx: JobContext,
    *,
    base: Path | None = None,
) -> DataReport:
    """The report of :func:`prepare_data` without writing the splits."""
    options = ReadOptions.from_dict(config.options)
    tables = [read_table(source, ctx, options, base=base) for source in (config.train, config.eval) if source]
    return plan_splits(config, wanted, tables, ctx)[2]


def plan_splits(
    config: DataConfig, wanted: Sequence[ColumnSpec], tables: Sequence[Table], ctx: JobContext
) -> tuple[_Side, _Side, DataReport]:
    """Decide which rows go where, and report on it. ``tables`` are the training and, if named, evaluation data."""
    import numpy as np

    findings = Findings()
    sides = [
        _side(table, resolve_columns(table.dataset, wanted, _mapping(config, table, index)))
        for index, table in enumerate(tables)
    ]
    label = _label_name(wanted, sides[0].columns)
    texts = [spec.name for spec in wanted if spec.type == "text" and spec.name in sides[0].columns]
    texts = texts or list(sides[0].columns)
    rows = sum(len(side.rows) for side in sides)
    dropped: list[DroppedRow] = []
    sides = [_without_missing(side, wanted, findings, dropped) for side in sides]
    ctx.check()
    numbers = joint_text_codes([[side.column(name) for name in texts] for side in sides])
    for side, numbered in zip(sides, numbers, strict=True):
        side.texts = numbered
    ctx.check()
    usable = sum(len(side.rows) for side in sides)
    if config.deduplicate:
        sides = _without_duplicates(sides)
    if len(sides) == 2:
        train, evaluation = sides
    else:
        chosen = _choose(sides[0], label, config)
        train, evaluation = sides[0].keep(~chosen), sides[0].keep(chosen)
    if not len(train.rows) or not len(evaluation.rows):
        raise UserError(
            "Of {rows} usable rows {train} would be for training and {evaluation} for evaluation.",
            "Both need at least one row: add data, or change data.eval_fraction.",
            rows=usable,
            train=len(train.rows),
            evaluation=len(evaluation.rows),
        )
    ctx.check()
    repeated = find_duplicates(train.texts, train.column(texts[0]), None if label is None else train.column(label))
    note_duplicates(repeated, findings)
    leaked = int(np.sum(np.isin(evaluation.texts, train.texts)))
    if leaked:
        findings.add(
            "leakage",
            "{leaked} of {total} evaluation rows have a text that is also in the training data.",
            fix="deduplicate",
            leaked=leaked,
            total=len(evaluation.rows),
        )
    balances: list[dict[str, int]] = [{}, {}]
    if label is not None:
        balances = [count_values(side.column(label)) for side in (train, evaluation)]
        note_labels(balances, train.columns[label], findings)
    problems = list(tables[0].problems)
    for table in tables[1:]:
        name = table.parts[0].path
        problems += [found if "file" in found.parameters else in_file(found, name) for found in table.problems]
    report = DataReport(
        columns=train.columns,
        rows=rows,
        train_rows=len(train.rows),
        eval_rows=len(evaluation.rows),
        dropped=rows - usable,
        dropped_rows=tuple(dropped),
        rejected=sum(table.rejected for table in tables),
        removed=usable - len(train.rows) - len(evaluation.rows),
        duplicates=repeated.count,
        leakage=leaked,
        train_balance=balances[0],
        eval_balance=balances[1],
        problems=by_severity((*findings.problems(), *problems)),
    )
    return train, evaluation, report


def _mapping(config: DataConfig, table: Table, index: int) -> Mapping[str, str]:
    """The evaluation data may name its columns differently; then they are guessed."""
    names = table.dataset.column_names
    if index == 0:
        return config.columns
    return {name: column for name, column in config.columns.items() if column in names}


def _side(table: Table, columns: dict[str, str]) -> _Side:
    import numpy as np

    return _Side(table, columns, np.arange(len(table.dataset), dtype=np.int64), np.zeros(0, dtype=np.int64))


def _label_name(wanted: Sequence[ColumnSpec], columns: Mapping[str, str]) -> str | None:
    return next((spec.name for spec in wanted if spec.type == "label" and spec.name in columns), None)


def _without_missing(side: _Side, wanted: Sequence[ColumnSpec], findings: Findings, dropped: list[DroppedRow]) -> _Side:
    import numpy as np

    keep = np.ones(len(side.rows), dtype=bool)
    for spec in wanted:
        if spec.name not in side.columns or not spec.required:
            continue
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
    return _Side(side.table, side.columns, side.rows[keep], side.texts)


def _without_duplicates(sides: Sequence[_Side]) -> list[_Side]:
    """One row of each text on every side, and no training row whose text is in the evaluation data."""
    import numpy as np

    kept = []
    for side in sides:
        first = np.zeros(len(side.rows), dtype=bool)
        first[first_rows(side.texts)[1]] = True
        kept.append(side.keep(first))
    if len(kept) == 2:
        kept[0] = kept[0].keep(~np.isin(kept[0].texts, kept[1].texts))
    return kept


def splitmix64(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The output function of SplitMix64: uint64 ``[n]`` to uint64 ``[n]``."""
    import numpy as np

    mixed = values * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _choose(side: _Side, label: str | None, config: DataConfig) -> Any:
    """Boolean array over the rows: which are for evaluation.

    Rows of equal text form a unit that is never divided. Within each class (of the unit's first row) the units are
    shuffled and taken until the fraction is reached.
    """
    import numpy as np

    if not len(side.rows):
        return np.zeros(0, dtype=bool)
    present, first, sizes = first_rows(side.texts)
    strata = codes(side.column(label))[first] if label is not None else np.zeros(len(first), dtype=np.int64)
    if int(strata.max()) > MANY_CLASSES:  # numbers rather than classes
        strata = np.zeros_like(strata)
    start = splitmix64(np.array([(config.seed + 1) % 2**64], dtype=np.uint64))[0]
    order = splitmix64(first.astype(np.uint64) + np.uint64(1) ^ start)
    chosen = np.zeros(len(first), dtype=bool)
    for stratum in range(int(strata.min()), int(strata.max()) + 1):
        members = np.flatnonzero(strata == stratum)
        if not len(members):  # a label that only occurs with texts that had another one before
            continue
        members = members[np.argsort(order[members], kind="stable")]
        filled = np.cumsum(sizes[members])
        target = config.eval_fraction * filled[-1]
        count = int(np.searchsorted(filled, target, side="left")) + 1
        if count > 1 and filled[count - 1] - target > target - filled[count - 2]:
            count -= 1
        chosen[members[: min(count, max(1, len(members) - 1)) if len(members) > 1 else 0]] = True
    if not chosen.any() and len(chosen) > 1:
        chosen[np.argmin(order)] = True
    by_code = np.zeros(int(present[-1]) + 1, dtype=bool)
    by_code[present] = chosen
    return by_code[side.texts]


def _write(side: _Side, texts: Sequence[str], label: str | None, path: Path, ctx: JobContext) -> None:
    """Stream the chosen rows and columns into a new Arrow file, a batch at a time."""
    import numpy as np
    import pyarrow as pa

    names = list(dict.fromkeys(side.columns.values()))
    source = side.table.dataset.data.table.select(names)
    kept = np.zeros(source.num_rows, dtype=bool)
    kept[side.rows] = True
    types = {name: source.schema.field(column).type for name, column in side.columns.items()}
    types |= {name: pa.string() for name in texts}  # numbers in a text column are texts, too
    if label is not None:
        types[label] = _label_type(side.column(label))
    schema = pa.schema(list(types.items()))
    with pa.ipc.new_stream(str(path), schema) as writer:
        at = 0
        for batch in source.to_batches():
            ctx.check()
            mask = pa.array(kept[at : at + batch.num_rows])
            at += batch.num_rows
            columns = [batch.column(column).filter(mask).cast(types[name]) for name, column in side.columns.items()]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _label_type(column: pa.ChunkedArray) -> pa.DataType:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(column.type):
        return pa.int64()
    if pa.types.is_floating(column.type):
        whole = pc.all(pc.equal(pc.floor(column), column), min_count=0).as_py()
        return pa.int64() if whole else column.type
    return column.type
