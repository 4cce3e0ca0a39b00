"""From a file to its text, and what begins where in it: headings, pages, rows."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.data.delimited import find_dialect
from lmstudio_app.data.text_files import decode_sample, detect_encoding, read_sample, read_text
from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.extraction import Extractor

KINDS = {
    ".txt": "text", ".text": "text", ".md": "markdown", ".markdown": "markdown", ".csv": "table", ".tsv": "table",
    ".html": "html", ".htm": "html", ".xhtml": "html", ".pdf": "pdf", ".docx": "docx",
}  # fmt: skip
PATTERNS = tuple(f"*{suffix}" for suffix in KINDS)
LARGEST_FILE = 200_000_000  # bytes
LARGEST_TEXT = 100_000_000  # characters
HEADING_SEPARATOR = " › "
_ATX_HEADING = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")
_LONGEST_HEADING = 300


@dataclass(frozen=True)
class Mark:
    """From ``start`` on (a character of the text) another heading or page holds.

    No passage goes on across a mark that ``breaks``; a sentence may go on from one page to the next.
    """

    start: int
    heading: str = ""
    page: int | None = None
    breaks: bool = True


@dataclass(frozen=True)
class Document:
    """The text of a file. Of plain text, Markdown and tables with one value a row it is the file's own.

    Places are characters of ``text``. ``notes`` are what a person should know of the reading, a template and its
    parameters each.
    """

    text: str
    marks: tuple[Mark, ...] = ()
    notes: tuple[tuple[str, dict[str, object]], ...] = ()


def find_files(sources: Iterable[Path], ctx: JobContext) -> Iterator[Path]:
    """The files of all sources that can be read, each once; of folders and the folders in them in alphabetical order.

    Hidden files and folders are left out.
    """
    seen: set[Path] = set()
    for source in sources:
        for path in _files_in(source, ctx) if source.is_dir() else (source,):
            ctx.check()
            if path not in seen:
                seen.add(path)
                yield path


def _files_in(folder: Path, ctx: JobContext) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        ctx.check()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            # "~$" is what Word leaves beside an open file
            if not name.startswith((".", "~$")) and path.suffix.lower() in KINDS and path.is_file():
                yield path


def read_document(path: Path, extractor: Extractor, ctx: JobContext) -> Document:
    """The text of a file. Raises :class:`UserError` when there is none, in one sentence that names the file."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise UserError(
            "{path} is of a kind that cannot be read.", "Choose one of: {kinds}.",
            path=str(path), kinds=", ".join(KINDS),
        )  # fmt: skip
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise UserError(
            "{path} is larger than {limit}.", "Split it into smaller files.",
            path=str(path), limit=format_bytes(LARGEST_FILE),
        )  # fmt: skip
    if kind in ("pdf", "docx", "html"):
        document = _read_blocks(path, kind, extractor, ctx)
    else:
        text = _read_characters(path, ctx)
        document = _markdown(text) if kind == "markdown" else Document(text)
        document = _table(path, text, ctx) if kind == "table" else document
    if not document.text.strip():
        remedy = "It may be a scan: run it through text recognition (OCR) first." if kind == "pdf" else "Leave it out."
        raise UserError("{path} has no text.", remedy, path=str(path))
    return document


def _read_characters(path: Path, ctx: JobContext) -> str:
    """As Python reads a text: without a byte order mark, and every line ends in a line feed."""
    encoding = detect_encoding(path, ctx)
    text = read_text(path, encoding, lambda _: ctx.check())
    _check_size(path, len(text))
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _check_size(path: Path, characters: int) -> None:
    if characters > LARGEST_TEXT:
        raise UserError(
            "{path} has more than {limit} million characters.", "Split it into smaller files.",
            path=str(path), limit=LARGEST_TEXT // 1_000_000,
        )  # fmt: skip


