"""What a training starts from and still needs, and the way there."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtGui import QFont, QPalette
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QPushButton, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.scaled_label import FontScale

LOADED, NEW = "model", "new"


class Requirements(QFrame):
    """One line for each thing: its name, what was chosen, and a button that goes where it is chosen.

    Where a task can begin with a new model, a choice between that and the loaded one stands above.
    """

    requested = Signal(str)
    start_changed = Signal(str)  # LOADED or NEW

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._values: dict[str, ElidedLabel] = {}
        self.buttons: dict[str, QPushButton] = {}
        layout = QGridLayout(self)
        pad = theme.em(self, 0.6)
        layout.setContentsMargins(pad, pad // 2, pad, pad // 2)
        layout.setColumnStretch(1, 1)
        self._start_label = QLabel(self.tr("Start from"), self)
        self._start_label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        tip = self.tr("Teach a pretrained model something new, or begin with one that knows nothing yet")
        self.start = QuietCombo(self.tr("Start from"), tip, self)
        self.start.addItem(self.tr("The loaded model"), LOADED)
        self.start.addItem(self.tr("A new model (random weights)"), NEW)
        self.start.currentIndexChanged.connect(lambda: self.start_changed.emit(self.start.currentData()))
        self._start_label.setBuddy(self.start)
        layout.addWidget(self._start_label, 0, 0)
        layout.addWidget(self.start, 0, 1, 1, 2)
        rows = (
            ("model", self.tr("Model"), self.tr("Choose…"), self.tr("Go to the Model page")),
            ("data", self.tr("Data"), self.tr("Choose…"), self.tr("Go to the Data page")),
        )
        for number, (name, title, action, way) in enumerate(rows, 1):
            label = QLabel(title, self)
            label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
            value = ElidedLabel(self)
            FontScale(value, weight=QFont.Weight.DemiBold)
            button = QPushButton(action, self)
            button.setToolTip(way)
            button.setAccessibleName(way)
            button.clicked.connect(lambda _=False, name=name: self.requested.emit(name))
            layout.addWidget(label, number, 0)
            layout.addWidget(value, number, 1)
            layout.addWidget(button, number, 2)
            self._values[name] = value
            self.buttons[name] = button
            self.set_value(name, "")
        self.set_can_be_new(False)

    def set_value(self, name: str, text: str) -> None:
        self._values[name].setText(text or self.tr("none yet"))
        self._values[name].setEnabled(bool(text))

    def value(self, name: str) -> str:
        return self._values[name].text()

    def set_can_be_new(self, possible: bool) -> None:
        """Is there a choice at all?"""
        self._start_label.setVisible(possible)
        self.start.setVisible(possible)

    def set_start(self, start: str) -> None:
        """Show where the training starts from without saying so."""
        self.start.choose(start)

    def set_editable(self, editable: bool) -> None:
        self.start.setEnabled(editable)
