"""A reply that is kept in a conversation while it is written."""

from __future__ import annotations

import time
from collections.abc import Callable

from lmstudio_app.chat.conversations import Conversations, Message
from lmstudio_app.chat.engine import ChatEngine, Piece, ReplyOptions, ReplyReport
from lmstudio_app.jobs import JobContext

_SAVED_EVERY = 1.0  # seconds


class ReplyWriter:
    """Keeps a reply while it is written, every second, so that a process that is killed loses a second of it.

    ``message`` is the stored reply. With ``keep_pieces`` its tokens and their candidates are kept at the end.
    """

    def __init__(
        self,
        store: Conversations,
        conversation: int,
        model: str,
        *,
        parent: int | None = None,
        keep_pieces: bool = True,
        prefix: str = "",
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._keep_pieces = keep_pieces
        self._saved = time.monotonic()
        self.pieces: list[Piece] = []
        self.message = store.add(conversation, "assistant", prefix, parent=parent, model=model)

    @property
    def content(self) -> str:
        return (self._prefix + "".join(piece.text for piece in self.pieces)).strip()

    def add(self, piece: Piece) -> None:
        self.pieces.append(piece)
        if time.monotonic() - self._saved >= _SAVED_EVERY:
            self._store.save_reply(self.message.id, self.content)
            self._saved = time.monotonic()

    def finish(self, report: ReplyReport | None = None) -> Message:
        """Keep what there is; without a report the reply counts as cut off."""
        self._store.save_reply(self.message.id, self.content, report, self.pieces if self._keep_pieces else ())
        return self._store.message(self.message.id)


def write_reply(
    store: Conversations,
    conversation: int,
    engine: ChatEngine,
    options: ReplyOptions,
    ctx: JobContext,
    on_piece: Callable[[Piece], object],
    *,
    keep_pieces: bool = True,
) -> Message:
    """Answer the last question of the shown branch, and keep the reply behind it.

    A reply that is cancelled or fails is kept as far as it has come, or not at all when it has not begun. Raises what
    the engine raises.
    """
    shown = store.branch(conversation)
    while shown and shown[-1].role == "assistant":  # the answer that there is stays beside the new one
        shown.pop()
    messages = [{"role": message.role, "content": message.content} for message in shown]
    pieces = engine.reply(messages, options, ctx)
    parent = shown[-1].id if shown else None
    writer = ReplyWriter(store, conversation, engine.reference, parent=parent, keep_pieces=keep_pieces)
    try:
        for piece in pieces:
            writer.add(piece)
            on_piece(piece)
    except BaseException:
        if writer.pieces:
            writer.finish()
        else:
            store.remove(writer.message.id)
        raise
    return writer.finish(engine.report)
