"""Examples to begin with, one click away."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.try_queries import Sample
from lmstudio_app.gui.widgets.elided_button import ElidedButton
from lmstudio_app.gui.widgets.focus import insert_stops
from lmstudio_app.gui.widgets.try_history import question_line


class SampleList(QWidget):
    """A line each; hidden while there are none."""

    chosen = Signal(object)  # the inputs of the sample

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: list[QPushButton] = []
        self._caption = QLabel(self.tr("Try one of these"), self)
        self._caption.setForegroundRole(self._caption.palette().ColorRole.PlaceholderText)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(theme.em(self, 0.15))
        self._column.addWidget(self._caption)
        self.hide()

    def set_samples(self, samples: Sequence[Sample]) -> None:
        for button in self.buttons:
            self._column.removeWidget(button)
            button.hide()
            button.deleteLater()
        self.buttons = []
        for sample in samples:
            button = ElidedButton(self)
            button.setText(question_line(sample.inputs))
            button.setFlat(True)
            button.setStyleSheet("text-align: left;")
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.setAccessibleName(button.text())
            button.clicked.connect(lambda _=False, inputs=sample.inputs: self.chosen.emit(inputs))
            self._column.addWidget(button)
            self.buttons.append(button)
        insert_stops(self.buttons, self._caption)
        self.setVisible(bool(samples))
