"""Answering from a knowledge base: written by a chat model, marked by a reader, or the nearest sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answers import NOT_FOUND, KnowledgeAnswer, Source, Span
from lmstudio_app.knowledge.search import FoundPassage, KnowledgeBase
from lmstudio_app.knowledge.words import coverage
from lmstudio_app.options import check_options, option
from lmstudio_app.tasks.answer_search import AnswerOptions, predict_answers
from lmstudio_app.tasks.documents import sentence_spans
from lmstudio_app.tasks.replying import ReplyOptions, predict_replies
from lmstudio_app.tasks.streaming import longest_text, row_text

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

# P(the knowledge base holds the answer), by logistic regression on the 632 questions of XQuAD, asked of a knowledge
# base with the article they are about and of one without, with the starter encoder: at 0.4 it keeps 97.6 % of the ones
# and turns down 97.0 % of the others. The similarity alone does 94.5 % and 95.1 %. tests/benchmarks/knowledge_base.py
# measures it.
_WORDS_WEIGHT, _MIDDLE, _SLOPE = 0.25, 0.448, 28.6
_WINDOW = 32  # questions that are answered together
_SENTENCES_OF = 3  # passages in which the nearest sentence is looked for
_SYSTEM = (
    "Answer the question in one or two sentences, from the passages alone. "
    f'If they do not hold the answer, reply: "{NOT_FOUND}".'
)
_BULLET = re.compile(r"(?:[>*•–-]\s+)+")
_TEMPLATE_TOKENS = 32  # that a chat template puts around the messages, at most


@dataclass(frozen=True)
class AskOptions:
    """How questions are answered."""

    top: int = option(5, "Passages", "Passages that an answer may be from.", basic=True, minimum=1, maximum=50)
    min_probability: float = option(
        0.4,
        "Not in here below",
        "Below this probability that the knowledge base holds the answer, it is said not to be in there.",
        basic=True,
        minimum=0.0,
        maximum=1.0,
    )
    min_score: float = option(
        0.0, "Least score", "A reader's answer with a lower score counts as none.", minimum=0.0, maximum=1.0
    )
    max_new_tokens: int = option(
        128, "Longest answer", "A chat model's answer ends after this many tokens at the latest.",
        basic=True, minimum=1, maximum=100_000,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self, "options")


_DEFAULTS = AskOptions()


def probability(question: str, text: str, similarity: float | None) -> float:
    """That a passage of this similarity (cosine) to the question holds its answer; see the figures above."""
    evidence = (similarity or 0.0) + _WORDS_WEIGHT * coverage(question, text)
    return 1 / (1 + math.exp(-_SLOPE * (evidence - _MIDDLE)))


def answer(
    base: KnowledgeBase,
    question: str,
    ctx: JobContext,
    options: AskOptions = _DEFAULTS,
    *,
    reader: LoadedModel | None = None,
    chat: LoadedModel | None = None,
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
    chat: LoadedModel | None = None,
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
        near = [_nearest(question, passages) >= options.min_probability for question, passages in
                zip(questions, found, strict=True)]  # fmt: skip
        asked = [index for index, is_near in enumerate(near) if is_near]
        pairs = [(questions[index], found[index]) for index in asked]
        marked = _read(reader, pairs, ctx) if reader is not None else _choose_sentences(base, pairs, ctx)
        answers = dict(zip(asked, marked, strict=True))
        if reader is not None:
            answers = {index: made for index, made in answers.items() if made.score >= options.min_score}
        if chat is not None:
            answered = list(answers)
            written = _write(chat, [(questions[index], found[index]) for index in answered], ctx, options)
            for index, text in zip(answered, written, strict=True):
                answers[index] = _rewritten(answers[index], text, _nearest(questions[index], found[index]))
        for index, question in enumerate(questions):
            yield answers.get(index) or _none(1 - _nearest(question, found[index]))


def _nearest(question: str, passages: Sequence[FoundPassage]) -> float:
    return max((probability(question, item.text, item.similarity) for item in passages), default=0.0)


def _none(score: float) -> KnowledgeAnswer:
    return KnowledgeAnswer(NOT_FOUND, score, (), "none")


def _with_first(passages: Sequence[FoundPassage], first: FoundPassage) -> tuple[Source, ...]:
    return tuple(Source.of(item) for item in (first, *(other for other in passages if other is not first)))


# --- a reader


def _read(
    reader: LoadedModel, pairs: Sequence[tuple[str, Sequence[FoundPassage]]], ctx: JobContext
) -> list[KnowledgeAnswer]:
    """The best span of all passages of each question: by its share in its passage, times the passage's probability."""
    rows = ({"question": question, "context": item.text} for question, passages in pairs for item in passages)
    spans = predict_answers(reader, rows, ctx, AnswerOptions(batch_size=16))
    answers = []
    for question, passages in pairs:
        best = _none(1.0)
        top = -1.0
        for passage, span in zip(passages, islice(spans, len(passages)), strict=True):
            score = span.score * probability(question, passage.text, passage.similarity)
            if span.answer and score > top:
                top = score
                start, end = passage.start + span.start, passage.start + span.end
                place = Span(passage.file, start, end, span.answer)
                best = KnowledgeAnswer(span.answer, score, _with_first(passages, passage), "extracted", place)
        answers.append(best)
    return answers


