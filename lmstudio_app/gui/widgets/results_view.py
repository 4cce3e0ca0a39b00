"""What a training came to: the metrics, and what the task has to show: confusions and worst examples, or outputs."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.events import Evaluated
from lmstudio_app.gui import theme
from lmstudio_app.gui.metrics import metric_help, metric_text, metric_title
from lmstudio_app.gui.sample_history import SampleHistory
from lmstudio_app.gui.widgets.class_report import ClassReport
from lmstudio_app.gui.widgets.confusion_matrix import ConfusionMatrix
from lmstudio_app.gui.widgets.figures import FigureRow
from lmstudio_app.gui.widgets.row_height import RowHeight
from lmstudio_app.gui.widgets.samples_view import SamplesView
from lmstudio_app.gui.widgets.scaled_label import Heading

_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()
_MATRIX_CLASSES = 12  # beyond, its squares would say less than the table below it


class WorstExamples(QAbstractTableModel):
    """The rows of ``Evaluated.details["worst"]``, the worst first."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._rows: list[dict[str, Any]] = []
        self._titles = (self.tr("Text"), self.tr("Truth"), self.tr("The model said"), self.tr("Sure"))
        self._tips = (
            self.tr("An evaluation row that the model got wrong"),
            self.tr("The label that the data gives it"),
            self.tr("The label that the model gives it"),
            self.tr("The probability that the model gives to its own answer"),
        )

    def set_rows(self, rows: list[dict[str, Any]]) -> None:
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()

    def text(self, row: int) -> str:
        return str(self._rows[row].get("text", ""))

    def rowCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self._titles)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return self._titles[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.ToolTipRole:
            return self._tips[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self._rows[index.row()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.text(index.row())
        if role == Qt.ItemDataRole.DisplayRole:
            if index.column() == 0:
                return " ".join(self.text(index.row()).split())
            if index.column() == 1:
                return str(row.get("label", ""))
            if index.column() == 2:
                return str(row.get("predicted", ""))
            return f"{100 * float(row.get('probability', 0)):.1f} %"
        return None


class ResultsView(QWidget):
    """``inspect_requested`` carries the text of an example; ``try_requested`` nothing."""

    try_requested = Signal()
    inspect_requested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._metrics = FigureRow([], self)
        self._metrics_layout = QHBoxLayout()
        self._metrics_layout.addWidget(self._metrics)
        self._try = QPushButton(self.tr("Try it"), self)
        self._try.setProperty("primary", True)
        self._try.setAccessibleName(self.tr("Try the trained model"))
        self._inspect = QPushButton(self.tr("Look inside"), self)
        self._inspect.setToolTip(self.tr("Load the trained model and see what it attends to in the chosen example"))
        self._inspect.setAccessibleName(self.tr("Look inside the trained model"))
        buttons = QVBoxLayout()
        buttons.addWidget(self._try)
        buttons.addWidget(self._inspect)
        top = QHBoxLayout()
        top.setSpacing(theme.em(self, 0.5))
        top.addLayout(self._metrics_layout, 1)
        top.addLayout(buttons)
        self.matrix = ConfusionMatrix(self)
        self.report = ClassReport(self)
        self.worst = WorstExamples(self)
        self.table = self._build_table()
        self.samples = SamplesView(self)
        body = QGridLayout()
        body.setSpacing(theme.em(self, 0.5))
        self._matrix_card = self._card(
            self.tr("Where it is right, and what it confuses"),
            self.tr("Rows that were never learned from. Each line of squares adds up to 100 %."),
            self.matrix,
            self.report,
        )
        self._matrix_title = self._matrix_card.findChild(Heading)
        self._worst_card = self._card(
            self.tr("The examples it is most wrong about"),
            self.tr("Often the label is the mistake. Double-click one to look inside."),
            self.table,
        )
        self._samples_card = self._card(
            self.tr("What it writes"),
            self.tr("A few rows that were never learned from. Move the slider to see what it wrote before."),
            self.samples,
        )
        self._empty = QLabel(self.tr("The first evaluation has not come yet; its metrics will be here."), self)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        body.addWidget(self._matrix_card, 0, 0)
        body.addWidget(self._worst_card, 0, 1)
        body.addWidget(self._samples_card, 1, 0, 1, 2)
        body.addWidget(self._empty, 2, 0, 1, 2)
        body.setColumnStretch(0, 2)
        body.setColumnStretch(1, 3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(top)
        layout.addLayout(body, 1)
        self._try.clicked.connect(lambda: self.try_requested.emit())
        self._inspect.clicked.connect(self._on_inspect)
        self.table.doubleClicked.connect(lambda index: self.inspect_requested.emit(self.worst.text(index.row())))
        self.set_result(None, has_model=False)

    def _card(self, title: str, explanation: str, *contents: QWidget) -> QFrame:
        """The first of the contents takes the room that is left."""
        card = QFrame(self)
        card.setProperty("card", True)
        heading = Heading(title, card, scale=1.0)
        heading.setWordWrap(True)
        hint = QLabel(explanation, card)
        hint.setWordWrap(True)
        hint.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        layout = QVBoxLayout(card)
        pad = theme.em(self, 0.7)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.addWidget(heading)
        layout.addWidget(hint)
        layout.setSpacing(theme.em(self, 0.5))
        for number, content in enumerate(contents):
            layout.addWidget(content, 0 if number else 1)
        layout.addStretch(0)  # takes the room when the first is hidden
        return card

    def _build_table(self) -> QTableView:
        table = QTableView(self)
        table.setModel(self.worst)
        table.setAccessibleName(self.tr("Worst classified examples"))
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setAlternatingRowColors(True)
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setFrameShape(QFrame.Shape.NoFrame)
        table.verticalHeader().hide()
        RowHeight(table, 1.7)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2, 3):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        return table

    def _title(self, name: str) -> str:
        return self.tr("Evaluation loss") if name == "loss" else metric_title(name)

    def set_result(
        self,
        evaluation: Evaluated | None,
        *,
        has_model: bool,
        samples: SampleHistory | None = None,
        try_tip: str = "",
        can_inspect: bool = True,
    ) -> None:
        """``samples`` are those of all evaluations. An empty ``try_tip``: there is no page to try the model on."""
        metrics = evaluation.metrics if evaluation is not None else {}
        details = evaluation.details if evaluation is not None else {}
        row = FigureRow([(name, self._title(name), metric_help(name)) for name in metrics], self)
        row.set_values({name: metric_text(value) for name, value in metrics.items()})
        self._metrics_layout.replaceWidget(self._metrics, row)
        self._metrics.deleteLater()
        self._metrics = row
        row.setVisible(bool(metrics))
        labels = details.get("labels", ())
        self._matrix_card.setVisible("confusion" in details)
        self._worst_card.setVisible("worst" in details)
        self._samples_card.setVisible(bool(samples))
        self._empty.setVisible(evaluation is None)
        self.matrix.setVisible(len(labels) <= _MATRIX_CLASSES)
        self._matrix_title.setText(
            self.tr("Where it is right, and what it confuses")
            if len(labels) <= _MATRIX_CLASSES
            else self.tr("How well it knows each class")
        )
        self.report.set_alone(len(labels) > _MATRIX_CLASSES)
        self.report.set_matrix(labels, details.get("confusion", ()))
        if len(labels) <= _MATRIX_CLASSES:
            self.matrix.set_matrix(labels, details.get("confusion", ()))
        self.worst.set_rows(list(details.get("worst", ())))
        if samples is not None:
            self.samples.set_history(samples)
        self._try.setEnabled(has_model and bool(try_tip))
        self._try.setToolTip(try_tip or self.tr("There is no page for this task; the command “predict” can ask it"))
        self._inspect.setEnabled(has_model and can_inspect)

    def _on_inspect(self) -> None:
        rows = self.table.selectionModel().selectedRows()
        if rows or self.worst.rowCount():
            self.inspect_requested.emit(self.worst.text(rows[0].row() if rows else 0))
        else:
            self.inspect_requested.emit("")
