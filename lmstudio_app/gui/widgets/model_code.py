"""The program code that a model brings along: to be read first, and allowed, or not, for these very files."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.hub_queries import ShownCode
from lmstudio_app.gui.widgets.elided_label import ElidedLabel


class ModelCodeDialog(QDialog):
    """``decided`` with True when the code may run from now on, with False when it may no longer."""

    decided = Signal(bool)

    def __init__(self, name: str, shown: ShownCode, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("Program code of {name}").format(name=name))
        about = QLabel(
            self.tr(
                "This model needs program code of its own. Code that you allow can do whatever you can do on this "
                "computer: read your files, or send them away. Read it, and allow it only if you trust its authors. "
                "Once one of its files changes, it is off again."
            ),
            self,
        )
        about.setWordWrap(True)
        self.tabs = QTabWidget(self)
        self.tabs.setAccessibleName(self.tr("Program files"))
        for file, text in shown.texts:
            view = QPlainTextEdit(text, self)
            view.setReadOnly(True)
            view.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
            view.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
            view.setAccessibleName(file)
            view.setToolTip(str(shown.code.folder / file))
            self.tabs.addTab(view, file)
        digest = ElidedLabel(self)
        digest.setText(self.tr("SHA-256 of these files: {digest}").format(digest=shown.code.digest))
        digest.setForegroundRole(digest.palette().ColorRole.PlaceholderText)
        self.read_box = QCheckBox(self.tr("I have read these files and trust them"), self)
        self.read_box.setToolTip(self.tr("Needed before they can be allowed"))
        self.read_box.setVisible(not shown.allowed)
        self.box = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        text, tip = (
            (self.tr("Allow no longer"), self.tr("Take the permission back"))
            if shown.allowed
            else (self.tr("Allow this code"), self.tr("Let exactly these files run when this model is loaded"))
        )
        self.decide_button = QPushButton(text, self)
        self.decide_button.setToolTip(tip)
        self.decide_button.setAccessibleName(text)
        self.decide_button.setAccessibleDescription(tip)
        self.decide_button.setAutoDefault(False)
        self.decide_button.setEnabled(shown.allowed)
        self.read_box.toggled.connect(self.decide_button.setEnabled)
        self.box.addButton(self.decide_button, QDialogButtonBox.ButtonRole.ActionRole)
        self.box.rejected.connect(self.reject)
        self.decide_button.clicked.connect(lambda: self._on_decided(not shown.allowed))
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.em(self, 0.6))
        for widget in (about, self.tabs, digest, self.read_box, self.box):
            layout.addWidget(widget)
        self.resize(theme.characters(self, 120), theme.em(self, 36))
        self.finished.connect(self.deleteLater)

    def _on_decided(self, allowed: bool) -> None:
        self.decided.emit(allowed)
        self.accept()
