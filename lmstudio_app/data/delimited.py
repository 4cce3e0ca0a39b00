"""CSV, TSV and their relatives: the dialect is found out, every row keeps its line number, odd rows are set aside."""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lmstudio_app.data.problems import Findings

DELIMITERS = (",", "\t", ";", "|")
_SAMPLE_LINES = 500
_ATTEMPTS = 20
_LONGEST_QUOTED = 10_000  # lines a quoted field may span before its quotation mark counts as a stray one
_HEADER_WORDS = {
    "text", "label", "sentence", "review", "content", "source", "target", "id", "idx", "index", "class", "category",
    "sentiment", "score", "rating", "title", "question", "answer", "context", "summary", "document", "comment",
    "body", "message", "tweet", "stars", "target_text", "source_text", "en", "zh", "premise", "hypothesis",
}  # fmt: skip
_NUMBER = re.compile(r"-?\d+([.,]\d+)?$")


@dataclass(frozen=True)
class Dialect:
    """``delimiter`` "" means that a line is one field. ``quoting``: quotation marks enclose fields."""

    delimiter: str
    quoting: bool
    header: bool
    columns: tuple[str, ...]
    other_delimiter: str | None = None  # what else would give a consistent table

    @property
    def width(self) -> int:
        return len(self.columns)


def split_literal(line: str, delimiter: str) -> list[str]:
    return line.split(delimiter) if delimiter else [line]


