"""A table of any number of rows over memory-mapped Arrow data: only what is looked at is decoded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QEvent, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QFont, QGuiApplication, QKeyEvent, QKeySequence, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.row_height import RowHeight

if TYPE_CHECKING:
    from lmstudio_app.data.sources import Table

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_BLOCK = 128  # rows decoded at once: 0.2 ms or so
_BLOCKS_KEPT = 64
_SHOWN = 400  # characters of a cell
_TIP = 3000
_OBJECTS = ("messages", "answers")
_READABLE_KEPT = 2000  # cells of chats and answers


class ArrowTableModel(QAbstractTableModel):
    """Rows of a :class:`Table`.

    ``uses`` maps a column to what it is used for, shown in its header; ``kinds`` to the type of that input: chats and
    answers are shown as people read them.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._widget = parent
        self._table: Table | None = None
        self._arrow: Any = None
        self._names: list[str] = []
        self._types: Mapping[str, str] = {}
        self._uses: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._readable: OrderedDict[tuple[int, int], str] = OrderedDict()
        self._rows = 0
        self._has_lines = False
        self._numeric: list[bool] = []
        self._blocks: OrderedDict[int, list[list[Any]]] = OrderedDict()

    @property
    def table(self) -> Table | None:
        return self._table

    def set_table(self, table: Table | None, types: Mapping[str, str]) -> None:
        self.beginResetModel()
        self._table = table
        self._arrow = None if table is None else table.dataset.data.table
        self._names = [] if table is None else list(table.dataset.column_names)
        self._rows = 0 if table is None else len(table.dataset)
        self._has_lines = table is not None and self._rows > 0 and _has_lines(table, self._rows)
        self._types = types
        self._numeric = [types[name] in ("int64", "float64") for name in self._names]
        self._blocks.clear()
        self._readable.clear()
        self.endResetModel()

    def set_uses(self, uses: Mapping[str, str], kinds: Mapping[str, str]) -> None:
        if (dict(uses), dict(kinds)) != (self._uses, self._kinds):
            self._uses, self._kinds = dict(uses), dict(kinds)
            self._readable.clear()
            if self._names:
                self.headerDataChanged.emit(Qt.Orientation.Horizontal, 0, len(self._names) - 1)
                self.dataChanged.emit(self.index(0, 0), self.index(min(self._rows, 200) - 1, len(self._names) - 1))

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else self._rows

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self._names)

    def sample(self, column: int) -> int:
        """How many rows are looked at to see how wide a column is: fewer where each takes long."""
        return 8 if self._kinds.get(self._names[column]) in _OBJECTS else _BLOCK

    def value(self, row: int, column: int) -> Any:
        """The cell as it is shown: long texts are cut to a few hundred characters."""
        if self._kinds.get(self._names[column]) in _OBJECTS:
            return self._readable_value(row, column)
        number, offset = divmod(row, _BLOCK)
        block = self._blocks.get(number)
        if block is None:
            block = self._decode(number)
        return block[column][offset]

    def _decode(self, number: int) -> list[list[Any]]:
        import pyarrow as pa
        import pyarrow.compute as pc

        part = self._arrow.slice(number * _BLOCK, _BLOCK)
        columns = []
        for column in part.columns:
            if pa.types.is_string(column.type):
                column = pc.utf8_slice_codeunits(column, 0, _SHOWN)
            columns.append(column.to_pylist())
        self._blocks[number] = columns
        while len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return columns

    def _readable_value(self, row: int, column: int) -> str:
        """The beginning of a chat or of answers."""
        known = self._readable.get((row, column))
        if known is None:
            known = self._readable[row, column] = self._readable_text(row, column, " · ")[:_SHOWN]
            while len(self._readable) > _READABLE_KEPT:
                self._readable.popitem(last=False)
        return known

    def _readable_text(self, row: int, column: int, mark: str) -> str:
        """The turns of a chat, or the answers, with a mark between two; other values as they are."""
        from lmstudio_app.data.answers import read_answers
        from lmstudio_app.data.chats import parse_messages

        value = self.whole_value(row, column)
        if value is None:
            return ""
        try:
            if self._kinds[self._names[column]] == "messages":
                return mark.join(self._turn(message) for message in parse_messages(value))
            answers = [text for text, _ in read_answers(value)]
        except ValueError:
            return str(value)
        return mark.join(answers) if answers else self.tr("no answer")

    def _turn(self, message: Mapping[str, str]) -> str:
        names = {
            "system": self.tr("System"),
            "user": self.tr("User"),
            "assistant": self.tr("Assistant"),
            "tool": self.tr("Tool"),
        }
        return self.tr("{role}: {text}").format(role=names[message["role"]], text=message["content"])

    def whole_value(self, row: int, column: int) -> Any:
        """The cell with all its text."""
        return self._arrow.column(column)[row].as_py()

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = index.row(), index.column()
        if not 0 <= row < self._rows:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            value = self.value(row, column)
            if value is None or value == "":
                return self.tr("empty")
            return " ".join(value.split()) if isinstance(value, str) else str(value)
        if role == Qt.ItemDataRole.ForegroundRole:
            value = self.value(row, column)
            if value is None or value == "":
                return theme.muted(self._widget.palette())
        elif role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if self._numeric[column] else Qt.AlignmentFlag.AlignLeft
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        elif role == Qt.ItemDataRole.ToolTipRole:
            if self._kinds.get(self._names[column]) in _OBJECTS:
                return self._readable_text(row, column, "\n")[:_TIP]
            value = self.whole_value(row, column)
            return None if value is None else str(value)[:_TIP]
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Vertical:
            return self._row_header(section, role)
        name = self._names[section]
        use = self._uses.get(name, "")
        if role == Qt.ItemDataRole.DisplayRole:
            return self.tr("{column} → {use}").format(column=name, use=use) if use else name
        if role == Qt.ItemDataRole.ToolTipRole:
            kind = {"int64": self.tr("whole numbers"), "float64": self.tr("numbers"), "bool": self.tr("yes or no")}
            text = kind.get(self._types[name], self.tr("text"))
            if use:
                return self.tr("{column}: {kind}, used as {use}").format(column=name, kind=text, use=use)
            return self.tr("{column}: {kind}, not used").format(column=name, kind=text)
        if role == Qt.ItemDataRole.FontRole and use:
            font = QFont(self._widget.font())
            font.setWeight(QFont.Weight.DemiBold)
            return font
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = Qt.AlignmentFlag.AlignRight if self._numeric[section] else Qt.AlignmentFlag.AlignLeft
            return int(side | Qt.AlignmentFlag.AlignVCenter)
        return None

    def _row_header(self, section: int, role: int) -> Any:
        if self._table is None or not 0 <= section < self._rows:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            line = self._table.line(section)[1] if self._has_lines else None
            return section + 1 if line is None else line
        if role == Qt.ItemDataRole.ToolTipRole:
            path, line = self._table.line(section)
            if line is None:
                return self.tr("Row {row} of {file}").format(row=section + 1, file=path.name)
            return self.tr("Line {line} of {file}").format(line=line, file=path.name)
        return None


