"""A button as every page has them: with a name for those who do not see it, and a tooltip."""

from __future__ import annotations

from PySide6.QtWidgets import QPushButton, QWidget


def make_button(text: str, tip: str, parent: QWidget) -> QPushButton:
    button = QPushButton(text, parent)
    button.setAccessibleName(text)
    button.setToolTip(tip)
    return button
