"""Import the heavy libraries before they are needed, without holding up the window's event loop.

Two things freeze a window for 100 to 200 ms while another thread imports torch: the dynamic linker, which Python runs
with its lock held, and full garbage collections, of which imports that make a million objects cause several.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from lmstudio_app.jobs import JobContext

_MODULES = (
    "numpy",
    "torch",
    "transformers",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
)
_lock = threading.Lock()
_done = False


def preload_libraries(ctx: JobContext | None = None) -> None:
    """Import torch and what transformers needs to load a model. A second call returns at once.

    Call it from a worker thread (as a job, when the window is up). Raises :class:`Cancelled` between two imports.
    """
    global _done
    if _done:
        return
    with _lock, _no_collections():
        _link_torch()
        for name in _MODULES:
            if ctx is not None:
                ctx.check()
            importlib.import_module(name)
        if not _done:
            gc.freeze()  # modules live as long as the process; no later collection needs to walk them
            _done = True


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _link_torch() -> None:
    """Let the dynamic linker load torch's libraries while Python's lock is free; the import then finds them loaded.

    Only on Linux: elsewhere the linker is quick, or (on Windows) needs the search path that torch sets up itself.
    """
    spec = importlib.util.find_spec("torch") if sys.platform.startswith("linux") else None
    if spec is None or spec.origin is None or "torch" in sys.modules:
        return
    # ctypes.CDLL holds the lock while it loads; a call of the C function through ctypes does not
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype = ctypes.c_void_p
    dlopen.argtypes = (ctypes.c_char_p, ctypes.c_int)
    folder = Path(spec.origin).parent / "lib"
    # the same order and flags as torch/__init__.py; where one fails, the import loads it and reports the reason
    for name, scope in (("libtorch_global_deps.so", os.RTLD_GLOBAL), ("libtorch_python.so", os.RTLD_LOCAL)):
        if (folder / name).is_file():
            dlopen(os.fsencode(folder / name), os.RTLD_NOW | scope)