# --- no model but the encoder


def _choose_sentences(
    base: KnowledgeBase, pairs: Sequence[tuple[str, Sequence[FoundPassage]]], ctx: JobContext
) -> list[KnowledgeAnswer]:
    """The sentence of the best passages that is nearest to each question, by the same measure as passages."""
    encoder = base.encoder(ctx)
    places = [
        (index, passage, start, end)
        for index, (_, passages) in enumerate(pairs)
        for passage in passages[:_SENTENCES_OF]
        for start, end in _sentences(passage)
    ]
    questions = encoder.embed([question for question, _ in pairs], ctx)
    vectors = encoder.embed([passage.text[start:end] for _, passage, start, end in places], ctx)
    best: dict[int, tuple[float, FoundPassage, int, int]] = {}
    for (index, passage, start, end), vector in zip(places, vectors, strict=True):
        score = probability(pairs[index][0], passage.text[start:end], float(vector @ questions[index]))
        if index not in best or score > best[index][0]:
            best[index] = (score, passage, start, end)
    answers = []
    for index, (question, passages) in enumerate(pairs):
        _, passage, start, end = best[index]
        text = passage.text[start:end]
        place = Span(passage.file, passage.start + start, passage.start + end, text)
        score = _nearest(question, passages)
        answers.append(KnowledgeAnswer(text, score, _with_first(passages, passage), "sentence", place))
    return answers


def _sentences(passage: FoundPassage) -> list[tuple[int, int]]:
    """The sentences of a passage without their bullets; a heading of Markdown is none, unless there is nothing else."""
    found: list[tuple[int, int]] = []
    at = 0
    for paragraph in passage.text.split("\n\n"):
        found += [(at + start, at + end) for start, end in sentence_spans(paragraph)]
        at += len(paragraph) + 2
    told = []
    for start, end in found:
        bullet = _BULLET.match(passage.text, start, end)
        start = bullet.end() if bullet else start
        if start < end and passage.text[start] != "#":
            told.append((start, end))
    return told or found


# --- a chat model


def chat_messages(question: str, passages: Sequence[FoundPassage | Source]) -> list[dict[str, str]]:
    """What a chat model is asked: the passages with their headings, and the question behind them."""
    parts = [f"[{number}] {item.heading}\n{item.text}".strip() for number, item in enumerate(passages, 1)]
    text = "\n\n".join(["Passages:", *parts, f"Question: {question}"])
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]


def fit_passages(
    chat: LoadedModel, question: str, passages: Sequence[FoundPassage], max_new_tokens: int
) -> list[FoundPassage]:
    """As many of the best passages as the chat model can read before it writes ``max_new_tokens``; at least one."""
    limit = longest_text(chat)
    room = max(limit - max_new_tokens, limit // 2) - _TEMPLATE_TOKENS
    kept = list(passages)
    while len(kept) > 1:
        text = "\n".join(message["content"] for message in chat_messages(question, kept))
        if len(chat.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) <= room:
            break
        kept.pop()
    return kept


def _write(
    chat: LoadedModel, pairs: Sequence[tuple[str, Sequence[FoundPassage]]], ctx: JobContext, options: AskOptions
) -> list[str]:
    if chat.head != "causal-lm":
        raise UserError(
            "{model} does not write text, so it cannot answer in its own words.",
            "Choose a causal language model, best one trained for chats.",
            model=chat.reference,
        )
    rows = (
        {"messages": chat_messages(question, fit_passages(chat, question, passages, options.max_new_tokens))}
        for question, passages in pairs
    )
    replies = ReplyOptions(batch_size=4, max_new_tokens=options.max_new_tokens)
    return [reply.text for reply in predict_replies(chat, rows, ctx, replies)]


def _rewritten(found: KnowledgeAnswer, text: str, score: float) -> KnowledgeAnswer:
    """The answer in the chat model's words, which may say that there is none."""
    if not text.strip() or NOT_FOUND in text.casefold():
        return _none(1 - score)
    return KnowledgeAnswer(text.strip(), score, found.sources, "generated", found.span)
