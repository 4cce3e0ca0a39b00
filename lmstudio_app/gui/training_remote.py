"""Pausing and ending a training, whether it runs in this window or in a process that the window only follows."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Failed, Finished, Status
from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.gui.run_queries import APART, steer_run
from lmstudio_app.training.control import GOING_ON, PAUSED


class TrainingRemote(QObject):
    """The switches of the training that ``handle`` runs or follows; followed ones are sent through the run folder."""

    changed = Signal()  # paused, going on, ending, or in a process of its own

    def __init__(self, handle: JobHandle, runner: JobRunner, parent: QObject, *, is_apart: bool) -> None:
        """``runner`` carries the commands; ``is_apart``: another process trains, or soon will."""
        super().__init__(parent)
        self._handle = handle
        self._runner = runner
        self._is_paused = False
        self._is_ending = False
        self.is_apart = is_apart
        self.folder: Path | None = None  # of a run that another process trains, as soon as it is known
        handle.event.connect(self._on_events)
        handle.paused_changed.connect(lambda _: self.changed.emit())

    @property
    def paused(self) -> bool:
        return self._is_paused if self.is_apart else self._handle.paused

    @property
    def stopping(self) -> bool:
        """Was it asked to end, in whichever way?"""
        return self._handle.stopping or self._is_ending

    def pause(self) -> None:
        self._send("pause") if self.is_apart else self._handle.pause()

    def resume(self) -> None:
        self._send("resume") if self.is_apart else self._handle.resume()

    def stop(self) -> None:
        """End it in good order; a paused one goes on to do so."""
        if self.is_apart:
            self._end("stop")
        else:
            self._handle.stop()
            self._handle.resume()
        self.changed.emit()

    def cancel(self) -> None:
        """End it now; a process that has not begun yet never does."""
        if self.is_apart and self.folder is not None:
            self._end("cancel")
        else:
            self._handle.cancel()
        self.changed.emit()

    def let_go(self) -> None:
        """Follow it no longer; the training itself goes on."""
        self._handle.cancel()

    def _end(self, command: str) -> None:
        self._is_ending = True
        if self._is_paused and command == "stop":
            self._send("resume")
        self._send(command)

    def _send(self, command: str) -> None:
        if self.folder is not None:
            handle = self._runner.start(steer_run, (self.folder, command), quiet=True)
            handle.failed.connect(self._on_not_sent)

    def _on_not_sent(self, error: UserError) -> None:
        """It has just ended, which its last event tells."""
        self._is_ending = False
        self.changed.emit()

    def _on_events(self, events: list[Event]) -> None:
        if not self.is_apart:
            return
        before = (self._is_paused, self.folder)
        for event in events:
            if isinstance(event, Status) and event.template == APART:
                self.folder = Path(event.parameters["folder"])
                self._handle.outlives_window = True
            elif isinstance(event, Status) and event.template in (PAUSED, GOING_ON):
                self._is_paused = event.template == PAUSED
            elif isinstance(event, Finished | Failed):  # steps still come after a pause: the one that was under way
                self._is_paused = False
        if before != (self._is_paused, self.folder):
            self.changed.emit()
