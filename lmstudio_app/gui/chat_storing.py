"""What a conversation waits for: jobs that read or change the stored conversations, and a way to try them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Signal

from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.jobs import Job


class StoreJobs(QObject):
    failed = Signal(object, object)  # UserError, what to call to try again
    mended = Signal()  # the store works
    busy_changed = Signal()

    def __init__(self, services: Services, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._running: list[JobHandle] = []

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def run(self, job: Job, request: Any, done: Callable[[Any], object], again: Callable[[], object]) -> None:
        """``done`` is called with what the job returns, unless it was forgotten by then."""
        handle = self._services.query_runner.start(job, request, quiet=True)
        self._running.append(handle)
        handle.succeeded.connect(lambda result: self._on_succeeded(handle, result, done))
        handle.failed.connect(lambda error: self.failed.emit(error, again))
        handle.finished.connect(lambda: self._end(handle))
        self.busy_changed.emit()

    def forget(self) -> None:
        """Hear no more of what is under way; it is done all the same."""
        self._running.clear()
        self.busy_changed.emit()

    def _on_succeeded(self, handle: JobHandle, result: Any, done: Callable[[Any], object]) -> None:
        if handle in self._running:
            self._running.remove(handle)  # first: what comes next may begin only when nothing is under way
            self.mended.emit()
            done(result)

    def _end(self, handle: JobHandle) -> None:
        if handle in self._running:
            self._running.remove(handle)
        self.busy_changed.emit()
