"""How a job talks to a terminal: a progress line for people, one JSON line an event for programs."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator

from lmstudio_app.events import Evaluated, Event, Finished, Progress, Status, StepLogged, TextChunk, to_json
from lmstudio_app.files import format_bytes
from lmstudio_app.jobs import Control, JobContext

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _quoted(path: str) -> str:
    return subprocess.list2cmdline([path]) if sys.platform == "win32" else shlex.quote(path)


def _amount(value: float, unit: str) -> str:
    return format_bytes(value) if unit == "B" else f"{value:,.0f} {unit}"


def describe(event: Event) -> str | None:
    """One line for a person, or None when the event is not worth one."""
    match event:
        case Status(warning=True):
            return f"warning: {event.message}"
        case Status():
            return event.message
        case Progress():
            parts = [_amount(event.done, event.unit)]
            if event.total:
                parts[0] += f" of {_amount(event.total, event.unit)} ({100 * event.done / event.total:.0f} %)"
            if event.rate:
                parts.append(f"{_amount(event.rate, event.unit)}/s")
            if event.eta is not None:
                parts.append(f"{_duration(event.eta)} left")
            return ", ".join(parts)
        case StepLogged():
            left = f", {_duration(event.eta)} left" if event.eta is not None else ""
            return (
                f"step {event.step}/{event.total_steps}  loss {event.loss:.4f}  lr {event.learning_rate:.2e}  "
                f"grad norm {event.grad_norm:.2f}  {event.examples_per_second:.0f} examples/s  "
                f"{event.tokens_per_second:.0f} tokens/s{left}"
            )
        case Evaluated():
            values = "  ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
            return f"evaluated at step {event.step}: {values}"
        case Finished(state="interrupted", result={"run_folder": folder}):
            return f"go on with: lmstudio-app train --run-dir {_quoted(folder)} --resume"
    return None


class ConsolePrinter:
    """``--json``: every event is one line on stdout. Otherwise sentences on stderr, progress rewritten in place.

    ``on_closed`` is called when nobody reads stdout any longer (``… | head -1``); nothing is written after that.
    """

    def __init__(self, *, json: bool, on_closed: Callable[[], None] = lambda: None) -> None:
        self._json = json
        self._on_closed = on_closed
        self._open_line = False
        self._out = sys.stdout  # as it is now: while a job runs, what libraries print goes elsewhere
        if json and isinstance(self._out, io.TextIOWrapper):
            self._out.reconfigure(encoding="utf-8")

    def __call__(self, event: Event) -> None:
        if self._json:
            self._write(to_json(event) + "\n")
            return
        if isinstance(event, TextChunk):
            self._write(event.text)
            return
        line = describe(event)
        if line is None:
            return
        in_place = isinstance(event, Progress)
        if in_place and not sys.stderr.isatty():
            return
        start = "\r\x1b[K" if self._open_line else ""
        sys.stderr.write(start + line + ("" if in_place else "\n"))
        sys.stderr.flush()
        self._open_line = in_place

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except BrokenPipeError:
            # the rest, and what Python flushes at its end, goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())
            self._on_closed()

    def close(self) -> None:
        if self._open_line:
            sys.stderr.write("\n")
            self._open_line = False


def _signals() -> list[signal.Signals]:
    """Those that ask a process to end. Under ``nohup`` a closed terminal does not ask."""
    found = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        found.append(signal.SIGHUP)
    return found


@contextlib.contextmanager
def console_context(*, json: bool = False) -> Iterator[JobContext]:
    """A context whose first Ctrl+C (or SIGTERM, or a closed terminal) cancels in good order; the second ends at once.

    Until it ends, stdout belongs to the events: what a library prints goes to stderr.
    """
    control = Control()

    def _on_signal(number: int, frame: types.FrameType | None) -> None:
        if control.cancelled:
            raise KeyboardInterrupt
        control.cancel()

    printer = ConsolePrinter(json=json, on_closed=control.cancel)
    previous: dict[int, Callable[[int, types.FrameType | None], object] | int | None] = {
        number: signal.signal(number, _on_signal) for number in _signals()
    }
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield JobContext(printer, control)
    finally:
        printer.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
