"""The jobs of the Data page: open a source, check a choice, measure its texts. Of each kind only the newest counts."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal

from lmstudio_app.data.splits import DataConfig
from lmstudio_app.events import Event, Progress
from lmstudio_app.gui.data_queries import (
    CheckRequest,
    LengthRequest,
    OpenRequest,
    check_data,
    measure_lengths,
    open_data,
)
from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.gui.services import Services


class DataJobs(QObject):
    """A job that is started cancels the one of its kind that still runs, and nothing more is heard of that one."""

    progressed = Signal(object)  # Progress of the reading
    opened = Signal(object, object)  # OpenedData, the columns that the caller wants
    open_failed = Signal(object, object)  # source, UserError
    open_finished = Signal()
    checked = Signal(object, object)  # CheckRequest, DataReport
    check_failed = Signal(object, object)  # CheckRequest, UserError
    measured = Signal(object, bool)  # TextLengths of every text column, whether in tokens (else in words)

    def __init__(self, services: Services, parent: QObject) -> None:
        super().__init__(parent)
        self._services = services
        self._handles: dict[str, JobHandle] = {}

    @property
    def is_reading(self) -> bool:
        return "open" in self._handles

    def open(self, request: OpenRequest, title: str, columns: dict[str, str]) -> None:
        handle = self._start("open", self._services.model_runner, open_data, request, title)
        handle.event.connect(lambda events: self._on_events(handle, events))
        handle.succeeded.connect(lambda opened: self._on_opened(handle, opened, columns))
        handle.failed.connect(lambda error: self._on_open_failed(handle, request.source, error))
        handle.finished.connect(lambda: self._on_open_finished(handle))

    def check(self, config: DataConfig, task: str) -> None:
        request, title = CheckRequest(config, task), self.tr("Checking the data")
        handle = self._start("check", self._services.query_runner, check_data, request, title)
        handle.succeeded.connect(lambda report: self._on_checked(handle, request, report))
        handle.failed.connect(lambda error: self._on_check_failed(handle, request, error))

    def measure(self, request: LengthRequest) -> None:
        title = self.tr("Measuring the texts")
        handle = self._start("measure", self._services.query_runner, measure_lengths, request, title)
        handle.succeeded.connect(lambda lengths: self._on_measured(handle, lengths, request.tokenizer is not None))

    def cancel_reading(self) -> None:
        if self.is_reading:
            self._handles["open"].cancel()

    def shutdown(self) -> None:
        for handle in self._handles.values():
            handle.cancel()

    def _start(self, kind: str, runner: JobRunner, job: Any, request: Any, title: str) -> JobHandle:
        if kind in self._handles:
            self._handles[kind].cancel()
        self._handles[kind] = handle = runner.start(job, request, title=title, quiet=True)
        return handle

    def _is_newest(self, kind: str, handle: JobHandle) -> bool:
        return self._handles.get(kind) is handle

    def _on_events(self, handle: JobHandle, events: list[Event]) -> None:
        progress = next((event for event in reversed(events) if isinstance(event, Progress)), None)
        if progress is not None and self._is_newest("open", handle):
            self.progressed.emit(progress)

    def _on_opened(self, handle: JobHandle, opened: Any, columns: dict[str, str]) -> None:
        if self._is_newest("open", handle):
            self.opened.emit(opened, columns)

    def _on_open_failed(self, handle: JobHandle, source: Any, error: Any) -> None:
        if self._is_newest("open", handle):
            self.open_failed.emit(source, error)

    def _on_open_finished(self, handle: JobHandle) -> None:
        if self._is_newest("open", handle):
            del self._handles["open"]
            self.open_finished.emit()

    def _on_checked(self, handle: JobHandle, request: CheckRequest, report: Any) -> None:
        if self._is_newest("check", handle):
            self.checked.emit(request, report)

    def _on_check_failed(self, handle: JobHandle, request: CheckRequest, error: Any) -> None:
        if self._is_newest("check", handle):
            self.check_failed.emit(request, error)

    def _on_measured(self, handle: JobHandle, lengths: Any, in_tokens: bool) -> None:
        if self._is_newest("measure", handle):
            self.measured.emit(lengths, in_tokens)
