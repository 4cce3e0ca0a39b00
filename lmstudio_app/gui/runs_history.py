"""The list of all runs and what is shown of the chosen ones, kept live by looking again every second or two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QHideEvent, QShowEvent
from PySide6.QtWidgets import QSplitter, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.gui.plotting import import_pyqtgraph, is_pyqtgraph_imported
from lmstudio_app.gui.run_queries import (
    Compared,
    RunComparer,
    RunsFound,
    RunsPoller,
    keep_about,
    open_curves,
    read_more,
    read_recipe_text,
    read_recipe_values,
    trash_runs,
)
from lmstudio_app.gui.run_texts import dated_title
from lmstudio_app.gui.text import error_texts, number_text
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.gui.widgets.runs_filter import RunsFilter
from lmstudio_app.gui.widgets.runs_table import RunsTable
from lmstudio_app.jobs import Job, JobContext
from lmstudio_app.settings import Settings

if TYPE_CHECKING:
    from lmstudio_app.events import Event
    from lmstudio_app.gui.curves import RunCurves
    from lmstudio_app.gui.widgets.runs_comparison import RunsComparison
    from lmstudio_app.gui.widgets.runs_details import RunsDetails
    from lmstudio_app.training.runs import RunSummary

POLL = 1000  # milliseconds between two looks at the runs
CHOICE_DELAY = 60  # while somebody walks through the list with the arrow keys nothing is read
MOST_COMPARED = 20


class RunsHistory(QWidget):
    try_requested = Signal(str, str)  # model folder, name of the prediction
    inspect_requested = Signal(str, str)  # model folder, text
    watch_requested = Signal(object)  # RunSummary of a run that another process trains
    resume_requested = Signal(object)  # RunSummary
    repeat_requested = Signal(object)  # the recipe, as plain values
    code_requested = Signal(object)  # Path of the run
    step_requested = Signal(str)  # name of the page to go to
    runs_changed = Signal()

    def __init__(self, settings: Settings, runner: JobRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._runner = runner
        self._busy = False
        self._found: RunsFound | None = None
        self._polling: JobHandle | None = None
        self._reading: JobHandle | None = None
        self._growing: JobHandle | None = None
        self._is_stale = False  # something has changed while the runs were read
        self._shown: RunSummary | None = None
        self._offset = 0  # in the event file of the shown run
        self._wanted: tuple[Path, ...] = ()  # to be selected when they are there
        self._compare = RunComparer()
        self._look = RunsPoller()
        self._is_shut_down = False
        self.details: RunsDetails | None = None
        self.comparison: RunsComparison | None = None
        self._timer = self._make_timer(POLL, self.poll, single=False)
        self._choice_timer = self._make_timer(CHOICE_DELAY, self._show_selection, single=True)
        self.filter = RunsFilter(settings, self)
        self.table = RunsTable(self)
        self.table.restore_layout(settings.get("runs.table"))
        self.hint = EmptyState(self)
        self.hint.title.hide()
        self.stack = QStackedWidget(self)
        self.stack.addWidget(self.hint)
        self.splitter = QSplitter(Qt.Orientation.Vertical, self)
        self.splitter.addWidget(self.table)
        self.splitter.addWidget(self.stack)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(theme.em(self, 0.6))
        self.splitter.setSizes(settings.get("runs.splitter", [theme.em(self, 13), theme.em(self, 26)]))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addWidget(self.filter)
        layout.addWidget(self.splitter, 1)
        self.splitter.splitterMoved.connect(lambda: settings.set("runs.splitter", self.splitter.sizes()))
        self.table.layout_changed.connect(lambda: settings.set("runs.table", self.table.layout_text()))
        self.table.selection_changed.connect(self._choice_timer.start)
        self.table.delete_requested.connect(self.delete_selected)
        self.filter.changed.connect(self._filter)
        self.filter.delete_requested.connect(self.delete_selected)
        self._show_hint()

    def _make_timer(self, interval: int, slot: Callable[[], None], *, single: bool) -> QTimer:
        timer = QTimer(self)
        timer.setInterval(interval)
        timer.setSingleShot(single)
        timer.timeout.connect(slot)
        return timer

    # --- what others use

    @property
    def runs(self) -> list[RunSummary]:
        """All of them, whether they are shown or not."""
        return self._found.runs if self._found is not None else []

    def select(self, folders: Sequence[Path]) -> None:
        """Show these runs, as soon as they are known, whatever is searched for."""
        self._wanted = tuple(folders)
        self.filter.clear()
        self._filter()
        self.poll()

    def set_busy(self, busy: bool) -> None:
        self._busy = busy
        if self.details is not None:
            self.details.set_busy(busy)

    def shutdown(self) -> None:
        self._is_shut_down = True
        for timer in (self._timer, self._choice_timer):
            timer.stop()
        self.filter.shutdown()
        for view in (self.details, self.comparison):
            if view is not None:
                view.shutdown()

    # --- looking again and again

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.poll()
        self._timer.start()
        if not is_pyqtgraph_imported():
            self._runner.start(import_pyqtgraph, None, quiet=True).succeeded.connect(self._show_selection)

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()
        if self.details is not None:
            self.details.keep()

    def poll(self) -> None:
        """Look now."""
        if self._polling is not None:
            self._is_stale = True
        elif not self._is_shut_down:
            self._polling = handle = self._runner.start(self._look, self._found, quiet=True)
            handle.succeeded.connect(self._on_found)
            handle.failed.connect(self._on_poll_failed)
            handle.finished.connect(self._on_polled)

    def _on_polled(self) -> None:
        self._polling = None
        if self._is_stale:
            self._is_stale = False
            self.poll()

    def _on_poll_failed(self, error: UserError) -> None:
        self.filter.count.setText(error_texts(error)[0])

    def _on_found(self, found: RunsFound | None) -> None:
        if found is None or self._is_shut_down:
            return
        before = {run.folder: run for run in self.runs}
        self._found = found
        self.filter.set_runs(self.runs)
        self._filter()
        selected = self.table.selected()
        if any(before.get(run.folder) != run for run in selected):
            if len(selected) == 1 and self._shown is not None and selected[0].folder == self._shown.folder:
                self._grow(selected[0])
            elif len(selected) > 1:
                self._start_comparison(selected)
        self.runs_changed.emit()

    def _filter(self) -> None:
        runs = self.filter.apply(self.runs)
        self.table.set_runs(runs)
        if self._wanted and (known := [path for path in self._wanted if self.table.rows.row_of(path) >= 0]):
            self._wanted = ()
            self.table.select(known)
        problems = self._found.problems if self._found is not None else ()
        self.filter.show_count(len(runs), len(self.runs), problems)
        self._show_hint()

    def _show_hint(self) -> None:
        if self._found is None:
            text = self.tr("Looking for your runs…")
        elif not self.runs:
            text = self.tr("Every training is kept with its curves, its recipe and its model, and is listed here.")
        elif not self.table.rows.runs:
            text = self.tr("No run is like that. Search for something else, or show all tasks and states.")
        else:
            text = self.tr("Choose a run to see it, or several (Ctrl or Shift) to compare them.")
        is_first = self._found is not None and not self.runs
        self.hint.set_texts(self.tr("No runs yet") if is_first else "", text)
        self.hint.title.setVisible(is_first)
        self.table.setVisible(bool(self.runs))
        if is_first and not self.hint.buttons:
            button = self.hint.add_button(self.tr("Start a training"), self.tr("Go to the Train page"), primary=True)
            button.clicked.connect(lambda: self.step_requested.emit("train"))
        elif not is_first:
            self.hint.clear_buttons()

    # --- what is chosen

    def _show_selection(self) -> None:
        if self._is_shut_down:
            return
        self._choice_timer.stop()
        selected = self.table.selected()
        self.filter.delete_button.setVisible(len(selected) > 1)
        if self._reading is not None:
            self._reading.cancel()
        if not selected or not is_pyqtgraph_imported():
            self._leave_details()
            self.stack.setCurrentWidget(self.hint)
        elif len(selected) == 1:
            self._show_run(selected[0])
        else:
            self._leave_details()
            self._start_comparison(selected)

    def _leave_details(self) -> None:
        self._shown = None
        if self.details is not None:
            self.details.keep()

    def _show_run(self, run: RunSummary) -> None:
        if self.details is None:
            self._build_details()
        assert self.details is not None
        self.stack.setCurrentWidget(self.details)
        if self._shown is not None and self._shown.folder == run.folder:
            return
        self._shown = run
        self.details.show_run(run)
        self._ask(read_recipe_text, run.folder, lambda text: self._on_recipe(run, text))
        self._reading = self._ask(open_curves, run.folder, lambda read: self._on_curves(run, *read))

    def _is_shown(self, run: RunSummary) -> bool:
        return self._shown is not None and self._shown.folder == run.folder and self.details is not None

    def _on_recipe(self, run: RunSummary, text: str) -> None:
        if self._is_shown(run) and self.details is not None:
            self.details.set_recipe(text)

    def _on_curves(self, run: RunSummary, curves: RunCurves, offset: int) -> None:
        if self._is_shown(run) and self.details is not None:
            self._offset = offset
            self.details.set_curves(curves)

    def _grow(self, run: RunSummary) -> None:
        """The shown run has said something new."""
        assert self.details is not None
        self._shown = run
        self.details.show_run(run)
        reading = self._reading is not None and self._reading.running
        growing = self._growing is not None and self._growing.running
        if not reading and not growing and self._offset:
            curves = self.details.curves
            self._growing = self._ask(
                read_more, (run.folder, self._offset), lambda more: self._on_more(run, curves, *more)
            )

    def _on_more(self, run: RunSummary, curves: RunCurves, events: list[Event], offset: int) -> None:
        if self._is_shown(run) and self.details is not None and self.details.curves is curves:
            self._offset = offset
            curves.extend(events)
            self.details.curves_grew()

    def _start_comparison(self, runs: list[RunSummary]) -> None:
        folders = [run.folder for run in runs[:MOST_COMPARED]]
        if self._reading is not None and self._reading.running:
            self._reading.cancel()
        self._reading = self._ask(self._compare, folders, lambda compared: self._on_compared(folders, compared))

    def _on_compared(self, folders: list[Path], compared: Compared) -> None:
        if [run.folder for run in self.table.selected()[:MOST_COMPARED]] != folders or len(folders) < 2:
            return
        if self.comparison is None:
            from lmstudio_app.gui.widgets.runs_comparison import RunsComparison

            self.comparison = RunsComparison(self._settings, self.stack)
            self.comparison.run_chosen.connect(lambda folder: self.table.select([folder]))
            self.stack.addWidget(self.comparison)
        self.stack.setCurrentWidget(self.comparison)
        self.comparison.show_runs(compared)

    def _build_details(self) -> None:
        from lmstudio_app.gui.widgets.runs_details import RunsDetails

        self.details = details = RunsDetails(self._settings, self.stack)
        details.set_busy(self._busy)
        details.about_changed.connect(self._on_about_changed)
        details.watch_requested.connect(self.watch_requested)
        details.resume_requested.connect(self.resume_requested)
        details.repeat_requested.connect(self._on_repeat)
        details.try_requested.connect(self.try_requested)
        details.inspect_requested.connect(self.inspect_requested)
        details.code_requested.connect(self.code_requested)
        details.delete_requested.connect(self.delete_selected)
        self.stack.addWidget(details)

    # --- what is done with runs

    def _ask(self, job: Job, config: Any, then: Callable[[Any], None]) -> JobHandle:
        handle = self._runner.start(job, config, quiet=True)
        handle.succeeded.connect(then)
        handle.failed.connect(lambda error: self._is_shut_down or dialogs.show_error(self, error))
        return handle

    def _on_about_changed(self, folder: Path, changes: dict[str, Any]) -> None:
        if self._is_shut_down:  # the window is closing, and no job begins any more
            keep_about((folder, changes), JobContext())
        else:
            self._ask(keep_about, (folder, changes), lambda about: self.poll())

    def _on_repeat(self, run: RunSummary) -> None:
        self._ask(read_recipe_values, run.folder, self.repeat_requested.emit)

    def delete_selected(self) -> None:
        """Ask, then move the chosen runs to the trash."""
        runs = [run for run in self.table.selected() if run.state != "running"]
        if not runs:
            return
        if len(runs) == 1:
            question = self.tr("Move the run {name} to the trash?").format(name=dated_title(runs[0]))
        else:
            question = self.tr("Move {count} runs to the trash?").format(count=number_text(len(runs)))
        self.question = dialogs.ask(
            self,
            title=self.tr("Delete runs"),
            question=question,
            explanation=self.tr("With their curves, checkpoints and trained models. The trash can give them back."),
            yes=self.tr("Move to the trash"),
            no=self.tr("Keep"),
            on_yes=lambda: self._trash([run.folder for run in runs]),
        )

    def _trash(self, folders: list[Path]) -> None:
        if self.details is not None and self._shown is not None and self._shown.folder in folders:
            self._leave_details()
        self._ask(trash_runs, folders, lambda _: None).finished.connect(self.poll)
