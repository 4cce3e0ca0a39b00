"""A training as a Python script: to read, to copy, and where it lies."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication, QDialog, QDialogButtonBox, QPlainTextEdit, QVBoxLayout, QWidget

from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import Hint


class CodeDialog(QDialog):
    def __init__(self, path: Path, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("The training as a script"))
        self._path = path
        hint = Hint(
            self.tr("The same training on plain torch and transformers. Its rows lie beside it; start it with python."),
            self,
        )
        self.text = QPlainTextEdit(text, self)
        self.text.setReadOnly(True)
        self.text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.text.setAccessibleName(self.tr("Script"))
        self.text.setToolTip(self.tr("What the script does, from top to bottom"))
        place = ElidedLabel(self, mode=Qt.TextElideMode.ElideMiddle)
        place.setText(str(path))
        place.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        self.copy_button = buttons.addButton(self.tr("Copy"), QDialogButtonBox.ButtonRole.ActionRole)
        self.copy_button.setToolTip(self.tr("Copy the script"))
        self.folder_button = buttons.addButton(self.tr("Open folder"), QDialogButtonBox.ButtonRole.ActionRole)
        self.folder_button.setToolTip(self.tr("Show the script and its rows in the system's file manager"))
        buttons.rejected.connect(self.reject)
        self.copy_button.clicked.connect(lambda: QApplication.clipboard().setText(self.text.toPlainText()))
        self.folder_button.clicked.connect(lambda: dialogs.open_path(self._path.parent))
        layout = QVBoxLayout(self)
        layout.addWidget(hint)
        layout.addWidget(self.text, 1)
        layout.addWidget(place)
        layout.addWidget(buttons)
        self.resize(theme.characters(self, 130), theme.em(self, 40))
