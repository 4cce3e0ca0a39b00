"""What a training still needs, and the way there."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QFont, QPalette
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QPushButton, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import FontScale


class Requirements(QFrame):
    """One line for each thing: its name, what was chosen, and a button that goes where it is chosen."""

    requested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._values: dict[str, ElidedLabel] = {}
        self.buttons: dict[str, QPushButton] = {}
        layout = QGridLayout(self)
        pad = theme.em(self, 0.6)
        layout.setContentsMargins(pad, pad // 2, pad, pad // 2)
        layout.setColumnStretch(1, 1)
        rows = (
            ("model", self.tr("Model"), self.tr("Choose…"), self.tr("Go to the Model page")),
            ("data", self.tr("Data"), self.tr("Choose…"), self.tr("Go to the Data page")),
        )
        for number, (name, title, action, tip) in enumerate(rows):
            label = QLabel(title, self)
            label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
            value = ElidedLabel(self)
            FontScale(value, weight=QFont.Weight.DemiBold)
            button = QPushButton(action, self)
            button.setToolTip(tip)
            button.setAccessibleName(tip)
            button.clicked.connect(lambda _=False, name=name: self.requested.emit(name))
            layout.addWidget(label, number, 0)
            layout.addWidget(value, number, 1)
            layout.addWidget(button, number, 2)
            self._values[name] = value
            self.buttons[name] = button
            self.set_value(name, "")

    def set_value(self, name: str, text: str) -> None:
        self._values[name].setText(text or self.tr("none yet"))
        self._values[name].setEnabled(bool(text))

    def value(self, name: str) -> str:
        return self._values[name].text()
