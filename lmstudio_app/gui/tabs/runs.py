"""The Runs page: every training there ever was, alone or several beside each other, and the sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QStackedWidget, QTabBar, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.gui.runs_history import RunsHistory
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.sweep_queries import SweepPoller, SweepSummary
from lmstudio_app.gui.widgets.sweeps_view import SweepsView
from lmstudio_app.models.architectures import new_model_title

SWEEP_POLL = 2000  # milliseconds between two looks at the sweeps


class RunsTab(QWidget):
    try_requested = Signal(str, str)  # model folder, name of the prediction
    inspect_requested = Signal(str, str)  # model folder, text
    watch_requested = Signal(object)  # RunSummary of a run that another process trains
    resume_requested = Signal(object)  # RunSummary
    repeat_requested = Signal(object)  # a recipe, as plain values
    code_requested = Signal(object)  # Path of the run
    sweep_requested = Signal()  # a new one
    sweep_resume_requested = Signal(object)  # Path of the sweep
    sweep_last_requested = Signal()  # the training that runs is to be the sweep's last
    step_requested = Signal(str)  # name of the page to go to
    summary_changed = Signal()

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        settings = services.settings
        self._settings = settings
        self.runner = JobRunner(self, "runs")  # looks at folders every second or two, and must not wait for answers
        self.bar = QTabBar(self)
        self.bar.setAccessibleName(self.tr("View"))
        self.bar.setTabToolTip(self.bar.addTab(self.tr("Runs")), self.tr("All trainings"))
        self.bar.setTabToolTip(
            self.bar.addTab(self.tr("Sweeps")), self.tr("The same recipe with many values, and which did best")
        )
        self.bar.setDrawBase(False)
        self.bar.setExpanding(False)
        self.history = RunsHistory(settings, self.runner, self)
        self.sweeps = SweepsView(settings, self)
        self._poll_sweeps = SweepPoller()
        self._known_sweeps: list[SweepSummary] | None = None
        self._polling: JobHandle | None = None
        self._is_shut_down = False
        self.stack = QStackedWidget(self)
        self.stack.addWidget(self.history)
        self.stack.addWidget(self.sweeps)
        layout = QVBoxLayout(self)
        margin = theme.em(self, 0.7)
        layout.setContentsMargins(margin, margin // 2, margin, margin // 2)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addWidget(self.bar)
        layout.addWidget(self.stack, 1)
        self._timer = QTimer(self)
        self._timer.setInterval(SWEEP_POLL)
        self._timer.timeout.connect(self.poll_sweeps)
        self.bar.currentChanged.connect(self._on_view_changed)
        self.bar.setCurrentIndex(int(settings.get("runs.page", 0)))
        self._connect()

    def _connect(self) -> None:
        history, sweeps = self.history, self.sweeps
        for name in ("try", "inspect", "watch", "resume", "repeat", "code"):
            getattr(history, f"{name}_requested").connect(getattr(self, f"{name}_requested"))
        history.step_requested.connect(self.step_requested)
        history.runs_changed.connect(self.summary_changed)
        sweeps.new_requested.connect(self.sweep_requested)
        sweeps.resume_requested.connect(self.sweep_resume_requested)
        sweeps.last_requested.connect(self.sweep_last_requested)
        sweeps.run_chosen.connect(lambda folder: self.show_runs([folder]))

    # --- what the window calls

    def set_model(self, model: Any) -> None:
        """The history is the same whatever model is loaded."""

    def show_runs(self, folders: Sequence[Path]) -> None:
        """Choose these runs."""
        self.bar.setCurrentIndex(0)
        self.history.select(folders)

    def show_sweeps(self) -> None:
        self.bar.setCurrentIndex(1)
        self.poll_sweeps()

    def refresh(self) -> None:
        """Something has happened to the runs: look now rather than in a second."""
        if self.isVisible():
            self.history.poll()
            self.poll_sweeps()

    def set_busy(self, busy: bool, *, sweeping: bool = False) -> None:
        """``busy``: this window trains, or follows a training; ``sweeping``: it runs a sweep."""
        self.history.set_busy(busy)
        self.sweeps.set_busy(busy, sweeping=sweeping)

    def summary(self) -> str:
        """One short line for the rail; empty when it is not known."""
        running = sum(run.state == "running" for run in self.history.runs)
        if running:
            return self.tr("1 is running") if running == 1 else self.tr("{count} are running").format(count=running)
        count = len(self.history.runs)
        if not count:
            return ""
        return self.tr("1 run") if count == 1 else self.tr("{count} runs").format(count=count)

    def estimate(self, recipe: Mapping[str, Any]) -> float | None:
        """Seconds that a training of ``recipe`` takes, by the newest finished run of the same kind and data."""
        for run in self.history.runs:
            same = (run.task, run.data) == (recipe.get("task"), str(_source(recipe)))
            if run.state == "finished" and same and run.model in (recipe.get("model"), _new_model(recipe)):
                return run.duration
        return None

    def shutdown(self) -> None:
        self._is_shut_down = True
        self._timer.stop()
        self.history.shutdown()
        self.runner.shutdown(2.0)

    # --- the sweeps

    def _on_view_changed(self, index: int) -> None:
        self.stack.setCurrentIndex(index)
        self._settings.set("runs.page", index)
        self._run_timer()

    def _run_timer(self) -> None:
        if self.isVisible() and self.stack.currentWidget() is self.sweeps:
            self._timer.start()
            self.poll_sweeps()
        else:
            self._timer.stop()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._run_timer()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()

    def poll_sweeps(self) -> None:
        """Look now."""
        if self._polling is None and not self._is_shut_down and self.stack.currentWidget() is self.sweeps:
            self._polling = handle = self.runner.start(self._poll_sweeps, self._known_sweeps, quiet=True)
            handle.succeeded.connect(self._on_sweeps)
            handle.failed.connect(self._on_poll_failed)
            handle.finished.connect(self._on_polled)

    def _on_sweeps(self, found: list[SweepSummary] | None) -> None:
        if found is not None and not self._is_shut_down:
            self._known_sweeps = found
            self.sweeps.set_sweeps(found)

    def _on_poll_failed(self, error: UserError) -> None:
        self._timer.stop()  # it would fail again; the page looks anew when it is shown
        dialogs.show_error(self, error)

    def _on_polled(self) -> None:
        self._polling = None


def _source(recipe: Mapping[str, Any]) -> Any:
    train = recipe.get("data", {}).get("train")
    if isinstance(train, Mapping):
        train = list(train.values())
    return ", ".join(map(str, train)) if isinstance(train, list | tuple) else train


def _new_model(recipe: Mapping[str, Any]) -> str:
    architecture = recipe.get("architecture")
    if not isinstance(architecture, Mapping):
        return ""
    return new_model_title(str(architecture.get("family")), architecture.get("layers"))
