"""The rows of a file that were set aside, word for word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text


class RejectedDialog(QDialog):
    """``rows`` are the first ones of ``total``; ``files`` hold all of them."""

    def __init__(
        self, rows: Sequence[dict[str, Any]], total: int, files: Sequence[Path], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Rows that were set aside"))
        self._files = list(files)
        shown = number_text(len(rows))
        sentence = self.tr("These rows did not fit and are not part of the data. They are kept as they were.")
        if len(rows) < total:
            sentence = self.tr("The first {shown} of {total} rows that did not fit. All are kept as they were.").format(
                shown=shown, total=number_text(total)
            )
        label = QLabel(sentence, self)
        label.setWordWrap(True)
        self.table = QTableWidget(len(rows), 3, self)
        self.table.setAccessibleName(self.windowTitle())
        self.table.setHorizontalHeaderLabels([self.tr("Line"), self.tr("Why"), self.tr("Text")])
        self.table.verticalHeader().hide()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setAlternatingRowColors(True)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        for number, row in enumerate(rows):
            for column, text in enumerate((str(row["line"]), row["reason"], row["raw"])):
                item = QTableWidgetItem(" ".join(text[:400].split()))
                item.setToolTip(text[:3000])
                self.table.setItem(number, column, item)
        header = self.table.horizontalHeader()
        for column in (0, 1):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        self.open_button = buttons.addButton(self.tr("Open as a file"), QDialogButtonBox.ButtonRole.ActionRole)
        self.open_button.setToolTip(self.tr("Open the file that holds all of them (JSON Lines)"))
        self.open_button.setEnabled(bool(self._files))
        self.open_button.clicked.connect(self._on_open)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(label)
        layout.addWidget(self.table, 1)
        layout.addWidget(buttons)
        self.resize(theme.characters(self, 110), theme.em(self, 24))

    def _on_open(self) -> None:
        for path in self._files:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))
