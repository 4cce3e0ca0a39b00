"""A button as every page has them: with a name and a description for those who do not see it, and a tooltip."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QPushButton, QWidget


def make_button(text: str, tip: str, parent: QWidget, on_click: Callable[[], object] | None = None) -> QPushButton:
    button = QPushButton(text, parent)
    button.setAccessibleName(text)
    button.setAccessibleDescription(tip)
    button.setToolTip(tip)
    if on_click is not None:
        button.clicked.connect(lambda: on_click())  # without the signal's argument
    return button
