"""A knowledge base as a prediction: what a file of questions is answered by."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answering import AskOptions, answer_rows
from lmstudio_app.knowledge.answers import KnowledgeAnswer
from lmstudio_app.knowledge.search import KnowledgeBase
from lmstudio_app.knowledge.shelf import folder_of
from lmstudio_app.knowledge.store import Store, is_knowledge_base
from lmstudio_app.tasks.answer_search import ASK, QUESTION
from lmstudio_app.tasks.task import Prediction

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

READER, WRITER = "question-answering", "causal-lm"  # heads


def knowledge_prediction(place: str | Path, *, chat: str = "", device: str = "auto") -> Prediction:
    """Question answering from a knowledge base (its folder, or its name), as ``predict`` and a page's file mode run it.

    Its ``predict`` takes a reader or a chat model, told apart by its head, or None: then the nearest sentence answers.
    ``chat`` is the reference of a chat model that writes beside a reader. Rows are ``{"question": …}``, outputs are
    :class:`KnowledgeAnswer`, options :class:`AskOptions`. The knowledge base is open while the answers are taken.
    """

    def _predict(
        loaded: LoadedModel | None, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: AskOptions
    ) -> Iterator[KnowledgeAnswer]:
        from lmstudio_app.chat.engine import engine_for

        if loaded is not None and loaded.head not in (READER, WRITER):
            raise UserError(
                "{model} neither marks answers nor writes them.",
                "Choose a question answering model, or a chat model.",
                model=loaded.card.title or loaded.reference,
            )
        with contextlib.ExitStack() as stack:
            base = stack.enter_context(KnowledgeBase(folder_of(place, ctx), device=device))
            reader = loaded if loaded is not None and loaded.head == READER else None
            writer = loaded if loaded is not None and loaded.head == WRITER else None
            engine = stack.enter_context(engine_for(chat, ctx)) if chat and writer is None else None
            yield from answer_rows(base, rows, ctx, options, reader=reader, chat=writer or engine)

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


def content_digest(folder: Path) -> str:
    """Changes whenever the knowledge base would answer from something else: files, passages or encoder."""
    if not is_knowledge_base(folder):
        return ""
    store = Store(folder)
    try:
        states = sorted((path, state.digest) for path, state in store.states().items())
        facts = [store.fact("cut"), (store.fact("encoder") or {}).get("fingerprint"), store.count_waiting()]
    finally:
        store.close()
    return hashlib.sha256(json.dumps([str(folder), facts, states]).encode()).hexdigest()
