"""``lmstudio-app datasets``: the Data tab without a screen."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import Any

from lmstudio_app.cli.console import console_context
from lmstudio_app.cli.tables import write_table
from lmstudio_app.data.catalog import bundled_data_sets
from lmstudio_app.data.problems import Findings, Problem, delimiter_name, encoding_name
from lmstudio_app.data.sources import FORMATS, ReadOptions
from lmstudio_app.errors import UserError

_CELL = 60  # characters of a cell in a table for people


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("datasets", help="list the bundled data sets, look into any data file")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the data sets that come with the app")
    listing.add_argument("--json", action="store_true", help="one JSON list on stdout")
    listing.set_defaults(run=_list)
    preview = actions.add_parser(
        "preview",
        help="columns, first rows, classes, duplicates and problems of a data set",
        description="REF is a bundled name or a file (csv, tsv, jsonl, json, parquet, txt, each also .gz).",
    )
    _add_source(preview)
    preview.add_argument("--rows", type=int, default=5, metavar="N", help="rows to show (default: 5)")
    preview.set_defaults(run=_preview)
    report = actions.add_parser(
        "report",
        help="what a training would get: rows for training and evaluation, what is left out and why",
        description="REF is a bundled name or a file (csv, tsv, jsonl, json, parquet, txt, each also .gz).",
    )
    _add_source(report)
    report.add_argument("--eval", metavar="FILE", nargs="+", help="evaluation data (default: a part of REF)")
    report.add_argument("--column", action="append", default=[], metavar="INPUT=COLUMN", help="which column feeds it")
    report.add_argument("--eval-fraction", type=float, default=0.1, metavar="F", help="part of it (default: 0.1)")
    report.add_argument("--limit", type=int, default=0, metavar="N", help="use at most N rows (default: all)")
    report.add_argument("--seed", type=int, default=42, metavar="N", help="seed of the split (default: 42)")
    report.add_argument("--deduplicate", action="store_true", help="leave out duplicates")
    report.set_defaults(run=_report)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ref", metavar="REF", nargs="+", help="a bundled name, a file, or several files")
    parser.add_argument("--aligned", action="store_true", help="two files that belong together line by line")
    parser.add_argument("--task", default="sentiment", metavar="NAME", help="the task that the data is looked at for")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.add_argument_group("how the file is read (found out unless given)")
    options.add_argument("--format", choices=FORMATS)
    options.add_argument("--encoding", help="for example utf-8, gb18030, utf-16, cp1252")
    options.add_argument("--delimiter", help="one character, or tab, comma, semicolon, pipe, none")
    options.add_argument("--quoting", choices=("double", "none"))
    options.add_argument("--header", action=argparse.BooleanOptionalAction, default=None)


def _source(names: list[str], aligned: bool) -> Any:
    if not aligned:
        return names[0] if len(names) == 1 else names
    if len(names) != 2:
        raise UserError(
            "Aligned data needs two files, not {count}.", "Name the source, then the target.", count=len(names)
        )
    return {"source": names[0], "target": names[1]}


def _options(args: argparse.Namespace) -> ReadOptions:
    return ReadOptions(args.format, args.encoding, args.delimiter, args.header, args.quoting)


def _list(args: argparse.Namespace) -> int:
    entries = list(bundled_data_sets().values())
    if args.json:
        rows = [{**dataclasses.asdict(entry), "files": [str(path) for path in entry.files]} for entry in entries]
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        return 0
    header = ("NAME", "ROWS", "TASK", "LICENCE", "TITLE")
    write_table(
        [header, *((e.name, f"{e.rows:,}", e.task, e.license, e.title) for e in entries)],
    )
    return 0


def _preview(args: argparse.Namespace) -> int:
    values = _look(args)
    if args.json:
        sys.stdout.write(json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    else:
        _print(values)
    return 0


def _look(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that a preview shows, as JSON values."""
    from lmstudio_app.data.columns import EXAMPLE_TYPES, guess_columns
    from lmstudio_app.data.reports import note_labels
    from lmstudio_app.data.sources import read_table
    from lmstudio_app.data.statistics import arrow_column, class_balance, duplicates, missing
    from lmstudio_app.tasks import find_task

    wanted = find_task(args.task).columns
    with console_context() as ctx:
        table = read_table(_source(args.ref, args.aligned), ctx, _options(args))
    dataset = table.dataset
    mapping = guess_columns(dataset, wanted)
    labels = [mapping[spec.name] for spec in wanted if spec.type == "label" and spec.name in mapping]
    texts = [mapping[spec.name] for spec in wanted if spec.type in EXAMPLE_TYPES and spec.name in mapping]
    found = duplicates(dataset, texts, labels[0] if labels else None) if texts else None
    balance = class_balance(dataset, labels[0]) if labels else {}
    findings = Findings()
    if balance:
        note_labels((balance, {}), labels[0], findings)
    shown = dataset[: max(0, args.rows)]
    names = list(shown)
    return {
        "source": _source(args.ref, args.aligned),
        "rows": len(dataset),
        "columns": {name: str(dataset.features[name].dtype) for name in dataset.column_names},
        "mapping": mapping,
        "kinds": {mapping[spec.name]: spec.type for spec in wanted if spec.name in mapping},
        "facts": dict(table.facts),
        "first_rows": [dict(zip(names, row, strict=True)) for row in zip(*shown.values(), strict=True)],
        "class_balance": balance,
        "missing": {name: int(missing(arrow_column(dataset, name)).sum()) for name in dataset.column_names},
        "duplicates": {"rows": found.count, "examples": [list(pair) for pair in found.examples]}
        if found
        else {"rows": 0, "examples": []},
        "set_aside": table.rejected,
        "set_aside_files": [str(path) for path in table.rejected_files],
        "problems": [
            {**problem.to_dict(), "message": problem.message} for problem in (*findings.problems(), *table.problems)
        ],
    }


