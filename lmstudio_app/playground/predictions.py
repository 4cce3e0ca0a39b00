"""What a file can be sent through: the predictions of the tasks, and what other rooms add to them."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app import tasks
from lmstudio_app.chat.prediction import predict_chat
from lmstudio_app.jobs import JobContext
from lmstudio_app.options import option
from lmstudio_app.tasks import Prediction
from lmstudio_app.tasks.outputs import Label
from lmstudio_app.tasks.replying import CHAT_REPLY
from lmstudio_app.tasks.sentiment import JUDGE, JudgeOptions
from lmstudio_app.tasks.streaming import row_text

if TYPE_CHECKING:
    from lmstudio_app.inspection.saliency import WordScore
    from lmstudio_app.models.loading import LoadedModel


@dataclass(frozen=True)
class ExplainedOptions(JudgeOptions):
    saliency: bool = option(
        False,
        "Word by word",
        'Adds "saliency": [{"start", "end", "text", "score"}, …] to each row: what each word adds to the log-odds of '
        "the likeliest label, by integrated gradients; below 0 it speaks against it.",
    )


@dataclass(frozen=True)
class ExplainedLabel(Label):
    """A judgement, and what each word says about the likeliest of the labels."""

    words: tuple[WordScore, ...] = ()

    def to_row(self) -> dict[str, Any]:
        return {**super().to_row(), "saliency": [word.to_row() for word in self.words]}


def judge_and_explain(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: ExplainedOptions
) -> Iterator[Label]:
    """As the sentiment prediction does, and where it is asked for with the words that made the difference."""
    if not options.saliency:
        return JUDGE.predict(loaded, rows, ctx, options)
    return _explained(loaded, rows, ctx, options)


def _explained(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: ExplainedOptions
) -> Iterator[Label]:
    from lmstudio_app.inspection.saliency import SaliencyRequest, explain_label

    pending: deque[str] = deque()  # texts that the judgement has read ahead

    def _noted() -> Iterator[Mapping[str, Any]]:
        for row in rows:
            pending.append(row_text(row))
            yield row

    for label in JUDGE.predict(loaded, _noted(), ctx, options):
        ctx.check()
        likeliest = max(label.scores, key=lambda name: label.scores[name])
        found = explain_label(loaded, SaliencyRequest(pending.popleft(), likeliest), ctx)
        yield ExplainedLabel(label.label, label.scores, found.words)


_BETTER = {
    JUDGE.name: dataclasses.replace(JUDGE, predict=judge_and_explain, options=ExplainedOptions),
    CHAT_REPLY.name: dataclasses.replace(CHAT_REPLY, predict=predict_chat),  # by llama.cpp where it can
}
PREDICTIONS: tuple[Prediction, ...] = tuple(
    _BETTER.get(prediction.name, prediction) for prediction in tasks.PREDICTIONS
)


def find_prediction(name: str) -> Prediction:
    """Raises :class:`lmstudio_app.errors.UserError` naming those that there are."""
    known = tasks.find_prediction(name)
    return next(prediction for prediction in PREDICTIONS if prediction.name == known.name)
