"""A knowledge base as a prediction: what a file of questions is answered by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answering import AskOptions, answer_rows
from lmstudio_app.knowledge.answers import KnowledgeAnswer
from lmstudio_app.knowledge.search import KnowledgeBase
from lmstudio_app.tasks.answer_search import ASK, QUESTION
from lmstudio_app.tasks.task import Prediction

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

READER, WRITER = "question-answering", "causal-lm"  # heads


def knowledge_prediction(
    base: KnowledgeBase, *, reader: LoadedModel | None = None, chat: LoadedModel | None = None
) -> Prediction:
    """Question answering from an open knowledge base, as ``predict`` and a page's file mode run it.

    Its ``predict`` takes a reader or a chat model, told apart by its head, or None; ``reader`` and ``chat`` stand
    beside that one. Rows are ``{"question": …}``; outputs are :class:`KnowledgeAnswer`, options :class:`AskOptions`.
    The base has to stay open until the last answer.
    """

    def _predict(
        loaded: LoadedModel | None, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: AskOptions
    ) -> Iterator[KnowledgeAnswer]:
        models = {READER: reader, WRITER: chat}
        if loaded is not None:
            if loaded.head not in models:
                raise UserError(
                    "{model} neither marks answers nor writes them.",
                    "Choose a question answering model, or a chat model.",
                    model=loaded.card.title or loaded.reference,
                )
            models[loaded.head] = loaded
        return answer_rows(base, rows, ctx, options, reader=models[READER], chat=models[WRITER])

    return Prediction(
        name=ASK.name,
        title=ASK.title,
        help="Find the answer to a question in a knowledge base.",
        inputs=(QUESTION,),
        heads=(READER, WRITER),
        output=KnowledgeAnswer,
        predict=_predict,
        options=AskOptions,
    )
