"""A choice that changes only when it is meant."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QComboBox, QWidget


class QuietCombo(QComboBox):
    """A box that may be narrow and that the wheel does not change while one scrolls past it."""

    def __init__(self, title: str, tip: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAccessibleName(title)
        self.setAccessibleDescription(tip)
        self.setToolTip(tip)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(10)

    def wheelEvent(self, event: Any) -> None:
        event.ignore()

    def choose(self, value: Any) -> None:
        """Select the item with this data without saying so; an unknown one gets an item of its own."""
        self.blockSignals(True)
        index = self.findData(value)
        if index < 0:
            self.addItem(str(value), value)
            index = self.count() - 1
        self.setCurrentIndex(index)
        self.blockSignals(False)
