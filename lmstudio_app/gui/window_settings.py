"""Settings that are written beside the window: syncing a file to the disk may take longer than a frame."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QTimer

from lmstudio_app.files import atomic_write_text
from lmstudio_app.gui.job_runner import JobRunner
from lmstudio_app.jobs import JobContext
from lmstudio_app.settings import Settings

DELAY = 400  # milliseconds from the last change to the writing


def _write(task: tuple[Path, str], ctx: JobContext) -> None:
    path, text = task
    atomic_write_text(path, text)


class WindowSettings(Settings):
    """:class:`Settings` whose changes are gathered and written by ``runner``; :meth:`flush` does it at
    once.
    """

    def __init__(self, runner: JobRunner, path: Path | None = None, parent: QObject | None = None) -> None:
        super().__init__(path)
        self._runner = runner
        self._timer = QTimer(parent)
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY)
        self._timer.timeout.connect(self._write_later)

    def save(self) -> None:
        self._timer.start()

    def _write_later(self) -> None:
        if not self._read_only:
            self._runner.start(_write, (self.path, self.as_text()), quiet=True)

    def flush(self) -> None:
        """Write what is not yet written; used when the window closes, after the runner has ended."""
        self._timer.stop()
        super().save()
