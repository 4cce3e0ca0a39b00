"""One run of the history: what is said of it, its curves, metrics and recipe, and what can be done with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QObject, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QFontDatabase, QPalette
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QSizePolicy,
    QStackedWidget,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.curves import RunCurves
from lmstudio_app.gui.metrics import metric_text, metric_title
from lmstudio_app.gui.run_texts import moment_text, run_title, state_text
from lmstudio_app.gui.text import compact_number_text, duration_text, number_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.figures import FigureRow
from lmstudio_app.gui.widgets.results_view import ResultsView
from lmstudio_app.gui.widgets.task_chooser import task_text
from lmstudio_app.gui.widgets.training_charts import TrainingCharts
from lmstudio_app.settings import Settings
from lmstudio_app.tasks import TASKS

if TYPE_CHECKING:
    from lmstudio_app.tasks import Prediction
    from lmstudio_app.training.runs import RunSummary

CURVES, RESULTS, RECIPE = range(3)


class RunsDetails(QWidget):
    """Give it a summary with :meth:`show_run`, then its curves and its recipe as they are read."""

    about_changed = Signal(object, object)  # Path of the run, {"title"|"notes"|"tags": new value}
    watch_requested = Signal(object)  # RunSummary
    resume_requested = Signal(object)  # RunSummary
    repeat_requested = Signal(object)  # RunSummary
    try_requested = Signal(str, str)  # model folder, name of the prediction
    inspect_requested = Signal(str, str)  # model folder, text
    code_requested = Signal(object)  # Path of the run
    delete_requested = Signal()

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._run: RunSummary | None = None
        self.curves = RunCurves()
        self._shown_evaluations = -1
        self._busy = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(self._build_buttons())
        layout.addWidget(self._build_figures())
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.7))
        row.addWidget(self._build_about())
        row.addLayout(self._build_views(), 1)
        layout.addLayout(row, 1)

    # --- building

    def _build_buttons(self) -> QHBoxLayout:
        tr = self.tr
        self.watch = make_button(
            tr("Watch it live"), tr("Show it on the Train page, with Pause, Stop and Cancel"), self
        )
        self.resume = make_button(
            tr("Resume"), tr("Go on with it from its last checkpoint, exactly where it was"), self
        )
        self.repeat = make_button(
            tr("Repeat with changes…"),
            tr("Put its task, data and recipe back into the Data and Train pages, to change and start them anew"),
            self,
        )
        self.try_it = make_button(tr("Try it"), tr("Load the trained model and ask it something"), self)
        self.code = make_button(
            tr("Show the code…"), tr("Write a short Python script that does the same training"), self
        )
        self.folder = make_button(tr("Open folder"), tr("Show the run's files in the system's file manager"), self)
        self.delete = make_button(tr("Delete…"), tr("Move the run to the system's trash"), self)
        row = QHBoxLayout()
        for button in (self.watch, self.resume, self.repeat, self.try_it, self.code, self.folder):
            row.addWidget(button)
        row.addStretch(1)
        row.addWidget(self.delete)
        self.watch.clicked.connect(lambda: self.watch_requested.emit(self._run))
        self.resume.clicked.connect(lambda: self.resume_requested.emit(self._run))
        self.repeat.clicked.connect(lambda: self.repeat_requested.emit(self._run))
        self.try_it.clicked.connect(self._on_try)
        self.code.clicked.connect(lambda: self._run and self.code_requested.emit(self._run.folder))
        self.folder.clicked.connect(self._on_open_folder)
        self.delete.clicked.connect(self.delete_requested)
        return row

    def _build_figures(self) -> FigureRow:
        tr = self.tr
        self.figures = FigureRow(
            [
                ("state", tr("State"), tr("Whether it runs, and how it ended")),
                ("step", tr("Step"), tr("Steps done, of all")),
                ("best", tr("Best"), tr("The best value of the metric that counts, over all evaluations")),
                ("last", tr("Last"), tr("Its value in the last evaluation")),
                ("loss", tr("Evaluation loss"), tr("In the last evaluation: lower is better")),
                ("speed", tr("Examples/s"), tr("Training speed: rows a second")),
                ("duration", tr("Duration"), tr("How long it was at work; breaks do not count")),
                ("started", tr("Started"), tr("When it began")),
            ],
            self,
            characters={"state": 15, "step": 11, "started": 15},
        )
        return self.figures

    def _build_about(self) -> QWidget:
        holder = QWidget(self)
        grid = QGridLayout(holder)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(theme.em(self, 0.3))
        self.title, self.tags = QLineEdit(holder), QLineEdit(holder)
        self.notes = QPlainTextEdit(holder)
        self.notes.setTabChangesFocus(True)
        self.place = ElidedLabel(holder, mode=Qt.TextElideMode.ElideMiddle)
        self.place.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.title.setPlaceholderText(self.tr("a title of your own"))
        self.tags.setPlaceholderText(self.tr("tags, with commas between"))
        self.notes.setPlaceholderText(self.tr("What did you try, and what came of it?"))
        fields = (
            (self.tr("Title"), self.title, self.tr("What you call this run; kept when you leave the field")),
            (self.tr("Tags"), self.tags, self.tr("Words to find it by, with commas between: baseline, keep")),
            (self.tr("Notes"), self.notes, self.tr("What you want to remember of it; kept when you leave the field")),
        )
        for row, (name, widget, tip) in enumerate(fields):
            label = QLabel(name, holder)
            label.setBuddy(widget)
            widget.setAccessibleName(name)
            widget.setToolTip(tip)
            grid.addWidget(label, row, 0, Qt.AlignmentFlag.AlignTop if widget is self.notes else Qt.AlignmentFlag(0))
            grid.addWidget(widget, row, 1)
        grid.addWidget(QLabel(self.tr("Folder"), holder), 3, 0)
        grid.addWidget(self.place, 3, 1)
        grid.setRowStretch(2, 1)
        holder.setFixedWidth(theme.characters(self, 44))
        holder.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Expanding)
        self._about = holder
        self.title.editingFinished.connect(self.keep)
        self.tags.editingFinished.connect(self.keep)
        self.notes.installEventFilter(self)
        return holder

    def _build_views(self) -> QVBoxLayout:
        self.bar = QTabBar(self)
        self.bar.setAccessibleName(self.tr("View"))
        for text, tip in (
            (self.tr("Curves"), self.tr("How the training went")),
            (self.tr("Metrics"), self.tr("What it came to: metrics, and examples of what it says")),
            (self.tr("Recipe"), self.tr("Everything that determines the training")),
        ):
            self.bar.setTabToolTip(self.bar.addTab(text), tip)
        self.bar.setDrawBase(False)
        self.bar.setExpanding(False)
        self.charts = TrainingCharts(self._settings, self)
        self.results = ResultsView(self)
        self.recipe = QPlainTextEdit(self)
        self.recipe.setReadOnly(True)
        self.recipe.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.recipe.setAccessibleName(self.tr("Recipe"))
        self.recipe.setToolTip(self.tr("The run's recipe.yaml; `lmstudio-app train` takes the same file"))
        self.recipe.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.stack = QStackedWidget(self)
        for view in (self.charts, self.results, self.recipe):
            self.stack.addWidget(view)
        self.bar.currentChanged.connect(self._on_view_changed)
        self.bar.setCurrentIndex(int(self._settings.get("runs.view", CURVES)))
        self.results.try_requested.connect(self._on_try)
        self.results.inspect_requested.connect(self._on_inspect)
        box = QVBoxLayout()
        box.setSpacing(theme.em(self, 0.2))
        box.addWidget(self.bar)
        box.addWidget(self.stack, 1)
        return box

    # --- what it shows

    @property
    def run(self) -> RunSummary | None:
        return self._run

    def show_run(self, run: RunSummary) -> None:
        """Another run, or the same one with new figures; of another one the curves and the recipe come later."""
        is_other = self._run is None or run.folder != self._run.folder
        if is_other:
            self.keep()
            self.set_curves(RunCurves(task=run.task))
            self.recipe.clear()
        before, self._run = self._run, run
        if is_other or before is None or run.model_folder != before.model_folder:
            self._shown_evaluations = -1
        self._show_about(is_other=is_other)
        self._show_figures()
        self._show_evaluation()
        self._update_buttons()

    def set_curves(self, curves: RunCurves) -> None:
        self.curves = curves
        self._shown_evaluations = -1
        self.charts.set_curves(curves)
        self._show_evaluation()

    def curves_grew(self) -> None:
        self.charts.mark_dirty()
        self._show_evaluation()

    def set_recipe(self, text: str) -> None:
        self.recipe.setPlainText(text)

    def set_busy(self, busy: bool) -> None:
        """While this window trains or follows a training, it can begin no other one."""
        self._busy = busy
        self._update_buttons()

    def shutdown(self) -> None:
        self.keep()
        self.charts.shutdown()

    def _show_about(self, *, is_other: bool) -> None:
        """What somebody is writing is left alone."""
        run = self._run
        assert run is not None
        if is_other or not self.title.hasFocus():
            self.title.setText(run.title)
        if is_other or not self.tags.hasFocus():
            self.tags.setText(", ".join(run.tags))
        if (is_other or not self.notes.hasFocus()) and self.notes.toPlainText() != run.notes:
            self.notes.setPlainText(run.notes)
        self.title.setPlaceholderText(run_title(run))
        self.place.setText(str(run.folder))

    def _show_figures(self) -> None:
        run = self._run
        assert run is not None
        loss = run.metrics.get("loss")
        name = metric_title(run.metric) if run.metric else self.tr("Metric")
        self.figures.set_caption("best", self.tr("{metric}, best").format(metric=name), name)
        self.figures.set_caption("last", self.tr("{metric}, last").format(metric=name), name)
        self.figures.set_values(
            {
                "state": state_text(run.state, paused=run.paused),
                "step": f"{number_text(run.step)} / {number_text(run.total_steps)}" if run.total_steps else "",
                "best": metric_text(run.best_value) if run.best_value is not None else "",
                "last": metric_text(run.metrics[run.metric]) if run.metric in run.metrics else "",
                "loss": metric_text(loss) if loss is not None else "",
                "speed": compact_number_text(run.examples_per_second) if run.examples_per_second else "",
                "duration": duration_text(run.duration),
                "started": moment_text(run.started),
            }
        )

    def _show_evaluation(self) -> None:
        if self._run is None or len(self.curves.evaluations) == self._shown_evaluations:
            return
        self._shown_evaluations = len(self.curves.evaluations)
        prediction = self.prediction
        self.results.set_result(
            self.curves.outcome,
            has_model=self._run.model_folder is not None,
            samples=self.curves.samples,
            try_tip=task_text(prediction.help) if prediction is not None else "",
        )

    @property
    def prediction(self) -> Prediction | None:
        """What the run's model can be asked first."""
        name = self._run.task if self._run is not None else ""
        return next((task.predictions[0] for task in TASKS if task.name == name), None)

    def _update_buttons(self) -> None:
        run = self._run
        if run is None:
            return
        is_running = run.state == "running"
        self.watch.setVisible(is_running)
        self.watch.setEnabled(not self._busy)
        self.resume.setVisible(not is_running)
        self.resume.setEnabled(run.resumable and not self._busy)
        self.try_it.setEnabled(run.model_folder is not None)
        self.delete.setEnabled(not is_running)

    def _on_view_changed(self, index: int) -> None:
        self.stack.setCurrentIndex(index)
        self._settings.set("runs.view", index)

    # --- what a person does

    def keep(self) -> None:
        """Keep title, tags and notes that have changed."""
        run = self._run
        if run is None:
            return
        written: dict[str, Any] = {
            "title": " ".join(self.title.text().split()),
            "tags": tuple(dict.fromkeys(" ".join(tag.split()) for tag in self.tags.text().split(",") if tag.strip())),
            "notes": self.notes.toPlainText().strip(),
        }
        changes = {name: value for name, value in written.items() if value != getattr(run, name)}
        if changes:
            self._run = replace(run, **changes)
            self.about_changed.emit(run.folder, changes)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.notes and event.type() == QEvent.Type.FocusOut:
            self.keep()
        return super().eventFilter(watched, event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_about"):
            self._about.setFixedWidth(theme.characters(self, 44))

    def _on_try(self) -> None:
        if self._run is not None and self._run.model_folder is not None and self.prediction is not None:
            self.try_requested.emit(str(self._run.model_folder), self.prediction.name)

    def _on_inspect(self, text: str) -> None:
        if self._run is not None and self._run.model_folder is not None:
            self.inspect_requested.emit(str(self._run.model_folder), text)

    def _on_open_folder(self) -> None:
        if self._run is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._run.folder)))
