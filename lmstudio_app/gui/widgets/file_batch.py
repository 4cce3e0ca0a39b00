"""A whole file through the model of a page: choose it, run, stop, go on, look at what came out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices, QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Progress, RowPredicted, Status
from lmstudio_app.gui import theme
from lmstudio_app.gui.batch_queries import FileLook, LookRequest, look_at_file
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import duration_text, error_texts, number_text, progress_text, status_text
from lmstudio_app.gui.try_texts import field_texts, prediction_title
from lmstudio_app.gui.widgets.batch_table import BatchTable
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.playground.files import FileReport, FileRequest, part_of, predict_file
from lmstudio_app.playground.predictions import find_prediction
from lmstudio_app.tasks import Prediction

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

PATTERN = "*.jsonl *.csv *.tsv *.txt *.json *.parquet *.gz"
SHOWN = 500  # rows whose output is shown here; the file has all


class FileBatch(QFrame):
    """What is done is kept from row to row, so a stopped or killed run goes on where it was.

    It needs a model, unless :meth:`set_prediction` says otherwise.
    """

    def __init__(self, services: Services, prediction: str | Prediction, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAcceptDrops(True)
        self._services = services
        self._settings = services.settings
        self._prediction = find_prediction(prediction) if isinstance(prediction, str) else prediction
        self._subject = ""
        self._needs_model = True
        self._loaded: LoadedModel | None = None
        self._options: Callable[[], Any] = self._prediction.options
        self._look: FileLook | None = None
        self._reading: Path | None = None  # a file that is being looked at
        self._output: Path | None = None
        self._handle: JobHandle | None = None
        self._stopping = False
        self.report: FileReport | None = None
        self._build()
        self._settle()

    # --- what others use

    def set_model(self, loaded: LoadedModel | None) -> None:
        """Ask this model from now on; a run with another one is stopped, and what it did is kept."""
        if loaded is not self._loaded:
            if self._reading is None:
                self.cancel()
            self._loaded = loaded
            self._settle()

    def set_options(self, options: Callable[[], Any]) -> None:
        """Where the prediction's options come from when a run begins; it may raise :class:`UserError`."""
        self._options = options

    def set_prediction(self, prediction: Prediction, subject: str = "", *, needs_model: bool = True) -> None:
        """Ask for something else, or ask something else (``subject`` names it; see :class:`FileRequest`)."""
        if subject and subject == self._subject:
            return  # nothing else: what runs may go on
        same_inputs = prediction.inputs == self._prediction.inputs
        path = self._reading  # begins anew: the other prediction may look for other columns
        if path is None and self._look is not None and not same_inputs:
            path = self._look.path
        self.cancel()
        self._prediction, self._subject, self._needs_model = prediction, subject, needs_model
        if not same_inputs:
            self._build_columns()
        if path is not None:
            self.open_file(path)
        self._settle()

    def open_file(self, path: Path) -> None:
        """Look which columns the file has."""
        self.cancel()
        self._settings.set("batch.folder", str(path.parent))
        handle = self._services.query_runner.start(look_at_file, LookRequest(path, self._prediction), quiet=True)
        self._watch(handle)
        self._reading = path
        self.summary.setText(self.tr("Reading {name}").format(name=path.name))
        handle.succeeded.connect(lambda look: self._on_looked(handle, look))

    def set_output(self, path: Path) -> None:
        self._output = path
        self.output_name.setText(str(path))
        self._settle()

    def run(self) -> None:
        """Take every row through the model, or the rest of them."""
        if self._look is None or self._output is None or not self._can_ask():
            return
        try:
            request = FileRequest(
                self._prediction, self._look.path, self._output, self._options(), self._columns(), self._subject, SHOWN
            )
        except UserError as error:
            self._show_problem(error)
            return
        self.report = None
        self.table.clear()
        loaded = self._loaded

        def _predict(request: FileRequest, ctx: Any) -> FileReport:
            return predict_file(request, loaded, ctx)

        title = self.tr("{task}: {name}").format(task=prediction_title(self._prediction), name=request.input.name)
        handle = self._services.batch_runner.start(_predict, request, title=title)
        self._watch(handle)
        handle.succeeded.connect(lambda report: self._on_report(handle, report))

    def stop(self) -> None:
        """End at the next row, or at once where the rows are long; what is done is kept."""
        if self._handle is not None:
            self._stopping = True
            self._handle.cancel()
            self._settle()

    def cancel(self) -> None:
        handle, self._handle = self._handle, None
        self._stopping, self._reading = False, None
        if handle is not None:
            handle.cancel()

    def shutdown(self) -> None:
        self.cancel()

    # --- building

    def _build(self) -> None:
        self.choose_button = make_button(
            self.tr("Choose a file…"),
            self.tr("A table or text file; you can also drop one here"),
            self,
            self._on_choose,
        )
        self.name = ElidedLabel(self, mode=Qt.TextElideMode.ElideMiddle)
        self._form = QFormLayout()
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._inputs = QWidget(self)
        self._inputs.setLayout(self._form)
        self._form.setContentsMargins(0, 0, 0, 0)
        self.boxes: dict[str, QuietCombo] = {}
        self._build_columns()
        self.output_button = make_button(
            self.tr("Write to…"),
            self.tr("Where the answers go: JSON Lines, or CSV for spreadsheets"),
            self,
            self._on_output,
        )
        self.output_name = ElidedLabel(self, mode=Qt.TextElideMode.ElideMiddle)
        self.run_button = make_button(self.tr("Run"), self.tr("Take every row through the model"), self, self.run)
        self.run_button.setProperty("primary", True)
        self.stop_button = make_button(
            self.tr("Stop"), self.tr("Stop now; what is done is kept, and the next run goes on there"), self, self.stop
        )
        self.reveal_button = make_button(
            self.tr("Show in folder"),
            self.tr("Open the folder that the answers were written to"),
            self,
            self._on_reveal,
        )
        self.progress = QProgressBar(self)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(theme.em(self, 0.6))
        self.progress.setAccessibleName(self.tr("Progress"))
        self.progress.setToolTip(self.tr("How many rows are done"))
        self.summary = ElidedLabel(self)
        self.notice = Notice(self)
        self.table = BatchTable(self)
        self.hint = QLabel(self)
        self.hint.setWordWrap(True)
        self.hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.hint.setForegroundRole(self.hint.palette().ColorRole.PlaceholderText)
        self._results = QStackedWidget(self)
        self._results.addWidget(self.hint)
        self._results.addWidget(self.table)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.8)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.55))
        for left, right in ((self.choose_button, self.name), (self.output_button, self.output_name)):
            row = QHBoxLayout()
            row.addWidget(left)
            row.addWidget(right, 1)
            layout.addLayout(row)
            if left is self.choose_button:
                layout.addWidget(self._inputs)
        actions = QHBoxLayout()
        actions.addWidget(self.run_button)
        actions.addWidget(self.stop_button)
        actions.addWidget(self.summary, 1)
        actions.addWidget(self.reveal_button)
        layout.addLayout(actions)
        layout.addWidget(self.progress)
        layout.addWidget(self.notice)
        layout.addWidget(self._results, 1)

    def _build_columns(self) -> None:
        """A box for the column of each input."""
        while self._form.rowCount():
            self._form.removeRow(0)
        self.boxes = {}
        for spec in self._prediction.inputs:
            title, _ = field_texts(self._prediction.name, spec)
            box = QuietCombo(title, self.tr("The column that holds it"), self._inputs)
            box.activated.connect(lambda _: self._settle())
            self._form.addRow(QLabel(self.tr("{input}: column").format(input=title), self._inputs), box)
            self.boxes[spec.name] = box

    # --- jobs

    def _watch(self, handle: JobHandle) -> None:
        self._handle = handle
        self._stopping = False
        self.notice.set_text("")
        self.progress.setRange(0, 0)
        handle.event.connect(lambda events: self._on_events(handle, events))
        handle.failed.connect(lambda error: self._on_failed(handle, error))
        handle.finished.connect(lambda: self._on_finished(handle))
        self._settle()

    def _on_events(self, handle: JobHandle, events: list[Event]) -> None:
        if handle is not self._handle:
            return
        self.table.add([event for event in events if isinstance(event, RowPredicted)])
        last = {type(event): event for event in events}
        if isinstance(status := last.get(Status), Status):
            self.summary.setText(status_text(status))
        if isinstance(progress := last.get(Progress), Progress):
            self.summary.setText(progress_text(progress))
            if progress.total:
                self.progress.setRange(0, 1000)
                self.progress.setValue(round(1000 * progress.done / progress.total))
        self._settle()

    def _on_looked(self, handle: JobHandle, look: FileLook) -> None:
        if handle is not self._handle:
            return
        self._look = look
        self.name.setText(str(look.path))
        self.summary.setText(self.tr("{rows} rows").format(rows=number_text(look.rows)))
        for name, box in self.boxes.items():
            box.clear()
            box.addItem(self.tr("(none)"), "")
            for column in look.columns:
                box.addItem(column, column)
            box.choose(look.guess.get(name, ""))
        self.report = None
        self.table.clear()
        self.set_output(look.path.with_name(f"{look.path.name.split('.')[0]}-{self._prediction.name}.jsonl"))

    def _on_report(self, handle: JobHandle, report: FileReport) -> None:
        if handle is not self._handle:
            return
        self.report = report
        rate = number_text((report.rows - report.continued) / max(report.seconds, 1e-9), 1)
        text = self.tr("{rows} rows in {time}, {rate} a second").format(
            rows=number_text(report.rows), time=duration_text(report.seconds), rate=rate
        )
        self.summary.setText(text)

    def _on_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._handle:
            self._show_problem(error)
            self.summary.clear()

    def _on_finished(self, handle: JobHandle) -> None:
        if handle is self._handle:
            self._handle = None
            if self._stopping:
                self.summary.setText(self.tr("Stopped; what is done is kept"))
            self._stopping, self._reading = False, None
            self._settle()

    def _show_problem(self, error: UserError) -> None:
        self.notice.set_text(" ".join(text for text in error_texts(error) if text))

    # --- state

    def _columns(self) -> dict[str, str]:
        """As they were chosen; none where lines of JSON are taken as they are."""
        assert self._look is not None
        chosen = {name: str(box.currentData() or "") for name, box in self.boxes.items()}
        if self._look.is_plain and all(chosen[name] in ("", name) for name in chosen):
            return {}
        return chosen

    def _has_columns(self) -> bool:
        """Is it known where in the file all that is needed stands?"""
        if self._look is None or self._look.is_plain:
            return self._look is not None
        chosen = {name for name, box in self.boxes.items() if box.currentData()}
        return bool(chosen) and all(spec.name in chosen for spec in self._prediction.inputs if spec.required)

    def _can_ask(self) -> bool:
        return self._loaded is not None or not self._needs_model

    def _settle(self) -> None:
        running, has_file = self._handle is not None, self._look is not None
        for widget in (self._inputs, self.output_button, self.output_name, self.run_button):
            widget.setVisible(has_file)
        for widget in (self.choose_button, self.output_button, self._inputs):
            widget.setEnabled(not running)
        self.run_button.setEnabled(has_file and not running and self._can_ask() and self._has_columns())
        continues = self._output is not None and not running and part_of(self._output).exists()
        self.run_button.setText(self.tr("Go on") if continues else self.tr("Run"))
        self.stop_button.setVisible(running)
        self.stop_button.setEnabled(not self._stopping)
        self.progress.setVisible(running)
        self.reveal_button.setVisible(self.report is not None and not running)
        self._results.setCurrentWidget(self.table if self.table.rows else self.hint)
        if not has_file:
            self.hint.setText(
                self.tr(
                    "Choose a JSON Lines, CSV, TSV, text or Parquet file, or drop one here. Every row is answered, in "
                    "its order, and written to a file."
                )
            )
        elif not self._can_ask():
            self.hint.setText(self.tr("A model is needed first: choose one above."))
        elif not self._has_columns():
            self.hint.setText(self.tr("Say above which column of the file holds what the model is asked."))
        else:
            self.hint.setText(
                self.tr("The first {count} answers appear here as they come; the file gets all of them.").format(
                    count=number_text(SHOWN)
                )
            )

    # --- files

    def _on_choose(self) -> None:
        dialog = QFileDialog(self, self.tr("Choose a file"), str(self._settings.get("batch.folder", "")))
        dialog.setNameFilter(self.tr("Data files ({pattern})").format(pattern=PATTERN))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(lambda name: self.open_file(Path(name)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_output(self) -> None:
        assert self._output is not None
        dialog = QFileDialog(self, self.tr("Write the answers to"), str(self._output.parent))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilters(["*.jsonl", "*.csv"])
        dialog.setDefaultSuffix(self._output.suffix)
        dialog.filterSelected.connect(lambda chosen: dialog.setDefaultSuffix(chosen.removeprefix("*")))
        dialog.selectFile(self._output.name)
        dialog.fileSelected.connect(lambda name: self.set_output(Path(name)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_reveal(self) -> None:
        if self.report is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.report.output.parent)))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        urls = event.mimeData().urls()
        if self._handle is None and len(urls) == 1 and Path(urls[0].toLocalFile()).is_file():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        event.acceptProposedAction()
        self.open_file(Path(event.mimeData().urls()[0].toLocalFile()))
