"""The sweeps: which there are, the trials of one, and how their values and results hang together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
    QUrl,
    Signal,
)
from PySide6.QtGui import QDesktopServices, QFont
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QSplitter,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.field_editors import translate
from lmstudio_app.gui.metrics import metric_text, metric_title
from lmstudio_app.gui.recipe_fields import field_title
from lmstudio_app.gui.run_texts import drawn_text, short_key, state_text, task_title
from lmstudio_app.gui.sweep_queries import OPEN, RUNNING
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.parallel_plot import ParallelPlot
from lmstudio_app.gui.widgets.row_height import RowHeight
from lmstudio_app.settings import Settings

if TYPE_CHECKING:
    from lmstudio_app.gui.sweep_queries import SweepSummary
    from lmstudio_app.training.sweeps import SweepResult, TrialResult

_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()
_SORT = Qt.ItemDataRole.UserRole


class _Sweeps(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.sweeps: list[SweepSummary] = []
        self._titles = (self.tr("Sweep"), self.tr("Task"), self.tr("Trials"), self.tr("Best"), self.tr("State"))

    def set_sweeps(self, sweeps: Sequence[SweepSummary]) -> None:
        self.beginResetModel()
        self.sweeps = list(sweeps)
        self.endResetModel()

    def rowCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self.sweeps)

    def columnCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self._titles)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return self._titles[section]
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        sweep = self.sweeps[index.row()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return sweep.problem or str(sweep.folder)
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        result = sweep.result
        if result is None:
            return (sweep.folder.name, "", "", "", self.tr("unreadable"))[index.column()]
        match index.column():
            case 0:
                return sweep.folder.name
            case 1:
                return task_title(str(result.config.recipe["task"]))
            case 2:
                done = sum(trial.state != "running" for trial in result.trials)
                return self.tr("{done} / {total}").format(done=done, total=result.config.total)
            case 3:
                best = result.best
                return "–" if best is None or best.value is None else metric_text(best.value)
        return self.tr("interrupted") if sweep.state == OPEN else state_text(sweep.state)


class _Trials(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._widget = parent
        self.result: SweepResult | None = None
        self.trials: list[TrialResult] = []
        self._keys: list[str] = []

    def set_result(self, result: SweepResult | None) -> None:
        self.beginResetModel()
        self.result = result
        self.trials = list(result.trials) if result is not None else []
        self._keys = list(result.config.space) if result is not None else []
        self.endResetModel()

    def rowCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self.trials)

    def columnCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() or self.result is None else len(self._keys) + 3

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Vertical or self.result is None:
            return None
        number = section - 1
        if 0 <= number < len(self._keys):
            if role == Qt.ItemDataRole.ToolTipRole:
                return self._keys[number]
            return translate(field_title(self._keys[number])) if role == Qt.ItemDataRole.DisplayRole else None
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return (self.tr("Trial"), metric_title(self.result.metric), self.tr("State"))[
            0 if section == 0 else number - len(self._keys) + 1
        ]

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        trial, column = self.trials[index.row()], index.column()
        number = column - 1 - len(self._keys)
        value: Any
        if column == 0:
            value = trial.number + 1
        elif number < 0:
            value = trial.values.get(self._keys[column - 1])
        else:
            value = trial.value if number == 0 else state_text(trial.state)
        if role == _SORT:
            return str(value) if isinstance(value, bool) or value is None else value
        if role == Qt.ItemDataRole.DisplayRole:
            if number == 0:
                return "–" if trial.value is None else metric_text(trial.value)
            return drawn_text(value, self._keys[column - 1] if 0 < column <= len(self._keys) else "")
        best = self.result.best if self.result is not None else None
        if role == Qt.ItemDataRole.FontRole and best is not None and best.number == trial.number:
            font = QFont(self._widget.font())
            font.setWeight(QFont.Weight.DemiBold)
            return font
        if role == Qt.ItemDataRole.ForegroundRole and best is not None and best.number == trial.number:
            return theme.success(self._widget.palette())
        if role == Qt.ItemDataRole.ToolTipRole:
            is_best = best is not None and best.number == trial.number
            return "\n".join(
                filter(None, (trial.reason, self.tr("The best so far") if is_best else "", trial.run_folder))
            )
        return None


class _Order(QSortFilterProxyModel):
    """Numbers by size; what has none comes first or last as a whole."""

    def lessThan(self, left: _Index, right: _Index) -> bool:
        first, second = (self.sourceModel().data(index, _SORT) for index in (left, right))
        if isinstance(first, str) or isinstance(second, str):
            return (isinstance(first, str), str(first)) < (isinstance(second, str), str(second))
        return bool(first < second)


def _table(view: QTableView, name: str, tip: str) -> QTableView:
    view.setAccessibleName(name)
    view.setToolTip(tip)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    view.setAlternatingRowColors(True)
    view.setShowGrid(False)
    view.setWordWrap(False)
    view.setTabKeyNavigation(False)
    view.verticalHeader().hide()
    view.horizontalHeader().setHighlightSections(False)
    view.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    RowHeight(view, 1.55)
    return view


class SweepsView(QWidget):
    new_requested = Signal()
    resume_requested = Signal(object)  # Path of the sweep
    last_requested = Signal()  # the training that runs is to be the sweep's last
    run_chosen = Signal(object)  # Path of a trial's run

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._shown: SweepSummary | None = None
        self._busy = False
        self._sweeping = False
        tr = self.tr
        self.sweeps = _Sweeps(self)
        self.list = _table(QTableView(self), tr("Sweeps"), tr("Choose a sweep to see its trials"))
        self.list.setModel(self.sweeps)
        for column in range(1, self.sweeps.columnCount()):
            self.list.horizontalHeader().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.trials = _Trials(self)
        self._order = _Order(self)
        self._order.setSourceModel(self.trials)
        self.table = _table(
            QTableView(self), tr("Trials"), tr("One training a row, the best in green; a double click opens its run")
        )
        self.table.setModel(self._order)
        self.table.setSortingEnabled(True)
        self.table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.plot = ParallelPlot(self)
        self.plot.setToolTip(
            tr("A line is a trial. Drag along an axis to see only the trials there; click the axis to see all again.")
        )
        self._line = ElidedLabel(self)
        right = QSplitter(Qt.Orientation.Vertical, self)
        right.addWidget(self.plot)
        right.addWidget(self.table)
        right.setStretchFactor(0, 3)
        right.setStretchFactor(1, 2)
        right.setChildrenCollapsible(False)
        pane = QWidget(self)
        box = QVBoxLayout(pane)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._line)
        box.addWidget(right, 1)
        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self.splitter.addWidget(self.list)
        self.splitter.addWidget(pane)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(theme.em(self, 0.6))
        self.splitter.setSizes(
            settings.get("runs.sweeps_splitter", [theme.characters(self, 58), theme.characters(self, 100)])
        )
        self.splitter.splitterMoved.connect(lambda: settings.set("runs.sweeps_splitter", self.splitter.sizes()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(self._build_buttons())
        layout.addWidget(self.splitter, 1)
        self.list.selectionModel().currentRowChanged.connect(lambda now, _: self._show(now.row()))
        self.table.selectionModel().currentRowChanged.connect(lambda now, _: self._on_trial_selected(now))
        self.table.doubleClicked.connect(self._on_trial_opened)
        self.plot.trial_chosen.connect(self._open_trial)
        self._show(-1)

    def _build_buttons(self) -> QHBoxLayout:
        tr = self.tr
        self.new_button = make_button(
            tr("New sweep…"), tr("Train the recipe of the Train page again and again with other values"), self
        )
        self.new_button.setProperty("primary", True)
        self.resume_button = make_button(tr("Resume"), tr("Go on with this sweep where it was interrupted"), self)
        self.last_button = make_button(
            tr("Stop after this training"),
            tr("Let the training that runs come to its end, and begin no other one"),
            self,
        )
        self.folder_button = make_button(
            tr("Open folder"), tr("Show the sweep's files in the system's file manager"), self
        )
        row = QHBoxLayout()
        row.addWidget(self.new_button)
        row.addStretch(1)
        for made in (self.resume_button, self.last_button, self.folder_button):
            row.addWidget(made)
        self.new_button.clicked.connect(lambda: self.new_requested.emit())
        self.resume_button.clicked.connect(lambda: self._shown and self.resume_requested.emit(self._shown.folder))
        self.last_button.clicked.connect(self._on_last)
        self.folder_button.clicked.connect(
            lambda: self._shown and QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._shown.folder)))
        )
        return row

    # --- what it shows

    def set_sweeps(self, sweeps: Sequence[SweepSummary]) -> None:
        chosen = self._shown.folder if self._shown is not None else None
        self.sweeps.set_sweeps(sweeps)
        row = next((row for row, sweep in enumerate(sweeps) if sweep.folder == chosen), 0 if sweeps else -1)
        if row >= 0:
            self.list.setCurrentIndex(self.sweeps.index(row, 0))
        self._show(row)

    def select(self, folder: Path) -> None:
        row = next((row for row, sweep in enumerate(self.sweeps.sweeps) if sweep.folder == folder), -1)
        if row >= 0:
            self.list.setCurrentIndex(self.sweeps.index(row, 0))

    def set_busy(self, busy: bool, *, sweeping: bool) -> None:
        """``busy``: this window trains; ``sweeping``: a sweep."""
        if not sweeping:
            self.last_button.setText(self.tr("Stop after this training"))
        self._busy, self._sweeping = busy, sweeping
        self._update_buttons()

    def _show(self, row: int) -> None:
        sweep = self.sweeps.sweeps[row] if 0 <= row < len(self.sweeps.sweeps) else None
        if sweep is not self._shown or sweep is None:
            self._shown = sweep
            result = sweep.result if sweep is not None else None
            self.trials.set_result(result)
            self.plot.set_result(result)
            self._line.setText(self._sentence(sweep))
        self._update_buttons()

    def _sentence(self, sweep: SweepSummary | None) -> str:
        if sweep is None:
            return self.tr("No sweeps yet: “New sweep…” tries other values for the recipe of the Train page.")
        if sweep.result is None:
            return sweep.problem
        result, best = sweep.result, sweep.result.best
        if best is None or best.value is None:
            return self.tr("No result yet of {total} trainings").format(total=number_text(result.config.total))
        values = ", ".join(f"{short_key(key)} {drawn_text(value, key)}" for key, value in best.values.items())
        return self.tr("Best so far: {metric} {value} with {values} (trial {number})").format(
            metric=metric_title(result.metric), value=metric_text(best.value), values=values, number=best.number + 1
        )

    def _update_buttons(self) -> None:
        sweep = self._shown
        self.new_button.setEnabled(not self._busy)
        self.resume_button.setEnabled(sweep is not None and sweep.state == OPEN and not self._busy)
        self.last_button.setVisible(self._sweeping)
        self.last_button.setEnabled(self._sweeping and (sweep is None or sweep.state in (RUNNING, OPEN)))
        self.folder_button.setEnabled(sweep is not None)

    def _on_last(self) -> None:
        self.last_button.setEnabled(False)
        self.last_button.setText(self.tr("Stopping after this training…"))
        self.last_requested.emit()

    # --- trials

    def _trial(self, index: QModelIndex) -> TrialResult | None:
        row = self._order.mapToSource(index).row()
        return self.trials.trials[row] if 0 <= row < len(self.trials.trials) else None

    def _on_trial_selected(self, index: QModelIndex) -> None:
        trial = self._trial(index)
        self.plot.select(trial.number if trial is not None else -1)

    def _on_trial_opened(self, index: QModelIndex) -> None:
        trial = self._trial(index)
        if trial is not None:
            self._open_trial(trial.number)

    def _open_trial(self, number: int) -> None:
        trial = next((trial for trial in self.trials.trials if trial.number == number), None)
        if trial is not None and trial.run_folder:
            self.run_chosen.emit(Path(trial.run_folder))
