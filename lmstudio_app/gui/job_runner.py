"""Runs jobs beside the window: the only file that knows about threads.

A :class:`JobRunner` owns one persistent thread and runs its jobs there one after another. Whoever starts a
job gets a :class:`JobHandle`, whose signals all arrive in the window's thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Qt, QThread, QTimer, Signal, Slot

from lmstudio_app.errors import Cancelled, UserError, as_user_error
from lmstudio_app.events import Event
from lmstudio_app.jobs import Control, Job, JobContext

log = logging.getLogger(__name__)

EVENT_INTERVAL = 0.05  # seconds between two event signals of a job
# On Linux the window's thread pre-empts nicer workers at once; a worker alone still gets the whole core.
WORKER_NICENESS = 5


class _Ticket:
    """One job on its way through the worker. It holds no Qt object, so no Qt object can die in the wrong
    thread.
    """

    def __init__(self, job: Job, config: Any, wake: Callable[[], None]) -> None:
        self.job = job
        self.config = config
        self.control = Control()
        self.events: deque[Event] = deque()
        self.outcome: Any = None
        self.error: UserError | None = None
        self.cancelled = False
        self.has_run = False
        self._wake = wake
        self._awake = False

    def emit(self, event: Event) -> None:
        """Called by the job, in the worker's thread, as often as it likes."""
        self.events.append(event)
        if not self._awake:
            self._awake = True
            self._wake()

    def drain(self) -> list[Event]:
        """Called in the window's thread. An event that comes in between wakes the window once more."""
        self._awake = False
        return [self.events.popleft() for _ in range(len(self.events))]

    def run(self) -> None:
        try:
            ctx = JobContext(self.emit, self.control)
            ctx.check()
            self.outcome = self.job(self.config, ctx)
        except Cancelled:
            self.cancelled = True
        except Exception as error:
            self.error = as_user_error(error)
            if not isinstance(error, UserError):
                log.exception("a job failed")
        self.has_run = True


class _Worker(QObject):
    """Lives in the runner's thread."""

    woken = Signal()
    done = Signal()

    @Slot(object)
    def run(self, ticket: _Ticket) -> None:
        ticket.run()
        del ticket  # before the signal: the window's thread frees the result
        self.done.emit()

    @Slot()
    def prepare(self) -> None:
        """Give way to the window's thread. Threads that this one creates (OpenMP's) inherit it."""
        if sys.platform.startswith("linux"):
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), WORKER_NICENESS)


class JobHandle(QObject):
    """A started job, as the window sees it.

    Exactly one of :attr:`succeeded`, :attr:`failed` and :attr:`cancelled` is emitted, after every event of
    the job; :attr:`finished` always follows as the last signal.
    """

    started = Signal()
    event = Signal(object)  # list[Event], never empty, at most 20 lists a second
    succeeded = Signal(object)  # what the job returned
    failed = Signal(object)  # UserError
    cancelled = Signal()
    paused_changed = Signal(bool)
    finished = Signal()

    def __init__(self, runner: JobRunner, ticket: _Ticket, title: str, *, quiet: bool) -> None:
        super().__init__()
        self.title = title
        self.quiet = quiet
        self.outlives_window = False  # it only follows a process that goes on without it
        self._runner = runner
        self._ticket = ticket
        self._finished = False

    @property
    def running(self) -> bool:
        """True from :meth:`JobRunner.start` until ``finished``, so also while the job waits for its turn."""
        return not self._finished

    @property
    def paused(self) -> bool:
        return self._ticket.control.paused

    @property
    def stopping(self) -> bool:
        """True once the job was asked to end, in whichever way."""
        return self._ticket.control.stopping or self._ticket.control.cancelled

    def cancel(self) -> None:
        """End at the job's next check; a job that still waits never starts."""
        self._ticket.control.cancel()
        self._runner._drop_waiting(self)

    def stop(self) -> None:
        """End in good order; what exists so far is the result."""
        self._ticket.control.stop()

    def pause(self) -> None:
        if self.running and not self.paused:
            self._ticket.control.pause()
            if self.paused:  # a job that is already ending does not pause
                self.paused_changed.emit(True)

    def resume(self) -> None:
        if self.paused:
            self._ticket.control.resume()
            self.paused_changed.emit(False)


