"""Steering a training from another process, through its run folder.

``control.json`` lists the commands for one claim of the folder, in the order in which they were given; the process
with that claim obeys each once, and no later one ever does. ``live.json`` tells what has no place among the events:
whether the training is paused, and the progress of the moment.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Progress, Status, from_json, to_json
from lmstudio_app.files import atomic_write_text
from lmstudio_app.jobs import Control
from lmstudio_app.training.claims import Claim, folder_lock, is_alive, read_claim

CONTROL, LIVE = "control.json", "live.json"
POLL = 0.2  # seconds between two looks at a file
_PROGRESS_INTERVAL = 0.5  # seconds between two writes of the progress
PAUSED, GOING_ON = "Paused", "Going on"
COMMANDS: dict[str, Callable[[Control], None]] = {
    "pause": Control.pause,
    "resume": Control.resume,
    "stop": Control.stop,
    "cancel": Control.cancel,
}


def send_command(folder: Path, command: str) -> None:
    """Ask the process that writes the run to ``pause``, ``resume``, ``stop`` (and save) or ``cancel``.

    It obeys within a fraction of a second, at its next check. Raises :class:`UserError` when no process writes it.
    """
    if command not in COMMANDS:
        raise ValueError(f"not a command: {command!r}")
    with folder_lock(folder):
        claim = read_claim(folder)
        if claim is None or not is_alive(claim):
            raise UserError(
                "The run in {folder} is not running.", "Resume it first, or choose another run.", folder=str(folder)
            )
        commands = [*_read_commands(folder, claim), command]
        atomic_write_text(folder / CONTROL, json.dumps({"token": claim.token, "commands": commands}) + "\n")


def _read_commands(folder: Path, claim: Claim) -> list[str]:
    """The commands for this very claim: what was meant for an earlier process is nobody's."""
    try:
        values = json.loads((folder / CONTROL).read_text(encoding="utf-8"))
        return [str(command) for command in values["commands"]] if values["token"] == claim.token else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


@dataclass(frozen=True)
class Live:
    """What a running training is at. Ask :func:`~lmstudio_app.training.claims.is_running` first."""

    paused: bool = False
    progress: Progress | None = None


def read_live(folder: Path) -> Live:
    try:
        values = json.loads((folder / LIVE).read_text(encoding="utf-8"))
        progress = from_json(values["progress"]) if values["progress"] else None
        return Live(bool(values["paused"]), progress if isinstance(progress, Progress) else None)
    except (OSError, ValueError, KeyError, TypeError):
        return Live()


class Steering:
    """A thread beside the training that obeys ``control.json`` and keeps ``live.json``.

    ``emit`` is given a :class:`Status` when the training was paused and when it goes on, whoever asked for it.
    """

    def __init__(self, folder: Path, claim: Claim, control: Control, emit: Callable[[Event], None]) -> None:
        self._folder = folder
        self._claim = claim
        self._control = control
        self._emit = emit
        self._obeyed = 0
        self._paused = False
        self._progress: Progress | None = None
        self._told: Live | None = None
        self._last_told = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steering of a training", daemon=True)

    def start(self) -> None:
        self._forget()  # what a killed process has left
        self._thread.start()

    def note(self, progress: Progress) -> None:
        """Take in how far it is; the thread writes it, so that the training never waits for the disk."""
        self._progress = progress

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._forget()

    def _forget(self) -> None:
        for name in (CONTROL, LIVE):
            (self._folder / name).unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._ended.wait(POLL):
            # a disk that is full or away: the training itself will tell, and the next turn tries again
            with contextlib.suppress(OSError):
                self._obey()
                self._tell()

    def _obey(self) -> None:
        for command in _read_commands(self._folder, self._claim)[self._obeyed :]:
            self._obeyed += 1
            if command in COMMANDS:  # a newer version may know more
                COMMANDS[command](self._control)

    def _tell(self) -> None:
        paused = self._control.paused
        if paused != self._paused:
            self._paused = paused
            if paused:
                self._emit(Status(template=PAUSED))
            elif not (self._control.stopping or self._control.cancelled):
                self._emit(Status(template=GOING_ON))
        live = Live(paused, self._progress)
        now = time.monotonic()
        is_urgent = self._told is None or live.paused != self._told.paused
        if live == self._told or not (is_urgent or now - self._last_told >= _PROGRESS_INTERVAL):
            return
        progress = to_json(live.progress) if live.progress else None
        atomic_write_text(self._folder / LIVE, json.dumps({"paused": paused, "progress": progress}) + "\n")
        self._told, self._last_told = live, now
