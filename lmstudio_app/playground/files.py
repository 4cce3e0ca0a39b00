"""A whole file through a model: a row in, a row out, in the same order, and nothing twice after an interruption.

What is done is kept line by line in ``OUTPUT.part``, each with a fingerprint of the row it was made from. The next run
with the same model and options takes over as many lines as still belong to the rows of the input, and goes on behind
them; at the end the output appears whole.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import io
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.events import RowPredicted
from lmstudio_app.files import atomic_path
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.tokenizer_files import copy_tokenizer
from lmstudio_app.playground.rows import count_rows, read_rows
from lmstudio_app.settings import cache_folder
from lmstudio_app.tasks import Prediction
from lmstudio_app.tasks.streaming import BadRow, Row

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_FORMAT = 1
_SYNC_EVERY = 1.0  # seconds


@dataclass(frozen=True)
class FileRequest:
    """``input``: JSON Lines, or a table as the Data page reads it; ``output``: ``.jsonl``, or ``.csv`` with the inputs.

    ``columns`` names the columns of a table by input of the prediction. ``subject`` tells what is asked beside the
    loaded model (a knowledge base, say): a part that was made with another one is not continued. ``preview``: of how
    many rows :class:`RowPredicted` tells.
    """

    prediction: Prediction
    input: Path
    output: Path
    options: Any
    columns: Mapping[str, str] = field(default_factory=dict)
    subject: str = ""
    preview: int = 0

    def __post_init__(self) -> None:
        if self.output.suffix.lower() == self.input.suffix.lower() and _same(self.input, self.output):
            raise UserError("The output would replace the input.", "Choose another file for the output.")
        if self.output.is_dir():  # told now, not after all the work
            raise UserError("{path} is a folder.", "Name a file for the output.", path=str(self.output))


@dataclass(frozen=True)
class FileReport:
    """``rows`` in the output, of which ``continued`` were there from an earlier run; ``seconds`` of this one.

    ``stopped``: it was stopped before the end, and the output is not there yet.
    """

    output: Path
    rows: int
    continued: int
    seconds: float
    stopped: bool = False


def part_of(output: Path) -> Path:
    """Where what is done is kept until the end: beside the output, if that is a file and no device or pipe."""
    if output.exists() and not output.is_file():
        folder = cache_folder() / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{hashlib.sha256(str(output).encode()).hexdigest()[:12]}.part"
    return output.with_name(output.name + ".part")


def predict_file(request: FileRequest, loaded: LoadedModel | None, ctx: JobContext) -> FileReport:
    """The job. A stop and a cancel keep what is done so far, and so does being killed.

    Raises :class:`UserError` for a row that is none (naming the line) and what the prediction raises; what was done
    before is kept then, too.
    """
    start = time.perf_counter()
    total = count_rows(request.input, ctx)
    if loaded is not None:  # tokenizers are not safe to share between threads
        loaded = dataclasses.replace(loaded, tokenizer=copy_tokenizer(loaded.tokenizer))
    meter = ctx.meter(total, "rows")
    part = part_of(request.output)
    with _alone(part), _Journal(part, _identity(request, loaded)) as journal:
        source = read_rows(request.input, request.prediction, request.columns, ctx)
        first = journal.take_over(source, request, ctx)
        if first:
            ctx.status("{count} rows are done already", count=first)
        meter.update(first)
        pending: list[Row] = []  # read ahead by the prediction
        rows = read_rows(request.input, request.prediction, request.columns, ctx, first=first)
        try:
            for output in request.prediction.predict(loaded, _noted(rows, pending), ctx, request.options):  # type: ignore[arg-type]
                row = pending.pop(0)
                journal.add(row, output.to_row())
                if journal.rows <= request.preview:
                    ctx.emit(RowPredicted(number=journal.rows - 1, inputs=dict(row), output=output.to_row()))
                meter.update(journal.rows)
        except BadRow as error:
            raise _with_line(error, request.input) from error
        if ctx.stopping and journal.rows < total:
            return FileReport(request.output, journal.rows, first, time.perf_counter() - start, stopped=True)
        journal.finish(request, ctx)
    return FileReport(request.output, journal.rows, first, time.perf_counter() - start)


def _noted(rows: Iterable[Row], pending: list[Row]) -> Iterator[Row]:
    for row in rows:
        pending.append(row)
        yield row


def _with_line(error: BadRow, path: Path) -> UserError:
    if not isinstance(error.row, Row):
        return error
    return UserError(
        "Line {number} of {path}: {sentence}", "{advice}",
        number=error.row.line, path=str(path), sentence=error.message, advice=error.remedy,
    )  # fmt: skip


def _identity(request: FileRequest, loaded: LoadedModel | None) -> str:
    """Changes with everything that the outputs depend on, but for the rows and how many go through at once."""
    weights: list[Any] = []
    if loaded is not None:
        files = sorted(loaded.folder.glob("*.safetensors"))
        states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        weights = [loaded.reference, str(loaded.dtype), *states]
    options = dataclasses.asdict(request.options)
    options.pop("batch_size", None)
    return json.dumps(
        [_FORMAT, request.prediction.name, weights, options, dict(request.columns), request.subject], sort_keys=True
    )


def _same(first: Path, second: Path) -> bool:
    return first.expanduser().resolve() == second.expanduser().resolve()


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    part.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(part.with_name(f".{part.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            "Another window or command writes to {path}.", "Wait for it, or choose another output.",
            path=str(part).removesuffix(".part"),
        ) from None  # fmt: skip
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)


class _Journal:
    """``OUTPUT.part``: a line with the identity, then a line a row: ``{"row": fingerprint, "output": …}``."""

    def __init__(self, path: Path, identity: str) -> None:
        self._path = path
        self._identity = identity
        self._file: io.BufferedRandom | None = None
        self._synced = time.monotonic()
        self.rows = 0

    def __enter__(self) -> _Journal:
        self._file = self._path.open("r+b" if self._path.is_file() else "w+b")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            if not self.rows:
                self._path.unlink()

    @property
    def file(self) -> io.BufferedRandom:
        assert self._file is not None
        return self._file

    def take_over(self, rows: Iterator[Row], request: FileRequest, ctx: JobContext) -> int:
        """How many of the rows are done; what comes behind them in the file is cut off."""
        self.file.seek(0)
        header = self.file.readline()
        if header != self._header():
            self.file.seek(0)
            self.file.truncate()
            self.file.write(self._header())
            return 0
        end = self.file.tell()
        for row, line in zip(rows, self.file, strict=False):
            ctx.check()
            done = _parsed(line)
            if done is None or done["row"] != _fingerprint(row):
                break
            end += len(line)
            if self.rows < request.preview:
                ctx.emit(RowPredicted(number=self.rows, inputs=dict(row), output=done["output"]))
            self.rows += 1
        self.file.seek(end)
        self.file.truncate()
        return self.rows

    def add(self, row: Row, output: Mapping[str, Any]) -> None:
        line = json.dumps({"row": _fingerprint(row), "output": output}, ensure_ascii=False)
        self.file.write(line.encode("utf-8", "replace") + b"\n")
        self.file.flush()
        self.rows += 1
        if time.monotonic() - self._synced > _SYNC_EVERY:
            os.fsync(self.file.fileno())
            self._synced = time.monotonic()

    def finish(self, request: FileRequest, ctx: JobContext) -> None:
        """Write the output of the lines, whole or not at all, and forget them."""
        if request.output.suffix.lower() == ".csv":
            self._write_table(request, ctx)
        else:
            with atomic_path(request.output) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
                for output in self._outputs():
                    file.write(json.dumps(output, ensure_ascii=False) + "\n")
        self.file.close()
        self._file = None
        self._path.unlink()

    def _write_table(self, request: FileRequest, ctx: JobContext) -> None:
        # a spreadsheet takes a CSV without the mark for its own encoding
        with atomic_path(request.output) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            names: list[str] | None = None
            rows = read_rows(request.input, request.prediction, request.columns, ctx)
            for row, output in zip(rows, self._outputs(), strict=False):
                cells = {**row, **{_free(name, row): value for name, value in flat(output).items()}}
                if names is None:
                    names = list(cells)
                    writer.writerow(names)
                writer.writerow([_cell(cells.get(name)) for name in names])

    def _outputs(self) -> Iterator[dict[str, Any]]:
        self.file.seek(len(self._header()))
        for line in itertools.islice(self.file, self.rows):
            yield json.loads(line)["output"]

    def _header(self) -> bytes:
        return json.dumps({"identity": self._identity}).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A line of the journal; None for one that a killed process left half."""
    if not line.endswith(b"\n"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and {"row", "output"} <= value.keys() else None


def _fingerprint(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def flat(output: Mapping[str, Any]) -> dict[str, Any]:
    """An output for a table: what is one level down (probabilities by label) gets columns of its own."""
    cells: dict[str, Any] = {}
    for name, value in output.items():
        if isinstance(value, Mapping):
            cells.update({f"{name}_{key}": item for key, item in value.items()})
        else:
            cells[name] = value
    return cells


def _free(name: str, row: Mapping[str, Any]) -> str:
    """A text of the model must not overwrite the text that it was asked about."""
    return f"output_{name}" if name in row else name


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
