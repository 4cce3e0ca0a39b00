"""Importing pyqtgraph, which takes longer than a frame, beside the window."""

from __future__ import annotations

import sys

from lmstudio_app.jobs import JobContext
from lmstudio_app.libraries import load_modules


def import_pyqtgraph(_: None, ctx: JobContext) -> None:
    """The job. It defines classes and makes no Qt object, so it may run in any thread."""
    load_modules(("numpy", "pyqtgraph"), ctx)


def is_pyqtgraph_imported() -> bool:
    """True once the import is complete, not merely begun."""
    module = sys.modules.get("pyqtgraph")
    return module is not None and not getattr(module.__spec__, "_initializing", False)
