"""The right of the Train page: which run, how it goes in figures, its curves, and what it came to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QTabBar, QVBoxLayout, QWidget

from lmstudio_app.events import Status, StepLogged
from lmstudio_app.files import format_bytes
from lmstudio_app.gui import theme
from lmstudio_app.gui.curves import RunCurves
from lmstudio_app.gui.field_editors import translate
from lmstudio_app.gui.metrics import LOSS, metric_help, metric_scale, metric_text, metric_title
from lmstudio_app.gui.run_texts import data_name, moment_text, run_title, state_text
from lmstudio_app.gui.text import compact_number_text, duration_text, number_text, status_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.figures import FigureRow
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.results_view import ResultsView
from lmstudio_app.gui.widgets.training_charts import TrainingCharts
from lmstudio_app.settings import Settings
from lmstudio_app.tasks import TASKS

if TYPE_CHECKING:
    from lmstudio_app.tasks import Prediction
    from lmstudio_app.training.runs import RunSummary

FIGURE_INTERVAL = 0.5  # seconds between two updates of the figures


class RunView(QWidget):
    run_chosen = Signal(object)  # RunSummary, or None for the run that trains now
    resume_requested = Signal(object)  # RunSummary
    try_requested = Signal(object, str)  # Path of the model folder, name of the prediction
    inspect_requested = Signal(object, str)  # Path of the model folder, text
    attention_requested = Signal(Path)  # the run's folder

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self.curves = RunCurves()
        self._run: RunSummary | None = None
        self._live = False
        self._busy = False
        self._shown_evaluations = -1
        self._last_figures = 0.0
        self._hint = ""
        self._captioned = ""  # the task by whose metric the figure is called
        chooser = self._build_chooser()  # built from top to bottom, so that the keyboard comes through in this order
        self.figures = FigureRow(self._figure_specs(), self, characters={"step": 9})
        self.figures.set_shown("metric_2", False)
        self._status = ElidedLabel(self)
        self._status.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self._bar = QTabBar(self)
        self._bar.setAccessibleName(self.tr("View"))
        self._bar.addTab(self.tr("Curves"))
        self._bar.addTab(self.tr("Results"))
        self._bar.setTabToolTip(0, self.tr("How the training goes"))
        self._bar.setTabToolTip(1, self.tr("What it came to: metrics, and examples of what it says"))
        self._bar.setDrawBase(False)
        self._bar.setExpanding(False)
        self.charts = TrainingCharts(settings, self)
        self.results = ResultsView(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(chooser)
        layout.addWidget(self.figures)
        row = QHBoxLayout()
        row.addWidget(self._bar)
        row.addWidget(self._status, 1)
        layout.addLayout(row)
        layout.addWidget(self.charts, 1)
        layout.addWidget(self.results, 1)
        self.results.hide()
        self._bar.currentChanged.connect(self._on_view_changed)
        self.results.try_requested.connect(self._on_try)
        self.results.inspect_requested.connect(self._on_inspect)

    def _figure_specs(self) -> list[tuple[str, str, str]]:
        self._metric_tip = self.tr(
            "The latest evaluation, on rows that it never learns from; of a finished run, the one of the model it kept"
        )
        return [
            (
                "step",
                self.tr("Step"),
                self.tr("Steps done, of all. In a step the model reads one batch and its weights move once."),
            ),
            (
                "epoch",
                self.tr("Epoch"),
                self.tr("How many times it has seen the training data; 1.00 is all of it once"),
            ),
            ("loss", self.tr("Loss"), self.tr("How wrong it was on the latest batch: lower is better")),
            (
                "metric",
                self.tr("Metric"),
                self._metric_tip,
            ),
            ("metric_2", "", ""),
            ("speed", self.tr("Examples/s"), self.tr("Training speed: rows a second")),
            (
                "tokens",
                self.tr("Tokens/s"),
                self.tr("Training speed in pieces of words; the padding that fills up short texts is not counted"),
            ),
            ("memory", self.tr("Memory"), self.tr("What the app holds in memory")),
            ("elapsed", self.tr("Elapsed"), self.tr("Time from the first event to the last")),
            ("left", self.tr("Left"), self.tr("Estimated time to the end")),
        ]

    def _build_chooser(self) -> QHBoxLayout:
        self._chooser = QuietCombo(
            self.tr("Run"), self.tr("Every training is kept; choose one to see its curves"), self
        )
        self._chooser.setPlaceholderText(self.tr("No runs yet: your trainings will be listed here"))
        self._chooser.setMinimumContentsLength(30)
        self._resume = QPushButton(self.tr("Resume"), self)
        self._resume.setAccessibleName(self.tr("Resume this run"))
        self._resume.setToolTip(self.tr("Go on with this run from its last checkpoint, exactly where it was"))
        self._resume.setEnabled(False)
        self.attention = make_button(
            self.tr("See its attention"),
            self.tr("What its heads look at in the watched sentence, step by step, beside the loss"),
            self,
            self._on_attention,
        )
        self.attention.hide()
        label = QLabel(self.tr("Run"), self)
        label.setBuddy(self._chooser)
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self._chooser, 1)
        row.addWidget(self.attention)
        row.addWidget(self._resume)
        self._chooser.activated.connect(self._on_chosen)
        self._resume.clicked.connect(lambda: self.resume_requested.emit(self._run))
        return row

    # --- the list of runs

    def show_runs(self, runs: list[RunSummary], *, live: bool) -> None:
        """Fill the list; with ``live`` its first line is the run that trains now."""
        self._chooser.clear()
        if live:
            self._chooser.addItem(self.tr("This training"), None)
        for run in runs:
            if not (live and run.state == "running"):
                self._chooser.addItem(self._run_title(run), run)
                self._chooser.setItemData(self._chooser.count() - 1, str(run.folder), Qt.ItemDataRole.ToolTipRole)
        index = 0 if live and self._live else self._index_of(self._run.folder if self._run else None)
        self._chooser.setCurrentIndex(index)

    def _run_title(self, run: RunSummary) -> str:
        parts = [moment_text(run.started), run_title(run)]  # what tells runs from each other first: the end may be cut
        if run.best_value is not None:
            value = metric_text(run.best_value, short=True)
            parts.append(self.tr("{metric} {value}").format(metric=metric_title(run.metric), value=value))
        if run.state != "finished":
            parts.append(state_text(run.state, paused=run.paused))
        return "  ·  ".join([*parts, data_name(run)])

    def _index_of(self, folder: Path | None) -> int:
        for index in range(self._chooser.count()):
            run = self._chooser.itemData(index)
            if folder is not None and run is not None and run.folder == folder:
                return index
        return -1

    def select_run(self, folder: Path) -> None:
        """Choose a run of the list, as a click would."""
        index = self._index_of(folder)
        self._chooser.setCurrentIndex(index)
        if index >= 0:
            self._on_chosen(index)

    def selected_run(self) -> RunSummary | None:
        run: RunSummary | None = self._chooser.currentData()
        return run

    def _on_chosen(self, index: int) -> None:
        self.run_chosen.emit(self._chooser.itemData(index))

    # --- one run

    def show_run(self, curves: RunCurves, run: RunSummary | None, *, live: bool) -> None:
        """Show a run: its ``summary``, or None while it trains (``live``)."""
        is_other = curves is not self.curves
        self.curves, self._run, self._live = curves, run, live
        self._shown_evaluations = -1
        self._status.setText("")
        if is_other:
            self.charts.set_curves(curves)
        if live:
            self._bar.setCurrentIndex(0)
        elif curves.finished is not None and curves.evaluations:
            self._bar.setCurrentIndex(int(self._settings.get("train.view", 1)))
        self._show_outcome()
        self.curves_grew(now=True)
        self._update_buttons()

    def curves_grew(self, *, now: bool = False) -> None:
        """New events have come."""
        self.charts.mark_dirty()
        self.attention.setVisible(bool(self.curves.last_frame))
        moment = time.monotonic()
        if now or moment - self._last_figures >= FIGURE_INTERVAL:
            self._last_figures = moment
            self._show_figures()
        if len(self.curves.evaluations) != self._shown_evaluations:
            self._shown_evaluations = len(self.curves.evaluations)
            self._show_evaluation()

    def show_status(self, status: Status | None) -> None:
        """What happens now; None while the steps speak for themselves."""
        self._status.setText(status_text(status) if status is not None else "")

    def set_busy(self, busy: bool) -> None:
        """While a training runs no other one can be resumed."""
        self._busy = busy
        self._update_buttons()

    def shutdown(self) -> None:
        self.charts.shutdown()

    def _update_buttons(self) -> None:
        self._resume.setEnabled(self._run is not None and self._run.resumable and not self._busy)

    def show_hint(self, text: str) -> None:
        """What to do next, shown while there is nothing else to say."""
        self._hint = text
        if not self._live and self._run is None:
            self._status.setText(text)

    def _show_outcome(self) -> None:
        if self.curves.failed is not None:
            self._status.setText(self.curves.failed.message)
        elif self._run is not None and self._run.state == "interrupted":
            self._status.setText(self.tr("Interrupted: it can be resumed from its last checkpoint."))

    def _show_figures(self) -> None:
        curves, step = self.curves, self.curves.last_step
        values: dict[str, str] = {}
        if isinstance(step, StepLogged):
            values = {
                "step": f"{number_text(step.step)} / {number_text(step.total_steps)}",
                "epoch": f"{step.epoch:.2f}",
                "loss": f"{step.loss:.4f}",
                "speed": compact_number_text(step.examples_per_second),
                "tokens": compact_number_text(step.tokens_per_second),
                "memory": format_bytes(step.memory) if step.memory else "",
                "left": duration_text(step.eta) if self._live and step.eta is not None else "",
            }
        if curves.outcome is not None:  # of the model that a finished run has kept: maybe the best, not the last
            metrics = curves.outcome.metrics
            for key, name in zip(("metric", "metric_2"), self._figure_metrics(), strict=False):
                values[key] = metric_text(metrics[name])
                title = self.tr("Evaluation") if name == "loss" else metric_title(name)
                self.figures.set_caption(key, title, metric_help(name))
        elif self.curves.task != self._captioned:  # not what another task is measured by
            self.figures.set_caption("metric", self.tr("Metric"), self._metric_tip)
        self._captioned = self.curves.task
        self.figures.set_shown("metric_2", "metric_2" in values)
        if curves.first_time is not None and curves.last_time is not None:
            values["elapsed"] = duration_text(curves.last_time - curves.first_time)
        self.figures.set_values(values)

    @property
    def prediction(self) -> Prediction | None:
        """What the model of this run can be asked first."""
        return next((task.predictions[0] for task in TASKS if task.name == self.curves.task), None)

    def _figure_metrics(self) -> list[str]:
        """The metric that counts, and one more when there is one."""
        main = self.curves.main_metric
        others = [name for name in self.curves.metric_names if name != main and metric_scale(name) != LOSS]
        return [main, *others[:1]]

    def _show_evaluation(self) -> None:
        folder = self._run.model_folder if self._run is not None else None
        prediction = self.prediction
        self.results.set_result(
            self.curves.outcome,
            has_model=folder is not None,
            samples=self.curves.samples,
            try_tip=translate(prediction.help) if prediction is not None else "",
        )

    def _on_view_changed(self, index: int) -> None:
        if not self._live:
            self._settings.set("train.view", index)
        self.charts.setVisible(index == 0)
        self.results.setVisible(index == 1)

    def _on_try(self) -> None:
        if self._run is not None and self._run.model_folder is not None and self.prediction is not None:
            self.try_requested.emit(self._run.model_folder, self.prediction.name)

    def _on_attention(self) -> None:
        # a run that trains now has no summary yet; one that was moved is no longer where its events say
        folder = self._run.folder if self._run is not None else Path(self.curves.last_frame).parents[1]
        self.attention_requested.emit(folder)

    def _on_inspect(self, text: str) -> None:
        if self._run is not None and self._run.model_folder is not None:
            self.inspect_requested.emit(self._run.model_folder, text)
