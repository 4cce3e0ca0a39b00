"""Importing the heavy libraries beside a window that stays alive."""

from __future__ import annotations

from lmstudio_app.jobs import JobContext


def load_libraries(_: None, ctx: JobContext) -> None:
    import torch  # noqa: F401

    ctx.check()
    import transformers  # noqa: F401
