"""What the Runs page asks of the others: watch, resume and repeat a run, and start a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject

from lmstudio_app.errors import UserError
from lmstudio_app.gui import dialogs

if TYPE_CHECKING:
    from lmstudio_app.gui.main_window import MainWindow
    from lmstudio_app.gui.tabs.runs import RunsTab
    from lmstudio_app.gui.tabs.train import TrainTab
    from lmstudio_app.training.runs import RunSummary
    from lmstudio_app.training.sweep_config import SweepConfig


class RunsWiring(QObject):
    """Calls go through the window: pages do not know each other."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window
        self._runs: RunsTab | None = None
        self._train: TrainTab | None = None
        self.sweep_dialog: Any = None
        self.code_dialog: Any = None

    def connect_train(self, tab: TrainTab) -> None:
        self._train = tab
        tab.summary_changed.connect(self._update_busy)

    def connect_runs(self, tab: RunsTab) -> None:
        self._runs = tab
        tab.watch_requested.connect(self.watch)
        tab.resume_requested.connect(self.resume)
        tab.repeat_requested.connect(self.repeat)
        tab.code_requested.connect(self.show_code)
        tab.sweep_requested.connect(self.new_sweep)
        tab.sweep_resume_requested.connect(self.resume_sweep)
        tab.sweep_last_requested.connect(self._end_sweep)
        runner = self._window.services.training_runner
        runner.busy_changed.connect(self._update_busy)
        runner.job_finished.connect(tab.refresh)
        self._update_busy()

    def _update_busy(self) -> None:
        if self._runs is not None:
            sweeping = self._train is not None and self._train.is_sweeping
            self._runs.set_busy(self._window.services.training_runner.busy, sweeping=sweeping)

    # --- one run

    def watch(self, run: RunSummary) -> None:
        """Show a run that another process trains, live on the Train page."""
        self._window.show_tab("train").follow(run.folder, run.task)

    def resume(self, run: RunSummary) -> None:
        self._window.show_tab("train").resume(run)

    def repeat(self, recipe: Mapping[str, Any]) -> None:
        """Put a recipe back into the pages Data and Train, and open its model; nothing starts by itself."""
        from lmstudio_app.training.recipe import Recipe

        window = self._window
        try:
            checked = Recipe.from_dict(recipe)
        except UserError as error:  # of another version, or mended by hand
            dialogs.show_error(window, error)
            return
        window.tab("data").open_config(checked.task, checked.data)
        window.show_tab("train").set_recipe(recipe)
        reference = recipe.get("model")
        if reference and (window.model is None or window.model.reference != reference):
            window.open_model(str(reference), then="train")

    def show_code(self, folder: Path) -> None:
        """Write the run's training as a script beside it, and show it."""
        from lmstudio_app.gui.run_queries import write_script

        handle = self._window.services.query_runner.start(
            write_script, folder, title=self.tr("Writing the training as a script")
        )
        handle.succeeded.connect(self._show_script)

    def _show_script(self, script: tuple[Path, str]) -> None:
        from lmstudio_app.gui.widgets.code_dialog import CodeDialog

        self.code_dialog = CodeDialog(*script, self._window)
        self.code_dialog.show()

    # --- sweeps

    def new_sweep(self) -> None:
        """Ask what to vary of the recipe that the Train page holds now."""
        from lmstudio_app.gui.widgets.sweep_dialog import SweepDialog

        try:
            recipe = self._window.tab("train").build_request().recipe.to_dict()
        except UserError as error:
            dialogs.show_error(self._window, error)
            return
        self.sweep_dialog = dialog = SweepDialog(recipe, lambda: self._estimate(recipe), self._window)
        dialog.chosen.connect(self._start_sweep)
        dialog.open()

    def _estimate(self, recipe: Mapping[str, Any]) -> float | None:
        return self._runs.estimate(recipe) if self._runs is not None else None

    def _start_sweep(self, config: SweepConfig) -> None:
        from lmstudio_app.training.sweeps import SweepRequest

        self._window.show_tab("train").run_sweep(SweepRequest(config))
        self._update_busy()

    def resume_sweep(self, folder: Path) -> None:
        from lmstudio_app.training.sweeps import SweepRequest

        self._window.show_tab("train").run_sweep(SweepRequest(None, folder, resume=True))
        self._update_busy()

    def _end_sweep(self) -> None:
        if self._train is not None:
            self._train.end_sweep_after_training()
