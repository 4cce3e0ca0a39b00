"""What each token looks at most in the chosen head, as a list that one can read and click."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QEvent, QModelIndex, QPersistentModelIndex, QSize, Qt, Signal
from PySide6.QtWidgets import QAbstractItemView, QFrame, QHeaderView, QTableView, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.row_height import RowHeight

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()
_ROWS, _ROW = 4, 1.5  # seen at least; the height of one in lines


class _Looks(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.keys: Sequence[int] = ()  # the strongest key of each query
        self._weights: Sequence[float] = ()
        self._queries: Sequence[str] = ()
        self._labels: Sequence[str] = ()
        self._headers = (
            (self.tr("Token"), self.tr("The token that looks, in the order of the text")),
            (self.tr("looks most at"), self.tr("The token that it takes most from in this head")),
            (self.tr("Weight"), self.tr("The share of its looking that goes there; all shares of a token make 1")),
        )

    def clear(self) -> None:
        self.beginResetModel()
        self.keys = ()
        self.endResetModel()

    def set_weights(self, weights: npt.NDArray[np.float32], queries: Sequence[str], keys: Sequence[str]) -> None:
        self.beginResetModel()
        strongest = weights.argmax(axis=1)
        self.keys = strongest.tolist()
        self._weights = weights.max(axis=1).tolist()
        self._queries, self._labels = queries, keys
        self.endResetModel()

    def rowCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self.keys)

    def columnCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self._headers)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return self._headers[section][0]
            if role == Qt.ItemDataRole.ToolTipRole:
                return self._headers[section][1]
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return self._alignment(section)
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = index.row(), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            texts = (self._queries[row], self._labels[self.keys[row]], f"{self._weights[row]:.2f}")
            return texts[column]
        return self._alignment(column) if role == Qt.ItemDataRole.TextAlignmentRole else None

    @staticmethod
    def _alignment(column: int) -> Qt.AlignmentFlag:
        side = Qt.AlignmentFlag.AlignRight if column == 2 else Qt.AlignmentFlag.AlignLeft
        return side | Qt.AlignmentFlag.AlignVCenter


class LooksTable(QTableView):
    """A click or an arrow key emits the cell (query, key) of the row."""

    cell_chosen = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.looks = _Looks(self)
        self.setModel(self.looks)
        self.setAccessibleName(self.tr("What each token looks at most"))
        self.setToolTip(self.tr("Choose a row to mark its cell in the map"))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setAlternatingRowColors(True)
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().hide()
        RowHeight(self, _ROW)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        header.setResizeContentsPrecision(50)  # rows it looks at, so that a long text costs no time
        self.selectionModel().currentRowChanged.connect(self._on_row_changed)
        self._fit()

    def set_weights(self, weights: npt.NDArray[np.float32], queries: Sequence[str], keys: Sequence[str]) -> None:
        """Float32 ``[query, key]`` of one head, and the labels of its tokens."""
        self.looks.set_weights(weights, queries, keys)

    def clear(self) -> None:
        self.looks.clear()

    def sizeHint(self) -> QSize:
        """It takes the room that is left; what it would like must not make the page around it scroll."""
        return QSize(super().sizeHint().width(), self.minimumHeight())

    def _on_row_changed(self, current: QModelIndex) -> None:
        if current.isValid():
            self.cell_chosen.emit(current.row(), self.looks.keys[current.row()])

    def _fit(self) -> None:
        self.setMinimumHeight(self.horizontalHeader().sizeHint().height() + _ROWS * theme.em(self, _ROW))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit()
