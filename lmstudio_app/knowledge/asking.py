"""One question to a knowledge base, answered in both ways while somebody waits: marked in the text, and written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lmstudio_app.chat.engine import ReplyReport
from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, TextChunk
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answering import AskOptions, worth_reading
from lmstudio_app.knowledge.answers import KnowledgeAnswer, Source
from lmstudio_app.knowledge.citations import cite
from lmstudio_app.knowledge.marking import best_probability, choose_sentences, mark_spans, no_answer, sources_of
from lmstudio_app.knowledge.search import FoundPassage, KnowledgeBase
from lmstudio_app.knowledge.writing import stream_answer, written_answer

if TYPE_CHECKING:
    from lmstudio_app.chat.engine import ChatEngine
    from lmstudio_app.models.loading import LoadedModel

_DEFAULTS = AskOptions()


@dataclass(frozen=True, kw_only=True)
class PassagesFound(Event):
    """The passages nearest to the question, the best first, and the probability that the answer is among them."""

    kind: ClassVar[str] = "passages"
    passages: tuple[Source, ...]
    probability: float


@dataclass(frozen=True, kw_only=True)
class AnswerMarked(Event):
    """What a reader or the encoder has marked; the chat model may still write."""

    kind: ClassVar[str] = "marked"
    answer: KnowledgeAnswer


@dataclass(frozen=True)
class BothAnswers:
    """What came of a question.

    ``passages`` are the nearest ones, the best first, also where they do not hold the answer; ``probability`` that they
    do. ``written`` is None where no chat model was asked. ``seconds`` in all, of which ``writing`` are the chat model's
    for so many ``tokens``, and ``reading`` of these the time until it has read the passages and begins.
    """

    question: str
    passages: tuple[Source, ...]
    probability: float
    marked: KnowledgeAnswer
    written: KnowledgeAnswer | None = None
    seconds: float = 0.0
    writing: float = 0.0
    reading: float = 0.0
    tokens: int = 0
    was_stopped: bool = False

    @property
    def tokens_per_second(self) -> float:
        """Of the writing alone; 0 where too little was written to say so."""
        seconds = self.writing - self.reading
        return (self.tokens - 1) / seconds if self.tokens > 1 and seconds > 0 else 0.0

    @property
    def answer(self) -> KnowledgeAnswer:
        """The one that counts: the chat model's words when there are any, else what was marked."""
        return self.written if self.written is not None and self.written.is_found else self.marked


def ask(
    base: KnowledgeBase,
    question: str,
    ctx: JobContext,
    options: AskOptions = _DEFAULTS,
    *,
    reader: LoadedModel | None = None,
    chat: ChatEngine | None = None,
) -> BothAnswers:
    """Answer one question with all there is; what comes is told at once, the chat model's text piece by piece.

    Tells :class:`PassagesFound`, then :class:`AnswerMarked`, then ``TextChunk`` events. Below
    ``options.min_probability`` nobody is asked: it is not in the knowledge base. A stop ends the chat model's answer
    where it is. Raises :class:`UserError` for an empty question and for a reader that is none.
    """
    question = question.strip()
    if not question:
        raise UserError("The question is empty.", "Write one.")
    begun = time.perf_counter()
    found = base.search(question, ctx, options.top)
    chance = best_probability(question, found)
    passages = sources_of(question, found)
    ctx.emit(PassagesFound(passages=passages, probability=chance))
    ctx.check()
    marked = _mark(base, question, found, ctx, options, reader) if chance >= options.min_probability else None
    if marked is None or ctx.stopping:
        marked = marked or no_answer(question, found)
        ctx.emit(AnswerMarked(answer=marked))
        seconds = time.perf_counter() - begun
        return BothAnswers(question, passages, chance, marked, seconds=seconds, was_stopped=ctx.stopping)
    ctx.emit(AnswerMarked(answer=marked))
    written = None
    report = ReplyReport()
    if chat is not None:
        ctx.status("{name} writes an answer", name=chat.reference)
        text = ""
        for piece in stream_answer(chat, question, worth_reading(marked, options), ctx, options.max_new_tokens):
            text += piece
            ctx.emit(TextChunk(text=piece))
        report = chat.report
        text = text.strip()
        texts = [source.text for source in marked.sources]
        citations = () if ctx.stopping else cite(text, texts, base.encoder(ctx), ctx)
        written = written_answer(text, question, found, marked, citations)
    seconds = time.perf_counter() - begun
    return BothAnswers(
        question, passages, chance, marked, written, seconds, report.seconds, report.first_seconds, report.new_tokens,
        ctx.stopping,
    )  # fmt: skip


def _mark(
    base: KnowledgeBase,
    question: str,
    found: list[FoundPassage],
    ctx: JobContext,
    options: AskOptions,
    reader: LoadedModel | None,
) -> KnowledgeAnswer | None:
    """None: nothing is good enough."""
    if not found:
        return None
    if reader is None:
        return choose_sentences(base, [(question, found)], ctx)[0]
    marked = mark_spans(reader, [(question, found)], ctx)[0]
    return marked if marked.is_found and marked.score >= options.min_score else None
