"""What runs now, in the status bar: a sentence, a progress bar, and a way to stop it."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QSizePolicy, QToolButton, QWidget

from lmstudio_app.events import Event, Progress, Status, StepLogged
from lmstudio_app.gui import theme
from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.gui.text import duration_text, progress_text, status_text
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.value_label import ValueLabel


class JobStrip(QWidget):
    """Follows one runner; hidden while it has nothing to do."""

    def __init__(self, runner: JobRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._handle: JobHandle | None = None
        self._sentence = ElidedLabel(self)
        self._sentence.setMinimumWidth(theme.characters(self, 24))
        self._bar = QProgressBar(self)
        self._bar.setAccessibleName(self.tr("Progress"))
        self._bar.setToolTip(self.tr("How far the running job is"))
        self._bar.setTextVisible(False)
        self._bar.setFixedSize(theme.characters(self, 20), theme.em(self, 0.6))
        self._amount = ValueLabel(30, self)
        self._amount.setAccessibleName(self.tr("Amount done"))
        self._cancel = QToolButton(self)
        self._name_cancel(outlives=False)
        self._cancel.clicked.connect(self._on_cancel)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._sentence, 1)
        layout.addWidget(self._bar, 0, Qt.AlignmentFlag.AlignVCenter)
        layout.addWidget(self._amount)
        layout.addWidget(self._cancel)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.hide()
        runner.job_started.connect(self._on_started)
        runner.job_finished.connect(self._on_finished)

    def _name_cancel(self, *, outlives: bool) -> None:
        """What the button does: end the job, or only follow it no longer."""
        if outlives:
            text, tip = self.tr("Stop watching"), self.tr("The training itself goes on, in a process of its own.")
        else:
            text, tip = self.tr("Cancel"), self.tr("Stop this job. A training can be resumed later.")
        self._cancel.setText(text)
        self._cancel.setAccessibleName(text if outlives else self.tr("Cancel the running job"))
        self._cancel.setToolTip(tip)

    def _on_started(self, handle: JobHandle) -> None:
        self._handle = handle
        self._name_cancel(outlives=handle.outlives_window)
        handle.event.connect(self._on_events)
        handle.paused_changed.connect(self._on_paused)
        self._sentence.setText(handle.title)
        self._amount.set_text("")
        self._bar.setRange(0, 0)
        self._cancel.setEnabled(True)
        if not handle.quiet:
            self.show()

    def _on_finished(self, handle: JobHandle) -> None:
        if handle is self._handle:
            self._handle = None
            self.hide()

    def _on_events(self, events: list[Event]) -> None:
        """Only the last of each kind can be seen, so only that one is shown."""
        if self._handle is not None and self._handle.outlives_window:
            self._name_cancel(outlives=True)
        last = {type(event): event for event in events}
        spoken = [e for e in events if isinstance(e, StepLogged) or (isinstance(e, Status) and not e.warning)]
        if spoken and isinstance(spoken[-1], Status):
            self._sentence.setText(status_text(spoken[-1]))
        elif spoken and self._handle is not None and not self._handle.stopping:
            self._sentence.setText(self._handle.title)  # "Evaluating" is over when the next step is done
        if isinstance(progress := last.get(Progress), Progress):
            self._amount.set_text(progress_text(progress))
            if progress.total:
                self._bar.setRange(0, 1000)
                self._bar.setValue(round(1000 * progress.done / progress.total))
            else:
                self._bar.setRange(0, 0)
        if isinstance(step := last.get(StepLogged), StepLogged):
            self._bar.setRange(0, max(1, step.total_steps))
            self._bar.setValue(step.step)
            self._amount.set_text(
                self.tr("{time} left").format(time=duration_text(step.eta)) if step.eta is not None else ""
            )

    def _on_paused(self, paused: bool) -> None:
        if paused:
            self._amount.set_text(self.tr("paused"))

    def _on_cancel(self) -> None:
        if self._handle is not None:
            self._cancel.setEnabled(False)
            self._sentence.setText(self.tr("Stopping…"))
            self._handle.cancel()
