"""How a job talks to a terminal: a progress line for people, one JSON line an event for programs."""

from __future__ import annotations

import contextlib
import signal
import sys
import types
from collections.abc import Callable, Iterator

from lmstudio_app.events import Evaluated, Event, Progress, Status, StepLogged, TextChunk, to_json
from lmstudio_app.files import format_bytes
from lmstudio_app.jobs import Control, JobContext

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


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
    return None


class ConsolePrinter:
    """``--json``: every event is one line on stdout. Otherwise sentences on stderr, progress rewritten in place."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._open_line = False

    def __call__(self, event: Event) -> None:
        if self._json:
            sys.stdout.write(to_json(event) + "\n")
            sys.stdout.flush()
            return
        if isinstance(event, TextChunk):
            sys.stdout.write(event.text)
            sys.stdout.flush()
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

    def close(self) -> None:
        if self._open_line:
            sys.stderr.write("\n")
            self._open_line = False


@contextlib.contextmanager
def console_context(*, json: bool = False) -> Iterator[JobContext]:
    """A context whose first Ctrl+C (or SIGTERM) cancels in good order; the second ends at once."""
    control = Control()

    def _on_signal(number: int, frame: types.FrameType | None) -> None:
        if control.cancelled:
            raise KeyboardInterrupt
        control.cancel()

    printer = ConsolePrinter(json=json)
    previous: dict[int, Callable[[int, types.FrameType | None], object] | int | None] = {
        number: signal.signal(number, _on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield JobContext(printer, control)
    finally:
        printer.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
