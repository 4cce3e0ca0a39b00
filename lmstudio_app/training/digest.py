"""What a run's event file comes to, in one pass over its bytes, and later over its new bytes only.

A list of runs must not parse every step of each: only evaluations, the last step and how the run ended are read.
"""

from __future__ import annotations

import copy
import json
import math
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lmstudio_app.events import Event, Failed, Finished, StepLogged
from lmstudio_app.training.event_file import EVENTS, parse

_BLOCK = 4 << 20  # bytes
_MARK = 200  # bytes at the beginning and at the end by which a file is known again
_TIME = re.compile(rb'"time": ([0-9.eE+-]+)')
_METRICS = re.compile(rb'"metrics": (\{[^{}]*\})')
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class EventDigest:
    """``step`` is the last :class:`StepLogged`; ``ending`` the word with which the run ended, if it has.

    ``lowest`` and ``highest`` are of every metric over all evaluations, ``metrics`` those of the last one.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._offset = 0
        self._head = self._tail = b""
        self._stamp: tuple[int, int] | None = None
        self._session_start: float | None = None
        self._ended_seconds = 0.0  # of the sessions that have ended
        self._last_time = 0.0
        self.first_time: float | None = None
        self.step: StepLogged | None = None
        self.ending: Finished | Failed | None = None
        self.result: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.lowest: dict[str, float] = {}
        self.highest: dict[str, float] = {}
        self.evaluations = 0

    @property
    def seconds(self) -> float:
        """How long the run has been at work; the time between an end and a resume does not count."""
        open_seconds = self._last_time - self._session_start if self._session_start is not None else 0.0
        return self._ended_seconds + max(0.0, open_seconds)

    def update(self, path: Path) -> None:
        """Take in what is new in the file ``path``."""
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                stamp = (status.st_size, status.st_mtime_ns)
                if stamp == self._stamp:
                    return
                if not self._is_known(file):
                    self._reset()
                self._stamp = stamp
                self._take_in(file)
        except FileNotFoundError:
            self._reset()

    def _is_known(self, file: BinaryIO) -> bool:
        """Does the file begin with what was read before?"""
        if file.read(len(self._head)) != self._head:
            return False
        file.seek(self._offset - len(self._tail))
        return file.read(len(self._tail)) == self._tail

    def _take_in(self, file: BinaryIO) -> None:
        file.seek(self._offset)
        rest = b""
        while block := file.read(_BLOCK):
            data = rest + block
            end = data.rfind(b"\n") + 1
            if end:
                self._take_lines(data[:end] if end < len(data) else data)
                self._offset += end
            rest = data[end:]

    def _take_lines(self, data: bytes) -> None:
        self._head = self._head or data[:_MARK]
        self._tail = data[-_MARK:]
        if self._session_start is None:
            self._begin_session(data, 0)
        for at in _lines_that_begin(data, b'{"event": "evaluated"'):
            self._take_evaluation(data, at)
        last_step = max(data.rfind(b'\n{"event": "step"') + 1, 0)
        if last_step or data.startswith(b'{"event": "step"'):
            event = parse(data[last_step : data.index(b"\n", last_step)])
            if isinstance(event, StepLogged):
                self.step = event
                self.ending = None
        for at in _lines_that_begin(data, b'{"event": "f'):
            end = data.index(b"\n", at)
            event = parse(data[at:end])
            if isinstance(event, Finished | Failed):
                self._end_session(event)
                self.ending = event if at >= last_step else self.ending
                self._begin_session(data, end + 1)
        self._last_time = _time_at(data, data.rfind(b"\n", 0, -1) + 1) or self._last_time

    def _begin_session(self, data: bytes, at: int) -> None:
        self._session_start = _time_at(data, at) if at < len(data) else None
        if self.first_time is None:
            self.first_time = self._session_start

    def _end_session(self, event: Event) -> None:
        if self._session_start is not None:
            self._ended_seconds += max(0.0, event.time - self._session_start)
        self._session_start = None
        if isinstance(event, Finished):
            self.result = event.result

    def _take_evaluation(self, data: bytes, at: int) -> None:
        # not the whole line: the details of an evaluation may be long
        found = _METRICS.search(data, at, data.index(b"\n", at))
        if found is None:
            return
        try:
            values = json.loads(found[1])
            metrics = {str(key): float(_WORDS.get(value, value)) for key, value in values.items()}
        except (ValueError, TypeError):  # a line that a bad disk has garbled
            return
        self.metrics = metrics
        self.evaluations += 1
        numbers = {name: value for name, value in metrics.items() if not math.isnan(value)}
        # new dictionaries: somebody may be reading the old ones
        self.lowest = self.lowest | {name: min(value, self.lowest.get(name, value)) for name, value in numbers.items()}
        self.highest = self.highest | {
            name: max(value, self.highest.get(name, value)) for name, value in numbers.items()
        }


def _lines_that_begin(data: bytes, start: bytes) -> Iterator[int]:
    """Offsets of the lines that begin with ``start``; searching for bytes is many times faster than reading lines."""
    if data.startswith(start):
        yield 0
    needle = b"\n" + start
    at = data.find(needle)
    while at >= 0:
        yield at + 1
        at = data.find(needle, at + 1)


def _time_at(data: bytes, at: int) -> float | None:
    found = _TIME.search(data, at, at + 200)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None


_digests: dict[Path, EventDigest] = {}
_lock = threading.Lock()


def digest_events(folder: Path) -> EventDigest:
    """The digest of a run's events as they are now; what was read stays known for the next time."""
    with _lock:
        digest = _digests.setdefault(folder, EventDigest())
        digest.update(folder / EVENTS)
        return copy.copy(digest)