class JobRunner(QObject):
    """One thread, one job at a time; the others wait in the order in which they were started."""

    job_started = Signal(object)  # JobHandle
    job_failed = Signal(object, object)  # JobHandle, UserError
    job_finished = Signal(object)  # JobHandle
    busy_changed = Signal(bool)
    _prepare = Signal()
    _dispatch = Signal(object)
    _cancelled_while_waiting = Signal(object)

    def __init__(self, parent: QObject | None, name: str) -> None:
        super().__init__(parent)
        self.name = name
        self._current: JobHandle | None = None
        self._busy = False
        self._waiting: deque[JobHandle] = deque()
        self._last_drain = 0.0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._drain)
        self._thread = QThread()
        self._thread.setObjectName(f"lmstudio-app {name}")
        self._worker = _Worker()
        self._worker.moveToThread(self._thread)
        self._prepare.connect(self._worker.prepare, Qt.ConnectionType.QueuedConnection)
        self._dispatch.connect(self._worker.run, Qt.ConnectionType.QueuedConnection)
        self._worker.woken.connect(self._on_woken, Qt.ConnectionType.QueuedConnection)
        self._worker.done.connect(self._on_done, Qt.ConnectionType.QueuedConnection)
        self._cancelled_while_waiting.connect(self._report, Qt.ConnectionType.QueuedConnection)
        self._closed = False

    @property
    def current(self) -> JobHandle | None:
        """The handle of the job that runs now."""
        return self._current

    @property
    def busy(self) -> bool:
        """True from the first job's start until the last one has reported."""
        return self._busy

    @property
    def closed(self) -> bool:
        """True once it was shut down, and takes no more jobs."""
        return self._closed

    def start(self, job: Job, config: Any, *, title: str = "", quiet: bool = False) -> JobHandle:
        """Run ``job(config, ctx)`` in the thread, when its turn comes.

        ``title`` is shown beside the progress. The window shows a dialog when the job fails, unless it is
        ``quiet``, which is for views that show the failure themselves.
        """
        if self._closed:
            raise RuntimeError(f"the runner {self.name!r} was shut down")
        handle = JobHandle(self, _Ticket(job, config, self._worker.woken.emit), title, quiet=quiet)
        self._waiting.append(handle)
        if not self._busy:
            self._start_next()
        return handle

    def cancel_all(self) -> None:
        for handle in [*self._waiting, *([self._current] if self._current else [])]:
            handle.cancel()

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Cancel everything, wait up to ``timeout`` seconds for the thread, and say whether it ended.

        The last events and the outcome of the job that ran are still delivered. After False the thread
        still runs some call that cannot be interrupted; the process can only end by ``os._exit``.
        """
        self._closed = True
        self.cancel_all()
        self._thread.quit()
        ended = not self._thread.isRunning() or self._thread.wait(int(timeout * 1000))
        if ended and self._current is not None:
            if not self._current._ticket.has_run:  # the thread ended before it came to this job
                self._current._ticket.cancelled = True
            self._on_done()
        if not ended:
            log.warning("the %s job did not end within %.1f s", self.name, timeout)
            _unstoppable.append((self._thread, self._worker))  # destroying a running QThread aborts the process
        return ended

    def _start_next(self) -> None:
        if not self._thread.isRunning():
            self._thread.start()
            self._prepare.emit()
        self._current = handle = self._waiting.popleft()
        if not self._busy:
            self._busy = True
            self.busy_changed.emit(True)
        self._dispatch.emit(handle._ticket)
        handle.started.emit()
        self.job_started.emit(handle)

    def _drop_waiting(self, handle: JobHandle) -> None:
        if handle in self._waiting:
            self._waiting.remove(handle)
            handle._ticket.cancelled = True
            if self._closed:
                self._report(handle)
            else:
                self._cancelled_while_waiting.emit(handle)

    @Slot()
    def _on_woken(self) -> None:
        if self._timer.isActive() or self._current is None:
            return
        wait = self._last_drain + EVENT_INTERVAL - time.monotonic()
        if wait <= 0:
            self._drain()
        else:
            self._timer.start(int(wait * 1000) + 1)

    def _drain(self) -> None:
        if self._current is None:
            return
        self._last_drain = time.monotonic()
        if events := self._current._ticket.drain():
            self._current.event.emit(events)

    @Slot()
    def _on_done(self) -> None:
        if self._current is None:  # shutdown() delivered the outcome already
            return
        self._timer.stop()
        self._drain()
        handle, self._current = self._current, None
        self._report(handle)
        if self._waiting and not self._closed:
            self._start_next()
        else:
            self._busy = False
            self.busy_changed.emit(False)

    @Slot(object)
    def _report(self, handle: JobHandle) -> None:
        """The outcome, then ``finished``."""
        ticket = handle._ticket
        handle._finished = True
        if ticket.cancelled:
            handle.cancelled.emit()
        elif ticket.error is not None:
            handle.failed.emit(ticket.error)
            self.job_failed.emit(handle, ticket.error)
        else:
            outcome, ticket.outcome = (
                ticket.outcome,
                None,
            )  # a result (a model) must not live as long as the handle
            handle.succeeded.emit(outcome)
        handle.finished.emit()
        self.job_finished.emit(handle)


_unstoppable: list[tuple[QThread, _Worker]] = []


def has_unstoppable_jobs() -> bool:
    """True when a thread outlived its runner; then only ``os._exit`` ends the process without a crash."""
    return any(thread.isRunning() for thread, _ in _unstoppable)
