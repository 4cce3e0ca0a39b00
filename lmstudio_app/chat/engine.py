"""What streams a reply: the contract of the chat engines, and which of them answers for a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks.outputs import Candidate
from lmstudio_app.tasks.replying import ReplyOptions

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

__all__ = [
    "KINDS",
    "Candidate",
    "ChatEngine",
    "MessagesRefused",
    "Piece",
    "ReplyOptions",
    "ReplyReport",
    "open_engine",
    "reply_text",
]

KINDS = ("auto", "torch", "llama.cpp")
CANDIDATES = 10  # next tokens told with every piece
Message = Mapping[str, str]  # role and content


@dataclass(frozen=True)
class Piece:
    """One written token.

    ``text`` is what it adds to the reply: whole characters only, so it is empty until the last token of a character.
    ``probability`` is the model's own (at temperature 1, before any choice is narrowed), and so are those of the
    ``candidates`` for this place, the most probable first; they need not hold the token that was drawn.
    """

    text: str
    token_id: int
    probability: float
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class ReplyReport:
    """How a reply came about.

    ``prompt_tokens`` is the whole prompt, ``reused_tokens`` what of it was still in memory from the turn before,
    ``dropped_messages`` the oldest ones that gave way. ``ending``: ``end`` (the model ended its turn), ``length``,
    ``stop text``, or ``stopped`` by the user. ``seconds`` from the question on, ``first_seconds`` to the first token.
    """

    prompt_tokens: int = 0
    reused_tokens: int = 0
    dropped_messages: int = 0
    new_tokens: int = 0
    ending: str = ""
    first_seconds: float = 0.0
    seconds: float = 0.0


class MessagesRefused(UserError):
    """The model's chat template does not take these messages, for example because of the order of their roles."""


class ChatEngine(Protocol):
    """A model that answers. One reply at a time; from any thread.

    ``context_length``: tokens of prompt and reply together. ``report`` is of the last reply, once its iterator ended.
    """

    name: str  # "torch" or "llama.cpp"
    reference: str  # the model
    context_length: int
    report: ReplyReport

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt for the next answer, by the model's chat template, before anything gives way.

        Raises :class:`MessagesRefused` when the template does not take them.
        """

    def reply(
        self,
        messages: Sequence[Message],
        options: ReplyOptions,
        ctx: JobContext,
        *,
        stop: Sequence[str] = (),
        candidates: int = CANDIDATES,
        prefix: str = "",
    ) -> Iterator[Piece]:
        """Stream the next answer; ``prefix`` is how it has to begin, which is read and not told again.

        The oldest turns give way where prompt and reply do not fit into the context. ``options.system`` goes before
        messages that have no system message; ``options.batch_size`` means nothing here. A reply ends before the first
        of the ``stop`` texts. ``ctx`` is asked between tokens and within a long prompt: ``ctx.stopping`` ends the reply
        where it is, a cancel raises :class:`lmstudio_app.errors.Cancelled`. Raises :class:`UserError` for messages
        without a question, and :class:`MessagesRefused`.
        """

    def close(self) -> None:
        """Give memory and processes back; a second time does nothing."""


def open_engine(model: str | LoadedModel, ctx: JobContext, kind: str = "auto") -> ChatEngine:
    """The engine for a model on this disk (``kind`` is one of :data:`KINDS`); close it after use.

    ``auto``: llama.cpp for a model that came as a GGUF file, where the binding can be imported; torch for the rest, and
    with a warning where llama.cpp fails. A :class:`LoadedModel` is used as it is, a reference is loaded. Raises
    :class:`UserError` when the model cannot be loaded, or writes no text.
    """
    from lmstudio_app.models.conversion import gguf_of
    from lmstudio_app.models.references import resolve

    if kind not in KINDS:
        raise UserError("There is no engine {name}.", "Choose one of: {names}.", name=kind, names=", ".join(KINDS))
    reference = model if isinstance(model, str) else model.reference
    if kind != "torch":
        folder = resolve(model, ctx) if isinstance(model, str) else model.folder
        gguf = gguf_of(folder)
        if gguf is not None:
            from lmstudio_app.chat.llama_engine import LlamaEngine

            try:
                tokenizer = None if isinstance(model, str) else model.tokenizer
                return LlamaEngine(reference, folder, gguf, ctx, tokenizer=tokenizer)
            except UserError as error:
                if kind != "auto":
                    raise
                ctx.warn("{problem} So the slower engine (torch) answers.", problem=error.message)
        elif kind == "llama.cpp":
            raise UserError(
                "{model} did not come as a GGUF file, so llama.cpp cannot run it.",
                "Choose the engine torch.",
                model=reference,
            )
    from lmstudio_app.chat.torch_engine import TorchEngine
    from lmstudio_app.models.loading import LoadRequest, load_model

    loaded = load_model(LoadRequest(model), ctx) if isinstance(model, str) else model
    return TorchEngine(loaded)


@contextlib.contextmanager
def engine_for(model: str | LoadedModel, ctx: JobContext, kind: str = "auto") -> Iterator[ChatEngine]:
    """:func:`open_engine` for a ``with`` block."""
    engine = open_engine(model, ctx, kind)
    try:
        yield engine
    finally:
        engine.close()


def is_fast(folder: Path) -> bool:
    """Would ``auto`` take llama.cpp for the model in this folder?"""
    from lmstudio_app.models.conversion import gguf_of
    from lmstudio_app.models.llama_cpp import is_available

    return gguf_of(folder) is not None and is_available()


def reply_text(pieces: Sequence[Piece]) -> str:
    """The reply that the pieces make up, without space around it."""
    return "".join(piece.text for piece in pieces).strip()


def to_rows(pieces: Sequence[Piece]) -> list[list[Any]]:
    """Pieces as JSON values: ``[text, token id, probability, [[candidate, probability], …]]``."""
    return [
        [piece.text, piece.token_id, piece.probability, [[c.token, c.probability] for c in piece.candidates]]
        for piece in pieces
    ]


def from_rows(rows: Sequence[Sequence[Any]]) -> list[Piece]:
    """What :func:`to_rows` made of pieces."""
    return [Piece(row[0], row[1], row[2], tuple(Candidate(*candidate) for candidate in row[3])) for row in rows]
