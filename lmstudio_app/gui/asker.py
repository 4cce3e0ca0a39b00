"""One question at a time to a model, and an end to it within a fifth of a second."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.jobs import Job

HARD_STOP = 100  # milliseconds that a stopped answer has to end where it is, before it is dropped


class Asker(QObject):
    """Asks by a job, and forgets what is no longer wanted.

    Of the signals only those of the newest question are emitted: ``events`` while it runs, then ``succeeded``,
    ``failed`` or ``stopped``, and ``ended`` last.
    """

    events = Signal(object)  # list[Event]
    succeeded = Signal(object)  # what the job returned, also after a stop that it could obey
    failed = Signal(object)  # UserError
    stopped = Signal()  # nothing has come of it
    ended = Signal()
    busy_changed = Signal(bool)

    def __init__(self, runner: JobRunner, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._runner = runner
        self._handle: JobHandle | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(HARD_STOP)
        self._timer.timeout.connect(self._on_overdue)

    @property
    def busy(self) -> bool:
        return self._handle is not None

    @property
    def stopping(self) -> bool:
        return self._handle is not None and self._handle.stopping

    def ask(self, job: Job, config: Any, *, title: str = "") -> None:
        """Start ``job(config, ctx)``; a question that still runs is dropped."""
        was_busy = self.busy
        self._forget()
        self._handle = handle = self._runner.start(job, config, title=title, quiet=True)
        handle.event.connect(lambda events: handle is self._handle and self.events.emit(events))
        handle.succeeded.connect(lambda outcome: handle is self._handle and self.succeeded.emit(outcome))
        handle.failed.connect(lambda error: handle is self._handle and self.failed.emit(error))
        handle.cancelled.connect(lambda: handle is self._handle and self.stopped.emit())
        handle.finished.connect(lambda: self._on_finished(handle))
        if not was_busy:
            self.busy_changed.emit(True)

    def stop(self) -> None:
        """End the answer: where it is, if the job can end in the middle; else it is dropped a moment later."""
        if self._handle is not None:
            self._handle.stop()
            self._timer.start()

    def drop(self) -> None:
        """Let nothing more be heard of the question."""
        if self.busy:
            self._forget()
            self.busy_changed.emit(False)

    def _forget(self) -> None:
        self._timer.stop()
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()

    def _on_overdue(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _on_finished(self, handle: JobHandle) -> None:
        if handle is self._handle:
            self._timer.stop()
            self._handle = None
            self.busy_changed.emit(False)
            self.ended.emit()
