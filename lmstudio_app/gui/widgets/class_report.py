"""How well a classifier knows each of its classes: recall, precision and F1, read off a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PySide6.QtCore import QEvent, QSize, Qt, QTimer
from PySide6.QtWidgets import QAbstractItemView, QFrame, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.row_height import RowHeight

_VISIBLE, _MANY = 6, 16  # classes seen at once, beside a matrix and alone; the rest scrolls
_ROW = 1.6  # the height of one in lines


class ClassReport(QTableWidget):
    """A row a class. The header says in plain words what each share means."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 5, parent)
        self._visible = _VISIBLE
        columns = (
            (self.tr("Class"), self.tr("The label")),
            (self.tr("Rows"), self.tr("Evaluation rows that truly have this label")),
            (self.tr("Found"), self.tr("Recall: of the rows that have this label, how many the model found")),
            (self.tr("Right"), self.tr("Precision: when the model says this label, how often it is right")),
            (self.tr("F1"), self.tr("Both in one number: the harmonic mean of recall and precision; 1 is perfect")),
        )
        for number, (title, tip) in enumerate(columns):
            item = QTableWidgetItem(title)
            item.setToolTip(tip)
            item.setTextAlignment(self._alignment(number))
            self.setHorizontalHeaderItem(number, item)
        self.setAccessibleName(self.tr("How well each class is known"))
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        RowHeight(self, _ROW)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.horizontalScrollBar().rangeChanged.connect(self._fit)
        self._fit()

    @staticmethod
    def _alignment(column: int) -> Qt.AlignmentFlag:
        side = Qt.AlignmentFlag.AlignLeft if column == 0 else Qt.AlignmentFlag.AlignRight
        return side | Qt.AlignmentFlag.AlignVCenter

    def set_matrix(self, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
        """``counts[true][predicted]``; a share of nothing is a dash."""
        self.setRowCount(len(labels))
        table = np.array(counts, dtype=np.int64).reshape(len(labels), len(labels))
        truths, answers = table.sum(1).tolist(), table.sum(0).tolist()
        for row, (label, true, said) in enumerate(zip(labels, truths, answers, strict=True)):
            hits = int(table[row, row])
            cells = (
                str(label),
                number_text(true),
                _percent(hits, true),
                _percent(hits, said),
                f"{2 * hits / (true + said):.3f}" if true + said else "–",
            )
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setTextAlignment(self._alignment(column))
                item.setToolTip(text if column == 0 else self.horizontalHeaderItem(column).toolTip())
                self.setItem(row, column, item)
        self._fit()

    def set_alone(self, alone: bool) -> None:
        """Without a matrix above there is room for more."""
        self._visible = _MANY if alone else _VISIBLE
        self._fit()

    def sizeHint(self) -> QSize:
        rows = min(max(self.rowCount(), 1), self._visible)
        height = self.horizontalHeader().sizeHint().height() + rows * theme.em(self, _ROW)
        bar = self.horizontalScrollBar()
        height += bar.sizeHint().height() if bar.maximum() > 0 else 0
        return QSize(theme.characters(self, 36), height + 2)

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 24), self.sizeHint().height())

    def _fit(self) -> None:
        self.setFixedHeight(self.sizeHint().height())

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            QTimer.singleShot(0, self, self._fit)  # the header is told after the table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