def _has_lines(table: Table, rows: int) -> bool:
    """Are the lines of the file good numbers for its rows? Not where many rows share one, as in some JSON."""
    first, last = table.line(0)[1], table.line(rows - 1)[1]
    return len(table.parts) == 1 and first is not None and last is not None and 2 * (last - first + 1) >= rows


class ArrowTableView(QTableView):
    """The longest text column takes the room that the others leave. Ctrl+C copies the selected cells whole."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows = ArrowTableModel(self)
        self.setModel(self.rows)
        self.setAccessibleName(self.tr("Preview of the data"))
        self.setAlternatingRowColors(True)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setCornerButtonEnabled(False)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.horizontalHeader().setHighlightSections(False)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setHighlightSections(False)
        self.verticalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._wanted: list[int] = []
        RowHeight(self, 1.45)

    def set_uses(self, uses: Mapping[str, str], kinds: Mapping[str, str]) -> None:
        """See :class:`ArrowTableModel`."""
        self.rows.set_uses(uses, kinds)
        self._measure()
        self._share_width()

    def set_table(self, table: Table | None, types: Mapping[str, str]) -> None:
        self.rows.set_table(table, types)
        self.scrollToTop()
        self._measure()
        self._share_width()

    def show_row(self, row: int) -> None:
        """Scroll to a row and select it."""
        index = self.rows.index(row, 0)
        self.setCurrentIndex(index)
        self.selectRow(row)
        self.scrollTo(index, QAbstractItemView.ScrollHint.PositionAtCenter)

    def _measure(self) -> None:
        """What each column would like, from the first rows."""
        rows = min(self.rows.rowCount(), _BLOCK)
        metrics = self.fontMetrics()
        self._wanted = []
        for column in range(self.rows.columnCount()):
            title = str(self.rows.headerData(column, Qt.Orientation.Horizontal))
            shown = range(min(rows, self.rows.sample(column)))
            longest = max((len(str(self.rows.value(row, column) or "")) for row in shown), default=0)
            width = max(metrics.horizontalAdvance(title) * 1.15, metrics.averageCharWidth() * min(longest, 200))
            self._wanted.append(round(width) + theme.em(self, 1.4))

    def _share_width(self) -> None:
        """Short columns get what they want; the long ones share the rest, but at least a readable part."""
        count = len(self._wanted)
        if not count:
            return
        room = self.viewport().width()
        least = theme.characters(self, 24)
        left, open_columns = room, sorted(range(count), key=self._wanted.__getitem__)
        for position, column in enumerate(open_columns):
            share = max(least, left // (count - position))
            width = min(self._wanted[column], share)
            if position == count - 1:
                width = max(left, min(self._wanted[column], least))
            self.setColumnWidth(column, width)
            left -= width

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._share_width()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_wanted"):
            self._measure()
            self._share_width()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self.copy_selection()
            return
        super().keyPressEvent(event)

    def copy_selection(self) -> None:
        """The selected cells as tab-separated text, at most ten thousand."""
        lines: dict[int, list[str]] = {}
        for index in sorted(self.selectedIndexes(), key=lambda index: (index.row(), index.column()))[:10_000]:
            value = self.rows.whole_value(index.row(), index.column())
            lines.setdefault(index.row(), []).append("" if value is None else str(value))
        QGuiApplication.clipboard().setText("\n".join("\t".join(cells) for cells in lines.values()))
