"""Opening data: a file in any of the usual formats becomes a memory-mapped Arrow table with a list of its problems.

A file is read once, row by row with its line numbers, into the app's cache; the second time it opens at once.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.data import arrow_tables, readers
from lmstudio_app.data.catalog import bundled_data_sets
from lmstudio_app.data.problems import Problem
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from datasets import Dataset

    Integers = npt.NDArray[np.int64]

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "txt")
_SUFFIXES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
    ".parquet": "parquet", ".pq": "parquet", ".txt": "txt",
}  # fmt: skip
FILE_PATTERNS = tuple(f"*{suffix}{packed}" for suffix in _SUFFIXES for packed in ("", ".gz"))
_MAGIC = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"%PDF": "a PDF document",
    b"\x80\x04\x95": "a Python pickle",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
}
DataSource = str | Path | Sequence[Any] | Mapping[str, Any]


def _is_option(key: str, value: Any) -> bool:
    if key == "names" and isinstance(value, list | tuple):
        return all(isinstance(name, str) for name in value)
    return value is None or (key != "names" and isinstance(value, bool if key == "header" else str))


@dataclass(frozen=True)
class ReadOptions:
    """How a file is read; None means: find out.

    ``format`` is one of :data:`FORMATS`; ``quoting`` is ``"double"`` or ``"none"``; ``names`` are column names for a
    file without a header.
    """

    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    quoting: str | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise UserError(
                "There is no data format {name}.", "Choose one of: {names}.", name=self.format, names=", ".join(FORMATS)
            )
        if self.quoting not in (None, "double", "none"):
            raise UserError("Quoting cannot be {value}.", "Choose double or none.", value=self.quoting)
        if self.delimiter is not None and len(self.delimiter) > 1:
            named = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "none": ""}
            if self.delimiter not in named:
                raise UserError(
                    "The delimiter {value} has more than one character.",
                    "Choose one character, or tab, comma, semicolon, pipe or none.",
                    value=self.delimiter,
                )
            object.__setattr__(self, "delimiter", named[self.delimiter])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ReadOptions:
        """Raises :class:`UserError` for an unknown key, naming the nearest."""
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
                raise UserError("There is no reading option {key}.", "Did you mean {near}?", key=key, near=near)
            if not _is_option(key, values[key]):
                remedy = {"header": "Write true or false.", "names": "Write a list of column names."}
                raise UserError(
                    "The reading option {key} cannot be {value}.",
                    remedy.get(key, "Write a text, in quotation marks if it is a number."),
                    key=key,
                    value=str(values[key]),
                )
        return cls(**{**values, "names": tuple(values.get("names") or ())})

    def to_dict(self) -> dict[str, Any]:
        """Only what differs from "find out"."""
        chosen = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in chosen.items()
            if value is not None and value != ()
        }

    def with_fix(self, fix: str) -> ReadOptions:
        """The options after one of a problem's fixes, such as ``"encoding=gb18030"`` or ``"header=false"``."""
        name, _, value = fix.partition("=")
        if name == "header":
            return replace(self, header=value == "true")
        if name not in ("encoding", "delimiter", "quoting", "format"):
            raise ValueError(f"{fix} is no reading option")
        changes: dict[str, Any] = {name: value}
        return replace(self, **changes)


@dataclass(frozen=True)
class FilePart:
    """One file of a table: its rows are ``first … first + rows``."""

    path: Path
    folder: Path  # its cache entry
    first: int
    rows: int

    @cached_property
    def _breaks(self) -> Any:
        import numpy as np

        return np.load(self.folder / arrow_tables.LINES)

    def line(self, index: int) -> int | None:
        import numpy as np

        breaks = self._breaks
        if not len(breaks):
            return None
        at = int(np.searchsorted(breaks[:, 0], index, side="right")) - 1
        return int(breaks[at, 1] + index - breaks[at, 0])

    def row(self, line: int) -> int | None:
        """The row (counted from this file's first) that begins at ``line`` or, if that was set aside, after it."""
        import numpy as np

        breaks = self._breaks
        if not len(breaks) or not self.rows:
            return None
        at = max(0, int(np.searchsorted(breaks[:, 1], line, side="right")) - 1)
        row = int(breaks[at, 0] + max(0, line - breaks[at, 1]))
        end = int(breaks[at + 1, 0]) if at + 1 < len(breaks) else self.rows
        return min(row, end, self.rows - 1)

    @property
    def documents(self) -> Integers | None:
        """The first row of each document, int64 ``[documents]``; None where every row is one."""
        import numpy as np

        path = self.folder / arrow_tables.DOCUMENTS
        return np.load(path) if path.is_file() else None

    @property
    def rejected_file(self) -> Path | None:
        path = self.folder / arrow_tables.REJECTED
        return path if path.is_file() else None


