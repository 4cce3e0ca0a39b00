"""What differs between runs, a column a run: keys of the recipes, metrics, time and speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QFont, QPalette
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.field_editors import translate
from lmstudio_app.gui.metrics import metric_text, metric_title
from lmstudio_app.gui.recipe_fields import field_title
from lmstudio_app.gui.run_texts import dated_title, short_moment_text, state_text, value_text
from lmstudio_app.gui.text import compact_number_text, duration_text
from lmstudio_app.gui.widgets.overlay_chart import line_sample
from lmstudio_app.gui.widgets.row_height import RowHeight
from lmstudio_app.training.summaries import lower_is_better

if TYPE_CHECKING:
    from lmstudio_app.gui.run_queries import Compared

_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()
_HIGHLIGHT = 0.16  # of the accent behind keys that differ


@dataclass(frozen=True)
class DifferenceRow:
    """``differs``: a key of the recipe that is not the same in all; ``best``: the columns with the best value."""

    title: str
    tip: str
    texts: tuple[str, ...]
    differs: bool = False
    best: frozenset[int] = frozenset()


def _best(values: Sequence[float | None], *, lowest: bool) -> frozenset[int]:
    known = [value for value in values if value is not None and value == value]  # not nan
    if len(known) < 2 or min(known) == max(known):
        return frozenset()
    top = min(known) if lowest else max(known)
    return frozenset(number for number, value in enumerate(values) if value == top)


class _Differences(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._widget = parent
        self.rows: list[DifferenceRow] = []
        self.compared: Compared | None = None
        self.titles: list[str] = []

    def show(self, compared: Compared, titles: list[str], *, all_keys: bool) -> None:
        rows = [*self._recipe_rows(compared, all_keys=all_keys), *self._metric_rows(compared)]
        folders = [run.folder for run in compared.comparison.runs]
        before = [run.folder for run in self.compared.comparison.runs] if self.compared is not None else []
        if folders == before and len(rows) == len(self.rows):
            self.rows, self.compared, self.titles = rows, compared, titles
            self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(folders) - 1))
            self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(folders) - 1)
            return
        self.beginResetModel()
        self.rows, self.compared, self.titles = rows, compared, titles
        self.endResetModel()

    def _recipe_rows(self, compared: Compared, *, all_keys: bool) -> list[DifferenceRow]:
        differences = compared.comparison.differences
        keys = dict.fromkeys(key for recipe in compared.recipes for key in recipe) if all_keys else differences
        rows = []
        for key in keys:
            values = tuple(value_text(recipe.get(key), key) for recipe in compared.recipes)
            rows.append(DifferenceRow(translate(field_title(key)), key, values, differs=key in differences))
        return rows

    def _metric_rows(self, compared: Compared) -> list[DifferenceRow]:
        tr, comparison = self.tr, compared.comparison
        rows = [
            DifferenceRow(
                tr("State"),
                tr("Whether it runs, and how it ended"),
                tuple(state_text(run.state, paused=run.paused) for run in comparison.runs),
            )
        ]
        for name in comparison.last:
            lowest = lower_is_better(name)
            tip = tr("Lower is better") if lowest else tr("Higher is better")
            title = tr("Evaluation loss") if name == "loss" else metric_title(name)
            for pattern, values in ((tr("{metric}, last"), comparison.last), (tr("{metric}, best"), comparison.best)):
                texts = tuple("–" if value is None else metric_text(value) for value in values[name])
                best = _best(values[name], lowest=lowest)
                rows.append(DifferenceRow(pattern.format(metric=title), tip, texts, best=best))
        durations = comparison.durations
        rows.append(
            DifferenceRow(
                tr("Duration"),
                tr("How long it was at work; breaks do not count"),
                tuple(map(duration_text, durations)),
                best=_best(durations, lowest=True),
            )
        )
        speeds = [speed or None for speed in comparison.examples_per_second]
        rows.append(
            DifferenceRow(
                tr("Examples/s"),
                tr("Training speed: rows a second"),
                tuple("–" if speed is None else compact_number_text(speed) for speed in speeds),
                best=_best(speeds, lowest=False),
            )
        )
        return rows

    def rowCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() or self.compared is None else len(self.compared.comparison.runs)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Vertical:
            if role == Qt.ItemDataRole.DisplayRole:
                return self.rows[section].title
            if role == Qt.ItemDataRole.ToolTipRole:
                return self.rows[section].tip
            return None
        assert self.compared is not None
        if role == Qt.ItemDataRole.DisplayRole:
            run = self.compared.comparison.runs[section]
            return run.title or short_moment_text(run.started)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.tr("{run}\n{differences}\nDouble-click to see it alone").format(
                run=dated_title(self.compared.comparison.runs[section]), differences=self.titles[section]
            )
        if role == Qt.ItemDataRole.DecorationRole:
            return line_sample(section, self._widget)
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = self.rows[index.row()], index.column()
        is_best = column in row.best
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return self.tr("★ {value}").format(value=row.texts[column]) if is_best else row.texts[column]
            case Qt.ItemDataRole.ToolTipRole:
                text = row.texts[column]
                return self.tr("{value}: the best of these runs").format(value=text) if is_best else text
            case Qt.ItemDataRole.BackgroundRole if row.differs:
                palette = self._widget.palette()
                base, accent = palette.color(QPalette.ColorRole.Base), palette.color(QPalette.ColorRole.Accent)
                return theme.blend(accent, base, _HIGHLIGHT)
            case Qt.ItemDataRole.FontRole if is_best:
                font = QFont(self._widget.font())
                font.setWeight(QFont.Weight.DemiBold)
                return font
            case Qt.ItemDataRole.ForegroundRole if is_best:
                return theme.success(self._widget.palette())
        return None


class DifferencesTable(QTableView):
    run_chosen = Signal(object)  # Path: a double click on a run

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.differences = _Differences(self)
        self.setModel(self.differences)
        self.setAccessibleName(self.tr("Differences"))
        self.setToolTip(self.tr("What differs between the chosen runs; ★ marks the best value of a row"))
        self.setSelectionMode(QAbstractItemView.SelectionMode.ContiguousSelection)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.verticalHeader().setHighlightSections(False)
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.horizontalHeader().setTextElideMode(Qt.TextElideMode.ElideMiddle)
        RowHeight(self, 1.5)
        self.doubleClicked.connect(lambda index: self._choose(index.column()))
        self.horizontalHeader().sectionDoubleClicked.connect(self._choose)

    def show_runs(self, compared: Compared, titles: list[str], *, all_keys: bool) -> None:
        self.differences.show(compared, titles, all_keys=all_keys)
        self._share_width()

    def _choose(self, column: int) -> None:
        if self.differences.compared is not None:
            self.run_chosen.emit(self.differences.compared.comparison.runs[column].folder)

    def _share_width(self) -> None:
        count = self.differences.columnCount()
        if count:
            width = max(theme.characters(self, 15), self.viewport().width() // count)
            for column in range(count):
                self.setColumnWidth(column, min(width, theme.characters(self, 34)))

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._share_width()
