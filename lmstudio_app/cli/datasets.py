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
    preview.add_argument("ref", metavar="REF", nargs="+", help="a bundled name, a file, or several files")
    preview.add_argument("--rows", type=int, default=5, metavar="N", help="rows to show (default: 5)")
    preview.add_argument("--task", default="sentiment", help="the task that the columns are guessed for")
    preview.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = preview.add_argument_group("how the file is read (found out unless given)")
    options.add_argument("--format", choices=FORMATS)
    options.add_argument("--encoding", help="for example utf-8, gb18030, utf-16, cp1252")
    options.add_argument("--delimiter", help="one character, or tab, comma, semicolon, pipe, none")
    options.add_argument("--quoting", choices=("double", "none"))
    options.add_argument("--header", action=argparse.BooleanOptionalAction, default=None)
    preview.set_defaults(run=_preview)


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
    from lmstudio_app.data.columns import guess_columns
    from lmstudio_app.data.reports import note_labels
    from lmstudio_app.data.sources import read_table
    from lmstudio_app.data.statistics import arrow_column, class_balance, duplicates, missing
    from lmstudio_app.tasks import find_task

    wanted = find_task(args.task).columns
    options = ReadOptions(args.format, args.encoding, args.delimiter, args.header, args.quoting)
    with console_context() as ctx:
        table = read_table(args.ref[0] if len(args.ref) == 1 else args.ref, ctx, options)
    dataset = table.dataset
    mapping = guess_columns(dataset, wanted)
    labels = [mapping[spec.name] for spec in wanted if spec.type == "label" and spec.name in mapping]
    texts = [mapping[spec.name] for spec in wanted if spec.type == "text" and spec.name in mapping]
    found = duplicates(dataset, texts, labels[0] if labels else None) if texts else None
    balance = class_balance(dataset, labels[0]) if labels else {}
    findings = Findings()
    if balance:
        note_labels((balance, {}), labels[0], findings)
    shown = dataset[: max(0, args.rows)]
    names = list(shown)
    return {
        "source": args.ref if len(args.ref) > 1 else args.ref[0],
        "rows": len(dataset),
        "columns": {name: str(dataset.features[name].dtype) for name in dataset.column_names},
        "mapping": mapping,
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
        rows = [[_cell(row[name]) for name in names] for row in values["first_rows"]]
        write_table([names, *rows])
    if values["class_balance"]:
        total = sum(values["class_balance"].values())
        sys.stdout.write("\nclasses\n")
        for label, count in list(values["class_balance"].items())[:20]:
            sys.stdout.write(f"  {label}: {count:,} ({100 * count / total:.1f} %)\n")
    sys.stdout.write(f"\nduplicates: {values['duplicates']['rows']:,} rows repeat an earlier text\n")
    for text, count in values["duplicates"]["examples"][:3]:
        sys.stdout.write(f"  {count} x {_cell(text)}\n")
    for problem in map(Problem.from_dict, (_without_message(item) for item in values["problems"])):
        sys.stdout.write(f"{problem.severity}: {problem.message}{_hint(problem)}\n")
    for path in values["set_aside_files"]:
        sys.stdout.write(f"rows set aside are in {path}\n")


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


def _cell(value: Any) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"
