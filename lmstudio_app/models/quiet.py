"""transformers without its progress bars and log lines.

Both are settings of the whole process, while a model may be loaded in one thread and a checkpoint saved in another.
So the first to come in switches them off, the last to go restores them, and a loading loop is heard by the job of
its own thread only.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from lmstudio_app.jobs import JobContext

_listener: ContextVar[JobContext | None] = ContextVar("listener", default=None)
_lock = threading.Lock()
_inside = 0
_as_before = contextlib.ExitStack()


@contextlib.contextmanager
def quiet_transformers(ctx: JobContext | None = None) -> Iterator[None]:
    """Without transformers' progress bars and log lines, for this block only; may be entered by many threads.

    With a ``ctx`` the loading loops of this thread check it before every weight, so that they can be cancelled.
    """
    global _inside
    token = _listener.set(ctx)
    with _lock:
        if _inside == 0:
            _silence()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _as_before.close()
        _listener.reset(token)


def _silence() -> None:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    _as_before.callback(enable_progress_bars if not are_progress_bars_disabled() else disable_progress_bars)
    if logging.is_progress_bar_enabled():
        _as_before.callback(logging.enable_progress_bar)
    _as_before.callback(logging.set_verbosity, logging.get_verbosity())
    _as_before.callback(logging.set_tqdm_hook, logging.set_tqdm_hook(_bar))
    logging.set_verbosity_error()
    logging.disable_progress_bar()


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
