"""All runs in a table that stays quick with thousands: only the cells in view are put into words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QByteArray,
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    Qt,
    Signal,
)
from PySide6.QtGui import QAction, QKeyEvent, QPainter, QPixmap
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QMenu, QTableView, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.metrics import metric_text, metric_title
from lmstudio_app.gui.run_texts import (
    data_name,
    dated_title,
    model_name,
    moment_text,
    run_title,
    state_colour,
    state_text,
    task_title,
)
from lmstudio_app.gui.text import duration_text, number_text
from lmstudio_app.gui.widgets.row_height import RowHeight

if TYPE_CHECKING:
    from lmstudio_app.training.runs import RunSummary

_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()


@dataclass(frozen=True)
class _Column:
    key: str
    title: str
    tip: str
    text: Callable[[RunSummary], str]
    order: Callable[[RunSummary], Any]
    width: float  # in characters
    right: bool = False


class RunsModel(QAbstractTableModel):
    """Runs in the order of the sorted column; runs without a value there come last."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._widget = parent
        self.runs: list[RunSummary] = []
        self._sort: tuple[int, Qt.SortOrder] = (6, Qt.SortOrder.DescendingOrder)
        self._dots: dict[tuple[str, int], QPixmap] = {}
        tr = self.tr
        self.columns = (
            _Column("run", tr("Run"), tr("The title that you gave it, else its model and its task"), run_title,
                    lambda run: (run_title(run).casefold(), run.name), 33),
            _Column("task", tr("Task"), tr("What it learned"), lambda run: task_title(run.task),
                    lambda run: task_title(run.task), 18),
            _Column("model", tr("Model"), tr("What it began with"), model_name,
                    lambda run: model_name(run).casefold(), 18),
            _Column("data", tr("Data"), tr("What it learned from"), data_name,
                    lambda run: data_name(run).casefold(), 18),
            _Column("metric", tr("Metric"), tr("The metric that counts for the task: the best value so far"),
                    self._metric_text, lambda run: run.best_value, 17),
            _Column("steps", tr("Steps"), tr("Optimizer steps done, of all"), self._steps_text,
                    lambda run: run.step, 13, right=True),
            _Column("started", tr("Started"), tr("When it began"), lambda run: moment_text(run.started),
                    lambda run: run.started, 16),
            _Column("duration", tr("Duration"), tr("How long it was at work; breaks do not count"),
                    lambda run: duration_text(run.duration), lambda run: run.duration, 10, right=True),
            _Column("state", tr("State"), tr("Whether it runs, and how it ended"),
                    lambda run: state_text(run.state, paused=run.paused), lambda run: run.state, 14),
            _Column("tags", tr("Tags"), tr("Words that you have given it, to find it again"),
                    lambda run: ", ".join(run.tags), lambda run: ", ".join(run.tags).casefold() or None, 14),
        )  # fmt: skip

    def _metric_text(self, run: RunSummary) -> str:
        if run.best_value is None:
            return ""
        return self.tr("{metric} {value}").format(
            metric=metric_title(run.metric), value=metric_text(run.best_value, short=True)
        )

    def _steps_text(self, run: RunSummary) -> str:
        if not run.total_steps:
            return ""
        return self.tr("{step} / {total}").format(step=number_text(run.step), total=number_text(run.total_steps))

    # --- rows

    def set_runs(self, runs: Sequence[RunSummary]) -> bool:
        """Show these runs. False when rows came, went or moved: then the model was reset."""
        ordered = self._sorted(runs)
        if [run.folder for run in ordered] == [run.folder for run in self.runs]:
            before, self.runs = self.runs, ordered
            last = len(self.columns) - 1
            for row, (old, new) in enumerate(zip(before, ordered, strict=True)):
                if old != new:
                    self.dataChanged.emit(self.index(row, 0), self.index(row, last))
            return True
        self.beginResetModel()
        self.runs = ordered
        self.endResetModel()
        return False

    def _sorted(self, runs: Sequence[RunSummary]) -> list[RunSummary]:
        column, direction = self._sort
        order = self.columns[column].order
        found = [(order(run), run) for run in runs]
        known = [pair for pair in found if pair[0] is not None]
        known.sort(key=lambda pair: pair[0], reverse=direction == Qt.SortOrder.DescendingOrder)
        return [run for _, run in known] + [run for value, run in found if value is None]

    def set_sort(self, column: int, direction: Qt.SortOrder) -> bool:
        self._sort = (column if 0 <= column < len(self.columns) else 6, direction)
        return self.set_runs(self.runs)

    def row_of(self, folder: Path) -> int:
        return next((row for row, run in enumerate(self.runs) if run.folder == folder), -1)

    def rowCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self.runs)

    def columnCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self.columns)

    # --- cells

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        column = self.columns[section]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return column.title
            case Qt.ItemDataRole.ToolTipRole:
                return column.tip
            case Qt.ItemDataRole.TextAlignmentRole:
                return _alignment(column)
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        run, column = self.runs[index.row()], self.columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(run)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.DecorationRole and column.key == "state":
            return self._dot(run.state)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(run, column)
        return None

    def _tip(self, run: RunSummary, column: _Column) -> str:
        match column.key:
            case "run":
                return "\n".join(filter(None, (dated_title(run), str(run.folder), run.notes)))
            case "model":
                return run.model
            case "data":
                return run.data
            case "state" if run.problem:
                return run.problem
        return column.text(run)

    def _dot(self, state: str) -> QPixmap:
        palette = self._widget.palette()
        colour = state_colour(state, palette)
        size = theme.em(self._widget, 0.62)
        key = (colour.name(), size)
        if key not in self._dots:
            ratio = self._widget.devicePixelRatioF()
            dot = QPixmap(round(size * ratio), round(size * ratio))
            dot.setDevicePixelRatio(ratio)
            dot.fill(Qt.GlobalColor.transparent)
            painter = QPainter(dot)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colour)
            painter.drawEllipse(0, 0, size, size)
            painter.end()
            self._dots[key] = dot
        return self._dots[key]


