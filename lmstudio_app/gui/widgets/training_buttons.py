"""The buttons that run a training: start, pause, stop and save, cancel."""

from __future__ import annotations

from PySide6.QtWidgets import QGridLayout, QPushButton, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.buttons import make_button

IDLE, RUNNING, PAUSED, STOPPING = "idle", "running", "paused", "stopping"


class TrainingButtons(QWidget):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.start = make_button(self.tr("Start training"), self.tr("Train with this recipe (F5)"), self)
        self.start.setProperty("primary", True)
        self.start.setShortcut("F5")
        self.pause = QPushButton(self)
        self.pause.setCheckable(True)
        self.stop = make_button(
            self.tr("Stop and save"), self.tr("End now and keep the model as it is; the run can be resumed later"), self
        )
        self.cancel = make_button(
            self.tr("Cancel"),
            self.tr("End now without a finished model; a checkpoint is kept, so the run can be resumed"),
            self,
        )
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(theme.em(self, 0.4))
        grid.addWidget(self.start, 0, 0, 1, 3)
        grid.addWidget(self.pause, 1, 0)
        grid.addWidget(self.stop, 1, 1)
        grid.addWidget(self.cancel, 1, 2)

    def set_state(self, state: str, *, can_start: bool) -> None:
        self.start.setEnabled(state == IDLE and can_start)
        is_paused = state == PAUSED
        self.pause.setEnabled(state in (RUNNING, PAUSED))
        self.pause.blockSignals(True)
        self.pause.setChecked(is_paused)
        self.pause.blockSignals(False)
        self.pause.setText(self.tr("Go on") if is_paused else self.tr("Pause"))
        tip = (
            self.tr("Go on training")
            if is_paused
            else self.tr("Wait after the current step, with everything in memory")
        )
        self.pause.setToolTip(tip)
        self.pause.setAccessibleName(self.pause.text())
        for button in (self.stop, self.cancel):
            button.setEnabled(state in (RUNNING, PAUSED))
