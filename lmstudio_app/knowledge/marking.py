"""Answers that stand in the passages: the span that a reader marks, or the sentence nearest to the question."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.answers import NOT_FOUND, KnowledgeAnswer, Source, Span
from lmstudio_app.knowledge.search import FoundPassage, KnowledgeBase
from lmstudio_app.knowledge.words import coverage
from lmstudio_app.tasks.answer_search import AnswerOptions, predict_answers
from lmstudio_app.tasks.sentences import split_sentences

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

# P(the knowledge base holds the answer), by logistic regression on the 632 questions of XQuAD, asked of a knowledge
# base with the article they are about and of one without, with the starter encoder: at 0.4 it keeps 97.6 % of the ones
# and turns down 97.0 % of the others. The similarity alone does 94.5 % and 95.1 %. tests/benchmarks/knowledge_base.py
# measures it.
WORDS_WEIGHT, _MIDDLE, _SLOPE = 0.25, 0.448, 28.6
_SENTENCES_OF = 3  # passages in which the nearest sentence is looked for
_BULLET = re.compile(r"(?:[>*•–-]\s+)+")

Pair = tuple[str, Sequence[FoundPassage]]  # a question and its passages, the best first


def probability(question: str, text: str, similarity: float | None) -> float:
    """That a passage of this similarity (cosine) to the question holds its answer; see the figures above."""
    evidence = (similarity or 0.0) + WORDS_WEIGHT * coverage(question, text)
    return 1 / (1 + math.exp(-_SLOPE * (evidence - _MIDDLE)))


def best_probability(question: str, passages: Sequence[FoundPassage]) -> float:
    """That one of the passages holds the answer."""
    return max((probability(question, item.text, item.similarity) for item in passages), default=0.0)


def no_answer(question: str, passages: Sequence[FoundPassage]) -> KnowledgeAnswer:
    """ "Not in the knowledge base", with the probability of that."""
    return KnowledgeAnswer(NOT_FOUND, 1 - best_probability(question, passages), (), "none")


def sources_of(
    question: str, passages: Sequence[FoundPassage], first: FoundPassage | None = None
) -> tuple[Source, ...]:
    """The passages as sources of an answer, the one that it stands in before the others."""
    ordered = passages if first is None else (first, *(other for other in passages if other is not first))
    return tuple(Source.of(item, probability(question, item.text, item.similarity)) for item in ordered)


def mark_spans(reader: LoadedModel, pairs: Sequence[Pair], ctx: JobContext) -> list[KnowledgeAnswer]:
    """The best span of all passages of each question: by its share in its passage, times the passage's probability."""
    rows = ({"question": question, "context": item.text} for question, passages in pairs for item in passages)
    spans = predict_answers(reader, rows, ctx, AnswerOptions(batch_size=16))
    answers = []
    for question, passages in pairs:
        best = no_answer(question, passages)
        top = -1.0
        for passage, span in zip(passages, islice(spans, len(passages)), strict=True):
            score = span.score * probability(question, passage.text, passage.similarity)
            if span.answer and score > top:
                top = score
                start, end = passage.start + span.start, passage.start + span.end
                place = Span(passage.file, start, end, span.answer, score)
                sources = sources_of(question, passages, passage)
                best = KnowledgeAnswer(span.answer, score, sources, "extracted", place)
        answers.append(best)
    return answers


def choose_sentences(base: KnowledgeBase, pairs: Sequence[Pair], ctx: JobContext) -> list[KnowledgeAnswer]:
    """The sentence of the best passages that is nearest to each question, by the same measure as passages."""
    encoder = base.encoder(ctx)
    places = [
        (index, passage, start, end)
        for index, (_, passages) in enumerate(pairs)
        for passage in passages[:_SENTENCES_OF]
        for start, end in passage_sentences(passage.text)
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
        score = best_probability(question, passages)
        place = Span(passage.file, passage.start + start, passage.start + end, text, score)
        sources = sources_of(question, passages, passage)
        answers.append(KnowledgeAnswer(text, score, sources, "sentence", place))
    return answers


def passage_sentences(text: str) -> list[tuple[int, int]]:
    """The sentences of a passage without their bullets; a heading of Markdown is none, unless there is nothing else."""
    found: list[tuple[int, int]] = []
    at = 0
    for paragraph in text.split("\n\n"):
        found += [(at + start, at + end) for start, end in split_sentences(paragraph)]
        at += len(paragraph) + 2
    told = []
    for start, end in found:
        bullet = _BULLET.match(text, start, end)
        start = bullet.end() if bullet else start
        if start < end and text[start] != "#":
            told.append((start, end))
    return told or found