def _markdown(text: str) -> Document:
    """The text as it is, with a mark at each heading that names those above it too."""
    marks, at, fence = [], 0, ""
    above: list[tuple[int, str]] = []
    for line in text.split("\n"):
        if found := _FENCE.match(line):
            fence = "" if fence == found[1] else fence or found[1]
        elif not fence and (found := _ATX_HEADING.match(line)) and found[2]:
            marks.append(Mark(at, _nest(above, len(found[1]), found[2])))
        at += len(line) + 1
    return Document(text, tuple(marks))


def _nest(above: list[tuple[int, str]], level: int, heading: str) -> str:
    """The heading behind those above it; ``above`` is brought up to date."""
    while above and above[-1][0] >= level:
        above.pop()
    above.append((level, heading[:_LONGEST_HEADING]))
    return HEADING_SEPARATOR.join(dict.fromkeys(name for _, name in above))


def _table(path: Path, text: str, ctx: JobContext) -> Document:
    """A passage a row: ``column: value`` a line, or the value alone where there is but one column."""
    encoding = detect_encoding(path, ctx)
    sample = [line for line in decode_sample(read_sample(path), encoding) if line.strip()]
    if not sample:
        return Document("")
    dialect = find_dialect(sample, "\t" if path.suffix.lower() == ".tsv" else ",")
    rows: Iterable[list[str]]
    if not dialect.delimiter:
        rows = ([line] for line in text.split("\n"))
    else:
        csv.field_size_limit(LARGEST_TEXT)
        rows = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=dialect.delimiter,
            quoting=csv.QUOTE_MINIMAL if dialect.quoting else csv.QUOTE_NONE,
        )
    parts, marks, at = [], [], 0
    try:
        for number, row in enumerate(rows):
            if number % 1000 == 0:
                ctx.check()
            if (number == 0 and dialect.header) or not any(value.strip() for value in row):
                continue
            part = _row_text(dialect.columns, row)
            marks.append(Mark(at))
            parts.append(part)
            at += len(part) + 2
    except csv.Error as error:
        raise UserError(
            "{path} is no table ({reason}).", "Check its delimiters and quotation marks.",
            path=str(path), reason=str(error),
        ) from error  # fmt: skip
    return Document("\n\n".join(parts), tuple(marks))


def _row_text(columns: Sequence[str], row: Sequence[str]) -> str:
    if len(columns) == 1 and len(row) == 1:
        return row[0].strip()
    names = [*columns, *("" for _ in range(len(row) - len(columns)))]
    pairs = [(name, " ".join(value.split())) for name, value in zip(names, row, strict=False)]
    return "\n".join(f"{name}: {value}" if name else value for name, value in pairs if value)


def _read_blocks(path: Path, kind: str, extractor: Extractor, ctx: JobContext) -> Document:
    """What the extractor says, put together with empty lines between the blocks."""
    parts: list[str] = []
    marks: list[Mark] = []
    above: list[tuple[int, str]] = []
    damaged: list[int] = []
    at = without_text = pages = 0
    for block in extractor.blocks(path, kind, ctx):
        text, page = block["text"], block.get("page")
        if page is not None:
            pages += 1
            without_text += not text.strip()
            damaged += [page] if "problem" in block else []
        if not text.strip():
            continue
        if level := block.get("level"):
            marks.append(Mark(at, _nest(above, level, text)))
        elif page is not None:
            marks.append(Mark(at, page=page, breaks=False))
        if block.get("title"):  # of a web page: it is no part of its text
            continue
        parts.append(text)
        at += len(text) + 2
        _check_size(path, at)
    notes: list[tuple[str, dict[str, object]]] = []
    name = str(path)
    if damaged:
        shown = ", ".join(map(str, damaged[:5])) + (" …" if len(damaged) > 5 else "")
        notes.append(("Pages of {path} that are damaged and left out: {pages}.", {"path": name, "pages": shown}))
    if parts and without_text > len(damaged):
        count = without_text - len(damaged)
        notes.append(("{count} of the {pages} pages of {path} have no text.",
                      {"count": count, "pages": pages, "path": name}))  # fmt: skip
    return Document("\n\n".join(parts), tuple(marks), tuple(notes))
