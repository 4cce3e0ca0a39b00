"""transformers without its progress bars and log lines.

Both are settings of the whole process, while a model may be loaded in one thread and a checkpoint saved in another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from lmstudio_app.jobs import JobContext
from lmstudio_app.process import SharedChange

_listener: ContextVar[JobContext | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def quiet_transformers(ctx: JobContext | None = None) -> Iterator[None]:
    """Without transformers' progress bars and log lines, for this block only; many threads may be inside.

    With a ``ctx`` the loading loops of this thread (and of no other) check it before every weight, so that they can
    be cancelled.
    """
    token = _listener.set(ctx)
    try:
        with _silence:
            yield
    finally:
        _listener.reset(token)


def _silence_transformers(undo: contextlib.ExitStack) -> None:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    undo.callback(disable_progress_bars if are_progress_bars_disabled() else enable_progress_bars)
    if logging.is_progress_bar_enabled():
        undo.callback(logging.enable_progress_bar)
    undo.callback(logging.set_verbosity, logging.get_verbosity())
    undo.callback(logging.set_tqdm_hook, logging.set_tqdm_hook(_bar))
    logging.set_verbosity_error()
    logging.disable_progress_bar()


_silence = SharedChange(_silence_transformers)


def _bar(factory: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """transformers' tqdm hook: what its loops iterate over."""
    ctx = _listener.get()
    if ctx is None or not args:
        return factory(*args, **options)
    return _checked(args[0], ctx)


def _checked(items: Iterable[Any], ctx: JobContext) -> Iterator[Any]:
    for item in items:
        ctx.check()
        yield item
