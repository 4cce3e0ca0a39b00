"""What a model should learn: the tasks under the headings of their groups, with a line of help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, Qt, Signal
from PySide6.QtGui import QFont, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.scaled_label import Heading, Hint

if TYPE_CHECKING:
    from lmstudio_app.tasks import Task


def task_text(text: str) -> str:
    """A title or a line of help of a task, translated."""
    return QCoreApplication.translate("tasks", text)


class TaskChooser(QWidget):
    task_chosen = Signal(str)

    def __init__(self, tasks: Sequence[Task], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._tasks = {task.name: task for task in tasks}
        heading = Heading(self.tr("What should it learn?"), self)
        tip = self.tr("The task decides which columns the data needs and what can be trained on it")
        self.box = QuietCombo(heading.text(), tip, self)
        heading.setBuddy(self.box)
        self._fill(tasks)
        self.help = Hint("", self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.25))
        layout.addWidget(heading)
        layout.addWidget(self.box)
        layout.addWidget(self.help)
        self.box.currentIndexChanged.connect(self._on_changed)
        self.set_task(tasks[0].name)

    def _fill(self, tasks: Sequence[Task]) -> None:
        model = QStandardItemModel(self.box)
        groups = list(dict.fromkeys(task.group for task in tasks))
        for group in groups:
            if len(groups) > 1:
                title = QStandardItem(task_text(group))
                title.setFlags(Qt.ItemFlag.NoItemFlags)
                font = QFont(self.box.font())
                font.setWeight(QFont.Weight.DemiBold)
                title.setFont(font)
                model.appendRow(title)
            for task in tasks:
                if task.group == group:
                    item = QStandardItem(task_text(task.title))
                    item.setData(task.name, Qt.ItemDataRole.UserRole)
                    item.setToolTip(task_text(task.help))
                    model.appendRow(item)
        self.box.setModel(model)

    @property
    def task(self) -> str:
        name: str = self.box.currentData()
        return name

    def set_task(self, name: str) -> None:
        """Show a task without saying so."""
        self.box.choose(name)
        self._show_help()

    def _show_help(self) -> None:
        self.help.setText(task_text(self._tasks[self.task].help))

    def _on_changed(self) -> None:
        self._show_help()
        self.task_chosen.emit(self.task)
