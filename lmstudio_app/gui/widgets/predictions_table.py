"""The labelled rows of a file, in a table that asks only for what is in view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt

from lmstudio_app.gui.text import number_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmstudio_app.gui.predictions import Predictions

TEXT, LABEL, CONFIDENCE = range(3)
Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()


class PredictionsModel(QAbstractTableModel):
    """Text, label and confidence; sorts by the last two."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._predictions: Predictions | None = None
        self._order: npt.NDArray[np.intp] | None = None  # row of the table -> row of the file
        self._texts: dict[int, str] = {}  # a window of recently shown ones

    def set_predictions(self, predictions: Predictions | None) -> None:
        self.beginResetModel()
        self._predictions, self._order = predictions, None
        self._texts.clear()
        self.endResetModel()

    def source_row(self, row: int) -> int:
        """The row of the file that the table shows at ``row``."""
        return row if self._order is None else int(self._order[row])

    def text(self, row: int) -> str:
        """The whole text at ``row`` of the table."""
        assert self._predictions is not None
        source = self.source_row(row)
        if source not in self._texts:
            if len(self._texts) > 500:
                self._texts.clear()
            self._texts[source] = self._predictions.text(source)
        return self._texts[source]

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() or self._predictions is None else len(self._predictions)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else 3

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if self._predictions is None or not index.isValid():
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() == CONFIDENCE:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole and index.column() == TEXT:
            return self.text(index.row())[:2000]
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        row = self.source_row(index.row())
        if index.column() == TEXT:
            return " ".join(self.text(index.row())[:400].split())
        if index.column() == LABEL:
            return self._predictions.label(row)
        return f"{number_text(100 * self._predictions.confidence(row), 1)} %"

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role == Qt.ItemDataRole.ToolTipRole and orientation == Qt.Orientation.Horizontal:
            return (
                self.tr("A row of the file. Click to sort by the order of the file."),
                self.tr("What the model says. Click to sort by it."),
                self.tr(
                    "The probability that the model gives to its likeliest label. "
                    "Click to sort: low ones deserve a look."
                ),
            )[section]
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        if orientation == Qt.Orientation.Vertical:
            return self.source_row(section) + 1
        return (self.tr("Text"), self.tr("Label"), self.tr("Confidence"))[section]

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        if self._predictions is None:
            return
        import numpy as np

        self.layoutAboutToBeChanged.emit()
        predictions = self._predictions
        if column == TEXT or column < 0:
            self._order = None
        else:
            values = predictions.best if column == LABEL else predictions.scores.max(axis=1)
            ordered = np.argsort(values, kind="stable")
            self._order = ordered if order == Qt.SortOrder.AscendingOrder else ordered[::-1]
        self.layoutChanged.emit()
