"""The knowledge bases of the page: looked at, changed and built beside the window."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from lmstudio_app.errors import UserError
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.kb_queries import Contents, ShelfChange, build, change_shelf, look_at_shelf, look_into
from lmstudio_app.gui.services import Services
from lmstudio_app.knowledge.building import BuildRequest
from lmstudio_app.knowledge.desk import Desk
from lmstudio_app.knowledge.encoder import STARTER_ENCODER

if TYPE_CHECKING:
    from lmstudio_app.knowledge.shelf import ShelfEntry

LOOK_EVERY = 2.0  # seconds, while one is built


class KnowledgeLibrary(QObject):
    """What the page knows of knowledge bases. ``desk`` keeps the one that is asked open."""

    listed = Signal(object)  # list[ShelfEntry]
    looked = Signal(object)  # Contents of the one that is chosen
    changed = Signal(object)  # where one that was made or renamed is; None: one was deleted
    building_changed = Signal()
    built = Signal(object)  # the folder of one that is ready
    refused = Signal(object, object)  # UserError, what was asked for: ShelfChange or BuildRequest

    def __init__(self, services: Services, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self.desk = Desk()
        self.entries: list[ShelfEntry] = []
        self.folder: Path | None = None
        self._builds: dict[Path, JobHandle] = {}
        self._listing: JobHandle | None = None
        self._looking: JobHandle | None = None
        self._last_look = 0.0

    # --- looking

    def refresh(self) -> None:
        """List them again, and look into the one that is chosen."""
        self._listing = handle = self._services.query_runner.start(look_at_shelf, None, quiet=True)
        handle.succeeded.connect(lambda entries: self._on_listed(handle, entries))
        self._look()

    def choose(self, folder: Path) -> None:
        self.folder = folder
        self._look()

    def entry(self, folder: Path | None) -> ShelfEntry | None:
        return next((entry for entry in self.entries if entry.folder == folder), None)

    def _look(self) -> None:
        if self.folder is not None:
            self._last_look = time.monotonic()
            self._looking = handle = self._services.query_runner.start(look_into, self.folder, quiet=True)
            handle.succeeded.connect(lambda contents: self._on_looked(handle, contents))

    def _on_listed(self, handle: JobHandle, entries: list[ShelfEntry]) -> None:
        if handle is self._listing:
            self.entries = entries
            self.listed.emit(entries)

    def _on_looked(self, handle: JobHandle, contents: Contents) -> None:
        if handle is self._looking and contents.folder == self.folder:
            self.looked.emit(contents)

    # --- changing

    def make(self, name: str) -> None:
        self._change(ShelfChange("make", name))

    def rename(self, name: str, new: str) -> None:
        self.desk.close()  # some systems move no folder with an open file
        self._change(ShelfChange("rename", name, new))

    def trash(self, name: str) -> None:
        self.desk.close()
        self._change(ShelfChange("trash", name))

    def _change(self, change: ShelfChange) -> None:
        handle = self._services.query_runner.start(change_shelf, change, quiet=True)
        handle.succeeded.connect(self._on_changed)
        handle.failed.connect(lambda error: self.refused.emit(error, change))

    def _on_changed(self, folder: Path | None) -> None:
        self.changed.emit(folder)
        self.refresh()

    # --- building

    @property
    def building(self) -> set[Path]:
        return set(self._builds)

    def handle_of(self, folder: Path | None) -> JobHandle | None:
        """The job that builds this one, or waits for its turn."""
        return self._builds.get(folder) if folder is not None else None

    def add(self, folder: Path, sources: list[Path]) -> None:
        self._start(BuildRequest(folder, sources=tuple(sources)))

    def remove(self, folder: Path, sources: list[Path]) -> None:
        self._start(BuildRequest(folder, remove=tuple(sources)))

    def update(self, folder: Path) -> None:
        """Build what is still missing or has changed; the handbook too."""
        self._start(BuildRequest(folder))

    def rebuild(self, folder: Path) -> None:
        """With the starter encoder."""
        self._start(BuildRequest(folder, encoder=STARTER_ENCODER))

    def stop(self, folder: Path | None) -> None:
        """What is built stays."""
        if (handle := self.handle_of(folder)) is not None:
            handle.cancel()

    def shutdown(self) -> None:
        self._listing = self._looking = None
        for handle in list(self._builds.values()):
            handle.cancel()
        self._builds = {}
        self.desk.close()

    def _start(self, request: BuildRequest) -> None:
        if request.folder in self._builds:
            return
        title = self.tr("Building {name}").format(name=request.folder.name)
        handle = self._services.batch_runner.start(build, request, title=title, quiet=True)
        self._builds[request.folder] = handle
        handle.event.connect(lambda _: self._on_progress(request.folder))
        handle.succeeded.connect(lambda _: self.built.emit(request.folder))
        handle.failed.connect(lambda error: self._on_failed(error, request))
        handle.finished.connect(lambda: self._on_finished(request.folder, handle))
        self.building_changed.emit()

    def _on_progress(self, folder: Path) -> None:
        if folder == self.folder and time.monotonic() - self._last_look > LOOK_EVERY:
            self._look()

    def _on_failed(self, error: UserError, request: BuildRequest) -> None:
        if request.folder in self._builds:
            self.refused.emit(error, request)

    def _on_finished(self, folder: Path, handle: JobHandle) -> None:
        if self._builds.get(folder) is handle:
            del self._builds[folder]
            self.building_changed.emit()
            self.refresh()
