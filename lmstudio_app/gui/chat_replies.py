"""The jobs that write replies: an engine that stays in memory between the turns, and what it streams."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from lmstudio_app.events import Event
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.chat.engine import ChatEngine, Piece, ReplyReport
    from lmstudio_app.models.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class PieceWritten(Event):
    """A token of the reply."""

    kind: ClassVar[str] = "piece"
    piece: Piece


class EngineHolder:
    """The engine of one model, opened when it is first asked, and closed when it is not in use."""

    def __init__(self) -> None:
        self._engine: ChatEngine | None = None
        self._model: LoadedModel | str | None = None
        self._closing = False
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def use(self, model: LoadedModel | str, ctx: JobContext) -> Iterator[ChatEngine]:
        """The engine of this model (one in memory, or a reference); that of another one is closed before."""
        from lmstudio_app.chat.engine import open_engine

        with self._lock:
            is_same = model is self._model or (isinstance(model, str) and model == self._model)
            if self._engine is None or not is_same:
                self._close()
                self._engine = open_engine(model, ctx)
                self._model = model
            try:
                yield self._engine
            finally:
                if self._closing:
                    self._close()

    def close(self) -> None:
        """Close the engine now, or at the end of the job that uses it: so nobody has to wait for that."""
        self._closing = True
        if self._lock.acquire(blocking=False):
            try:
                self._close()
                self._closing = False
            finally:
                self._lock.release()

    def _close(self) -> None:
        engine, self._engine, self._model = self._engine, None, None
        self._closing = False
        if engine is not None:
            engine.close()


@dataclass(frozen=True, eq=False)
class ReplyRequest:
    """``messages`` end with the question; ``prefix`` is how the reply begins, which is there already."""

    holder: EngineHolder
    loaded: LoadedModel
    messages: Sequence[Mapping[str, str]]
    options: Any  # ReplyOptions
    prefix: str = ""


def write_reply(request: ReplyRequest, ctx: JobContext) -> ReplyReport:
    """Emits a :class:`PieceWritten` a token. A stop ends the reply where it is. Raises what the engine raises."""
    with request.holder.use(request.loaded, ctx) as engine:
        for piece in engine.reply(request.messages, request.options, ctx, prefix=request.prefix):
            ctx.emit(PieceWritten(piece=piece))
        return engine.report


@dataclass(frozen=True, eq=False)
class CountRequest:
    """How many tokens the ``messages`` take, and how many more with the ``draft`` behind them."""

    holder: EngineHolder
    loaded: LoadedModel
    messages: Sequence[Mapping[str, str]]
    draft: str


@dataclass(frozen=True)
class TokenCounts:
    said: int
    draft: int
    limit: int


def count_tokens(request: CountRequest, ctx: JobContext) -> TokenCounts:
    """Opens the engine, too, so that the first reply need not wait for it."""
    with request.holder.use(request.loaded, ctx) as engine:
        messages = list(request.messages)
        asked = any(message["role"] == "user" for message in messages)
        said = engine.count_tokens(messages) if asked else 0
        whole = said
        if request.draft:
            ctx.check()
            whole = engine.count_tokens([*messages, {"role": "user", "content": request.draft}])
        return TokenCounts(said, max(0, whole - said), engine.context_length)
