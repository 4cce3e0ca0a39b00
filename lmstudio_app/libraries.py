"""Importing the heavy libraries beside a window that stays alive.

Two things freeze a window for 100 to 200 ms while another thread imports torch. The dynamic linker maps and relocates
hundreds of megabytes while Python's lock is held: here it is called through its C interface first, with the lock
free, so that the import finds everything loaded. And imports make half a million objects, through which the garbage
collector walks again and again: here it is off meanwhile, and never looks at those objects afterwards.
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
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmstudio_app.jobs import JobContext
from lmstudio_app.process import SharedChange, no_garbage_collection

SWITCH_INTERVAL = 0.001  # seconds after which an importing thread must offer Python's lock to the window's

# Each module needs little beyond those before it, so no single import brings very much along.
MODULES = {
    "models": (
        "numpy",
        "torch",
        "transformers",
        "transformers.modeling_utils",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
    ),
    "data": ("pyarrow", "pyarrow.compute", "pyarrow.parquet", "datasets"),
    "training": ("transformers.models.bert.modeling_bert", "accelerate"),
}

# (package, its folder, library, for everyone?): the order and the flags of torch/__init__.py.
_LINKED = {
    "models": (
        ("torch", "lib", "libtorch_global_deps.so", True),
        ("torch", "lib", "libtorch_python.so", False),
    ),
    "data": (("pyarrow", ".", "libarrow_python.so*", False),),
}

_lock = threading.Lock()
_loaded: set[str] = set()


def load_group(name: str, ctx: JobContext | None = None) -> None:
    """Import a group of :data:`MODULES`; a second call returns at once, a parallel one waits for the first.

    Call it from a worker's thread. Raises :class:`Cancelled` between two imports.
    """
    if name in _loaded:
        return
    while not _lock.acquire(timeout=0.05):
        if ctx is not None:
            ctx.check()
    try:
        with patience():
            for package, folder, library, for_everyone in _LINKED.get(name, ()):
                _link(package, folder, library, for_everyone=for_everyone)
            for module in MODULES[name] if name not in _loaded else ():
                if ctx is not None:
                    ctx.check()
                importlib.import_module(module)
        _loaded.add(name)
    finally:
        _lock.release()


def is_loaded(name: str) -> bool:
    """Were all modules of a group imported by :func:`load_group`?"""
    return name in _loaded


def load_modules(names: Sequence[str], ctx: JobContext) -> None:
    """The job: import modules that are not imported yet, in their order, with short pauses only."""
    with patience():
        for name in names:
            ctx.check()
            importlib.import_module(name)


def load_libraries(_: None, ctx: JobContext) -> None:
    """The job: everything that models, data and training need."""
    for name in MODULES:
        load_group(name, ctx)


def is_importing() -> bool:
    """True while somebody is inside :func:`patience`: no time for a garbage collection."""
    return _often_offered.active


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """Offer Python's lock often and collect no garbage; afterwards all that there is counts as permanent."""
    with _often_offered, no_garbage_collection:
        yield
        gc.freeze()


def _offer_often(undo: contextlib.ExitStack) -> None:
    undo.callback(sys.setswitchinterval, sys.getswitchinterval())
    sys.setswitchinterval(SWITCH_INTERVAL)


_often_offered = SharedChange(_offer_often)


def _link(package: str, folder: str, pattern: str, *, for_everyone: bool) -> None:
    """``dlopen`` by way of ctypes, which frees Python's lock during the call, as ``ctypes.CDLL`` does not.

    Only on Linux: elsewhere the linker is quick, or (on Windows) needs the search path that torch sets up itself.
    A library that does not load so is left to the import, whose message is the better one.
    """
    spec = importlib.util.find_spec(package) if sys.platform.startswith("linux") else None
    if spec is None or spec.origin is None or package in sys.modules:
        return
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    for path in sorted((Path(spec.origin).parent / folder).glob(pattern)):
        dlopen(os.fsencode(path), os.RTLD_NOW | (os.RTLD_GLOBAL if for_everyone else os.RTLD_LOCAL))
