"""The models in memory that pages share: each is loaded once, and the one used longest ago makes room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

MEMORY_SHARE = 0.4  # of the machine's memory, for the weights of all models on the shelf


@dataclass(frozen=True, eq=False)
class _Wish:
    reference: str
    head: str
    shelf: ModelShelf


class ModelShelf(QObject):
    """``let_go`` tells of a model that others have pushed off: whoever still has it should forget it, too.

    A model is known by its reference and the head it was loaded with.
    """

    let_go = Signal(object)  # LoadedModel

    def __init__(self, runner: JobRunner, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.runner = runner
        self._models: OrderedDict[tuple[str, str], LoadedModel] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, reference: str, head: str = "auto") -> JobHandle:
        """A job that succeeds with the ``LoadedModel``; one that is in memory comes without being loaded again."""
        return self.runner.start(_take, _Wish(reference, head, self), quiet=True)

    def put(self, loaded: LoadedModel) -> None:
        """Share a model that was loaded elsewhere."""
        self._keep((loaded.reference, loaded.head), loaded)
        self._keep((loaded.reference, "auto"), loaded)

    def clear(self) -> None:
        with self._lock:
            self._models.clear()

    def _find(self, key: tuple[str, str]) -> LoadedModel | None:
        with self._lock:
            found = self._models.get(key)
            if found is not None and not found.folder.is_dir():  # deleted meanwhile
                del self._models[key]
                return None
            if found is not None:
                self._models.move_to_end(key)
            return found

    def _keep(self, key: tuple[str, str], loaded: LoadedModel) -> None:
        import psutil

        pushed: list[LoadedModel] = []
        with self._lock:
            before = self._models.pop(key, None)
            self._models[key] = loaded
            room = MEMORY_SHARE * psutil.virtual_memory().total
            while _weight(self._models.values()) > room:
                oldest = next((item for item in self._models.values() if item is not loaded), None)
                if oldest is None:
                    break
                pushed.append(oldest)
                for known in [known for known, item in self._models.items() if item is oldest]:
                    del self._models[known]
            kept = {id(item) for item in self._models.values()}
        if before is not None and id(before) not in kept and before not in pushed:
            pushed.append(before)
        for item in pushed:
            self.let_go.emit(item)


def _weight(models: object) -> int:
    """Bytes of the weights of different models."""
    distinct = {id(loaded): loaded for loaded in models}  # type: ignore[attr-defined]
    return sum(loaded.card.parameters * loaded.dtype.itemsize for loaded in distinct.values())


def _take(wish: _Wish, ctx: JobContext) -> LoadedModel:
    from lmstudio_app.models.loading import LoadRequest, load_model

    key = (wish.reference, wish.head)
    found = wish.shelf._find(key)
    if found is None:
        found = load_model(LoadRequest(wish.reference, wish.head), ctx)
        wish.shelf._keep(key, found)
    return found
