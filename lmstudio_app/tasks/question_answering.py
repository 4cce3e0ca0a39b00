"""Extractive question answering: the part of a text that answers a question (Rajpurkar et al., 2016 and 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.options import check_options, option
from lmstudio_app.tasks.answer_search import ASK, CONTEXT, QUESTION
from lmstudio_app.tasks.spans import (
    MODEL_INPUTS,
    WindowSize,
    best_spans,
    collate,
    cut_out,
    read_windows,
    require_fast,
    window_features,
)
from lmstudio_app.tasks.squad_metrics import exact_match, token_f1
from lmstudio_app.tasks.task import Evaluation, Features, Inputs, Rows, Setup, Task

if TYPE_CHECKING:
    import numpy as np
    import torch

SAMPLES = 50
_SHOWN = 200  # characters of the context on either side of an answer in a sample
_UNANSWERABLE = (
    "{count} questions without an answer are left out. Switch on options.no_answer to learn when there is none."
)


@dataclass(frozen=True)
class QuestionOptions:
    """How long contexts are cut into windows, and which spans are answers."""

    stride: int = option(
        64,
        "Overlap",
        "Tokens that two neighbouring parts of a long text share, so that an answer at the cut is whole in one.",
        minimum=0,
        maximum=10_000,
    )
    max_question_length: int = option(
        64, "Longest question", "Longer questions are cut to this many tokens.", minimum=1, maximum=10_000
    )
    max_answer_length: int = option(
        30, "Longest answer", "Answers have at most this many tokens.", basic=True, minimum=1, maximum=500
    )
    no_answer: bool = option(
        False,
        "May have no answer",
        "Some questions have no answer in their text (as in SQuAD 2.0), and the model learns to say so.",
        basic=True,
    )

    def __post_init__(self) -> None:
        check_options(self, "options")


def encode(rows: Rows, setup: Setup) -> Features:
    """Windows of each row, and in each the first and last token of the first right answer.

    Both are the position for "not in here" where the answer is not all within the window. Questions without an answer
    are left out, unless the options allow them.
    """
    options = setup.options
    require_fast(setup.tokenizer, "this model")
    golds = [_first(answers) for answers in rows["answers"]]
    kept = [row for row, gold in enumerate(golds) if gold is not None or options.no_answer]
    if len(kept) < len(golds):
        setup.notes[_UNANSWERABLE] += len(golds) - len(kept)
    features: Features = {}
    questions, contexts = ([rows[name][row] for row in kept] for name in ("question", "context"))
    for window in read_windows(setup.tokenizer, questions, contexts, _window_size(setup)):
        start, end = window.positions(*(golds[kept[window.row]] or (0, 0)))
        values = {"row": kept[window.row], "number": window.number, "start_positions": start, "end_positions": end}
        for name, value in (window_features(window) | values).items():
            features.setdefault(name, []).append(value)
    return features or {"input_ids": []}


def _first(answers: Mapping[str, Sequence[Any]]) -> tuple[int, int] | None:
    """Where in the context the first right answer stands, without space around; None when there is none."""
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        if text.strip():
            begin = start + len(text) - len(text.lstrip())
            return begin, begin + len(text.strip())
    return None


def _window_size(setup: Setup) -> WindowSize:
    return WindowSize(setup.max_length, setup.options.stride, setup.options.max_question_length)


def loss(model: Any, inputs: Inputs) -> torch.Tensor:
    """-(log P(start) + log P(end)) / 2, a mean over the windows."""
    found: torch.Tensor = _read(model, inputs).loss
    return found


def _read(model: Any, inputs: Inputs) -> Any:
    wanted = (*MODEL_INPUTS, "start_positions", "end_positions")
    return model(**{name: tensor for name, tensor in inputs.items() if name in wanted})


def evaluate(evaluation: Evaluation) -> tuple[dict[str, float], dict[str, Any]]:
    """Loss over the windows; exact match and F1 over the rows; some answers as samples."""
    import numpy as np

    options, count = evaluation.setup.options, len(evaluation.rows)
    best = {"score": np.full(count, -np.inf), "nowhere": np.full(count, np.inf)}
    place = np.zeros((count, 3), dtype=np.int64)  # number of the window, first and last token
    is_read = np.zeros(count, dtype=bool)
    losses = windows = 0.0
    for inputs, rows in evaluation.batches():
        evaluation.ctx.check()
        output = _read(evaluation.model, inputs)
        losses += float(output.loss) * len(rows)
        windows += len(rows)
        spans = best_spans(output.start_logits, output.end_logits, inputs, options.max_answer_length, 1)
        numbers = inputs["number"].tolist()
        for index, row in enumerate(rows.tolist()):
            is_read[row] = True
            best["nowhere"][row] = min(best["nowhere"][row], spans.nowhere[index])
            if spans.scores[index, 0] > best["score"][row]:
                best["score"][row] = spans.scores[index, 0]
                place[row] = numbers[index], spans.starts[index, 0], spans.ends[index, 0]
    has_answer = np.isfinite(best["score"])
    if options.no_answer:
        has_answer &= best["score"] >= best["nowhere"]
    values, samples = _judge(evaluation, np.flatnonzero(is_read), place, has_answer)
    return {"loss": losses / windows, **values}, {"samples": samples}


def _judge(
    evaluation: Evaluation, rows: np.ndarray, place: np.ndarray, has_answer: np.ndarray
) -> tuple[dict[str, float], list[dict[str, str]]]:
    """Metrics and samples of the answers found at ``place``."""
    import numpy as np

    exact: list[float] = []
    f1: list[float] = []
    samples = []
    shown = set(np.linspace(0, len(rows) - 1, min(SAMPLES, len(rows))).astype(int).tolist())
    for at in range(0, len(rows), 256):
        evaluation.ctx.check()
        chosen = rows[at : at + 256]
        data = evaluation.rows[chosen.tolist()]
        spans = _locate(evaluation, data, place[chosen], has_answer[chosen])
        for index, (start, end) in enumerate(spans):
            context, gold = data["context"][index], [text for text in data["answers"][index]["text"] if text.strip()]
            answer = context[start:end]
            exact.append(exact_match(answer, gold))
            f1.append(token_f1(answer, gold))
            if at + index in shown:
                around = (data["answers"][index]["answer_start"] or [start])[0]
                samples.append(
                    {
                        "input": f"{data['question'][index]}\n{_shorten(context, around)}",
                        "reference": gold[0] if gold else "",
                        "output": answer,
                    }
                )
    return {"exact_match": float(np.mean(exact)), "f1": float(np.mean(f1))}, samples


def _locate(
    evaluation: Evaluation, data: Mapping[str, Any], place: np.ndarray, has_answer: np.ndarray
) -> list[tuple[int, int]]:
    """Tokens of windows as characters of the contexts.

    The windows are made once more: keeping where each token stands would take more memory than the tokens.
    """
    found = [(0, 0)] * len(place)
    for window in read_windows(
        evaluation.setup.tokenizer, data["question"], data["context"], _window_size(evaluation.setup)
    ):
        number, start, end = place[window.row].tolist()
        if window.number == number and has_answer[window.row]:
            found[window.row] = cut_out(data["context"][window.row], window, start, end)
    return found


def _shorten(context: str, place: int) -> str:
    begin, end = max(0, place - _SHOWN), min(len(context), place + _SHOWN)
    return f"{'…' if begin else ''}{context[begin:end].strip()}{'…' if end < len(context) else ''}"


ANSWERS = ColumnSpec(
    "answers",
    "Answers",
    "The column with the right answers and where in the text they begin.",
    type="answers",
    aliases=("answers", "answer", "answer_text", "gold"),
)
QUESTION_ANSWERING = Task(
    name="question_answering",
    title="Question answering",
    help="Learn to mark the part of a text that answers a question.",
    columns=(QUESTION, CONTEXT, ANSWERS),
    head="question-answering",
    main_metric="f1",
    greater_is_better=True,
    encode=encode,
    collate=collate,
    evaluate=evaluate,
    predictions=(ASK,),
    options=QuestionOptions,
    loss=loss,
    recommended={"training.max_length": 320, "training.batch_size": 16, "training.learning_rate": 3e-4},
)
