"""Many texts on the Sentiment page: choose a file, label every row, look at the result and keep it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Progress
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.gui.predictions import (
    ExportRequest,
    FileQuestion,
    Predictions,
    TextFile,
    export_predictions,
    judge_file,
    read_text_file,
)
from lmstudio_app.gui.text import number_text, progress_text
from lmstudio_app.gui.widgets.band_slider import BandSlider
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.predictions_table import LABEL, TEXT, PredictionsModel
from lmstudio_app.gui.widgets.row_height import RowHeight
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.settings import Settings
from lmstudio_app.tasks import Prediction
from lmstudio_app.tasks.polarity import two_sided
from lmstudio_app.tasks.sentiment import JUDGE

PATTERN = "*.csv *.tsv *.jsonl *.json *.txt *.parquet *.gz"


class FileJudge(QFrame):
    text_chosen = Signal(str)  # a row was double-clicked
    band_changed = Signal(float)

    def __init__(self, runner: JobRunner, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.setAcceptDrops(True)
        self._runner = runner
        self._settings = settings
        self._model: Any = None
        self._prediction: Prediction = JUDGE
        self._options: Callable[[], Any] = JUDGE.options
        self._file: TextFile | None = None
        self._handle: JobHandle | None = None
        self.predictions: Predictions | None = None
        self._build()
        self._update()

    def set_model(self, loaded: Any) -> None:
        """Label with another model from now on; labels that the old one gave are dropped."""
        self.cancel()
        self._model = loaded
        self._set_predictions(None)

    def set_prediction(self, prediction: Prediction, options: Callable[[], Any]) -> None:
        """Ask for something else from now on; ``options`` is called when it is, and may raise :class:`UserError`."""
        self.cancel()
        self._prediction, self._options = prediction, options
        self._set_predictions(None)

    def set_band(self, band: float) -> None:
        """The width of the neutral zone between two classes; rows that are labelled already are judged by it again."""
        self.slider.set_band(band)

    def _on_band(self, band: float) -> None:
        self.band_changed.emit(band)
        if self.predictions is not None and self._handle is None:
            self._set_predictions(self.predictions.with_band(band))

    def _band(self) -> float:
        return self.slider.band if self._prediction is JUDGE else 0.0

    def open_file(self, path: Path) -> None:
        """Read a file, and guess which column holds the texts."""
        self.cancel()
        self._settings.set("sentiment.folder", str(path.parent))
        handle = self._start(read_text_file, path, self.tr("Reading {name}").format(name=path.name))
        handle.succeeded.connect(lambda file: self._on_read(handle, file))

    def classify(self) -> None:
        """Label every row of the file."""
        if self._file is None or self._model is None:
            return
        try:
            options = self._options()
        except UserError as error:
            dialogs.show_error(self, error)
            return
        self._set_predictions(None)
        question = FileQuestion(self._model, self._file, self.column.currentText(), self._prediction, options)
        name = self._file.path.name
        handle = self._start(judge_file, question, self.tr("Labelling {name}").format(name=name))
        handle.succeeded.connect(lambda predictions: self._on_judged(handle, predictions))

    def export(self, path: Path) -> None:
        """Write the labels to a .csv or .jsonl file."""
        if self.predictions is None:
            return
        self._settings.set("sentiment.folder", str(path.parent))
        request = ExportRequest(self.predictions, path)
        handle = self._start(export_predictions, request, self.tr("Writing {name}").format(name=path.name))
        handle.succeeded.connect(lambda path: self._on_saved(handle, path))

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def shutdown(self) -> None:
        """Cancel, and hear no more of it."""
        self.cancel()
        self._handle = None

    # --- building

    def _build(self) -> None:
        title = Heading(self.tr("All texts of a file"), self, scale=1.1)
        self.choose_button = make_button(
            self.tr("Choose a file…"),
            self.tr("A table or text file; you can also drop one here"),
            self,
            self._on_choose,
        )
        self.name = ElidedLabel(self, mode=Qt.TextElideMode.ElideMiddle)
        self.column = QComboBox(self)
        self.column.setAccessibleName(self.tr("Text column"))
        self.column.setToolTip(self.tr("The column that holds the texts"))
        self.column.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.column.setMinimumContentsLength(12)
        self.column.currentIndexChanged.connect(lambda: self._set_predictions(None))
        self.column_label = QLabel(self.tr("Te&xt column"), self)
        self.column_label.setBuddy(self.column)
        self.classify_button = make_button(
            self.tr("Label all rows"), self.tr("Let the model label every row of the file"), self, self.classify
        )
        self.classify_button.setProperty("primary", True)
        self.progress = QProgressBar(self)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(theme.em(self, 0.6))
        self.progress.setAccessibleName(self.tr("Progress"))
        self.progress.setToolTip(self.tr("How far the labelling is"))
        self.cancel_button = make_button(self.tr("Stop"), self.tr("Stop; nothing is written"), self, self.cancel)
        self.summary = ElidedLabel(self)
        self.slider = BandSlider(self)
        self.slider.band_changed.connect(self._on_band)
        self.table_model = PredictionsModel(self)
        self.table = self._make_table()
        self.csv_button = make_button(
            self.tr("Save as CSV…"), self.tr("For spreadsheets"), self, lambda: self._on_export(".csv")
        )
        self.jsonl_button = make_button(
            self.tr("Save as JSON Lines…"), self.tr("For programs"), self, lambda: self._on_export(".jsonl")
        )
        self.hint = QLabel(self)
        self.hint.setWordWrap(True)
        self.hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.hint.setForegroundRole(self.hint.palette().ColorRole.PlaceholderText)
        self._lay_out(title)

    def _lay_out(self, title: QLabel) -> None:
        file_row, column_row, progress_row, export_row = (QHBoxLayout() for _ in range(4))
        file_row.addWidget(self.choose_button)
        file_row.addWidget(self.name, 1)
        column_row.addWidget(self.column_label)
        column_row.addWidget(self.column, 1)
        column_row.addWidget(self.classify_button)
        progress_row.addWidget(self.progress, 1)
        progress_row.addWidget(self.cancel_button)
        export_row.addStretch(1)
        export_row.addWidget(self.csv_button)
        export_row.addWidget(self.jsonl_button)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.8)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.55))
        layout.addWidget(title)
        layout.addLayout(file_row)
        layout.addLayout(column_row)
        layout.addLayout(progress_row)
        result_row = QHBoxLayout()
        result_row.addWidget(self.summary, 3)
        result_row.addWidget(self.slider, 2)
        layout.addLayout(result_row)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.hint, 1)
        layout.addLayout(export_row)

    def _make_table(self) -> QTableView:
        table = QTableView(self)
        table.setModel(self.table_model)
        table.setAccessibleName(self.tr("Labelled rows"))
        table.setToolTip(self.tr("Double-click a row to try its text on its own"))
        table.setSortingEnabled(True)
        table.setWordWrap(False)
        table.setShowGrid(False)
        table.setAlternatingRowColors(True)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setTextElideMode(Qt.TextElideMode.ElideRight)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(TEXT, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(LABEL, QHeaderView.ResizeMode.Interactive)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        table.setColumnWidth(LABEL, theme.characters(self, 16))
        RowHeight(table)
        table.doubleClicked.connect(lambda index: self.text_chosen.emit(self.table_model.text(index.row())))
        return table

    # --- jobs

    def _start(self, job: Any, config: Any, title: str) -> JobHandle:
        handle = self._runner.start(job, config, title=title)
        self._handle = handle
        self.progress.setRange(0, 0)
        handle.event.connect(lambda events: self._on_events(handle, events))
        handle.finished.connect(lambda: self._on_finished(handle))
        self.summary.setText(title)
        self._update()
        return handle

    def _on_events(self, handle: JobHandle, events: list[Event]) -> None:
        progress = next((event for event in reversed(events) if isinstance(event, Progress)), None)
        if handle is self._handle and progress is not None and progress.total:
            self.progress.setRange(0, 1000)
            self.progress.setValue(round(1000 * progress.done / progress.total))
            self.summary.setText(progress_text(progress))

    def _on_read(self, handle: JobHandle, file: TextFile) -> None:
        if handle is not self._handle:
            return
        self._file = file
        self.name.setText(str(file.path))
        self.column.blockSignals(True)
        self.column.clear()
        self.column.addItems(file.columns)
        self.column.setCurrentText(file.text_column)
        self.column.blockSignals(False)
        self._set_predictions(None)

    def _on_judged(self, handle: JobHandle, predictions: Predictions) -> None:
        if handle is self._handle:
            self._set_predictions(predictions.with_band(self._band()))

    def _on_saved(self, handle: JobHandle, path: Path) -> None:
        if handle is self._handle:
            self.summary.setText(self.tr("Saved {path}").format(path=path))

    def _on_finished(self, handle: JobHandle) -> None:
        if handle is self._handle:
            self._handle = None
            if self.predictions is None:
                self._tell_file()
            self._update()

    # --- state

    def _set_predictions(self, predictions: Predictions | None) -> None:
        self.predictions = predictions
        self.table.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.table_model.set_predictions(predictions)
        if predictions is None:
            self._tell_file()
        else:
            counts = predictions.counts()
            shown = sorted(counts, key=lambda label: -counts[label])[:6]
            parts = [self.tr("{label}: {count}").format(label=name, count=number_text(counts[name])) for name in shown]
            rate = number_text(len(predictions) / max(predictions.seconds, 1e-9))
            self.summary.setText(self.tr("{counts} ({rate} rows a second)").format(counts=", ".join(parts), rate=rate))
        self._update()

    def _tell_file(self) -> None:
        if self._file is None:
            self.summary.clear()
            return
        rows = number_text(len(self._file.dataset))
        if self._file.problems:
            skipped = number_text(self._file.problems)
            self.summary.setText(self.tr("{rows} rows, {skipped} set aside").format(rows=rows, skipped=skipped))
        else:
            self.summary.setText(self.tr("{rows} rows").format(rows=rows))

    def _update(self) -> None:
        running, has_file = self._handle is not None, self._file is not None
        has_result = self.predictions is not None
        for widget in (self.progress, self.cancel_button):
            widget.setVisible(running)
        for widget in (self.column_label, self.column, self.classify_button):
            widget.setVisible(has_file)
            widget.setEnabled(not running)
        self.choose_button.setEnabled(not running)
        self.summary.setVisible(bool(self.summary.text()))
        has_zone = has_result and self._prediction is JUDGE and two_sided(self.predictions.labels) is not None
        self.slider.setVisible(has_zone)
        self.table.setVisible(has_result)
        self.hint.setVisible(not has_result)
        if running:
            self.hint.clear()
        elif has_file:
            self.hint.setText(
                self.tr("Check the text column, then let the model label all rows. You can sort and save the result.")
            )
        else:
            self.hint.setText(
                self.tr("Choose a CSV, TSV, JSON, Parquet or text file, or drop one here. Every row gets a label.")
            )
        for button in (self.csv_button, self.jsonl_button):
            button.setVisible(has_result)
            button.setEnabled(not running)

    # --- files

    def _folder(self) -> str:
        return str(self._settings.get("sentiment.folder", ""))

    def _open_dialog(self, title: str, pattern: str) -> QFileDialog:
        dialog = QFileDialog(self, title, self._folder(), pattern)
        dialog.fileSelected.connect(lambda _: dialog.close())
        dialog.finished.connect(dialog.deleteLater)
        return dialog

    def _on_choose(self) -> None:
        dialog = self._open_dialog(
            self.tr("Choose a file with texts"), self.tr("Data files ({pattern})").format(pattern=PATTERN)
        )
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(lambda name: self.open_file(Path(name)))
        dialog.open()

    def _on_export(self, suffix: str) -> None:
        dialog = self._open_dialog(self.tr("Save the labels"), f"*{suffix}")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix(suffix)
        assert self._file is not None
        stem = self._file.path.name.split(".")[0]
        dialog.selectFile(self.tr("{name}-labelled").format(name=stem) + suffix)
        dialog.fileSelected.connect(lambda name: self.export(Path(name)))
        dialog.open()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        urls = event.mimeData().urls()
        if len(urls) == 1 and urls[0].isLocalFile() and Path(urls[0].toLocalFile()).is_file():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        event.acceptProposedAction()
        self.open_file(Path(event.mimeData().urls()[0].toLocalFile()))
