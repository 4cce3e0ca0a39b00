"""The window's downloads: one at a time, in the order in which they were asked for, beside everything else.

What came of one that was paused, that failed, or that a closed window or a kill has ended stays on the disk and is
offered again: pausing closes the connection, and going on asks the hub for the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Progress, Status
from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.jobs import JobContext

WAITING, RUNNING, PAUSED, FAILED, DONE = "waiting", "running", "paused", "failed", "done"
STARTER_PACK = "starter"  # the reference under which all starter models come as one


@dataclass(frozen=True)
class _Order:
    reference: str
    weights: tuple[str, ...]


def _bring(order: _Order, ctx: JobContext) -> list[Path]:
    """The folders of what was asked for (a job)."""
    from lmstudio_app.models.sources import FetchRequest, fetch_model  # not on the way to the first window
    from lmstudio_app.models.starter_pack import fetch_pack

    if order.reference == STARTER_PACK:
        return fetch_pack(None, ctx)
    return [fetch_model(FetchRequest(order.reference, weights=order.weights), ctx)]


def _find_begun(_: None, ctx: JobContext) -> list[Any]:
    from lmstudio_app.models.begun import list_begun

    return list_begun()


def _discard(references: tuple[str, ...], ctx: JobContext) -> int:
    from lmstudio_app.models.local_models import discard_begun

    return sum(discard_begun(reference, ctx) for reference in references)


@dataclass
class Download:
    """One line of the list. ``checked``: the files have the checksums that the hub states."""

    reference: str
    title: str
    weights: tuple[str, ...] = ()
    state: str = WAITING
    status: Status | None = None
    progress: Progress | None = None
    error: UserError | None = None
    checked: bool = False

    @property
    def is_going_on(self) -> bool:
        return self.state in (WAITING, RUNNING)


class DownloadManager(QObject):
    """Knows its downloads by their references. Shut its ``runner`` down as the others; what came is kept."""

    added = Signal(str)
    changed = Signal(str)
    removed = Signal(str)
    succeeded = Signal(str)
    failed = Signal(str, object)  # UserError
    discarded = Signal()  # parts were deleted: there is more room on the disk

    def __init__(self, runner: JobRunner, query_runner: JobRunner, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.runner = runner
        self._query_runner = query_runner
        self._downloads: dict[str, Download] = {}
        self._handles: dict[str, JobHandle] = {}
        self._cancelling: set[str] = set()

    # --- what is there

    @property
    def downloads(self) -> list[Download]:
        return list(self._downloads.values())

    def find(self, reference: str) -> Download | None:
        return self._downloads.get(reference)

    @property
    def busy(self) -> bool:
        """Does any go on, or wait for its turn?"""
        return any(download.is_going_on for download in self._downloads.values())

    # --- what can be done

    def add(self, reference: str, weights: Sequence[str] = (), title: str = "") -> Download:
        """Bring a model here. One that is in the list already goes on as it was begun, unless other ``weights`` are
        asked for.
        """
        known = self._downloads.get(reference)
        if known is not None and known.is_going_on:
            return known
        if known is not None and (known.state == DONE or (weights and tuple(weights) != known.weights)):
            self._remove(reference)
            known = None
        if known is None:
            known = self._put(Download(reference, title or reference.split("/")[-1], tuple(weights)))
        self._start(known)
        return known

    def add_starters(self) -> Download:
        """Bring every starter model that is missing, with one progress."""
        return self.add(STARTER_PACK, title=self.tr("Starter models"))

    def pause(self, reference: str) -> None:
        """Hang up and keep what came. The next one of the list begins."""
        handle = self._handles.get(reference)
        if handle is not None:
            handle.cancel()

    def resume(self, reference: str) -> None:
        """Go on where it ended; also what failed, or was begun by an earlier window."""
        download = self._downloads[reference]
        if download.state in (PAUSED, FAILED):
            self._start(download)

    def cancel(self, reference: str) -> None:
        """End it, and delete what came."""
        handle = self._handles.get(reference)
        self._cancelling.add(reference)
        if handle is not None:
            handle.cancel()
        else:
            self._throw_away(reference)

    def dismiss(self, reference: str) -> None:
        """Take one that is done off the list."""
        if self._downloads[reference].state == DONE:
            self._remove(reference)

    def offer_begun(self) -> JobHandle:
        """Look for what earlier windows and commands have begun, and list it as paused."""
        handle = self._query_runner.start(_find_begun, None, quiet=True)
        handle.succeeded.connect(self._on_begun)
        return handle

    # --- how they go

    def _put(self, download: Download) -> Download:
        self._downloads[download.reference] = download
        self.added.emit(download.reference)
        return download

    def _remove(self, reference: str) -> None:
        del self._downloads[reference]
        self.removed.emit(reference)

    def _start(self, download: Download) -> None:
        reference = download.reference
        download.state, download.error, download.status, download.checked = WAITING, None, None, False
        title = self.tr("Downloading {name}").format(name=download.title)
        order = _Order(reference, download.weights)
        self._handles[reference] = handle = self.runner.start(_bring, order, title=title)
        handle.started.connect(lambda: self._set_state(download, RUNNING))
        handle.event.connect(lambda events: self._on_events(download, events))
        handle.succeeded.connect(lambda _: self._on_succeeded(download))
        handle.failed.connect(lambda error: self._on_failed(download, error))
        handle.cancelled.connect(lambda: self._set_state(download, PAUSED))
        handle.finished.connect(lambda: self._on_finished(reference))
        if self.runner.current is handle:  # it began before it could be listened to
            download.state = RUNNING
        self.changed.emit(reference)

    def _set_state(self, download: Download, state: str) -> None:
        download.state = state
        self.changed.emit(download.reference)

    def _on_events(self, download: Download, events: list[Event]) -> None:
        from lmstudio_app.models.hub import CHECKED

        for event in events:
            if isinstance(event, Status):
                download.status = event
                download.checked |= event.template == CHECKED
            elif isinstance(event, Progress):
                download.progress = event if event.unit == "B" else download.progress
        self.changed.emit(download.reference)

    def _on_succeeded(self, download: Download) -> None:
        self._set_state(download, DONE)
        self.succeeded.emit(download.reference)

    def _on_failed(self, download: Download, error: UserError) -> None:
        download.error = error
        self._set_state(download, FAILED)
        self.failed.emit(download.reference, error)

    def _on_finished(self, reference: str) -> None:
        self._handles.pop(reference, None)
        if reference in self._cancelling:
            self._throw_away(reference)

    def _throw_away(self, reference: str) -> None:
        self._cancelling.discard(reference)
        download = self._downloads[reference]
        if download.state == DONE:  # it was quicker than the cancel
            return
        self._remove(reference)
        from lmstudio_app.models.catalog import load_catalog

        names = tuple(load_catalog()) if reference == STARTER_PACK else (reference,)
        if not self._query_runner.closed:
            handle = self._query_runner.start(_discard, names, title=self.tr("Deleting what came"))
            handle.finished.connect(self.discarded)

    def _on_begun(self, found: list[Any]) -> None:
        packed = STARTER_PACK in self._downloads
        for begun in found:
            if begun.reference in self._downloads or (packed and begun.reference.startswith(f"{STARTER_PACK}:")):
                continue
            progress = Progress(done=begun.size, total=begun.total or None, unit="B")
            title = begun.reference.split("/")[-1]
            self._put(Download(begun.reference, title, begun.weights, PAUSED, progress=progress))
