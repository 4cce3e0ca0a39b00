"""Answering from a knowledge base: written by a chat model, marked by a reader, or the nearest sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answers import KnowledgeAnswer, Source
from lmstudio_app.knowledge.marking import best_probability, choose_sentences, mark_spans, no_answer
from lmstudio_app.knowledge.search import KnowledgeBase
from lmstudio_app.knowledge.writing import write_answers, written_answer
from lmstudio_app.options import check_options, option
from lmstudio_app.tasks.streaming import row_text

if TYPE_CHECKING:
    from lmstudio_app.chat.engine import ChatEngine
    from lmstudio_app.models.loading import LoadedModel

_WINDOW = 32  # questions that are answered together


@dataclass(frozen=True)
class AskOptions:
    """How questions are answered."""

    top: int = option(5, "Passages", "Passages that an answer may be from.", basic=True, minimum=1, maximum=50)
    read: int = option(
        2,
        "Passages to write from",
        "So many of the best passages a chat model reads; small models answer better from few.",
        basic=True,
        minimum=1,
        maximum=50,
    )
    min_probability: float = option(
        0.4,
        "Not in here below",
        "Below this probability that the knowledge base holds the answer, it is said not to be in there.",
        basic=True,
        minimum=0.0,
        maximum=1.0,
    )
    # starter:qa over all 120 paragraphs of XQuAD: 99 of 100 right answers stay, a sixth of those to questions without
    # an answer in there goes
    min_score: float = option(
        0.15, "Least score", "A reader's answer with a lower score counts as none.", minimum=0.0, maximum=1.0
    )
    max_new_tokens: int = option(
        128, "Longest answer", "A chat model's answer ends after this many tokens at the latest.",
        basic=True, minimum=1, maximum=100_000,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self, "options")


_DEFAULTS = AskOptions()


def answer(
    base: KnowledgeBase,
    question: str,
    ctx: JobContext,
    options: AskOptions = _DEFAULTS,
    *,
    reader: LoadedModel | None = None,
    chat: LoadedModel | ChatEngine | None = None,
) -> KnowledgeAnswer:
    """Answer one question; see :func:`answer_rows`."""
    return next(answer_rows(base, [{"question": question}], ctx, options, reader=reader, chat=chat))


def answer_rows(
    base: KnowledgeBase,
    rows: Iterable[Mapping[str, Any]],
    ctx: JobContext,
    options: AskOptions = _DEFAULTS,
    *,
    reader: LoadedModel | None = None,
    chat: LoadedModel | ChatEngine | None = None,
) -> Iterator[KnowledgeAnswer]:
    """The answer to each row's ``question``, in the rows' order.

    ``reader`` marks answers (a question answering model), ``chat`` writes them; with both, what the reader has marked
    is the answer's ``span``. With neither, the sentence nearest to the question answers. Raises :class:`UserError` for
    a model of another kind, and for a row without a question.
    """
    source = iter(rows)
    while window := list(islice(source, _WINDOW)):
        questions = [row_text(row, "question") for row in window]
        found = base.search_all(questions, ctx, options.top)
        asked = [
            index
            for index, (question, passages) in enumerate(zip(questions, found, strict=True))
            if passages and best_probability(question, passages) >= options.min_probability
        ]
        pairs = [(questions[index], found[index]) for index in asked]
        marked = mark_spans(reader, pairs, ctx) if reader is not None else choose_sentences(base, pairs, ctx)
        answers = dict(zip(asked, marked, strict=True))
        if reader is not None:
            answers = {index: made for index, made in answers.items() if made.score >= options.min_score}
        if chat is not None:
            answered = list(answers)
            sources = [(questions[index], worth_reading(answers[index], options)) for index in answered]
            written = write_answers(chat, sources, ctx, options.max_new_tokens)
            for index, text in zip(answered, written, strict=True):
                answers[index] = written_answer(text, questions[index], found[index], answers[index])
        for index, question in enumerate(questions):
            yield answers.get(index) or no_answer(question, found[index])


def worth_reading(marked: KnowledgeAnswer, options: AskOptions) -> tuple[Source, ...]:
    """The sources that a chat model is given: the one that the answer stands in, and others that may hold it."""
    first, *rest = marked.sources
    others = [source for source in rest if source.probability >= options.min_probability]
    return (first, *others)[: options.read]