@dataclass(frozen=True)
class Table:
    """``dataset`` is memory-mapped. ``facts`` tells what was found out: encoding, delimiter, header, quoting."""

    source: DataSource
    dataset: Dataset
    problems: tuple[Problem, ...]
    parts: tuple[FilePart, ...]
    rejected: int
    facts: Mapping[str, Any]
    options: ReadOptions

    @property
    def key(self) -> str:
        """Changes when what is read changes."""
        return "+".join(part.folder.name for part in self.parts)

    @property
    def rejected_files(self) -> tuple[Path, ...]:
        return tuple(part.rejected_file for part in self.parts if part.rejected_file)

    def line(self, row: int) -> tuple[Path, int | None]:
        """The file and the 1-based line that row ``row`` comes from (None: the format has no lines)."""
        part = next(part for part in reversed(self.parts) if part.first <= row)
        return part.path, part.line(row - part.first)

    def documents(self) -> Integers:
        """The number of the document that each row belongs to, int64 ``[rows]``, never falling, counted from 0.

        Blank lines separate the documents of a plain text file, and a file begins a new one; in the other formats
        every row is a document.
        """
        import numpy as np

        begins = np.zeros(len(self.dataset), dtype=np.int64)
        for part in self.parts:
            starts = part.documents
            begins[part.first + (np.arange(part.rows) if starts is None else starts)] = 1
        return np.cumsum(begins) - 1

    def rejected_rows(self) -> Iterator[dict[str, Any]]:
        """The rows set aside: ``{"file", "line", "reason", "raw"}``."""
        for part in self.parts:
            if part.rejected_file:
                with part.rejected_file.open(encoding="utf-8") as file:
                    for text in file:
                        yield {"file": str(part.path), **json.loads(text)}


def locate(name: str | Path, base: Path | None = None) -> Path:
    """The file that ``name`` means, relative to ``base`` (a recipe's folder) or the working folder.

    Raises :class:`UserError` for one that does not exist, with the nearest bundled name.
    """
    path = Path(name).expanduser()
    if not path.is_absolute() and base is not None and (base / path).exists():
        path = base / path
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError("{path} is a folder.", "Name the files in it.", path=str(path))
    names = list(bundled_data_sets())
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if near:
        raise UserError("There is no data set or file {name}.", "Did you mean {near}?", name=str(name), near=near[0])
    raise UserError(
        "There is no data set or file {name}.",
        "Check the path, or take a bundled data set: {names}.",
        name=str(name),
        names=", ".join(names),
    )


