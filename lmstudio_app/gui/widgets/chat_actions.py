"""What can be done with a message of the transcript, and the switch between its versions."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QWidget

from lmstudio_app.gui.widgets.scaled_label import Hint

ACTIONS = ("copy", "edit", "again", "continue", "delete")


class MessageActions(QWidget):
    """A row of small buttons; ``chosen`` carries one of :data:`ACTIONS`."""

    chosen = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        texts = {
            "copy": (self.tr("Copy"), self.tr("Copy this message (Ctrl+C)")),
            "edit": (self.tr("Edit"), self.tr("Ask differently: the old question stays as another version")),
            "again": (self.tr("Write again"), self.tr("Have another reply written; this one stays as another version")),
            "continue": (self.tr("Continue"), self.tr("Let the model go on where this reply ends")),
            "delete": (self.tr("Delete"), self.tr("Delete this message and what follows it")),
        }
        self.buttons: dict[str, QToolButton] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for name in ACTIONS:
            text, tip = texts[name]
            button = self.buttons[name] = QToolButton(self)
            button.setAutoRaise(True)
            button.setText(text)
            button.setAccessibleName(text)
            button.setToolTip(tip)
            button.clicked.connect(lambda _=False, name=name: self.chosen.emit(name))
            row.addWidget(button)

    def offer(self, names: Sequence[str]) -> None:
        for name, button in self.buttons.items():
            button.setVisible(name in names)


class BranchSwitch(QWidget):
    """“‹ 2 / 3 ›”: which version of a message is shown, of how many."""

    chosen = Signal(int)  # its number, from 1

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._number = 1
        self.back_button = self._arrow("‹", self.tr("Earlier version"), self.tr("Show the version before this one"), -1)
        self.next_button = self._arrow("›", self.tr("Later version"), self.tr("Show the version after this one"), 1)
        self.label = Hint("", self)
        self.label.setWordWrap(False)
        self.label.setToolTip(self.tr("A question that was edited, or a reply that was written again, has versions"))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for widget in (self.back_button, self.label, self.next_button):
            row.addWidget(widget)

    def _arrow(self, text: str, name: str, tip: str, step: int) -> QToolButton:
        button = QToolButton(self)
        button.setAutoRaise(True)
        button.setText(text)
        button.setAccessibleName(name)
        button.setToolTip(tip)
        button.clicked.connect(lambda: self.chosen.emit(self._number + step))
        return button

    def show_branch(self, number: int, count: int) -> None:
        self._number = number
        self.label.setText(f"{number} / {count}")
        self.label.setAccessibleName(self.tr("Version {number} of {count}").format(number=number, count=count))
        self.back_button.setEnabled(number > 1)
        self.next_button.setEnabled(number < count)
