"""From a source to what a task trains and evaluates on: chosen columns, rows that fit, a split that repeats.

The split by fraction is stratified on the label and keeps equal texts on one side, so it cannot leak; nor does a
context with questions about it come to both sides, where there are several. Running text is split by whole documents,
in the order of the file.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmstudio_app.data import arrow_tables
from lmstudio_app.data.choosing import choose_documents, choose_evaluation, number_pieces, sample_evenly
from lmstudio_app.data.columns import ColumnSpec, resolve_columns
from lmstudio_app.data.config import DataConfig, DataSelection
from lmstudio_app.data.problems import Findings, by_severity
from lmstudio_app.data.reports import (
    DataReport,
    DroppedRow,
    Running,
    note_duplicates,
    note_labels,
    note_leakage,
)
from lmstudio_app.data.shapes import CONTEXT, Shape
from lmstudio_app.data.sides import Side, without_misfits, without_missing
from lmstudio_app.data.sources import ReadOptions, Table, in_file, read_table
from lmstudio_app.data.statistics import (
    codes,
    count_values,
    count_words,
    find_duplicates,
    first_rows,
    joint_text_codes,
)
from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_folder
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from datasets import Dataset

    Integers = npt.NDArray[np.int64]

__all__ = ["DataConfig", "DataSelection", "DataSplits", "plan_splits", "prepare_data", "report_on"]

_TRAIN, _EVAL = "train.arrow", "eval.arrow"


@dataclass(frozen=True)
class DataSplits:
    """Memory-mapped; columns have the names that the task wants, rows are in the order of the file."""

    train: Dataset
    eval: Dataset
    report: DataReport


def prepare_data(
    config: DataConfig, wanted: Sequence[ColumnSpec], ctx: JobContext, *, base: Path | None = None
) -> DataSplits:
    """Read, map, clean and split. The result is cached: the second time it opens at once.

    ``base`` is the folder that relative paths are relative to. What becomes of a column is said at
    :class:`lmstudio_app.data.columns.ColumnSpec`; booleans and whole floats of a label become int. Raises
    :class:`UserError` for data that cannot be read or split.
    """
    options = ReadOptions.from_dict(config.options)
    tables = [read_table(config.train, ctx, options, base=base)]
    if config.eval is not None:
        tables.append(read_table(config.eval, ctx, options, base=base))
    folder = arrow_tables.entry_folder(
        {
            "tables": [table.key for table in tables],
            "columns": dict(config.columns),
            "wanted": [[spec.name, spec.type, spec.required, list(spec.aliases), spec.role] for spec in wanted],
            "fraction": config.eval_fraction if config.eval is None else None,
            "seed": config.seed,
            "limit": config.limit,
            "deduplicate": config.deduplicate,
        }
    )
    ready = functools.partial(arrow_tables.is_complete, folder, (_TRAIN, _EVAL))
    if not ready():
        ctx.status("Preparing training and evaluation rows")
        train, evaluation, report = plan_splits(config, wanted, tables, ctx)
        with atomic_folder(folder, unless=ready) as temporary:
            for side, name in ((train, _TRAIN), (evaluation, _EVAL)):
                side.write(temporary / name, ctx)
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
) -> tuple[Side, Side, DataReport]:
    """Decide which rows go where, and report on it. ``tables`` are the training and, if named, evaluation data."""
    findings = Findings()
    sides = [
        Side.of(table, Shape(wanted, resolve_columns(table.dataset, wanted, _mapping(config, table, index))))
        for index, table in enumerate(tables)
    ]
    rows = sum(len(side.rows) for side in sides)
    dropped: list[DroppedRow] = []
    sides = [without_misfits(without_missing(side, findings, dropped), findings, dropped, ctx) for side in sides]
    ctx.check()
    running = sides[0].shape.running
    usable = sum(len(side.rows) for side in sides)
    if config.limit and running:
        sides = [side.take(slice(config.limit)) for side in sides]
    _number_texts(sides)
    ctx.check()
    removed = 0
    if config.deduplicate and not running:
        sides = _without_duplicates(sides)
        removed = usable - sum(len(side.rows) for side in sides)
    if config.limit:
        sides = [side.take(sample_evenly(len(side.rows), config.limit, config.seed)) for side in sides]
    train, evaluation = sides if len(sides) == 2 else _split(sides[0], config)
    if rows and not usable:
        raise UserError(
            "None of the {rows} rows can be used: {reasons}", "Mend the file, or map other columns.",
            rows=rows, reasons=" ".join(problem.message for problem in findings.problems()),
        )  # fmt: skip
    if not len(train.rows) or not len(evaluation.rows):
        raise UserError(
            "Of {rows} usable rows {train} would be for training and {evaluation} for evaluation.",
            "Both need at least one row: add data, or change data.eval_fraction.",
            rows=usable,
            train=len(train.rows),
            evaluation=len(evaluation.rows),
        )
    ctx.check()
    return train, evaluation, _report(train, evaluation, tables, findings, dropped, rows, usable, removed, ctx)


def _report(
    train: Side,
    evaluation: Side,
    tables: Sequence[Table],
    findings: Findings,
    dropped: Sequence[DroppedRow],
    rows: int,
    usable: int,
    removed: int,
    ctx: JobContext,
) -> DataReport:
    import numpy as np

    label, running = train.shape.label, train.shape.running
    examples = train.column(train.shape.texts[0]) if train.shape.texts else train.column(next(iter(train.columns)))
    repeated = find_duplicates(train.texts, examples, None if label is None else train.column(label))
    note_duplicates(repeated, findings, running=running, show=train.shape.show_example)
    leaked = int(np.sum(np.isin(evaluation.texts, train.texts)))
    note_leakage(leaked, len(evaluation.rows), findings, running=running)
    balances: list[dict[str, int]] = [{}, {}]
    if label is not None:
        balances = [count_values(side.column(label)) for side in (train, evaluation)]
        note_labels(balances, train.columns[label], findings)
    problems = list(tables[0].problems)
    for table in tables[1:]:
        name = table.parts[0].path
        problems += [found if "file" in found.parameters else in_file(found, name) for found in table.problems]
    return DataReport(
        columns=train.columns,
        rows=rows,
        train_rows=len(train.rows),
        eval_rows=len(evaluation.rows),
        dropped=rows - usable,
        dropped_rows=tuple(dropped),
        rejected=sum(table.rejected for table in tables),
        removed=removed,
        limited=usable - removed - len(train.rows) - len(evaluation.rows),
        duplicates=repeated.count,
        leakage=leaked,
        train_balance=balances[0],
        eval_balance=balances[1],
        running=_running(train, evaluation, ctx) if running else None,
        problems=by_severity((*findings.problems(), *problems)),
    )


def _running(train: Side, evaluation: Side, ctx: JobContext) -> Running:
    import numpy as np

    words = [count_words(side.column(side.shape.texts[0]), ctx) for side in (train, evaluation)]
    documents = [int(np.count_nonzero(np.diff(side.documents))) + 1 for side in (train, evaluation)]
    return Running(documents[0], documents[1], words[0], words[1])


def _mapping(config: DataConfig, table: Table, index: int) -> Mapping[str, str]:
    """The evaluation data may name its columns differently; then they are guessed."""
    names = table.dataset.column_names
    if index == 0:
        return config.columns
    return {name: column for name, column in config.columns.items() if not column or column in names}


def _number_texts(sides: Sequence[Side]) -> None:
    """Number the rows by their texts: equal numbers, equal texts, also on the other side."""
    compared = [name for name in sides[0].shape.texts if all(name in side.shape.texts for side in sides)]
    if compared:
        numbers = joint_text_codes([[side.column(name) for name in compared] for side in sides])
    else:  # a chat in two forms: nothing to compare
        numbers, seen = [], 0
        for side in sides:
            (found,) = joint_text_codes([[side.column(name) for name in side.shape.texts or side.columns]])
            numbers.append(found + seen)
            seen = int(numbers[-1].max(initial=seen)) + 1
    for side, numbered in zip(sides, numbers, strict=True):
        side.texts = numbered


def _without_duplicates(sides: Sequence[Side]) -> list[Side]:
    """One row of each text on every side, and no training row whose text is in the evaluation data."""
    import numpy as np

    kept = []
    for side in sides:
        first = np.zeros(len(side.rows), dtype=bool)
        first[first_rows(side.texts)[1]] = True
        kept.append(side.take(first))
    if len(kept) == 2:
        kept[0] = kept[0].take(~np.isin(kept[0].texts, kept[1].texts))
    return kept


def _split(side: Side, config: DataConfig) -> tuple[Side, Side]:
    if side.shape.running:
        chosen = choose_documents(side.documents, config.eval_fraction, config.seed)
        side.documents = number_pieces(side.documents, chosen)
    else:
        label = side.shape.label
        strata = None if label is None else codes(side.column(label))
        chosen = choose_evaluation(side.texts, strata, config.eval_fraction, config.seed)
        if side.shape.answers is not None and CONTEXT in side.columns:
            (contexts,) = joint_text_codes([[side.column(CONTEXT)]])
            unseen = choose_evaluation(contexts, strata, config.eval_fraction, config.seed)
            chosen = unseen if unseen.any() and not unseen.all() else chosen
    return side.take(~chosen), side.take(chosen)
