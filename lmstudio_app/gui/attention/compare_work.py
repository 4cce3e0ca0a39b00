"""Loads the models that are to be compared, and compares them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, Signal

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Progress, Status
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import progress_text, status_text
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.comparison import Comparison, ComparisonRequest, Subject, read_comparison
from lmstudio_app.jobs import JobContext


@dataclass(frozen=True)
class Plan:
    """``models`` are references, or models that are loaded already. ``names`` are what both are called, in short."""

    mode: str
    models: tuple[Any, Any]
    attention: tuple[AttentionRequest, AttentionRequest]
    names: tuple[str, str]


class CompareWork(QObject):
    """One comparison at a time. ``ended`` comes last, whatever has happened, unless it was cancelled."""

    told = Signal(str)  # what is going on
    warned = Signal(str)
    succeeded = Signal(object, object)  # Plan, Comparison
    failed = Signal(object)  # UserError
    ended = Signal()

    def __init__(self, services: Services, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._plan: Plan | None = None
        self._handle: JobHandle | None = None
        self._models: list[Any] = []

    @property
    def is_busy(self) -> bool:
        return self._plan is not None

    def start(self, plan: Plan) -> None:
        """What still runs is dropped."""
        self.cancel()
        self._plan = plan
        self._models = []
        self._follow(self._services.inspection_runner.start(_make_loadable, plan.models, quiet=True), self._on_loadable)

    def cancel(self) -> None:
        """Let nothing more be heard of it."""
        handle, self._handle = self._handle, None
        self._plan = None
        self._models = []
        if handle is not None:
            handle.cancel()

    def _follow(self, handle: JobHandle, then: Any) -> None:
        self._handle = handle
        handle.event.connect(lambda events: self._on_events(handle, events))
        handle.succeeded.connect(lambda result: handle is self._handle and then(result))
        handle.failed.connect(lambda error: self._on_failed(handle, error))

    def _on_events(self, handle: JobHandle, events: list[Event]) -> None:
        if handle is not self._handle:
            return
        for event in events:
            if isinstance(event, Status):
                (self.warned if event.warning else self.told).emit(status_text(event))
            elif isinstance(event, Progress):
                self.told.emit(progress_text(event))

    def _on_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._handle:
            self._finish()
            self.failed.emit(error)
            self.ended.emit()

    def _finish(self) -> None:
        self._handle, self._plan = None, None
        self._models = []

    def _on_loadable(self, models: tuple[Any, Any]) -> None:
        self._load(list(models))

    def _load(self, wanted: list[Any]) -> None:
        """The models in their turn, then the comparison."""
        while wanted and not isinstance(wanted[0], str):
            self._models.append(wanted.pop(0))
        if not wanted:
            self._compare()
            return
        reference, *rest = wanted
        self._follow(self._services.shelf.take(reference), lambda loaded: self._load([loaded, *rest]))

    def _compare(self) -> None:
        assert self._plan is not None
        plan = self._plan
        subjects = (Subject(*pair) for pair in zip(self._models, plan.attention, strict=True))
        request = ComparisonRequest(*subjects)
        title = self.tr("Comparing the attention")
        self.told.emit(title)
        runner = self._services.inspection_runner
        self._follow(
            runner.start(read_comparison, request, title=title, quiet=True),
            lambda found: self._on_compared(plan, found),
        )

    def _on_compared(self, plan: Plan, comparison: Comparison) -> None:
        self._finish()
        self.succeeded.emit(plan, comparison)
        self.ended.emit()


def _make_loadable(models: tuple[Any, Any], ctx: JobContext) -> tuple[Any, ...]:
    from lmstudio_app.training.states import loadable

    return tuple(loadable(model, ctx) if isinstance(model, str) else model for model in models)
