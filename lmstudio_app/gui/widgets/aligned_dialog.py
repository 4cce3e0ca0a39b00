"""Two text files that belong together line by line: one is chosen for what goes in, one for what should come out."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme


class AlignedDialog(QDialog):
    """Says ``files_chosen`` with ``{"source": path, "target": path}``. ``folder`` is where the looking begins."""

    files_chosen = Signal(object)

    def __init__(self, folder: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("Open two aligned text files"))
        self._folder = folder
        sentence = QLabel(
            self.tr("Line by line, the second file says the same as the first one, for example in another language."),
            self,
        )
        sentence.setWordWrap(True)
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        self.lines: dict[str, QLineEdit] = {}
        self.buttons: dict[str, QPushButton] = {}
        titles = {
            "source": (self.tr("Source"), self.tr("The file with the texts that are given")),
            "target": (self.tr("Target"), self.tr("The file with the texts that should come out")),
        }
        for row, (side, (title, tip)) in enumerate(titles.items()):
            line, button = QLineEdit(self), QPushButton(self.tr("Choose…"), self)
            label = QLabel(title, self)
            label.setBuddy(line)
            line.setAccessibleName(self.tr("{side} file").format(side=title))
            button.setAccessibleName(self.tr("Choose the {side} file").format(side=title))
            for widget in (label, line, button):
                widget.setToolTip(tip)
            line.setMinimumWidth(theme.characters(self, 50))
            line.textChanged.connect(self._on_changed)
            button.clicked.connect(lambda checked=False, side=side: self._on_choose(side))
            self.lines[side], self.buttons[side] = line, button
            for column, widget in enumerate((label, line, button)):
                grid.addWidget(widget, row, column)
        self.box = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel,
            Qt.Orientation.Horizontal,
            self,
        )
        self.open_button = self.box.button(QDialogButtonBox.StandardButton.Open)
        self.open_button.setToolTip(self.tr("Read both files as one data set"))
        self.box.accepted.connect(self._on_accepted)
        self.box.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.em(self, 0.7))
        layout.addWidget(sentence)
        layout.addLayout(grid)
        layout.addWidget(self.box)
        self._on_changed()

    def _on_choose(self, side: str) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, self.buttons[side].accessibleName(), self._folder, self.tr("Text files (*)")
        )
        if name:
            self._folder = str(Path(name).parent)
            self.lines[side].setText(name)

    def _on_changed(self) -> None:
        self.open_button.setEnabled(all(line.text().strip() for line in self.lines.values()))

    def _on_accepted(self) -> None:
        self.files_chosen.emit({side: line.text().strip() for side, line in self.lines.items()})
        self.accept()
