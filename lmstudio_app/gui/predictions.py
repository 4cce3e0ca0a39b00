"""The jobs behind the Sentiment page: one text and its words, a whole file, and what comes of it written to a file."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_path
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmstudio_app.inspection.saliency import Saliency
    from lmstudio_app.models.loading import LoadedModel
    from lmstudio_app.tasks import Prediction
    from lmstudio_app.tasks.outputs import Label

READ_AHEAD = 512  # rows of a file in memory at once
EXPORTS = (".csv", ".jsonl")


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
class WordsQuestion:
    """What do the words of this text say about this label?"""

    loaded: LoadedModel
    text: str
    label: str


def explain_text(question: WordsQuestion, ctx: JobContext) -> Saliency:
    from lmstudio_app.inspection.saliency import SaliencyRequest, explain_label

    return explain_label(question.loaded, SaliencyRequest(question.text, question.label), ctx)


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
    """``options`` are those of ``prediction``, whose output is a :class:`Label`."""

    loaded: LoadedModel
    file: TextFile
    column: str
    prediction: Prediction
    options: Any


@dataclass(frozen=True, eq=False)
class Predictions:
    """``scores`` float32 ``[rows, labels]``; ``seconds`` in all.

    ``names`` are the labels, and behind them ``neutral`` where ``band`` lies between two of them; ``best`` is the
    number of the name of each row.
    """

    file: TextFile
    column: str
    labels: tuple[str, ...]
    scores: npt.NDArray[np.float32]
    seconds: float
    band: float = 0.0

    def __len__(self) -> int:
        return len(self.scores)

    def with_band(self, band: float) -> Predictions:
        """The same, judged with another neutral band."""
        return dataclasses.replace(self, band=band)

    @cached_property
    def _sides(self) -> tuple[int, int] | None:
        from lmstudio_app.tasks.polarity import two_sided

        sides = two_sided(self.labels) if self.band > 0 else None
        return None if sides is None else (self.labels.index(sides[0]), self.labels.index(sides[1]))

    @cached_property
    def names(self) -> tuple[str, ...]:
        from lmstudio_app.tasks.polarity import NEUTRAL

        return self.labels if self._sides is None else (*self.labels, NEUTRAL)

    @cached_property
    def best(self) -> npt.NDArray[np.intp]:
        import numpy as np

        chosen = self.scores.argmax(axis=1)
        if self._sides is not None:
            negative, positive = (self.scores[:, side].astype(float) for side in self._sides)
            share = positive / np.maximum(negative + positive, 1e-12)
            chosen = np.where(np.abs(share - 0.5) < self.band / 2, len(self.labels), chosen)
        return chosen

    def text(self, row: int) -> str:
        return _as_text(self.file.dataset[row][self.column])

    def label(self, row: int) -> str:
        return self.names[self.best[row]]

    def confidence(self, row: int) -> float:
        """The probability of the row's likeliest label."""
        return float(self.scores[row].max())

    def counts(self) -> dict[str, int]:
        """Rows by label, in the model's order."""
        import numpy as np

        counted = np.bincount(self.best, minlength=len(self.names))
        return {name: int(count) for name, count in zip(self.names, counted, strict=True)}


def judge_file(question: FileQuestion, ctx: JobContext) -> Predictions:
    """Label every row of a file, with progress. It has a tokenizer of its own: they are not safe to share."""
    import numpy as np

    loaded = dataclasses.replace(question.loaded, tokenizer=copy.deepcopy(question.loaded.tokenizer))
    rows = len(question.file.dataset)
    labels: tuple[str, ...] = ()
    scores = np.zeros((rows, 0), dtype=np.float32)
    start = time.perf_counter()
    meter = ctx.meter(rows, "rows")
    meter.update(0)
    texts = _texts(question.file, question.column)
    answers = question.prediction.predict(loaded, ({"text": text} for text in texts), ctx, question.options)
    for row, label in enumerate(answers):
        if not labels:
            labels = tuple(label.scores)
            scores = np.zeros((rows, len(labels)), dtype=np.float32)
        scores[row] = [label.scores[name] for name in labels]
        meter.update(row + 1)
    return Predictions(question.file, question.column, labels, scores, time.perf_counter() - start)


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
