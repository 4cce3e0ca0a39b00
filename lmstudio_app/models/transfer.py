"""Network calls that a cancel ends at once, although a socket may make them wait for many seconds."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import JobContext, Meter

T = TypeVar("T")
POLL = 0.05  # seconds between two looks at the cancel switch


class SourceError(UserError):
    """One source of a model does not work; another one may."""


class Line:
    """What the job's thread and the network's thread share: bytes received, and the request to wait or to hang up."""

    def __init__(self, done: int = 0) -> None:
        self.done = done
        self.abandoned = threading.Event()
        self._running = threading.Event()
        self._running.set()
        self._socket: socket.socket | None = None

    def check(self) -> None:
        """Called by the network's thread between two pieces: waits while on hold, raises :class:`Cancelled` in the end.

        A hub that hangs up meanwhile is asked for the rest afterwards.
        """
        self._running.wait()
        if self.abandoned.is_set():
            raise Cancelled

    def hold(self) -> None:
        """Let the network's thread wait at its next check, so that a paused download takes no more of the line."""
        self._running.clear()

    def go_on(self) -> None:
        self._running.set()

    def pause(self, seconds: float) -> None:
        """Wait before a retry; raises :class:`Cancelled` as soon as abandoned."""
        self.abandoned.wait(seconds)
        self.check()

    def watch(self, response: Any) -> None:
        """Remember the socket of a streaming httpx response, so that :meth:`hang_up` can wake its reader."""
        stream = response.extensions.get("network_stream")
        self._socket = stream.get_extra_info("socket") if stream is not None else None
        self.check()

    def hang_up(self) -> None:
        self.abandoned.set()
        self.go_on()
        if self._socket is not None:
            with contextlib.suppress(OSError):  # closed already
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def call_beside(ctx: JobContext, work: Callable[[Line], T], meter: Meter | None = None, done: int = 0) -> T:
    """Run ``work(line)`` in a thread of its own and return its result; raise what it raises.

    Until then the calling thread reports ``line.done`` to ``meter`` and looks at the cancel switch twenty
    times a second. A cancel raises :class:`Cancelled` at once: the socket is shut, and a thread that still
    waits for a connection or a name server ends by itself and writes nothing any more.
    """
    line = Line(done)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def _run() -> None:
        try:
            outcome.append(work(line))
        except BaseException as error:  # noqa: BLE001 - raised again in the job's thread
            failure.append(error)

    thread = threading.Thread(target=_run, name="transfer", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL)
            if ctx.control.paused:
                line.hold()
            ctx.check()
            line.go_on()
            if meter is not None:
                meter.update(line.done)
    except BaseException:
        line.hang_up()
        thread.join(2 * POLL)
        raise
    if failure:
        raise failure[0]
    return outcome[0]
