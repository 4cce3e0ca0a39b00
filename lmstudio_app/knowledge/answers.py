"""What a knowledge base answers: the answer, where it stands, and the passages that it is from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lmstudio_app.knowledge.search import FoundPassage

NOT_FOUND = "not in the knowledge base"
Kind = Literal["generated", "extracted", "sentence", "none"]


@dataclass(frozen=True)
class Source:
    """A passage that an answer is from: characters ``start`` to ``end`` of the text that was taken out of ``file``.

    ``probability``: that it holds the answer.
    """

    file: str
    start: int
    end: int
    text: str
    heading: str = ""
    page: int | None = None
    probability: float = 0.0

    @classmethod
    def of(cls, passage: FoundPassage, probability: float = 0.0) -> Source:
        return cls(
            passage.file, passage.start, passage.end, passage.text, passage.heading, passage.page, probability
        )  # fmt: skip

    def to_row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"file": self.file, "start": self.start, "end": self.end, "text": self.text}
        row |= {"heading": self.heading} if self.heading else {}
        return row | ({} if self.page is None else {"page": self.page})


@dataclass(frozen=True)
class Span:
    """What was found literally: characters ``start`` to ``end`` of the text of ``file``; ``score`` as the answer's."""

    file: str
    start: int
    end: int
    text: str
    score: float = 0.0


@dataclass(frozen=True)
class Citation:
    """Characters ``start`` to ``end`` of an answer, a sentence, and the sources that say the same, counted from 1.

    Without any, no source says it: the chat model knows it from elsewhere, or made it up.
    """

    start: int
    end: int
    sources: tuple[int, ...]

    def to_row(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.end, "sources": list(self.sources)}


@dataclass(frozen=True)
class KnowledgeAnswer:
    """``kind`` says who answered: a chat model (``generated``), a reader (``extracted``), the encoder, which can only
    choose the nearest ``sentence``, or nobody (``none``: it is not in the knowledge base, and there are no sources).

    ``score`` is the probability that the knowledge base holds the answer, with a reader times its share of all spans;
    of ``none`` the probability that it holds none. ``span`` is what a reader or the encoder has marked; the first
    source is the one that it is in. ``citations`` are of each sentence that a chat model wrote.
    """

    answer: str
    score: float
    sources: tuple[Source, ...]
    kind: Kind
    span: Span | None = None
    citations: tuple[Citation, ...] = ()

    @property
    def is_found(self) -> bool:
        return self.kind != "none"

    def to_row(self) -> dict[str, Any]:
        """``start`` and ``end`` are there for an answer that stands so in the first source's file.

        A generated answer has what was marked beside it under ``extracted``, and its ``citations`` where it was asked
        for alone.
        """
        row = {"answer": self.answer, "score": self.score, "sources": [source.to_row() for source in self.sources]}
        if self.span is not None and self.kind == "generated":
            row["extracted"] = {
                "answer": self.span.text, "score": self.span.score, "file": self.span.file,
                "start": self.span.start, "end": self.span.end,
            }  # fmt: skip
        elif self.span is not None:
            row |= {"start": self.span.start, "end": self.span.end}
        if self.citations:
            row["citations"] = [citation.to_row() for citation in self.citations]
        return row | {"kind": self.kind}
