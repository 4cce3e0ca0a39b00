"""What every tab is given: preferences, the models in memory, and the runners that do its work."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject

from lmstudio_app.gui.downloads import DownloadManager
from lmstudio_app.gui.job_runner import JobRunner
from lmstudio_app.gui.model_shelf import ModelShelf
from lmstudio_app.settings import Settings


@dataclass(frozen=True)
class Services:
    """``model_runner`` fetches, loads and reads data; ``training_runner`` trains; ``query_runner`` answers
    quickly (lists, looks), so that no answer waits behind a download or a training. ``answer_runner`` writes
    what pages ask a model for, ``batch_runner`` takes whole files through one, and ``shelf`` has the models of these
    pages. ``inspection_runner`` looks inside models. ``hub_runner`` asks the hub, which may be slow, and ``downloads``
    brings what was found there.
    """

    settings: Settings
    model_runner: JobRunner
    training_runner: JobRunner
    query_runner: JobRunner
    answer_runner: JobRunner
    batch_runner: JobRunner
    inspection_runner: JobRunner
    shelf: ModelShelf
    hub_runner: JobRunner
    downloads: DownloadManager

    def runners(self) -> tuple[JobRunner, ...]:
        return (
            self.model_runner,
            self.training_runner,
            self.query_runner,
            self.answer_runner,
            self.batch_runner,
            self.inspection_runner,
            self.shelf.runner,
            self.hub_runner,
            self.downloads.runner,
        )


def make_services(settings: Settings, parent: QObject | None = None) -> Services:
    """The services of one window; whoever makes them shuts their runners down."""
    names = ("model", "training", "query", "answer", "batch", "inspection")
    model, training, query, answer, batch, inspection = (JobRunner(parent, name) for name in names)
    shelf = ModelShelf(JobRunner(parent, "shelf"), parent)
    downloads = DownloadManager(JobRunner(parent, "download"), query, parent)
    hub = JobRunner(parent, "hub")
    return Services(settings, model, training, query, answer, batch, inspection, shelf, hub, downloads)
