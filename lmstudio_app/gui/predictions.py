"""The jobs behind the Sentiment page: one text, a whole file, and what comes of it written to a file."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_path
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmstudio_app.models.loading import LoadedModel
    from lmstudio_app.tasks.outputs import Label

BATCH_SIZE = 32
READ_AHEAD = 512  # rows of a file in memory at once
EXPORTS = (".csv", ".jsonl")
CLASSIFIERS = ("sentiment", "classification")  # tasks whose models choose a label


@dataclass(frozen=True, eq=False)
class TextQuestion:
    loaded: LoadedModel
    text: str


def judge_text(question: TextQuestion, ctx: JobContext) -> tuple[Label, float]:
    """The label of one text, and the seconds it took."""
    from lmstudio_app.tasks.sentiment import JUDGE

    start = time.perf_counter()
    label = next(iter(JUDGE.predict(question.loaded, [{"text": question.text}], ctx, JUDGE.options())))
    return label, time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class TextFile:
    """A file that was read: its columns, and the one that most likely holds the texts."""

    path: Path
    dataset: Any  # datasets.Dataset, memory-mapped
    columns: tuple[str, ...]
    text_column: str
    problems: int


def read_text_file(path: Path, ctx: JobContext) -> TextFile:
    from lmstudio_app.data.columns import guess_columns
    from lmstudio_app.data.sources import read_table
    from lmstudio_app.tasks.sentiment import JUDGE

    table = read_table(str(path), ctx)
    columns = tuple(table.dataset.column_names)
    guess = guess_columns(table.dataset, JUDGE.inputs).get("text", columns[0])
    return TextFile(path, table.dataset, columns, guess, table.rejected)


@dataclass(frozen=True, eq=False)
class FileQuestion:
    loaded: LoadedModel
    file: TextFile
    column: str


@dataclass(frozen=True, eq=False)
class Predictions:
    """``best`` is the class number of each row, ``scores`` float32 ``[rows, classes]``; ``seconds`` in all."""

    file: TextFile
    column: str
    labels: tuple[str, ...]
    best: npt.NDArray[np.intp]
    scores: npt.NDArray[np.float32]
    seconds: float

    def __len__(self) -> int:
        return len(self.best)

    def text(self, row: int) -> str:
        return _as_text(self.file.dataset[row][self.column])

    def label(self, row: int) -> str:
        return self.labels[self.best[row]]

    def confidence(self, row: int) -> float:
        """The probability of the row's label."""
        return float(self.scores[row, self.best[row]])

    def counts(self) -> dict[str, int]:
        """Rows by label, in the model's order."""
        import numpy as np

        counted = np.bincount(self.best, minlength=len(self.labels))
        return {label: int(count) for label, count in zip(self.labels, counted, strict=True)}


def judge_file(question: FileQuestion, ctx: JobContext) -> Predictions:
    """Label every row of a file, with progress. It has a tokenizer of its own: they are not safe to share."""
    import numpy as np

    from lmstudio_app.tasks.sentiment import JUDGE

    loaded = dataclasses.replace(question.loaded, tokenizer=copy.deepcopy(question.loaded.tokenizer))
    rows = len(question.file.dataset)
    labels = loaded.labels
    scores = np.zeros((rows, len(labels)), dtype=np.float32)
    start = time.perf_counter()
    meter = ctx.meter(rows, "rows")
    meter.update(0)
    texts = _texts(question.file, question.column)
    answers = JUDGE.predict(loaded, ({"text": text} for text in texts), ctx, JUDGE.options(batch_size=BATCH_SIZE))
    for row, label in enumerate(answers):
        scores[row] = [label.scores[name] for name in labels]
        meter.update(row + 1)
    best = scores.argmax(axis=1)
    return Predictions(question.file, question.column, labels, best, scores, time.perf_counter() - start)


def _texts(file: TextFile, column: str) -> Iterator[str]:
    for batch in file.dataset.select_columns([column]).iter(READ_AHEAD):
        yield from (_as_text(value) for value in batch[column])


def _as_text(value: Any) -> str:
    return "" if value is None else str(value)


@dataclass(frozen=True, eq=False)
class ExportRequest:
    predictions: Predictions
    path: Path


def export_predictions(request: ExportRequest, ctx: JobContext) -> Path:
    """Write text, label and probabilities, whole or not at all: as CSV (for spreadsheets) or as JSON Lines."""
    predictions, path = request.predictions, request.path
    suffix = path.suffix.lower()
    if suffix not in EXPORTS:
        raise UserError(
            "A file that ends in {suffix} cannot be written.",
            "Choose a name that ends in .csv or .jsonl.",
            suffix=suffix or path.name,
        )
    rows = enumerate(_texts(predictions.file, predictions.column))
    tracked = ctx.track(rows, len(predictions), "rows")
    # spreadsheets take a CSV without the mark for their own encoding
    encoding = "utf-8-sig" if suffix == ".csv" else "utf-8"
    with atomic_path(path) as temporary, temporary.open("w", encoding=encoding, newline="") as file:
        if suffix == ".csv":
            writer = csv.writer(file)
            writer.writerow(["text", "label", *(f"score_{label}" for label in predictions.labels)])
            for row, text in tracked:
                writer.writerow([text, predictions.label(row), *(f"{p:.6f}" for p in predictions.scores[row])])
        else:
            for row, text in tracked:
                scores = dict(zip(predictions.labels, map(float, predictions.scores[row]), strict=True))
                line = {"text": text, "label": predictions.label(row), "scores": scores}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return path


def recent_classifiers(limit: int, ctx: JobContext) -> list[tuple[str, Path]]:
    """Title and model folder of the newest trainings that left a classifier."""
    from lmstudio_app.gui.run_texts import dated_title
    from lmstudio_app.training.runs import list_runs

    found = [
        (dated_title(run), folder)
        for run in sorted(list_runs(), key=lambda run: -run.started)
        if run.task in CLASSIFIERS and (folder := run.model_folder) is not None
    ]
    return found[:limit]
