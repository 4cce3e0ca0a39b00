"""Asking a reader: the best span of a text for a question, out of all the windows of the text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import sorted_batches
from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import interruptible
from lmstudio_app.options import option
from lmstudio_app.tasks.outputs import Answer
from lmstudio_app.tasks.spans import (
    MODEL_INPUTS,
    Window,
    WindowSize,
    best_spans,
    collate,
    cut_out,
    read_windows,
    require_fast,
    window_features,
)
from lmstudio_app.tasks.streaming import READ_AHEAD, BadRow, longest_text
from lmstudio_app.tasks.task import Prediction, PredictOptions, Setup

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

_CANDIDATES = 20  # spans of a window that are compared with those of its neighbours
_READ_AHEAD = 2_000_000  # characters of context


@dataclass(frozen=True)
class AnswerOptions(PredictOptions):
    """How answers are looked for."""

    max_length: int = option(
        384, "Window", "Tokens of question and text that the model reads at once.", minimum=32, maximum=100_000
    )
    stride: int = option(
        64, "Overlap", "Tokens that two neighbouring parts of a long text share.", minimum=0, maximum=10_000
    )
    max_answer_length: int = option(
        30, "Longest answer", "Answers have at most this many tokens.", basic=True, minimum=1, maximum=500
    )
    no_answer: bool = option(
        False,
        "May have no answer",
        "Give an empty answer where the model, trained with such questions, finds none.",
        basic=True,
    )


_DEFAULTS = AnswerOptions()


def predict_answers(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: AnswerOptions = _DEFAULTS
) -> Iterator[Answer]:
    """The best span of each row's ``context`` for its ``question``, in the rows' order.

    ``score`` is its share of exp(start logit + end logit) of all possible spans of all windows (and of "no answer",
    where that is allowed). A blank question or context has an empty answer. Rows are read ahead by 16 batches or some
    million characters. Raises :class:`UserError` for a model that does not mark answers, and for a row that lacks
    something.
    """
    import numpy as np

    if loaded.head != "question-answering":
        raise UserError(
            "{model} was not trained to find answers in a text.",
            "Train it for question answering first, or choose a question answering model.",
            model=loaded.reference,
        )
    require_fast(loaded.tokenizer, loaded.reference)
    limit = min(longest_text(loaded), options.max_length)
    setup = Setup(loaded.tokenizer, (), limit, options, loaded.model.config)
    source = iter(rows)
    while some := _read_ahead(source, options.batch_size * READ_AHEAD):
        found = [_Found() for _ in some]
        asked = [index for index, (question, context) in enumerate(some) if question.strip() and context.strip()]
        windows = []
        for window in read_windows(
            setup.tokenizer,
            [some[index][0] for index in asked],
            [some[index][1] for index in asked],
            WindowSize(limit, options.stride),
        ):
            ctx.check()
            windows.append(window)
        lengths = np.array([len(window.input_ids) for window in windows], dtype=np.int64)
        for indices in sorted_batches(lengths, options.batch_size):
            chosen = [windows[index] for index in indices]
            for window, scores in zip(chosen, _ask(loaded, chosen, setup, ctx), strict=True):
                found[asked[window.row]].add(some[asked[window.row]][1], window, scores)
        for (_, context), candidates in zip(some, found, strict=True):
            yield candidates.best(context, options.no_answer)


def _read_ahead(source: Iterator[Mapping[str, Any]], count: int) -> list[tuple[str, str]]:
    """Questions and contexts of the next rows."""
    found, size = [], 0
    for row in itertools.islice(source, count):
        question, context = row.get("question"), row.get("context")
        if not isinstance(question, str) or not isinstance(context, str):
            raise BadRow(
                row,
                "A row has no question or no context: {row}.",
                'Each row needs {{"question": …, "context": …}}.',
            )
        found.append((question, context))
        size += len(context)
        if size >= _READ_AHEAD:
            break
    return found


@dataclass(frozen=True)
class _Scores:
    """What a model says about one window."""

    spans: list[tuple[float, int, int]]
    mass: float
    nowhere: float


def _ask(loaded: LoadedModel, windows: Sequence[Window], setup: Setup, ctx: JobContext) -> list[_Scores]:
    import torch

    ctx.check()
    tensors = collate([window_features(window) for window in windows], setup)
    inputs = {name: tensor.to(loaded.device) for name, tensor in tensors.items() if name in MODEL_INPUTS}
    with torch.inference_mode(), interruptible(loaded.model, ctx):
        output = loaded.model(**inputs)
        spans = best_spans(
            output.start_logits, output.end_logits, tensors, setup.options.max_answer_length, _CANDIDATES
        )
    return [
        _Scores(
            list(zip(spans.scores[row].tolist(), spans.starts[row].tolist(), spans.ends[row].tolist(), strict=True)),
            float(spans.mass[row]),
            float(spans.nowhere[row]),
        )
        for row in range(len(windows))
    ]


class _Found:
    """The candidates of one row, out of all its windows."""

    def __init__(self) -> None:
        self._spans: dict[tuple[int, int], list[float]] = {}
        self._masses: list[float] = []
        self._nowhere = float("inf")

    def add(self, context: str, window: Window, scores: _Scores) -> None:
        self._masses.append(scores.mass)
        self._nowhere = min(self._nowhere, scores.nowhere)  # any window that has the answer denies that there is none
        for score, start, end in scores.spans:
            if score != float("-inf"):
                self._spans.setdefault(cut_out(context, window, start, end), []).append(score)

    def best(self, context: str, may_be_none: bool) -> Answer:
        import numpy as np

        spans = {place: scores for place, scores in self._spans.items() if place[0] < place[1]}
        if not spans:
            return Answer("", 0.0)
        total = np.logaddexp.reduce([*self._masses, *([self._nowhere] if may_be_none else [])])
        (start, end), scores = max(spans.items(), key=lambda item: max(item[1]))
        if may_be_none and self._nowhere > max(scores):
            return Answer("", float(np.exp(self._nowhere - total)))
        # a span that two windows share is in the total twice
        share = float(np.exp(np.logaddexp.reduce(scores) - total))
        return Answer(context[start:end], min(share, 1.0), start, end)


QUESTION = ColumnSpec(
    "question",
    "Question",
    "The column with the questions.",
    aliases=("question", "query", "q"),
)
CONTEXT = ColumnSpec(
    "context",
    "Text",
    "The column with the texts in which the answers stand.",
    aliases=("context", "passage", "paragraph", "text", "document", "article"),
)
ASK = Prediction(
    name="question_answering",
    title="Question answering",
    help="Find the answer to a question in a text.",
    inputs=(QUESTION, CONTEXT),
    heads=("question-answering",),
    output=Answer,
    predict=predict_answers,
    options=AnswerOptions,
)
