"""What every tab is given: preferences, and the runners that do its work."""

from __future__ import annotations

from dataclasses import dataclass

from lmstudio_app.gui.job_runner import JobRunner
from lmstudio_app.settings import Settings


@dataclass(frozen=True)
class Services:
    """``model_runner`` fetches, loads and reads data; ``training_runner`` trains; ``query_runner`` answers
    quickly (predictions, attention), so that no answer waits behind a download or a training.
    """

    settings: Settings
    model_runner: JobRunner
    training_runner: JobRunner
    query_runner: JobRunner

    def runners(self) -> tuple[JobRunner, JobRunner, JobRunner]:
        return self.model_runner, self.training_runner, self.query_runner
