"""``events.jsonl``: one event a line, only ever appended to, read while somebody writes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lmstudio_app.events import Event, from_json

EVENTS = "events.jsonl"
_BLOCK = 1 << 20  # bytes


def parse(line: bytes) -> Event | None:
    """The event of a line; None for a line of another version, or one that a bad disk has garbled."""
    try:
        return from_json(line.decode("utf-8"))
    except (ValueError, TypeError):
        return None


def read_events(folder: Path, start: int = 0) -> Iterator[Event]:
    """The events of a run from line ``start`` on; half a last line (a crash, or a write in progress) is left out."""
    try:
        with (folder / EVENTS).open("rb") as file:
            for number, line in enumerate(file):
                if number >= start and line.endswith(b"\n") and (event := parse(line)) is not None:
                    yield event
    except FileNotFoundError:
        return


def end_of_last_line(file: BinaryIO) -> int:
    """The offset behind the last line break; 0 when there is none."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        file.seek(start)
        if (at := file.read(end - start).rfind(b"\n")) >= 0:
            return start + at + 1
        end = start
    return 0


def last_event(folder: Path) -> Event | None:
    """The event of the last whole line."""
    try:
        with (folder / EVENTS).open("rb") as file:
            end = at = end_of_last_line(file)
            line = b""
            while at and line.count(b"\n") < 2:
                start = max(0, at - _BLOCK)
                file.seek(start)
                line = file.read(at - start) + line
                at = start
            return parse(line.splitlines()[-1]) if end else None
    except FileNotFoundError:
        return None


class EventTail:
    """Reads a run's events from a byte offset on, again and again, as the file grows.

    ``offset`` is behind the last whole line that was read: keep it to go on from there another time.
    """

    def __init__(self, folder: Path, offset: int = 0) -> None:
        self._path = folder / EVENTS
        self.offset = offset

    def read(self) -> list[Event]:
        """The next events, about a megabyte of them; empty when there is nothing new."""
        try:
            with self._path.open("rb") as file:
                if self.offset > os.fstat(file.fileno()).st_size:  # another run took the place of this one
                    self.offset = 0
                file.seek(self.offset)
                lines = file.readlines(_BLOCK)
        except FileNotFoundError:
            return []
        events = []
        for line in lines:
            if not line.endswith(b"\n"):  # a write in progress
                break
            self.offset += len(line)
            if (event := parse(line)) is not None:
                events.append(event)
        return events