def _alignment(column: _Column) -> Qt.AlignmentFlag:
    return (Qt.AlignmentFlag.AlignRight if column.right else Qt.AlignmentFlag.AlignLeft) | Qt.AlignmentFlag.AlignVCenter


class RunsTable(QTableView):
    """Keeps the selection by run, whatever comes, goes or moves."""

    selection_changed = Signal()
    layout_changed = Signal()  # columns or sorting: see :meth:`layout_text`
    delete_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows = RunsModel(self)
        self.setModel(self.rows)
        self.setAccessibleName(self.tr("Runs"))
        self.setToolTip(self.tr("Choose one run to see it, several to compare them"))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        RowHeight(self, 1.6)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionsMovable(True)
        header.setSortIndicatorShown(True)
        header.setSectionsClickable(True)
        header.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        header.setToolTip(self.tr("Click to sort, drag to move, right-click to choose columns"))
        self._is_quiet = False
        self._is_fitted = False
        self._reset_columns()
        header.sortIndicatorChanged.connect(self._on_sorted)
        header.customContextMenuRequested.connect(self._on_menu)
        for signal in (header.sectionResized, header.sectionMoved):
            signal.connect(self._on_layout)
        self.selectionModel().selectionChanged.connect(self._on_selected)

    # --- what it shows

    def set_runs(self, runs: Sequence[RunSummary]) -> None:
        chosen, bar = {run.folder for run in self.selected()}, self.verticalScrollBar()
        position = bar.value()
        self._is_quiet = True
        is_same = self.rows.set_runs(runs)
        if not is_same:
            self._select(chosen)
            bar.setValue(position)
        self._is_quiet = False
        if {run.folder for run in self.selected()} != chosen:
            self.selection_changed.emit()

    def selected(self) -> list[RunSummary]:
        """In the order of the table."""
        rows = sorted({index.row() for index in self.selectionModel().selectedRows()})
        return [self.rows.runs[row] for row in rows]

    def select(self, folders: Sequence[Path]) -> None:
        """Select these runs, as clicks would."""
        self._select(set(folders))
        rows = [self.rows.row_of(folder) for folder in folders]
        if rows and rows[0] >= 0:
            self.scrollTo(self.rows.index(rows[0], 0))

    def _select(self, folders: set[Path]) -> None:
        selection = QItemSelection()
        last = self.rows.columnCount() - 1
        for row, run in enumerate(self.rows.runs):
            if run.folder in folders:
                selection.select(self.rows.index(row, 0), self.rows.index(row, last))
        model = self.selectionModel()
        model.select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if selection.indexes() and not model.currentIndex().isValid():
            model.setCurrentIndex(selection.indexes()[0], QItemSelectionModel.SelectionFlag.NoUpdate)

    def _on_selected(self) -> None:
        if not self._is_quiet:
            self.selection_changed.emit()

    # --- columns

    def _reset_columns(self) -> None:
        header = self.horizontalHeader()
        for section, column in enumerate(self.rows.columns):
            header.setSectionHidden(section, False)
            header.moveSection(header.visualIndex(section), section)
            self.setColumnWidth(section, theme.characters(self, column.width))
        header.setSortIndicator(6, Qt.SortOrder.DescendingOrder)

    def layout_text(self) -> str:
        """Columns and sorting, to be kept."""
        return bytes(self.horizontalHeader().saveState().toHex().data()).decode()

    def restore_layout(self, text: Any) -> None:
        """What :meth:`layout_text` gave; anything else changes nothing."""
        header = self.horizontalHeader()
        self._is_quiet = True
        state = QByteArray.fromHex(text.encode()) if isinstance(text, str) else QByteArray()
        self._is_fitted = not state.isEmpty() and header.restoreState(state)
        self._is_quiet = False
        self.rows.set_sort(header.sortIndicatorSection(), header.sortIndicatorOrder())

    def _on_sorted(self, column: int, direction: Qt.SortOrder) -> None:
        chosen = {run.folder for run in self.selected()}
        quiet, self._is_quiet = self._is_quiet, True
        self.rows.set_sort(column, direction)
        self._select(chosen)
        self._is_quiet = quiet
        self._on_layout()

    def _on_layout(self) -> None:
        if not self._is_quiet:
            self._is_fitted = True
            self.layout_changed.emit()

    def _on_menu(self, position: QPoint) -> None:
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        header = self.horizontalHeader()
        for section, column in enumerate(self.rows.columns):
            if section == 0:
                continue  # there is always something to choose by
            action = QAction(column.title, menu)
            action.setCheckable(True)
            action.setChecked(not header.isSectionHidden(section))
            action.setToolTip(column.tip)
            action.toggled.connect(lambda shown, section=section: self.show_column(section, shown))
            menu.addAction(action)
        menu.addSeparator()
        reset = menu.addAction(self.tr("All columns, as they were"))
        reset.triggered.connect(self._reset_columns)
        menu.popup(header.mapToGlobal(position))

    def show_column(self, section: int, shown: bool) -> None:
        self.horizontalHeader().setSectionHidden(section, not shown)
        self._on_layout()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Delete:
            self.delete_requested.emit()
            return
        super().keyPressEvent(event)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        if not self._is_fitted:
            self._share_width()

    def _share_width(self) -> None:
        """Until somebody chooses widths, the columns fill the table."""
        wanted = sum(column.width for column in self.rows.columns)
        room = self.viewport().width()
        self._is_quiet = True
        for section, column in enumerate(self.rows.columns):
            least = theme.characters(self, column.width * 0.62)
            self.setColumnWidth(section, max(least, int(room * column.width / wanted)))
        self._is_quiet = False

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_is_fitted") and not self._is_fitted:
            self._share_width()
