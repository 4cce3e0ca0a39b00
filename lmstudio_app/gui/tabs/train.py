"""The Train page: a recipe on the left, the run that it makes (or an older one) on the right.

The run folder is the truth: what is shown of a run is what its events say, whether they come from the job that
runs now or from the file of a run that ended last month.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Status, StepLogged
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.plotting import import_pyqtgraph, is_pyqtgraph_imported
from lmstudio_app.gui.run_queries import find_runs, read_curves
from lmstudio_app.gui.running_training import RunningTraining
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import model_title
from lmstudio_app.gui.training_plan import TrainingPlan
from lmstudio_app.gui.widgets import recipe_panel
from lmstudio_app.gui.widgets.attached_bar import AttachedBar
from lmstudio_app.gui.widgets.panes import fill_with_panes
from lmstudio_app.gui.widgets.recipe_panel import RecipePanel
from lmstudio_app.tasks import TASKS

if TYPE_CHECKING:
    from lmstudio_app.gui.curves import RunCurves
    from lmstudio_app.gui.widgets.run_view import RunView
    from lmstudio_app.training.loop import TrainRequest
    from lmstudio_app.training.runs import RunSummary
    from lmstudio_app.training.sweeps import SweepRequest


class TrainTab(QWidget):
    try_requested = Signal(str, str)  # model folder, name of the prediction
    inspect_requested = Signal(str, str)  # model folder, text
    attention_requested = Signal(Path)  # folder of a run in which a sentence is or was watched
    run_finished = Signal(object)  # TrainResult
    step_requested = Signal(str)  # name of the page to go to
    summary_changed = Signal()

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._model: Any = None
        self._data: Any = None
        self.running = RunningTraining(services, self)
        self._is_selecting = False  # the newest run, which nobody has asked to watch
        self._runs: list[RunSummary] = []
        self._select_newest = False
        self._is_preparing = False
        self._is_shut_down = False
        self._view: RunView | None = None
        self.panel = RecipePanel(self)
        self.apart = self._build_apart()
        self._plan = TrainingPlan(services, self.panel, self)
        self._right = QWidget(self)
        self.attached = AttachedBar(
            [("let_go", self.tr("Stop watching"), self.tr("Leave it alone: the training goes on without this window"))],
            self._right,
        )
        self.attached.chosen.connect(lambda _: self.running.let_go())
        layout = QVBoxLayout(self._right)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.attached)
        self._splitter = fill_with_panes(self, self.panel, self._right)
        self._show_task(str(self._settings.get("train.task", TASKS[0].name)))
        self.panel.form.advanced.set_open(bool(self._settings.get("train.advanced", False)))
        self._splitter.setSizes(
            self._settings.get("train.splitter", [theme.characters(self, 52), theme.characters(self, 128)])
        )
        self._splitter.splitterMoved.connect(lambda: self._settings.set("train.splitter", self._splitter.sizes()))
        self.panel.changed.connect(self._remember)
        self.panel.form.advanced.toggled.connect(lambda is_open: self._settings.set("train.advanced", is_open))
        self.panel.requirements.requested.connect(self.step_requested)
        self.panel.start_requested.connect(self.start)
        self.panel.pause_toggled.connect(self.running.set_paused)
        self.panel.stop_requested.connect(self.stop)
        self.panel.cancel_requested.connect(self.cancel)
        self._connect_running()
        self._plan.readiness_changed.connect(self._update_buttons)
        self._plan.readiness_changed.connect(self.summary_changed)
        self._update_buttons()

    def _connect_running(self) -> None:
        running = self.running
        running.began.connect(self._on_began)
        running.replaced.connect(self._on_replaced)
        running.grew.connect(self._on_grew)
        running.changed.connect(self._on_running_changed)
        running.summary_changed.connect(self.summary_changed)
        running.succeeded.connect(self.run_finished)
        running.failed.connect(self._on_failed)
        running.ended.connect(lambda: self._refresh_runs(select_newest=True))

    def _build_apart(self) -> QCheckBox:
        box = QCheckBox(self.tr("Keep going without the window"), self.panel)
        box.setAccessibleName(box.text())
        box.setToolTip(
            self.tr(
                "Train in a process of its own: goes on when the window is closed; a crash cannot take the window down"
            )
        )
        box.setChecked(bool(self._settings.get("train.apart", False)))
        box.toggled.connect(lambda on: self._settings.set("train.apart", on))
        layout = self.panel.layout()
        assert isinstance(layout, QVBoxLayout)
        layout.insertWidget(layout.count() - 1, box)
        return box

    # --- what the window calls

    def set_model(self, model: Any) -> None:
        self._model = model
        self.panel.requirements.set_value("model", model_title(model))
        self._plan.set_model(model)
        self._update_buttons()

    def set_data(self, selection: Any) -> None:
        self._data = selection
        self.panel.requirements.set_value("data", selection.title if selection is not None else "")
        if selection is not None:
            self._show_task(selection.task)
        self._plan.set_data(selection)
        self._update_buttons()

    def lack(self) -> str:
        """What a training still needs, in a few words for the rail; empty when it can start."""
        has_model = self._model is not None or self.panel.is_new
        if not has_model and self._data is None:
            return self.tr("Needs a model and data")
        if not has_model:
            return self.tr("Needs a model")
        if self._data is None:
            return self.tr("Needs data")
        return "" if self._plan.is_model_ready else self.tr("Needs another model")

    def summary(self) -> str:
        """One short line about the training for the rail: how far it is, or what it reached."""
        return self.running.summary()

    def shutdown(self) -> None:
        self._is_shut_down = True
        self._plan.shutdown()
        if self._view is not None:
            self._view.shutdown()

    # --- the task and its recipe, remembered for each

    def _show_task(self, name: str) -> None:
        known = next((task for task in TASKS if task.name == name), TASKS[0])
        if known is not self.panel.task or not self._settings.get("train.task"):
            self._settings.set("train.task", known.name)
        self.panel.set_task(known, self._remembered(known.name))

    def _remembered(self, task: str) -> Mapping[str, Any]:
        values = self._settings.get(f"train.recipe.{task}")
        if values is None and task in ("sentiment", "classification"):  # of a time when there was one form for all
            values = self._settings.get("train.recipe")
        return values if isinstance(values, Mapping) else {}

    def _remember(self) -> None:
        self._settings.set(f"train.recipe.{self.panel.task.name}", self.panel.values())

    # --- the run view, built when it is first seen

    @property
    def view(self) -> RunView:
        if self._view is None:
            from lmstudio_app.gui.widgets.run_view import RunView

            self._view = RunView(self._settings, self._right)
            self._right.layout().addWidget(self._view)
            self._view.run_chosen.connect(self._on_run_chosen)
            self._view.resume_requested.connect(self._on_resume)
            self._view.try_requested.connect(lambda folder, name: self.try_requested.emit(str(folder), name))
            self._view.attention_requested.connect(self.attention_requested)
            self._view.inspect_requested.connect(lambda folder, text: self.inspect_requested.emit(str(folder), text))
            if self.running.curves is not None:
                self._view.show_run(self.running.curves, None, live=True)
            self._update_buttons()
            self._refresh_runs(select_newest=self.running.curves is None)
        return self._view

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._view is None and not self._is_preparing:
            self._is_preparing = True
            if is_pyqtgraph_imported():
                QTimer.singleShot(0, self, self._build_view)  # the page is painted first
            else:
                idle = [r for r in (self._services.query_runner, self._services.model_runner) if not r.busy]
                runner = idle[0] if idle else self._services.query_runner
                handle = runner.start(import_pyqtgraph, None, quiet=True)
                handle.succeeded.connect(self._build_view)

    def _build_view(self) -> None:
        self._is_preparing = False
        if not self._is_shut_down:
            self.view.show()

    # --- running

    def build_request(self) -> TrainRequest:
        """The recipe as the form has it. Raises :class:`UserError` when something is missing or out of bounds."""
        from lmstudio_app.training.loop import TrainRequest
        from lmstudio_app.training.recipe import Recipe

        panel = self.panel
        if self._data is None or (self._model is None and not panel.is_new):
            raise UserError("A training needs a model and data.", "Choose them on the pages Model and Data.")
        if self._plan.misfit is not None:
            raise self._plan.misfit
        return TrainRequest(
            Recipe(
                task=self._data.task,
                model="" if panel.is_new else self._model.reference,
                architecture=panel.new_model.config() if panel.is_new and panel.new_model is not None else None,
                data=self._data.config,
                options=panel.form.config("options"),
                strategy=panel.form.config("strategy"),
                training=panel.form.config("training"),
                probe=panel.form.config("probe"),
            )
        )

    def start(self) -> JobHandle | None:
        """Start a new run; returns its handle, or None when the recipe has an error (shown in a dialog)."""
        if self.running.handle is not None:
            return None
        try:
            request = self.build_request()
        except UserError as error:
            dialogs.show_error(self, error)
            return None
        return self._run(request, None)

    def stop(self) -> None:
        self.running.stop()

    def cancel(self) -> None:
        self.running.cancel()

    def follow(self, folder: Path, task: str) -> JobHandle | None:
        """Show a run that another process trains, live; None while this window does something else."""
        if self.running.handle is not None:
            return None
        return self.running.follow(folder, task)

    def resume(self, run: RunSummary) -> None:
        """Go on with a run, wherever it is shown."""
        if self.running.handle is None:
            handle = self._services.query_runner.start(read_curves, run.folder, title=self.tr("Reading a run"))
            handle.succeeded.connect(lambda curves: self._go_on(run, curves))

    def set_recipe(self, values: Mapping[str, Any]) -> None:
        """Show the recipe of a run in the form, to be changed; the task's form remembers it like any other."""
        sections = {
            name: values[name]
            for name in ("options", "strategy", "training", "probe", "architecture")
            if name in values
        }
        start = "new" if "architecture" in values else "model"
        self._settings.set(f"train.recipe.{values['task']}", {"start": start, **sections})
        self._show_task(str(values["task"]))

    def run_sweep(self, request: SweepRequest) -> JobHandle | None:
        """Train again and again with other values, or go on with a sweep; each training is shown live."""
        if self.running.handle is not None:
            return None
        return self.running.sweep(request)

    @property
    def is_sweeping(self) -> bool:
        return self.running.is_sweeping

    def end_sweep_after_training(self) -> None:
        self.running.end_sweep_after_training()

    def _run(self, request: TrainRequest, so_far: RunCurves | None, *, is_apart: bool | None = None) -> JobHandle:
        is_apart = self.apart.isChecked() if is_apart is None else is_apart
        return self.running.train(request, so_far, is_apart=is_apart)

    def _on_began(self) -> None:
        assert self.running.curves is not None
        self.view.show_run(self.running.curves, None, live=True)
        self.view.show_runs(self._runs, live=True)

    def _on_replaced(self, before: RunCurves) -> None:
        if self.running.curves is not None and self.view.curves is before:
            self.view.show_run(self.running.curves, None, live=True)

    def _on_grew(self, events: list[Event]) -> None:
        view = self.view
        if view.curves is self.running.curves:
            view.curves_grew()
            saying = next((e for e in reversed(events) if isinstance(e, Status | StepLogged)), None)
            if saying is not None:
                view.show_status(saying if isinstance(saying, Status) else None)

    def _on_running_changed(self) -> None:
        text = self.tr("This training runs in a process of its own and goes on when the window is closed.")
        self.attached.set_text(text if self.running.is_apart else "")
        self._update_buttons()
        self.summary_changed.emit()

    def _on_failed(self, error: UserError) -> None:
        """Opens the dialog itself where there is a way on; else the window tells of it."""
        from lmstudio_app.training.memory import BatchTooLarge

        if isinstance(error, BatchTooLarge) and error.run_folder is not None:
            way = dialogs.Way(
                self.tr("Halve the batch and go on"),
                self.tr(
                    "Resume from the last checkpoint with batches in smaller parts: the same result, a little slower"
                ),
                lambda: self._go_on_in_parts(error),
            )
            dialogs.show_error(self, error, way)

    def _go_on_in_parts(self, error: Any) -> None:
        from lmstudio_app.training.loop import TrainRequest

        if self.running.handle is None:
            request = TrainRequest(None, error.run_folder, resume=True, parts=2 * error.parts)
            self._run(request, self.running.curves, is_apart=False)

    def _update_buttons(self) -> None:
        remote = self.running.remote
        if remote is None:
            state = recipe_panel.IDLE
        elif remote.stopping:
            state = recipe_panel.STOPPING
        else:
            state = recipe_panel.PAUSED if remote.paused else recipe_panel.RUNNING
        self.apart.setEnabled(remote is None)
        self.panel.set_state(state, can_start=self._data is not None and self._plan.is_model_ready)
        if self._view is not None:
            self._view.set_busy(self.running.handle is not None)
            self._view.show_hint(self._next_step())

    def _next_step(self) -> str:
        has_model = self._model is not None or self.panel.is_new
        if not has_model and self._data is None:
            return self.tr("Choose a model and data first; the buttons on the left go there.")
        if not has_model and self.panel.task.families:
            return self.tr("Choose a model first, or start from a new one: both on the left.")
        if not has_model:
            return self.tr("Choose a model first; the button on the left goes there.")
        if self._data is None:
            return self.tr("Choose data first; the button on the left goes there.")
        if not self._plan.is_model_ready:
            return self.tr("Not yet: the model and the task do not go together. The left side says why.")
        return self.tr("Ready: press “Start training” and watch the loss fall.")

    # --- older runs

    def _refresh_runs(self, *, select_newest: bool) -> None:
        if self._is_shut_down:
            return
        self._select_newest = select_newest
        handle = self._services.query_runner.start(find_runs, None, quiet=True)
        handle.event.connect(self._on_warnings)
        handle.succeeded.connect(self._on_runs_found)

    def _on_warnings(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Status) and event.warning:
                self.view.show_status(event)

    def _on_runs_found(self, runs: list[RunSummary]) -> None:
        if self._is_shut_down:
            return
        self._runs = runs
        self.view.show_runs(runs, live=self.running.handle is not None)
        if self._select_newest and self.running.handle is None and runs:
            self._is_selecting = True
            self.view.select_run(runs[0].folder)
            self._is_selecting = False

    def _on_run_chosen(self, run: RunSummary | None) -> None:
        if run is None:
            if self.running.curves is not None:
                self.view.show_run(self.running.curves, None, live=True)
            return
        if run.state == "running" and self.running.handle is None and not self._is_selecting:
            self.follow(run.folder, run.task)
            return
        handle = self._services.query_runner.start(read_curves, run.folder, title=self.tr("Reading a run"))
        handle.succeeded.connect(lambda curves: self._on_curves_read(run, curves))

    def _on_curves_read(self, run: RunSummary, curves: RunCurves) -> None:
        if self.view.selected_run() is run:
            self.view.show_run(curves, run, live=False)

    def _on_resume(self, run: RunSummary) -> None:
        from lmstudio_app.training.loop import TrainRequest

        if self.running.handle is None:
            self._run(TrainRequest(None, run.folder, resume=True), self.view.curves)

    def _go_on(self, run: RunSummary, curves: RunCurves) -> None:
        from lmstudio_app.training.loop import TrainRequest

        if self.running.handle is None and not self._is_shut_down:
            self._run(TrainRequest(None, run.folder, resume=True), curves)
