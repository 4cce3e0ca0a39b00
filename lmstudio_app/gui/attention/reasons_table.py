"""The tokens and what each method gives them, the strongest of the chosen method first, each number with its bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QEvent, QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFont, QPainter, QPalette
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.row_height import RowHeight

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()
FOR, AGAINST = 0, 1  # blue and orange of the palette's colours, which everybody can tell apart
_BAR = 0.32  # of the colour on the paper, so that the number on it can be read


def signed_text(value: float) -> str:
    if not value:
        return "0"
    digits = 2 if abs(value) >= 0.1 else 3
    text = number_text(abs(value), digits)
    return f"−{text}" if value < 0 and float(f"{value:.{digits}f}") else f"+{text}"


class _Scores(QAbstractTableModel):
    def __init__(self, parent: QWidget, titles: Sequence[tuple[str, str, str]]) -> None:
        super().__init__(parent)
        self._methods = [name for name, _, _ in titles]
        self._titles = [(self.tr("Token"), self.tr("The tokens that the model was given"))]
        self._titles += [(title, tip) for _, title, tip in titles]
        self._labels: Sequence[str] = ()
        self._scores: Mapping[str, npt.NDArray[np.float32]] = {}
        self._largest: dict[str, float] = {}
        self.order: list[int] = []  # token of each row
        self.chosen = ""

    def set_scores(
        self, labels: Sequence[str], seen: int, scores: Mapping[str, npt.NDArray[np.float32]], chosen: str
    ) -> None:
        self.beginResetModel()
        self._labels, self._scores, self.chosen = labels, scores, chosen
        self._largest = {name: float(abs(values[:seen]).max(initial=0)) for name, values in scores.items()}
        leading = scores.get(chosen)
        self.order = list(range(seen)) if leading is None else abs(leading[:seen]).argsort(kind="stable")[::-1].tolist()
        self.endResetModel()

    def rowCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self.order)

    def columnCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self._titles)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._titles[section][0]
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._titles[section][1]
        if role == Qt.ItemDataRole.FontRole and section and self._methods[section - 1] == self.chosen:
            bold = QFont(self.parent().font())
            bold.setWeight(QFont.Weight.DemiBold)
            return bold
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        token = self.order[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            if index.column() == 0:
                return self._labels[token]
            value = self.value(index)
            return "–" if value is None else signed_text(value)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.tr("Token {number}: “{token}”").format(number=token, token=self._labels[token])
        return None

    def value(self, index: _Index) -> float | None:
        """None where the method has not been through."""
        scores = self._scores.get(self._methods[index.column() - 1])
        return None if scores is None else float(scores[self.order[index.row()]])

    def share(self, index: _Index) -> float:
        """-1 to 1: of the method's largest."""
        largest = self._largest.get(self._methods[index.column() - 1], 0.0)
        value = self.value(index)
        return value / largest if value is not None and largest else 0.0


class _Bars(QStyledItemDelegate):
    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        if index.column() == 0:
            super().paint(painter, option, index)
            return
        table: ReasonsTable = self.parent()
        palette, area = table.palette(), QRectF(option.rect)
        share = table.scores.share(index)
        colours = theme.chart_colours(palette)
        base = palette.color(QPalette.ColorRole.Base)
        if option.state & QStyle.StateFlag.State_Selected:
            base = theme.blend(palette.color(QPalette.ColorRole.Highlight), base, 0.18)
            painter.fillRect(area, base)
        middle, half = area.center().x(), area.width() / 2 - 2
        bar = QRectF(middle, area.top() + 2, half * share, area.height() - 4).normalized()
        painter.fillRect(bar, theme.blend(colours.series[FOR if share >= 0 else AGAINST], base, _BAR))
        painter.setPen(colours.grid)
        painter.drawLine(round(middle), round(area.top()), round(middle), round(area.bottom()))
        painter.setPen(palette.color(QPalette.ColorRole.Text))
        painter.drawText(area, int(Qt.AlignmentFlag.AlignCenter), index.data())


class ReasonsTable(QTableView):
    """``titles`` are (method, title, tip)."""

    token_chosen = Signal(int)

    def __init__(self, titles: Sequence[tuple[str, str, str]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.scores = _Scores(self, titles)
        self.setModel(self.scores)
        self.setItemDelegate(_Bars(self))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        RowHeight(self, 1.6)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTabKeyNavigation(False)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setHighlightSections(False)
        self.setAccessibleName(self.tr("What each method gives to each token"))
        self.setToolTip(self.tr("What each token adds by each method; the strongest of the chosen one first"))
        self.selectionModel().currentRowChanged.connect(self._on_current)

    def set_scores(
        self, labels: Sequence[str], seen: int, scores: Mapping[str, npt.NDArray[np.float32]], chosen: str
    ) -> None:
        self.scores.set_scores(labels, seen, scores, chosen)

    def show_token(self, token: int) -> None:
        if token in self.scores.order:
            index = self.scores.index(self.scores.order.index(token), 0)
            self.selectRow(index.row())
            self.scrollTo(index)

    def _on_current(self, current: QModelIndex) -> None:
        if current.isValid():
            self.token_chosen.emit(self.scores.order[current.row()])

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 52), theme.em(self, 12))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.viewport().update()