def find_format(path: Path) -> str:
    """By its suffix (also below .gz), else by its first bytes."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = bool(suffixes) and suffixes[-1] == ".gz"
    suffix = suffixes[-2] if packed and len(suffixes) > 1 else (suffixes[-1] if suffixes else "")
    head = readers.head(path)
    for magic, title in _MAGIC.items():
        if head.startswith(magic):
            raise UserError(
                "{path} is {title}, which holds no plain table.",
                "Export the data as CSV, JSON Lines, Parquet or plain text.",
                path=str(path),
                title=title,
            )
    if head.startswith(b"PAR1"):
        return "parquet"
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"{"):
        return "jsonl" if b"}\n" in head or b"}\r\n" in head else "json"
    if start.startswith(b"["):
        return "json"
    return "csv" if b"," in head.split(b"\n", 1)[0] else "txt"


def read_table(
    source: DataSource, ctx: JobContext, options: ReadOptions | None = None, *, base: Path | None = None
) -> Table:
    """Open a bundled data set, a file, a list of such, or ``{source: FILE, target: FILE}`` (aligned lines).

    Raises :class:`UserError` (one sentence, naming file and line) for what cannot be read at all; what can be read
    around is in ``problems``, and rows that do not fit are set aside, see :meth:`Table.rejected_rows`.
    """
    options = options or ReadOptions()
    if isinstance(source, Mapping):
        return _read_parallel(source, ctx, options, base)
    names = [source] if isinstance(source, str | Path) else source
    if not names:
        raise UserError("No data is named.", "Set data.train to a bundled name or a file.")
    found: list[tuple[Path, ReadOptions]] = []
    for name in names:
        bundled = bundled_data_sets().get(str(name))
        if bundled is not None:
            found += [(path, ReadOptions(**bundled.options)) for path in bundled.files]
        else:
            found.append((locate(name, base), options))
    return _read_files(source, found, ctx)


def _read_files(source: DataSource, files: Sequence[tuple[Path, ReadOptions]], ctx: JobContext) -> Table:
    """Each file is read with the options beside it; the table states those of the first."""
    from datasets import concatenate_datasets

    paths, options = [path for path, _ in files], files[0][1]

    datasets, parts, problems, rejected = [], [], [], 0
    facts: dict[str, Any] = {}
    first = 0
    for path, wanted in files:
        folder = _import(path, ctx, wanted)
        meta = json.loads((folder / arrow_tables.META).read_text(encoding="utf-8"))
        dataset = arrow_tables.open_table(folder)
        datasets.append(dataset)
        parts.append(FilePart(path, folder, first, len(dataset)))
        first += len(dataset)
        rejected += meta["rejected"]
        facts = facts or meta["facts"]
        for values in meta["problems"]:
            problem = Problem.from_dict(values)
            problems.append(problem if len(paths) == 1 else in_file(problem, path))
    _check_same_columns(datasets, paths)
    types = {name: {str(data.features[name].dtype) for data in datasets} for name in datasets[0].column_names}
    mixed = {name: kinds for name, kinds in types.items() if len(kinds) > 1}
    if mixed:
        datasets = [_unified(data, mixed) for data in datasets]
    whole = datasets[0] if len(datasets) == 1 else concatenate_datasets(datasets)
    return Table(source, whole, tuple(problems), tuple(parts), rejected, facts, options)


def in_file(problem: Problem, path: Path) -> Problem:
    """The same problem, told with the name of its file."""
    parameters = {**problem.parameters, "file": path.name}
    return replace(problem, template="{file}: " + problem.template, parameters=parameters)


def _check_same_columns(datasets: Sequence[Dataset], paths: Sequence[Path]) -> None:
    for dataset, path in zip(datasets[1:], paths[1:], strict=True):
        if set(dataset.column_names) != set(datasets[0].column_names):
            raise UserError(
                "{path} has the columns {columns}, but {first} has {wanted}.",
                "Files of one data set need the same columns.",
                path=str(path),
                columns=", ".join(dataset.column_names),
                first=str(paths[0]),
                wanted=", ".join(datasets[0].column_names),
            )


def _unified(dataset: Dataset, mixed: Mapping[str, set[str]]) -> Dataset:
    """The same rows with common types. Only the columns named in ``mixed`` are copied into memory."""
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    table = dataset.data.table.replace_schema_metadata(None)
    for name, kinds in mixed.items():
        kind = pa.float64() if kinds <= {"int64", "float64"} else pa.string()
        table = table.set_column(table.schema.get_field_index(name), name, table.column(name).cast(kind))
    return Dataset(InMemoryTable(table))


def _read_parallel(source: Mapping[str, Any], ctx: JobContext, options: ReadOptions, base: Path | None) -> Table:
    if set(source) != {"source", "target"}:
        raise UserError(
            "Parallel text needs the keys source and target, not {keys}.",
            "Write data.train: {{source: FILE, target: FILE}}.",
            keys=", ".join(map(str, source)) or "none",
        )
    paths = [locate(source[side], base) for side in ("source", "target")]
    key = {
        "files": [arrow_tables.file_key(path) for path in paths],
        "options": options.to_dict(),
        "parallel": True,
    }
    folder = arrow_tables.entry_folder(key)
    if not arrow_tables.is_complete(folder):
        with arrow_tables.new_entry(folder, infer=False) as writer:
            readers.import_parallel(paths[0], paths[1], options.encoding, writer, ctx)
    meta = json.loads((folder / arrow_tables.META).read_text(encoding="utf-8"))
    dataset = arrow_tables.open_table(folder)
    part = FilePart(paths[0], folder, 0, len(dataset))
    problems = tuple(Problem.from_dict(values) for values in meta["problems"])
    return Table(source, dataset, problems, (part,), meta["rejected"], meta["facts"], options)


def _import(path: Path, ctx: JobContext, options: ReadOptions) -> Path:
    """The cache entry of a file, made if there is none."""
    folder = arrow_tables.entry_folder({**arrow_tables.file_key(path), "options": asdict(options)})
    if arrow_tables.is_complete(folder):
        return folder
    if path.stat().st_size == 0:
        raise UserError("{path} is empty.", "Choose a file with data.", path=str(path))
    ctx.status("Reading {name}", name=path.name)
    kind = options.format or find_format(path)
    with arrow_tables.new_entry(folder, infer=kind in ("csv", "tsv", "txt")) as writer:
        readers.import_file(path, kind, options.to_dict(), writer, ctx)
    return folder
