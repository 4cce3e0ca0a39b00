"""The line above the history: what is searched for, which tasks and states are shown, and how many runs that leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QWidget

from lmstudio_app.events import Status
from lmstudio_app.gui.run_texts import STATES, matching_runs, state_text, task_title
from lmstudio_app.gui.text import number_text, status_text
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.settings import Settings

if TYPE_CHECKING:
    from lmstudio_app.training.runs import RunSummary

SEARCH_DELAY = 150  # milliseconds of rest before what is typed is searched for


class RunsFilter(QWidget):
    changed = Signal()
    delete_requested = Signal()  # of the chosen runs

    def __init__(self, settings: Settings, parent: QWidget) -> None:
        super().__init__(parent)
        self._settings = settings
        self._rest = QTimer(self)
        self._rest.setInterval(SEARCH_DELAY)
        self._rest.setSingleShot(True)
        self._rest.timeout.connect(self.changed)
        tr = self.tr
        self.search = QLineEdit(self)
        self.search.setPlaceholderText(tr("Search: title, task, model, data, tags, notes…"))
        self.search.setAccessibleName(tr("Search the runs"))
        self.search.setToolTip(tr("Runs in which every word is found, in any field"))
        self.search.setClearButtonEnabled(True)
        self.task_box = QuietCombo(tr("Task"), tr("Only runs of this task"), self)
        self.task_box.addItem(tr("All tasks"), "")
        self.state_box = QuietCombo(tr("State"), tr("Only runs in this state"), self)
        self.state_box.addItem(tr("All states"), "")
        for state in STATES:
            self.state_box.addItem(state_text(state).capitalize(), state)
        self.state_box.choose(settings.get("runs.state", ""))
        self.count = QLabel(self)
        self.count.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.count.setAccessibleName(tr("How many runs are shown"))
        self.delete_button = QPushButton(tr("Delete these…"), self)
        self.delete_button.setToolTip(tr("Move the chosen runs to the system's trash"))
        self.delete_button.setAccessibleName(tr("Delete the chosen runs"))
        self.delete_button.hide()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.search, 1)
        row.addWidget(self.task_box)
        row.addWidget(self.state_box)
        row.addWidget(self.count)
        row.addWidget(self.delete_button)
        self.search.textChanged.connect(lambda: self._rest.start())
        self.task_box.currentIndexChanged.connect(lambda: self._on_chosen("runs.task", self.task_box))
        self.state_box.currentIndexChanged.connect(lambda: self._on_chosen("runs.state", self.state_box))
        self.delete_button.clicked.connect(self.delete_requested)

    def _on_chosen(self, key: str, box: QuietCombo) -> None:
        self._settings.set(key, box.currentData())
        self.changed.emit()

    def clear(self) -> None:
        """Let every run through, without saying so."""
        self.search.clear()
        self._rest.stop()
        self.task_box.choose("")
        self.state_box.choose("")

    def set_runs(self, runs: Sequence[RunSummary]) -> None:
        """Offer the tasks that there are runs of."""
        tasks = sorted({run.task for run in runs}, key=task_title)
        if [self.task_box.itemData(row) for row in range(1, self.task_box.count())] == tasks:
            return
        chosen = self.task_box.currentData() or self._settings.get("runs.task", "")
        self.task_box.blockSignals(True)
        while self.task_box.count() > 1:
            self.task_box.removeItem(1)
        for task in tasks:
            self.task_box.addItem(task_title(task), task)
        self.task_box.setCurrentIndex(max(0, self.task_box.findData(chosen)))
        self.task_box.blockSignals(False)

    def apply(self, runs: Sequence[RunSummary]) -> list[RunSummary]:
        """Those that are let through."""
        self._rest.stop()
        task, state = self.task_box.currentData(), self.state_box.currentData()
        found = [run for run in runs if task in ("", run.task) and state in ("", run.state)]
        return matching_runs(found, self.search.text()) if self.search.text().strip() else found

    def show_count(self, shown: int, total: int, problems: Sequence[Status]) -> None:
        if shown == total:
            text = self.tr("1 run") if total == 1 else self.tr("{total} runs").format(total=number_text(total))
        else:
            text = self.tr("{shown} of {total}").format(shown=number_text(shown), total=number_text(total))
        if problems:
            text = self.tr("{runs}, {count} unreadable").format(runs=text, count=number_text(len(problems)))
        self.count.setText(text)
        self.count.setToolTip("\n".join(map(status_text, problems)))

    def shutdown(self) -> None:
        self._rest.stop()
