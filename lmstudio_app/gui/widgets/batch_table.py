"""Rows of a file beside what a model made of them, as they come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from lmstudio_app.events import RowPredicted
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.row_height import RowHeight
from lmstudio_app.playground.files import flat

Index = QModelIndex | QPersistentModelIndex
_TIP = 2000  # characters


class _Rows(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.columns: list[tuple[str, str]] = []  # ("in" or "out", name)
        self.cells: list[dict[tuple[str, str], Any]] = []

    def add(self, events: Sequence[RowPredicted]) -> None:
        cells = [
            {
                **{("in", name): value for name, value in event.inputs.items()},
                **{("out", name): value for name, value in flat(event.output).items()},
            }
            for event in events
        ]
        if not self.columns:
            self.beginResetModel()
            self.columns = list(cells[0])
            self.cells = cells
            self.endResetModel()
            return
        self.beginInsertRows(QModelIndex(), len(self.cells), len(self.cells) + len(cells) - 1)
        self.cells += cells
        self.endInsertRows()

    def clear(self) -> None:
        self.beginResetModel()
        self.columns, self.cells = [], []
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self.cells)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self.columns)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return None
        text = _text(self.cells[index.row()].get(self.columns[index.column()]))
        return " ".join(text[:500].split()) if role == Qt.ItemDataRole.DisplayRole else text[:_TIP]

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        if orientation == Qt.Orientation.Vertical:
            return number_text(section + 1)
        kind, name = self.columns[section]
        return self.tr("{name} (input)").format(name=name) if kind == "in" else name


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return number_text(value, 3)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        if all(isinstance(item.get("content"), str) for item in value):  # a conversation: what was said last
            return str(value[-1]["content"])
        if all(isinstance(item.get("file"), str) for item in value):  # sources
            return ", ".join(dict.fromkeys(Path(item["file"]).name for item in value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class BatchTable(QTableView):
    """Inputs first, then the outputs; the whole text of a cell is its tooltip."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows = _Rows(self)
        self.setModel(self._rows)
        self.setAccessibleName(self.tr("Answers"))
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setAlternatingRowColors(True)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        RowHeight(self)

    @property
    def rows(self) -> int:
        return self._rows.rowCount()

    def add(self, events: Sequence[RowPredicted]) -> None:
        if not events:
            return
        is_first = not self.rows
        self._rows.add(events)
        if is_first:
            header = self.horizontalHeader()
            texts = [
                index
                for index, column in enumerate(self._rows.columns)
                if isinstance(self._rows.cells[0][column], str | list)
            ]
            for index in range(len(self._rows.columns)):
                mode = QHeaderView.ResizeMode.Stretch if index in texts else QHeaderView.ResizeMode.ResizeToContents
                header.setSectionResizeMode(index, mode)

    def clear(self) -> None:
        self._rows.clear()
