"""Import what loading a model needs, before it is needed."""

from __future__ import annotations

from lmstudio_app.jobs import JobContext
from lmstudio_app.libraries import load_group


def preload_libraries(ctx: JobContext | None = None) -> None:
    """Import torch and what transformers needs to load a model. A second call returns at once.

    Call it from a worker's thread (as a job, when the window is up). Raises :class:`Cancelled` between two imports.
    """
    load_group("models", ctx)
