"""One reply at a time, and how far it has come: what the engines share."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from lmstudio_app.chat.engine import ReplyReport
from lmstudio_app.jobs import JobContext

_POLL = 0.05  # seconds


@contextlib.contextmanager
def one_at_a_time(lock: threading.Lock, ctx: JobContext) -> Iterator[None]:
    """Wait until the reply before has ended; a cancel ends the waiting."""
    while not lock.acquire(timeout=_POLL):
        ctx.check()
    try:
        yield
    finally:
        lock.release()


class Stopwatch:
    """The times and the number of tokens of a reply, as a :class:`ReplyReport`."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._first = 0.0
        self.new_tokens = 0

    def count(self) -> None:
        """A token has come."""
        self.new_tokens += 1
        if self.new_tokens == 1:
            self._first = time.monotonic() - self._start

    def report(self, begun: ReplyReport, ending: str) -> ReplyReport:
        return replace(
            begun, new_tokens=self.new_tokens, ending=ending, first_seconds=self._first,
            seconds=time.monotonic() - self._start,
        )  # fmt: skip
