"""How the building of a knowledge base goes: what is done now, how far it is, how long it takes, and an end to it."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from lmstudio_app.events import Event, Progress, Status
from lmstudio_app.gui import theme
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.text import progress_text, status_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel


class BuildStrip(QWidget):
    """Follows one job; hidden while there is none. What is built when it is stopped stays, and the next one goes on."""

    stop_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._handle: JobHandle | None = None
        self.sentence = ElidedLabel(self)
        self.bar = QProgressBar(self)
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(theme.em(self, 0.6))
        self.bar.setAccessibleName(self.tr("Progress of the building"))
        self.bar.setToolTip(self.tr("How far it is"))
        self.amount = ElidedLabel(self)
        self.amount.setForegroundRole(self.amount.palette().ColorRole.PlaceholderText)
        self.stop_button = make_button(
            self.tr("Stop"), self.tr("Stop building; what is done stays, and “Update” goes on there"), self
        )
        self.stop_button.clicked.connect(self._on_stop)
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.5))
        row.addWidget(self.bar, 1)
        row.addWidget(self.stop_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.25))
        layout.addWidget(self.sentence)
        layout.addLayout(row)
        layout.addWidget(self.amount)  # a line of its own: it is as long as the side is wide
        self.hide()

    def follow(self, handle: JobHandle | None) -> None:
        """None: nothing is built."""
        if handle is self._handle:
            return
        self._handle = handle
        self.setVisible(handle is not None)
        if handle is None:
            return
        self.sentence.setText(handle.title)
        self.amount.clear()
        self.bar.setRange(0, 0)
        self.stop_button.setEnabled(not handle.stopping)
        handle.event.connect(lambda events: self._on_events(handle, events))

    def _on_events(self, handle: JobHandle, events: list[Event]) -> None:
        if handle is not self._handle or handle.stopping:
            return
        last = {type(event): event for event in events if not (isinstance(event, Status) and event.warning)}
        if isinstance(status := last.get(Status), Status):
            self.sentence.setText(status_text(status))
        if isinstance(progress := last.get(Progress), Progress):
            self.amount.setText(progress_text(progress))
            if progress.total:
                self.bar.setRange(0, 1000)
                self.bar.setValue(round(1000 * progress.done / progress.total))

    def _on_stop(self) -> None:
        self.stop_button.setEnabled(False)
        self.sentence.setText(self.tr("Stopping…"))
        self.stop_requested.emit()