def _strict(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Parse lines as RFC 4180 says; raises ``csv.Error`` for anything else."""
    return list(csv.reader([line + "\n" for line in lines], delimiter=delimiter, strict=True))


def _is_open(error: csv.Error) -> bool:
    return "unexpected end of data" in str(error)


class DelimitedParser:
    """Turns numbered lines into rows of ``width`` fields.

    Whole blocks go through the C parser; only a block with something odd is looked at line by line. Quoted fields may
    span lines. A quotation mark that opens a field and is never properly closed is stray: its line is taken
    literally, so that it does not swallow the rows after it.
    """

    def __init__(self, delimiter: str, quoting: bool, width: int | None, findings: Findings) -> None:
        csv.field_size_limit(sys.maxsize if sys.maxsize < 2**31 else 2**31 - 1)
        self._delimiter = delimiter
        self._quoting = quoting and bool(delimiter)
        self.width = width
        self._findings = findings
        self._pending: list[tuple[int, str]] = []

    def feed(self, first: int, lines: Sequence[str], *, last: bool = False) -> Iterator[tuple[int, list[str], str]]:
        """Yield (line, fields, raw text) of the rows that are complete now; the caller checks their width."""
        items = [*self._pending, *enumerate(lines, first)]
        self._pending = []
        at = 0
        while at < len(items):
            number, line = items[at]
            if not line.strip(" \r"):
                at += 1
                continue
            used, row = self._row(items, at, last)
            if row is None:
                self._pending = items[at:]
                return
            yield number, row, "\n".join(text for _, text in items[at : at + used])
            at += used

    def block(self, lines: Sequence[str]) -> list[list[str]] | None:
        """The rows of a block in which every line is one row of the right width, else None."""
        if self._pending or self.width is None:
            return None
        if not self._quoting:
            rows = [split_literal(line, self._delimiter) for line in lines]
        else:
            try:
                rows = list(csv.reader(lines, delimiter=self._delimiter, strict=True))
            except csv.Error:
                return None
            if len(rows) != len(lines):
                return None
        if any(len(row) != self.width for row in rows) or (self.width == 1 and [""] in rows):
            return None
        return rows

    def _row(self, items: Sequence[tuple[int, str]], at: int, last: bool) -> tuple[int, list[str] | None]:
        number, line = items[at]
        literal = split_literal(line, self._delimiter)
        if not self._quoting or '"' not in line:
            return 1, literal
        try:
            return 1, _strict([line], self._delimiter)[0]
        except csv.Error as error:
            if not _is_open(error):
                return 1, self._malformed(number, line, literal)
        gathered = [line]
        attempts = 0
        for _, following in items[at + 1 : at + _LONGEST_QUOTED]:
            gathered.append(following)
            marks = following.count('"')
            if not marks or (marks % 2 == 0 and attempts >= _ATTEMPTS):
                continue  # an even number leaves the field open, but for rare literal marks
            attempts += 1
            try:
                rows = _strict(gathered, self._delimiter)
            except csv.Error as error:
                if _is_open(error):
                    continue
                return 1, self._stray(number, literal)
            if len(rows) == 1 and self._is_one_row(rows[0], gathered):
                rows[0] = [field.replace("\r\n", "\n") for field in rows[0]]
                return len(gathered), rows[0]
            return 1, self._stray(number, literal)
        if not last and len(gathered) < _LONGEST_QUOTED:
            return 0, None
        return 1, self._stray(number, literal)

    def _is_one_row(self, row: Sequence[str], lines: Sequence[str]) -> bool:
        if self.width is not None and len(row) != self.width:
            return False
        swallowed = lines[1:-1]
        if self.width is None or self.width < 2 or len(swallowed) < 2:
            return True
        return not all(len(split_literal(line, self._delimiter)) == self.width for line in swallowed)

    def _stray(self, number: int, literal: list[str]) -> list[str]:
        self._findings.add(
            "stray_quote",
            "Quotation marks that are never closed, taken literally: {count} (line {rows}).",
            row=number,
            fix="quoting=none",
        )
        return literal

    def _malformed(self, number: int, line: str, literal: list[str]) -> list[str]:
        """Text after a closing quotation mark: keep the marks if the line fits without quoting, else be lenient."""
        if self.width is not None and len(literal) != self.width:
            lenient = next(csv.reader([line], delimiter=self._delimiter))
            if len(lenient) == self.width:
                return lenient
        self._findings.add(
            "inner_quote",
            "Quotation marks inside fields, taken literally: {count} (line {rows}).",
            row=number,
            fix="quoting=none",
            severity="info",
        )
        return literal


def _coverage(lines: Sequence[str], delimiter: str, quoting: bool, whole: bool) -> tuple[float, int]:
    """Share of the lines that lie in rows of the most common width, and that width.

    A row that the end of a cut sample (not ``whole``) leaves open does not count.
    """
    parser = DelimitedParser(delimiter, quoting, None, Findings())
    widths: Counter[int] = Counter()
    for _, row, raw in parser.feed(1, lines, last=whole):
        widths[len(row)] += raw.count("\n") + 1
    if not widths:
        return 0.0, 0
    width, covered = max(widths.items(), key=lambda item: (item[1], item[0]))
    return covered / sum(widths.values()), width


def _find_delimiter(lines: Sequence[str], default: str, whole: bool) -> str:
    """The delimiter that gives the most consistent table; "" when a line is one field."""
    scores: dict[str, float] = {}
    quotings = (True, False) if any('"' in line for line in lines) else (False,)
    for delimiter in DELIMITERS:
        share, width = max(_coverage(lines, delimiter, quoting, whole) for quoting in quotings)
        if width >= 2:
            scores[delimiter] = share + (0.05 if delimiter == default else 0.0)
    if not scores:
        return ""
    best = max(scores, key=lambda delimiter: scores[delimiter])
    if scores[best] < 0.95 and best not in lines[0]:
        return ""  # prose with commas below a header of one name
    if scores[best] < 0.6 and default in scores:
        return default
    return best


def _tab_quoting(lines: Sequence[str]) -> bool:
    """Tab-separated files quote by exception: only if every line parses strictly and something needed quoting."""
    if not any('"' in line for line in lines):
        return False
    try:
        rows = _strict(lines, "\t")
    except csv.Error:
        return False
    if len({len(row) for row in rows if row}) != 1:
        return False
    needed = any("\t" in field or "\n" in field or '"' in field for row in rows for field in row)
    quoted = sum(line.startswith('"') for line in lines)
    return needed or quoted > 0.9 * len(lines)


def _is_quoted_column(lines: Sequence[str], delimiter: str) -> bool:
    """One column whose fields are in quotation marks, as spreadsheets write texts with commas in them?"""
    quoted = [line.strip() for line in lines if '"' in line]
    if not quoted or not delimiter:
        return False
    whole = [line for line in quoted if len(line) > 1 and line[0] == line[-1] == '"']
    rows = csv.reader(whole, delimiter=delimiter)
    return len(whole) > 0.9 * len(quoted) and all(len(row) == 1 for row in rows)


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    first, body = [field.strip() for field in rows[0]], rows[1:200]
    if any(_NUMBER.match(field) for field in first):
        return False
    if any(field.lower().replace(" ", "_") in _HEADER_WORDS for field in first):
        return True
    if not body or not all(first) or len(set(first)) != len(first):
        return False
    for column, name in enumerate(first):
        values = [row[column].strip() for row in body if column < len(row)]
        if values and all(_NUMBER.match(value) for value in values):
            return True
        if name in values and len(set(values)) <= max(2, len(values) // 2):
            return False  # a label of the first row that comes again
    names = all(len(name) <= 40 and len(name.split()) <= 4 and not re.search(r"[.!?。！？]$", name) for name in first)
    return names and _mean_length(body) > 2 * _mean_length([first])


def _mean_length(rows: Sequence[Sequence[str]]) -> float:
    lengths = [len(field) for row in rows for field in row]
    return sum(lengths) / max(1, len(lengths))


def column_names(header: Sequence[str]) -> tuple[str, ...]:
    """Names that are all there and all different."""
    names: list[str] = []
    for position, field in enumerate(header, 1):
        name = field.strip() or f"column {position}"
        base, again = name, 2
        while name in names:
            name, again = f"{base} ({again})", again + 1
        names.append(name)
    return tuple(names)


def find_dialect(
    lines: Sequence[str],
    default: str,
    *,
    delimiter: str | None = None,
    quoting: bool | None = None,
    header: bool | None = None,
    names: Sequence[str] = (),
    whole: bool = True,
) -> Dialect:
    """The dialect of the sample ``lines``; what is given is not guessed. ``default`` is the usual delimiter.

    ``lines`` must hold at least one that is not blank; they are the ``whole`` file or its beginning.
    """
    sample = [line for line in lines if line.strip()]
    whole = whole and len(sample) <= _SAMPLE_LINES
    sample = sample[:_SAMPLE_LINES]
    found = _find_delimiter(sample, default, whole)
    if not found and delimiter is None and quoting is None and _is_quoted_column(sample, default):
        found, quoting = default, True
    chosen = found if delimiter is None else delimiter
    if quoting is None:
        if chosen == "\t":
            quoting = _tab_quoting(sample)
        else:
            quoting = _coverage(sample, chosen, True, whole)[0] >= _coverage(sample, chosen, False, whole)[0] - 0.1
    parser = DelimitedParser(chosen, quoting, None, Findings())
    rows = [row for _, row, _ in parser.feed(1, sample, last=whole)] or [split_literal(sample[0], chosen)]
    if header is None:
        header = not names and _is_header(rows)
    if header:
        columns = column_names(rows[0])
    else:
        _, width = _coverage(sample, chosen, quoting, whole)
        columns = column_names([""] * max(width, len(names)))
    if names:
        columns = column_names([*names, *([""] * (len(columns) - len(names)))])
    other = found if found not in ("", chosen) and len(columns) == 1 else None
    return Dialect(chosen, quoting, header, columns, other)
