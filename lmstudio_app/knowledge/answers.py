"""What a knowledge base answers: the answer, where it stands, and the passages that it is from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lmstudio_app.knowledge.search import FoundPassage

NOT_FOUND = "not in the knowledge base"
Kind = Literal["generated", "extracted", "sentence", "none"]


@dataclass(frozen=True)
class Source:
    """A passage that an answer is from: characters ``start`` to ``end`` of the text that was taken out of ``file``."""

    file: str
    start: int
    end: int
    text: str
    heading: str = ""
    page: int | None = None

    @classmethod
    def of(cls, passage: FoundPassage) -> Source:
        return cls(passage.file, passage.start, passage.end, passage.text, passage.heading, passage.page)

    def to_row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"file": self.file, "start": self.start, "end": self.end, "text": self.text}
        row |= {"heading": self.heading} if self.heading else {}
        return row | ({} if self.page is None else {"page": self.page})


@dataclass(frozen=True)
class Span:
    """What was found literally: characters ``start`` to ``end`` of the text of ``file``."""

    file: str
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class KnowledgeAnswer:
    """``kind`` says who answered: a chat model (``generated``), a reader (``extracted``), the encoder, which can only
    choose the nearest ``sentence``, or nobody (``none``: it is not in the knowledge base, and there are no sources).

    ``score`` is the probability that the knowledge base holds the answer, with a reader times its share of all spans;
    of ``none`` the probability that it holds none. ``span`` is what a reader or the encoder has marked; the first
    source is the one that it is in.
    """

    answer: str
    score: float
    sources: tuple[Source, ...]
    kind: Kind
    span: Span | None = None

    @property
    def is_found(self) -> bool:
        return self.kind != "none"

    def to_row(self) -> dict[str, Any]:
        """``start`` and ``end`` are there for an answer that stands so in the first source's file."""
        row = {"answer": self.answer, "score": self.score, "sources": [source.to_row() for source in self.sources]}
        if self.span is not None and self.span.text == self.answer:
            row |= {"start": self.span.start, "end": self.span.end}
        return row | {"kind": self.kind}
