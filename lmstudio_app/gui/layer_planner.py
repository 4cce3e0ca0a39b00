"""Keeps the plan of a training up to date while its form is edited: one quiet job, and only the last counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.gui.plan_queries import PlanAnswer, PlanRequest, plan_layers

_PATIENCE = 150  # milliseconds without a further change before anything is asked


class LayerPlanner(QObject):
    answered = Signal(object)  # PlanAnswer
    failed = Signal(object)  # UserError

    def __init__(self, runner: JobRunner, parent: QObject) -> None:
        super().__init__(parent)
        self._runner = runner
        self._wanted: PlanRequest | None = None
        self._handle: JobHandle | None = None
        self._skeleton: tuple[Any, Any] | None = None  # what it was made for, and the model without weights
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PATIENCE)
        self._timer.timeout.connect(self._ask)

    def request(self, request: PlanRequest | None) -> None:
        """Ask soon; None: there is nothing to plan."""
        self._wanted = request
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if request is None:
            self._timer.stop()
        else:
            self._timer.start()

    @property
    def is_idle(self) -> bool:
        return self._handle is None and not self._timer.isActive()

    def shutdown(self) -> None:
        self.request(None)
        self._skeleton = None

    def _ask(self) -> None:
        if self._wanted is None:
            return
        request, key = self._wanted, self._key(self._wanted)
        known = self._skeleton[1] if self._skeleton is not None and self._skeleton[0] == key else None
        request = replace(request, skeleton=known)
        self._handle = handle = self._runner.start(plan_layers, request, quiet=True)
        handle.succeeded.connect(lambda answer: self._on_answered(handle, key, answer))
        handle.failed.connect(lambda error: self._on_failed(handle, error))

    @staticmethod
    def _key(request: PlanRequest) -> Any:
        """What a skeleton is made for. A model's configuration can change under our hands, so it is no key itself."""
        source = request.source.to_json_string() if hasattr(request.source, "to_json_string") else request.source
        return source, request.task.name, request.data if request.task.label_names is not None else None

    def _on_answered(self, handle: JobHandle, key: Any, answer: PlanAnswer) -> None:
        if handle is self._handle:
            self._handle = None
            self._skeleton = (key, answer.skeleton)
            self.answered.emit(answer)

    def _on_failed(self, handle: JobHandle, error: Any) -> None:
        if handle is self._handle:
            self._handle = None
            self.failed.emit(error)
