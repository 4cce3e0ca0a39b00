"""Changes of the whole process that jobs in several threads make for a while."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable


class SharedChange:
    """A change that many threads may want at once: the first one in makes it, the last one out takes it back.

    ``make(undo)`` makes the change and registers on ``undo`` what takes it back. Use it as ``with change:``.
    """

    def __init__(self, make: Callable[[contextlib.ExitStack], None]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._undo = contextlib.ExitStack()
        self._inside = 0

    @property
    def active(self) -> bool:
        """Is anybody inside?"""
        return self._inside > 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                with contextlib.ExitStack() as undo:
                    self._make(undo)
                    self._undo = undo.pop_all()
            self._inside += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._undo.close()


def _stop_collecting(undo: contextlib.ExitStack) -> None:
    if gc.isenabled():
        undo.callback(gc.enable)
    gc.disable()


no_garbage_collection = SharedChange(_stop_collecting)
