"""The one handle a job gets: report through it, and be stopped through it.

A job is a plain function ``job(config, ctx) -> result``. It runs in a worker of the window, in the command line and
in a test, and cannot tell which.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from lmstudio_app.errors import Cancelled
from lmstudio_app.events import Event, Progress, Status

T = TypeVar("T")
Job = Callable[[Any, "JobContext"], Any]


class Control:
    """The switches of one running job; any thread may flip them."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._stopping = threading.Event()
        self._running = threading.Event()
        self._running.set()
        self._pausing = threading.Lock()  # so that no pause falls between an end and its waking up

    def cancel(self) -> None:
        """Unwind with :class:`Cancelled` at the next check. A training leaves a resumable run."""
        self._end(self._cancelled)

    def stop(self) -> None:
        """End in good order at the next step: what exists so far is the result ("stop and save")."""
        self._end(self._stopping)

    def _end(self, switch: threading.Event) -> None:
        with self._pausing:
            switch.set()
            self._running.set()

    def pause(self) -> None:
        """Wait at the next check. A job that is to end is not held up any more."""
        with self._pausing:
            if not (self.cancelled or self.stopping):
                self._running.clear()

    def resume(self) -> None:
        self._running.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def paused(self) -> bool:
        return not self._running.is_set()

    def wait_while_paused(self) -> None:
        self._running.wait()


class JobContext:
    """Report with :meth:`emit`, :meth:`status` and :meth:`progress`; call :meth:`check` often (every 0.1 s or so)."""

    def __init__(self, emit: Callable[[Event], None] | None = None, control: Control | None = None) -> None:
        self._emit = emit or (lambda event: None)
        self.control = control or Control()

    def emit(self, event: Event) -> None:
        self._emit(event)

    def check(self) -> None:
        """Wait while paused; raise :class:`Cancelled` when the user cancelled."""
        if self.control.paused:
            self.control.wait_while_paused()
        if self.control.cancelled:
            raise Cancelled

    @property
    def stopping(self) -> bool:
        return self.control.stopping

    def status(self, template: str, **parameters: Any) -> None:
        self.emit(Status(template=template, parameters=parameters))

    def warn(self, template: str, **parameters: Any) -> None:
        self.emit(Status(template=template, parameters=parameters, warning=True))

    def meter(self, total: float | None, unit: str) -> Meter:
        return Meter(self, total, unit)

    def track(self, items: Iterable[T], total: int, unit: str) -> Iterator[T]:
        """Iterate with progress and a check before every item."""
        meter = self.meter(total, unit)
        for done, item in enumerate(items):
            meter.update(done)
            yield item
        meter.update(total)


class Meter:
    """Turns a count into :class:`Progress` events with rate and ETA, at most ten a second; each update checks."""

    interval = 0.1  # seconds between two events

    def __init__(self, ctx: JobContext, total: float | None, unit: str) -> None:
        self._ctx = ctx
        self.total = total
        self.unit = unit
        self._start = self._last = time.monotonic()
        self._first_done: float | None = None

    def update(self, done: float) -> None:
        self._ctx.check()
        now = time.monotonic()
        if self._first_done is None:  # a resumed download does not start at zero
            self._first_done, self._start = done, now
        finished = self.total is not None and done >= self.total
        if now - self._last < self.interval and not finished:
            return
        self._last = now
        elapsed = now - self._start
        rate = (done - self._first_done) / elapsed if elapsed > 0 else None
        eta = (self.total - done) / rate if rate and self.total is not None else None
        self._ctx.emit(Progress(done=done, total=self.total, unit=self.unit, rate=rate, eta=eta))
