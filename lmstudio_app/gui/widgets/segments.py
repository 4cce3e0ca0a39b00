"""A choice between two or three ways of doing the same thing: buttons beside each other, of which one is down."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.buttons import make_button


class Segments(QWidget):
    """``items`` are (name, text, tip); the first one is down. The arrow keys move between them."""

    chosen = Signal(str)  # a name, when another one goes down

    def __init__(self, title: str, items: Sequence[tuple[str, str, str]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName(title)
        self._group = QButtonGroup(self)
        self.buttons: dict[str, QPushButton] = {}
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for name, text, tip in items:
            button = make_button(text, tip, self)
            button.setCheckable(True)
            self._group.addButton(button)
            self.buttons[name] = button
            layout.addWidget(button)
        next(iter(self.buttons.values())).setChecked(True)
        for name, button in self.buttons.items():
            button.toggled.connect(lambda is_down, name=name: self.chosen.emit(name) if is_down else None)
        self._dress()

    @property
    def current(self) -> str:
        return next(name for name, button in self.buttons.items() if button.isChecked())

    def choose(self, name: str) -> None:
        self.buttons[name].setChecked(True)

    def _dress(self) -> None:
        """The style draws a button that is down hardly darker than the others, on a dark window not at all."""
        pad, radius = theme.em(self, 0.28), theme.em(self, 0.25)
        self.setStyleSheet(
            f"QPushButton {{ background: palette(button); color: palette(button-text); border: 1px solid palette(dark);"
            f" border-radius: {radius}px; padding: {pad}px {3 * pad}px; }}"
            "QPushButton:hover:!checked { background: palette(midlight); }"
            "QPushButton:focus { border-color: palette(text); }"
            "QPushButton:checked { background: palette(highlight); color: palette(highlighted-text);"
            " border-color: palette(highlight); }"
            "QPushButton:disabled { color: palette(dark); border-color: palette(mid); }"
            "QPushButton:checked:focus { border: 2px solid palette(text); }"
        )

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_group"):
            self._dress()
