"""Tasks: what a model can be trained for and asked to do. One file a task, one line in ``TASKS``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from lmstudio_app.errors import UserError
from lmstudio_app.tasks.bert_pretraining import BERT_PRETRAINING
from lmstudio_app.tasks.causal_lm import CAUSAL_LM
from lmstudio_app.tasks.chat import CHAT
from lmstudio_app.tasks.classification import CLASSIFICATION
from lmstudio_app.tasks.masked_lm import MASKED_LM
from lmstudio_app.tasks.question_answering import QUESTION_ANSWERING
from lmstudio_app.tasks.sentiment import SENTIMENT
from lmstudio_app.tasks.summarization import SUMMARIZATION
from lmstudio_app.tasks.task import Prediction, Task
from lmstudio_app.tasks.translation import TRANSLATION
from lmstudio_app.tasks.zero_shot import ZERO_SHOT

TASKS: tuple[Task, ...] = (
    SENTIMENT,
    CLASSIFICATION,
    TRANSLATION,
    SUMMARIZATION,
    QUESTION_ANSWERING,
    CHAT,
    MASKED_LM,
    BERT_PRETRAINING,
    CAUSAL_LM,
)
# what a model can be asked, in the order of the tasks that teach it; and what none has to teach
PREDICTIONS: tuple[Prediction, ...] = (
    *{prediction.name: prediction for task in TASKS for prediction in task.predictions}.values(),
    ZERO_SHOT,
)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_Record = TypeVar("_Record", bound=_Named)


def find_task(name: str) -> Task:
    """Raises :class:`UserError` naming those that there are."""
    return _find(name, TASKS, "There is no task {name}.")


def find_prediction(name: str) -> Prediction:
    """Raises :class:`UserError` naming those that there are."""
    return _find(name, PREDICTIONS, "There is no prediction {name}.")


def _find(name: str, records: Iterable[_Record], template: str) -> _Record:
    records = tuple(records)
    for record in records:
        if record.name == name:
            return record
    raise UserError(template, "Choose one of: {names}.", name=name, names=", ".join(r.name for r in records))


__all__ = ["PREDICTIONS", "TASKS", "Prediction", "Task", "find_prediction", "find_task"]
