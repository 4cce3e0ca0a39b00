"""The same question to several models: their replies side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from lmstudio_app.chat.engine import CANDIDATES, ChatEngine, Piece, ReplyOptions
from lmstudio_app.jobs import JobContext


def compare_replies(
    engines: Sequence[ChatEngine],
    messages: Sequence[Mapping[str, str]],
    options: ReplyOptions,
    ctx: JobContext,
    *,
    stop: Sequence[str] = (),
    candidates: int = CANDIDATES,
    interleaved: bool = True,
) -> Iterator[tuple[int, Piece | None]]:
    """Stream the replies as (index of the engine, piece); a ``None`` says that this engine's reply has ended.

    ``interleaved``: a token of each in turn, so that they grow together; else one reply after the other, so that the
    times in their reports are those of each alone. Each engine must be there once. A stop ends all replies where they
    are, a cancel raises :class:`lmstudio_app.errors.Cancelled`. Raises :class:`UserError` as a reply does.
    """
    with contextlib.ExitStack() as stack:
        replies: dict[int, Iterator[Piece]] = {}
        for index, engine in enumerate(engines):
            replies[index] = engine.reply(messages, options, ctx, stop=stop, candidates=candidates)
            if (close := getattr(replies[index], "close", None)) is not None:
                stack.callback(close)
        groups = [list(replies)] if interleaved else [[index] for index in replies]
        for group in groups:
            while group:
                for index in list(group):
                    piece = next(replies[index], None)
                    if piece is None:
                        group.remove(index)
                    yield index, piece
