"""Import the heavy libraries before they are needed, without holding up the window's event loop."""

from __future__ import annotations

from lmstudio_app.jobs import JobContext


def preload_libraries(ctx: JobContext | None = None) -> None:
    """Import torch and transformers' loading machinery; a second call costs nothing."""
    import torch  # noqa: F401

    if ctx is not None:
        ctx.check()
    import transformers  # noqa: F401
