"""What a page shows before it has anything to show: one sentence, and the button that goes on."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.scaled_label import Heading


class EmptyState(QWidget):
    """A title, a sentence below it, and buttons in a column."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.title = Heading("", self, scale=1.35)
        self.text = QLabel(self)
        self.text.setForegroundRole(self.text.palette().ColorRole.PlaceholderText)
        for label in (self.title, self.text):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            label.setWordWrap(True)
        self.buttons: list[QPushButton] = []
        self._column = QVBoxLayout()
        self._column.setSpacing(theme.em(self, 0.4))
        inside = QVBoxLayout()
        inside.setSpacing(theme.em(self, 0.7))
        inside.addStretch(2)
        inside.addWidget(self.title)
        inside.addWidget(self.text)
        inside.addSpacing(theme.em(self, 0.3))
        inside.addLayout(self._column)
        inside.addStretch(3)
        layout = QHBoxLayout(self)
        layout.addStretch(1)
        layout.addLayout(inside, 6)
        layout.addStretch(1)

    def set_texts(self, title: str, text: str) -> None:
        self.title.setText(title)
        self.text.setText(text)

    def clear_buttons(self) -> None:
        for button in self.buttons:
            self._column.removeWidget(button)
            button.hide()
            button.deleteLater()
        self.buttons.clear()

    def add_button(self, text: str, tip: str, *, primary: bool = False) -> QPushButton:
        button = make_button(text, tip, self)
        button.setProperty("primary", primary)
        self.buttons.append(button)
        self._column.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
        return button

    def offer(self, text: str, tip: str, on_click: Callable[[], object]) -> None:
        """A button more; the first one is the one to press."""
        button = self.add_button(text, tip, primary=not self.buttons)
        button.clicked.connect(lambda: on_click())
