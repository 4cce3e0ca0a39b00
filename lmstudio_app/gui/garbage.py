"""Python's cyclic garbage collection, in the window's thread and in small helpings.

Left alone, the collector runs in whichever thread allocates, so a training's thread may destroy widgets (a
crash), and a collection of the oldest generation walks through the half a million objects that torch and
transformers create when they are imported (a stall of more than 100 ms). Here it is switched off and driven
by a timer; :func:`lmstudio_app.libraries.load_libraries` freezes what the imports made.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

from lmstudio_app.libraries import is_importing

INTERVAL = 500  # milliseconds
YOUNG = 1500  # new objects before a collection of generation 0
OLD_EVERY = 40  # collections of generation 1 before one of everything


class GarbageCollector(QObject):
    """Collects while it lives; :meth:`stop` hands the work back to Python."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        gc.disable()
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL)
        self._timer.timeout.connect(self._collect)
        self._timer.start()

    def stop(self) -> None:
        self._timer.stop()
        gc.enable()

    def _collect(self) -> None:
        if is_importing():  # soon all of that is frozen
            return
        youngest, middle, oldest = gc.get_count()
        if oldest >= OLD_EVERY:
            gc.collect(2)
        elif middle >= 10:
            gc.collect(1)
        elif youngest >= YOUNG:
            gc.collect(0)
