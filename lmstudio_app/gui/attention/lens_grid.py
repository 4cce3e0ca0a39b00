"""Layers × tokens, each cell with the word that the model would say there, the surer the stronger its colour."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QEvent, QModelIndex, QPersistentModelIndex, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QPainter, QPalette, QPen, QResizeEvent
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
from lmstudio_app.gui.widgets.row_height import RowHeight
from lmstudio_app.gui.widgets.try_candidates import share_text
from lmstudio_app.inspection.logit_lens import Lens

_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()
_STRONGEST = 0.5  # of the colour on the paper: the words keep a contrast of 4.5 to 1 on it
_WIDTH = 10  # characters of a column, at least
_TOLD = 5  # words of a tooltip


def visible_text(text: str) -> str:
    """A token with what one cannot see made visible."""
    shown = text.strip()
    return shown or text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣") or "∅"


class LensModel(QAbstractTableModel):
    """Rows are the layers, from the embeddings down to the answer; columns are tokens, or the labels of the text."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.lens: Lens | None = None
        self.labels: tuple[int, ...] = ()  # what the columns are of a lens of labels
        self._tints: list[QColor] = []

    def set_lens(self, lens: Lens | None) -> None:
        self.beginResetModel()
        self.lens = lens
        self.labels = tuple(sorted(set(lens.ids.flatten().tolist()))) if lens and lens.kind == "label" else ()
        self.endResetModel()

    def restyle(self) -> None:
        """Colours of another palette."""
        palette = self.parent().palette()
        colour, base = theme.chart_colours(palette).series[0], palette.color(QPalette.ColorRole.Base)
        self._tints = [theme.blend(colour, base, _STRONGEST * step / 100) for step in range(101)]
        if self.lens is not None:
            self.dataChanged.emit(self.index(0, 0), self.index(self.rowCount() - 1, self.columnCount() - 1))

    def rowCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() or self.lens is None else len(self.lens.ids)

    def columnCount(self, parent: _Index = _ROOT) -> int:
        if parent.isValid() or self.lens is None:
            return 0
        return len(self.labels) or len(self.lens.tokens)

    def share(self, row: int, column: int) -> float:
        """The probability of the cell's word, or of the column's label."""
        assert self.lens is not None
        if not self.labels:
            return float(self.lens.probabilities[row, column, 0])
        at = (self.lens.ids[row, 0] == self.labels[column]).nonzero()[0]
        return float(self.lens.probabilities[row, 0, at[0]]) if len(at) else 0.0

    def word(self, row: int, column: int) -> str:
        assert self.lens is not None
        if self.labels:
            return share_text(self.share(row, column))
        return visible_text(self.lens.names[int(self.lens.ids[row, column, 0])])

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        lens, row, column = self.lens, index.row(), index.column()
        if lens is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.word(row, column)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(Qt.AlignmentFlag.AlignCenter)
        if role == Qt.ItemDataRole.BackgroundRole and self._tints:
            return self._tints[round(100 * min(1.0, self.share(row, column)))]
        if role == Qt.ItemDataRole.FontRole and not self.labels and lens.ids[row, column, 0] == lens.answers[column]:
            bold = QFont(self.parent().font())
            bold.setWeight(QFont.Weight.DemiBold)
            return bold
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return self._told(row, column)
        return None

    def _told(self, row: int, column: int) -> str:
        assert self.lens is not None
        place = 0 if self.labels else column
        lines = [self.row_title(row)]
        top = self.lens.top(row, place)[:_TOLD]
        lines += [f"{visible_text(text)}  {share_text(share)}" for text, share in top]
        if not self.labels:
            lines.append(
                self.tr("The answer “{answer}” is number {rank} here.").format(
                    answer=visible_text(self.lens.names[int(self.lens.answers[place])]),
                    rank=f"{int(self.lens.answer_ranks[row, place]):,}",
                )
            )
        return "\n".join(lines)

    def row_title(self, row: int) -> str:
        assert self.lens is not None
        if row == 0:
            return self.tr("Before the first layer")
        if row == self.lens.layers:
            return self.tr("After layer {layer}, the last: what the model says").format(layer=row)
        return self.tr("After layer {layer} of {layers}").format(layer=row, layers=self.lens.layers)

    def cell_title(self, row: int, column: int) -> str:
        assert self.lens is not None
        if self.labels:
            return self.row_title(row)
        if row == 0:
            layer = self.row_title(row)
        else:
            layer = self.tr("After layer {layer} of {layers}").format(layer=row, layers=self.lens.layers)
        text = {
            "next": self.tr("{layer}: what follows “{token}”"),
            "word": self.tr("{layer}: the word at “{token}”"),
        }.get(self.lens.kind, self.tr("{layer}: the label of “{token}”"))
        return text.format(layer=layer, token=self.lens.tokens.labels[column])

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if self.lens is None:
            return None
        if orientation == Qt.Orientation.Vertical:
            if role == Qt.ItemDataRole.DisplayRole:
                return self.tr("input") if section == 0 else str(section)
            return self.row_title(section) if role == Qt.ItemDataRole.ToolTipRole else None
        if role == Qt.ItemDataRole.DisplayRole:
            return self.lens.names[self.labels[section]] if self.labels else self.lens.tokens.labels[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.column_tip(section)
        return None

    def column_tip(self, section: int) -> str:
        assert self.lens is not None
        if self.labels:
            return self.tr("How probable “{label}” is").format(label=self.lens.names[self.labels[section]])
        token = self.lens.tokens.labels[section]
        if self.lens.kind == "next":
            return self.tr("What comes after “{token}” (token {number})").format(token=token, number=section)
        if self.lens.kind == "labels":
            return self.tr("The label of “{token}” (token {number})").format(token=token, number=section)
        return self.tr("The word at “{token}” (token {number})").format(token=token, number=section)


class _Cells(QStyledItemDelegate):
    """The chosen cell is outlined, and keeps its colour."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        option.state &= ~(QStyle.StateFlag.State_Selected | QStyle.StateFlag.State_HasFocus)
        super().paint(painter, option, index)
        if chosen:
            width = max(2, theme.em(self.parent(), 0.12))
            painter.setPen(QPen(self.parent().palette().color(QPalette.ColorRole.Accent), width))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(option.rect.adjusted(width // 2, width // 2, -width, -width))


class LensGrid(QTableView):
    """Only what is in view is asked for."""

    cell_chosen = Signal(int, int)  # layer (0: before the first), column

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.lens_model = LensModel(self)
        self.setModel(self.lens_model)
        self.setItemDelegate(_Cells(self))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        RowHeight(self, 1.5)
        self.verticalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.setAccessibleName(self.tr("The likeliest word of each token after each layer"))
        self.setToolTip(self.tr("The stronger the colour, the surer; point at a cell for the words next to it"))
        self.selectionModel().currentChanged.connect(self._on_current)

    def set_lens(self, lens: Lens | None) -> None:
        self.lens_model.restyle()
        self.lens_model.set_lens(lens)
        self._fit()

    def _fit(self) -> None:
        """Few columns share the room, many scroll."""
        columns = self.lens_model.columnCount()
        least = theme.characters(self, _WIDTH)
        share = self.viewport().width() // columns if columns else 0
        self.horizontalHeader().setDefaultSectionSize(max(least, share))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def choose(self, row: int, column: int) -> None:
        index = self.lens_model.index(row, column)
        self.setCurrentIndex(index)
        self.scrollTo(index)

    def _on_current(self, current: QModelIndex) -> None:
        if current.isValid():
            self.cell_chosen.emit(current.row(), current.column())

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 80), theme.em(self, 16))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "lens_model"):
            self.lens_model.restyle()
