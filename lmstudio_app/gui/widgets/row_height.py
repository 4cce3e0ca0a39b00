"""Rows of a table that keep fitting its text when the reader changes the text's size."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject
from PySide6.QtGui import QFontMetricsF
from PySide6.QtWidgets import QTableView


class RowHeight(QObject):
    """Makes every row of ``table`` as high as ``lines`` lines of its font, now and whenever that changes."""

    def __init__(self, table: QTableView, lines: float = 1.6) -> None:
        super().__init__(table)
        self._table = table
        self._lines = lines
        header = table.verticalHeader()
        header.setMinimumSectionSize(1)  # else that of the header's font, which is told of a change after the table's
        table.installEventFilter(self)
        self._fit()

    def _fit(self) -> None:
        line = QFontMetricsF(self._table.font()).height()
        self._table.verticalHeader().setDefaultSectionSize(round(line * self._lines))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.FontChange:
            self._fit()
        return super().eventFilter(watched, event)
