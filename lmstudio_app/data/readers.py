"""One reader a format: each fills a :class:`TableWriter` and notes what is odd, with the line it starts at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmstudio_app.data.arrow_tables import TableWriter
from lmstudio_app.data.delimited import DelimitedParser, Dialect, find_dialect
from lmstudio_app.data.json_files import JsonDocument, read_json, read_json_lines, with_languages
from lmstudio_app.data.parquet_files import read_parquet
from lmstudio_app.data.problems import Findings, delimiter_name, encoding_name
from lmstudio_app.data.text_files import (
    SAMPLE,
    Encoding,
    TextFile,
    check_encoding_name,
    decode_sample,
    detect_encoding,
    is_damaged,
    note_damaged,
    read_lines,
    read_sample,
)
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext


def head(path: Path) -> bytes:
    """The first bytes, unpacked."""
    return read_sample(path, 4096)


def import_file(path: Path, kind: str, options: Mapping[str, Any], writer: TableWriter, ctx: JobContext) -> None:
    """Read one file of format ``kind`` into ``writer`` and close it."""
    findings = Findings()
    facts: dict[str, Any] = {"format": kind}
    columns: Sequence[str] = ()
    if kind == "parquet":
        for batch in read_parquet(path, ctx, findings):
            writer.add_batch(batch)
    else:
        encoding = _encoding(path, options.get("encoding"), findings, ctx)
        facts["encoding"] = encoding.name
        if kind == "txt" and options.get("format") != "txt" and _is_tabbed(path, encoding):
            findings.add(
                "tabbed_text", "Every line has tabs, so they separate columns.", severity="info", fix="format=txt"
            )
            kind = facts["format"] = "tsv"
        if kind in ("csv", "tsv"):
            dialect = _import_delimited(path, kind, encoding, options, writer, findings, ctx)
            columns = dialect.columns
            facts |= {"delimiter": dialect.delimiter, "header": dialect.header, "quoting": dialect.quoting}
        elif kind == "txt":
            columns = ("text",)
            _import_lines(path, encoding, writer, findings, ctx)
        else:
            _import_json(path, kind, encoding, writer, findings, ctx)
    if not writer.rows:
        _raise_no_rows(path, writer, findings)
    problems = [problem.to_dict() for problem in findings.problems()]
    writer.close(ctx, {"facts": facts, "problems": problems}, columns)


def _raise_no_rows(path: Path, writer: TableWriter, findings: Findings) -> None:
    if writer.rejected:
        raise UserError(
            "None of the {count} rows of {path} could be used: {reason}",
            "Check delimiter, header and encoding.",
            count=writer.rejected,
            path=str(path),
            reason=findings.problems()[0].message,
        )
    raise UserError("{path} holds no rows.", "Choose a file with data.", path=str(path))


def _encoding(path: Path, chosen: str | None, findings: Findings, ctx: JobContext) -> Encoding:
    if chosen is not None:
        return Encoding(check_encoding_name(chosen))
    encoding = detect_encoding(path, ctx)
    others = tuple(f"encoding={name}" for name in encoding.alternatives)
    if encoding.guessed and not encoding.damaged:
        findings.add(
            "encoding",
            "The file is not UTF-8 (first in line {row}); it was read as {encoding}."
            if encoding.bad_line
            else "The file is not UTF-8; it was read as {encoding}.",
            row=encoding.bad_line,
            fix=others[0] if others else None,
            more_fixes=others[1:],
            encoding=encoding_name(encoding.name),
        )
    return encoding


def _sample_lines(path: Path, encoding: Encoding) -> list[str]:
    return decode_sample(read_sample(path), encoding)


def _is_tabbed(path: Path, encoding: Encoding) -> bool:
    lines = [line for line in _sample_lines(path, encoding) if line.strip()][:500]
    counts = {line.count("\t") for line in lines}
    return len(lines) > 1 and len(counts) == 1 and counts != {0}


def _import_delimited(
    path: Path,
    kind: str,
    encoding: Encoding,
    options: Mapping[str, Any],
    writer: TableWriter,
    findings: Findings,
    ctx: JobContext,
) -> Dialect:
    sample = read_sample(path)
    lines = decode_sample(sample, encoding)
    if not any(line.strip() for line in lines):
        raise UserError("{path} holds no rows.", "Choose a file with data.", path=str(path))
    quoting = options.get("quoting")
    default = "\t" if kind == "tsv" else ","
    dialect = find_dialect(
        lines,
        default,
        delimiter=options.get("delimiter"),
        quoting=None if quoting is None else quoting == "double",
        header=options.get("header"),
        names=options.get("names", ()),
        whole=len(sample) < SAMPLE,
    )
    _note_dialect(dialect, default, options, findings)
    parser = DelimitedParser(dialect.delimiter, dialect.quoting, dialect.width, findings)
    with TextFile(path) as file:
        _feed(parser, dialect, read_lines(file, encoding, ctx.meter(file.size, "B").update), encoding, writer, findings)
    return dialect


def _note_dialect(dialect: Dialect, default: str, options: Mapping[str, Any], findings: Findings) -> None:
    if dialect.other_delimiter:
        findings.add(
            "delimiter",
            "Only one column was found, but {delimiter} would separate more.",
            fix=f"delimiter={dialect.other_delimiter}",
            severity="error",
            delimiter=delimiter_name(dialect.other_delimiter),
        )
    elif options.get("delimiter") is None and dialect.delimiter not in ("", default):
        findings.add(
            "delimiter",
            "The columns are separated by {delimiter}, not by {default}.",
            fix=f"delimiter={default}",
            severity="info",
            delimiter=delimiter_name(dialect.delimiter),
            default=delimiter_name(default),
        )
    if not dialect.header and options.get("header") is None and not options.get("names"):
        findings.add(
            "no_header",
            "The first row looks like data, so the columns got numbers for names.",
            row=1,
            fix="header=true",
            severity="info",
        )


def _feed(
    parser: DelimitedParser,
    dialect: Dialect,
    blocks: Iterator[tuple[int, list[str]]],
    encoding: Encoding,
    writer: TableWriter,
    findings: Findings,
) -> None:
    awaiting_header = dialect.header
    for first, lines in blocks:
        start = 0
        if awaiting_header:  # one line by itself, so that the rest of the block can go the fast way
            start = next((at + 1 for at, line in enumerate(lines) if line.strip()), len(lines))
            awaiting_header = _feed_carefully(
                parser.feed(first, lines[:start]), dialect, encoding, writer, findings, awaiting_header
            )
        rest = lines[start:]
        rows = None if awaiting_header or encoding.damaged else parser.block(rest)
        if rows:
            writer.add(dict(zip(dialect.columns, zip(*rows, strict=True), strict=True)), first + start)
        elif rows is None:
            awaiting_header = _feed_carefully(
                parser.feed(first + start, rest), dialect, encoding, writer, findings, awaiting_header
            )
    _feed_carefully(parser.feed(0, [], last=True), dialect, encoding, writer, findings, awaiting_header)


def _feed_carefully(
    items: Iterator[tuple[int, list[str], str]],
    dialect: Dialect,
    encoding: Encoding,
    writer: TableWriter,
    findings: Findings,
    awaiting_header: bool,
) -> bool:
    rows: list[Sequence[str]] = []
    numbers: list[int] = []
    width = dialect.width
    for number, row, raw in items:
        if awaiting_header:
            awaiting_header = False
            continue
        if encoding.damaged and is_damaged(raw):
            note_damaged(number, encoding, findings)
            writer.reject(number, "not UTF-8", raw)
            continue
        if len(row) > width and not any(field.strip() for field in row[width:]):
            row = row[:width]  # trailing delimiters
        if len(row) != width:
            findings.add(
                "ragged",
                "Rows that do not have {width} fields, set aside: {count} (line {rows}).",
                row=number,
                fix="rejected",
                width=width,
            )
            writer.reject(number, f"{len(row)} fields instead of {width}", raw)
            continue
        rows.append(row)
        numbers.append(number)
    if rows:
        writer.add(dict(zip(dialect.columns, zip(*rows, strict=True), strict=True)), numbers)
    return awaiting_header


def _import_lines(path: Path, encoding: Encoding, writer: TableWriter, findings: Findings, ctx: JobContext) -> None:
    """One text a line; blank lines separate documents and are no rows."""
    writer.keep_texts()
    begins = True
    with TextFile(path) as file:
        for first, lines in read_lines(file, encoding, ctx.meter(file.size, "B").update):
            texts: list[str] = []
            numbers: list[int] = []
            for number, line in enumerate(lines, first):
                if not line.strip():
                    begins = True
                    continue
                if encoding.damaged and is_damaged(line):
                    note_damaged(number, encoding, findings)
                    writer.reject(number, "not UTF-8", line)
                    continue
                if begins:
                    writer.note_document(writer.rows + len(texts))
                    begins = False
                texts.append(line)
                numbers.append(number)
            writer.add({"text": texts}, numbers)


def _import_json(
    path: Path, kind: str, encoding: Encoding, writer: TableWriter, findings: Findings, ctx: JobContext
) -> None:
    if kind == "json" and _is_json_lines(path, encoding):
        kind = "jsonl"
    if kind == "jsonl":
        with TextFile(path) as file:
            advance = ctx.meter(file.size, "B").update
            for block in read_json_lines(file, encoding, advance, findings):
                good = []
                for item in block:
                    if len(item) == 3:
                        writer.reject(*item)
                    else:
                        good.append(item)
                _add_objects(good, writer)
        return
    if encoding.damaged:
        findings.add(
            "damaged", "Bytes that are not UTF-8, first in line {row}, were replaced by \ufffd.", row=encoding.bad_line
        )
    document = JsonDocument(path, encoding, ctx.meter(path.stat().st_size, "B").update)
    for rows in read_json(document, ctx, findings):
        _add_objects(rows, writer)


def _is_json_lines(path: Path, encoding: Encoding) -> bool:
    """Some call JSON Lines ``.json``: every one of the first lines is an object of its own."""
    lines = [line.strip() for line in _sample_lines(path, encoding) if line.strip()][:5]
    return len(lines) > 1 and all(line.startswith("{") and line.endswith("}") for line in lines)


def _add_objects(rows: Sequence[tuple[int, Mapping[str, Any]]], writer: TableWriter) -> None:
    if not rows:
        return
    rows = [(line, with_languages(row)) for line, row in rows]
    names = {name: None for _, row in rows for name in row}
    columns = {name: [row.get(name) for _, row in rows] for name in names}
    writer.add(columns, [line for line, _ in rows])


def _each_line(blocks: Iterator[tuple[int, list[str]]]) -> Iterator[str]:
    for _, lines in blocks:
        yield from lines


def import_parallel(
    source: Path, target: Path, encoding_name: str | None, writer: TableWriter, ctx: JobContext
) -> None:
    """Line ``n`` of one file belongs to line ``n`` of the other. Raises :class:`UserError` if the counts differ."""
    findings = Findings()
    encodings = [_encoding(path, encoding_name, findings, ctx) for path in (source, target)]
    ctx.status("Reading {name}", name=f"{source.name}, {target.name}")
    meter = ctx.meter(source.stat().st_size + target.stat().st_size, "B")
    counts = [0, 0]
    with TextFile(source) as first, TextFile(target) as second:
        sides = [
            _each_line(read_lines(file, encoding, lambda done: ctx.check()))
            for file, encoding in zip((first, second), encodings, strict=True)
        ]
        pairs = itertools.zip_longest(*sides)
        while block := list(itertools.islice(pairs, 4096)):
            columns = [[line for line in side if line is not None] for side in zip(*block, strict=True)]
            ready = min(map(len, columns))
            line = counts[0] + 1
            writer.add({"source": columns[0][:ready], "target": columns[1][:ready]}, line)
            counts = [counts[side] + len(columns[side]) for side in (0, 1)]
            meter.update(first.position + second.position)
    if counts[0] != counts[1]:
        raise UserError(
            "{source} has {first} lines, but {target} has {second}.",
            "Aligned text needs the same number of lines in both files.",
            source=str(source),
            first=counts[0],
            target=str(target),
            second=counts[1],
        )
    if not writer.rows:
        raise UserError("{path} holds no rows.", "Choose a file with data.", path=str(source))
    problems = [problem.to_dict() for problem in findings.problems()]
    facts: dict[str, Any] = {"format": "parallel", "encoding": encodings[0].name}
    writer.close(ctx, {"facts": facts, "problems": problems})