def _print(values: dict[str, Any]) -> None:
    facts = values["facts"]
    read_as = [facts.get("format", "")]
    if "encoding" in facts:
        read_as.append(encoding_name(facts["encoding"]))
    if facts.get("delimiter"):
        read_as.append(f"columns separated by {delimiter_name(facts['delimiter'])}")
    sys.stdout.write(f"{values['rows']:,} rows, read as {', '.join(read_as)}\n")
    mapped = {column: name for name, column in values["mapping"].items()}
    for column, kind in values["columns"].items():
        use = f"  -> {mapped[column]}" if column in mapped else ""
        empty = f", {values['missing'][column]:,} empty" if values["missing"][column] else ""
        sys.stdout.write(f"  {column} ({kind}{empty}){use}\n")
    if values["first_rows"]:
        sys.stdout.write("\n")
        names = list(values["first_rows"][0])
        kinds = values["kinds"]
        rows = [[_cell(_readable(row[name], kinds.get(name))) for name in names] for row in values["first_rows"]]
        write_table([names, *rows])
    if values["class_balance"]:
        total = sum(values["class_balance"].values())
        sys.stdout.write("\nclasses\n")
        for label, count in list(values["class_balance"].items())[:20]:
            sys.stdout.write(f"  {label}: {count:,} ({100 * count / total:.1f} %)\n")
    sys.stdout.write(f"\nduplicates: {values['duplicates']['rows']:,} rows repeat an earlier text\n")
    for text, count in values["duplicates"]["examples"][:3]:
        kind = next((kind for kind in values["kinds"].values() if kind == "messages"), None)
        sys.stdout.write(f"  {count} x {_cell(_readable(text, kind))}\n")
    for problem in map(Problem.from_dict, (_without_message(item) for item in values["problems"])):
        sys.stdout.write(f"{problem.severity}: {problem.message}{_hint(problem)}\n")
    for path in values["set_aside_files"]:
        sys.stdout.write(f"rows set aside are in {path}\n")


def _report(args: argparse.Namespace) -> int:
    from lmstudio_app.data.splits import DataConfig, report_on
    from lmstudio_app.tasks import find_task

    wanted = find_task(args.task).columns
    columns = {}
    for pair in args.column:
        name, separator, column = pair.partition("=")
        if not separator:
            raise UserError("--column {value} names no column.", "Write INPUT=COLUMN, as text=review.", value=pair)
        columns[name] = column
    config = DataConfig(
        train=_source(args.ref, args.aligned),
        eval=_source(args.eval, args.aligned) if args.eval else None,
        columns=columns,
        eval_fraction=args.eval_fraction,
        seed=args.seed,
        limit=args.limit,
        deduplicate=args.deduplicate,
        options=_options(args).to_dict(),
    )
    with console_context() as ctx:
        report = report_on(config, wanted, ctx)
    if args.json:
        values = report.to_dict()
        values["problems"] = [{**p.to_dict(), "message": p.message} for p in report.problems]
        sys.stdout.write(json.dumps(values, ensure_ascii=False, indent=1) + "\n")
        return 0
    columns_used = ", ".join(f"{column} -> {name}" for name, column in report.columns.items())
    lines = [
        f"columns: {columns_used}",
        f"{report.rows:,} rows read, {report.train_rows:,} for training, {report.eval_rows:,} for evaluation",
        f"left out: {report.dropped:,} without a fitting value, {report.rejected:,} set aside, "
        f"{report.removed:,} duplicates, {report.limited:,} beyond the limit",
        f"duplicates: {report.duplicates:,}, leakage: {report.leakage:,}",
    ]
    if report.running is not None:
        sides = (
            ("training", report.running.train_documents, report.running.train_words),
            ("evaluation", report.running.eval_documents, report.running.eval_words),
        )
        lines += [f"{side}: {documents:,} documents, {words:,} words" for side, documents, words in sides]
    for label, count in list(report.train_balance.items())[:20]:
        lines.append(f"  {label}: {count:,} for training, {report.eval_balance.get(label, 0):,} for evaluation")
    lines += [f"{problem.severity}: {problem.message}{_hint(problem)}" for problem in report.problems]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _without_message(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "message"}


def _hint(problem: Problem) -> str:
    """The fixes as options of this command."""
    hints = []
    for fix in problem.fixes:
        name, _, value = fix.partition("=")
        if name == "header":
            hints.append("--header" if value == "true" else "--no-header")
        elif name in ("encoding", "delimiter", "quoting", "format"):
            hints.append(f"--{name} {'tab' if value == chr(9) else repr(value) if name == 'delimiter' else value}")
    return f" (try {' or '.join(hints)})" if hints else ""


def _readable(value: Any, kind: str | None) -> Any:
    """A chat or answers as people read them; whatever is none stays as it is."""
    from lmstudio_app.data.answers import read_answers
    from lmstudio_app.data.chats import parse_messages

    try:
        if kind == "messages" and value is not None:
            return " · ".join(f"{message['role']}: {message['content']}" for message in parse_messages(value))
        if kind == "answers" and value is not None:
            return " · ".join(text for text, _ in read_answers(value)) or "(no answer)"
    except ValueError:
        return value
    return value


def _cell(value: Any) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"
