"""What the replay of a training asks of the run folders, as jobs: runs with recordings, frames, and figures of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmstudio_app.events import Event
    from lmstudio_app.gui.curves import RunCurves
    from lmstudio_app.training.frames import Frame, FrameFile
    from lmstudio_app.training.runs import RunSummary

THUMBNAIL = 48  # cells along a thumbnail's longer side, at most
_TURN = 0.3  # seconds after which a job makes room for other questions


@dataclass(frozen=True)
class Replay:
    """A run, and how many frames it has so far; ``text`` is the watched sentence, empty when there is none."""

    run: RunSummary
    frames: int
    text: str


@dataclass(frozen=True)
class ReplaysFound:
    """Those with frames first, then the newest first; ``chosen`` is the one that was asked for by its folder."""

    replays: tuple[Replay, ...]
    chosen: Replay | None = None


def find_replays(folder: Path | None, ctx: JobContext) -> ReplaysFound:
    """The runs of the app's folder, and the one in ``folder`` wherever it is."""
    from lmstudio_app.training.summaries import list_runs, summarize_run

    runs = list_runs(ctx=ctx)
    folder = folder.resolve() if folder is not None else None
    if folder is not None and all(run.folder.resolve() != folder for run in runs):
        runs.insert(0, summarize_run(folder))
    found = []
    for run in runs:
        ctx.check()
        found.append(_replay(run))
    ordered = tuple(sorted(found, key=lambda replay: not replay.frames))  # the order of time stays within both
    chosen = next((replay for replay in ordered if folder is not None and replay.run.folder.resolve() == folder), None)
    return ReplaysFound(ordered, chosen)


def _replay(run: RunSummary) -> Replay:
    from lmstudio_app.training.frames import read_frames
    from lmstudio_app.training.summaries import read_recipe

    probe = read_recipe(run.folder).get("probe")
    text = str(probe.get("text") or "") if isinstance(probe, Mapping) else ""
    return Replay(run, len(read_frames(run.folder)), text)


@dataclass(frozen=True, eq=False)
class Figures:
    """Of one frame, float ``[layers, heads]`` each, NaN where there is no such head.

    ``entropy`` in bits (:func:`lmstudio_app.training.frames.mean_entropy`); ``largest`` weight; ``moved``: the share
    of its attention that a head has given to other tokens than at the first frame, in the mean over its queries;
    ``largest_change`` of a weight since then, without its sign.
    """

    entropy: npt.NDArray[np.float64]
    largest: npt.NDArray[np.float64]
    moved: npt.NDArray[np.float64]
    largest_change: npt.NDArray[np.float64]


def figures_of(frame: Frame, first: Frame) -> Figures:
    import numpy as np

    from lmstudio_app.training.frames import mean_entropy

    weights = frame.weights
    is_same = first.weights.shape == weights.shape  # or else of another sentence, in a folder that was used twice
    change = np.abs(weights - first.weights) if is_same else np.zeros_like(weights)
    # the distance of two distributions in total variation: half the sum of the differences
    moved = 0.5 * change.sum(axis=-1, dtype=np.float64).mean(axis=-1)
    axes = (-2, -1)
    return Figures(
        mean_entropy(weights),
        weights.max(axis=axes).astype(np.float64),
        moved,
        change.max(axis=axes).astype(np.float64),
    )


@dataclass(frozen=True, eq=False)
class News:
    """What has come of a run since the last time.

    ``curves`` are given the first time, ``events`` belong into them later. ``files`` are all frames, ``figures`` those
    of some that had none yet, by file; ``is_complete``: of all. ``is_running``: more may come.
    """

    files: tuple[FrameFile, ...]
    figures: Mapping[FrameFile, Figures]
    curves: RunCurves | None
    events: list[Event]
    is_running: bool
    is_complete: bool


class ReplayReader:
    """The job, called again and again while a run is shown: reads only what is new. For one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offset: int | None = None
        self._known: set[FrameFile] = set()
        self._first: tuple[FrameFile, Frame] | None = None

    def __call__(self, _: None, ctx: JobContext) -> News:
        """Raises :class:`UserError` when the run has been deleted, or its first frame is damaged."""
        from lmstudio_app.gui.run_queries import open_curves, read_more
        from lmstudio_app.training.claims import is_running
        from lmstudio_app.training.frames import read_frames
        from lmstudio_app.training.summaries import require_run

        alive = is_running(require_run(self._folder))  # before reading: what it wrote last is read in any case
        curves, events = None, []
        if self._offset is None:
            curves, self._offset = open_curves(self._folder, ctx)
        else:
            events, self._offset = read_more((self._folder, self._offset), ctx)
        files = read_frames(self._folder)
        figures, is_complete = self._figures(files, ctx)
        return News(files, figures, curves, events, alive, is_complete)

    def _figures(self, files: tuple[FrameFile, ...], ctx: JobContext) -> tuple[dict[FrameFile, Figures], bool]:
        from lmstudio_app.training.frames import load_frame

        if not files:
            return {}, True
        if self._first is None or self._first[0] != files[0]:
            self._first = files[0], load_frame(files[0])
            self._known.clear()
        found: dict[FrameFile, Figures] = {}
        until = time.monotonic() + _TURN
        for file in files:
            if file in self._known:
                continue
            if found and time.monotonic() > until:
                return found, False
            ctx.check()
            self._known.add(file)  # a damaged one is not tried again and again
            try:
                found[file] = figures_of(load_frame(file), self._first[1])
            except UserError:
                continue  # told when somebody looks at it
        return found, True


@dataclass(frozen=True, eq=False)
class ShownFrame:
    """A frame, and float32 ``[layers, heads, rows, columns]`` thumbnails: of its weights, and of their ``changes``.

    ``change`` are the weights minus those of the first frame; None where they cannot be compared.
    """

    file: FrameFile
    frame: Frame
    change: npt.NDArray[np.float32] | None
    thumbnails: npt.NDArray[np.float32]
    changes: npt.NDArray[np.float32] | None


class FrameReader:
    """The job: read a frame to be shown. It keeps the first one, from which changes are counted. For one thread."""

    def __init__(self) -> None:
        self._first: tuple[FrameFile, Frame] | None = None

    def __call__(self, request: tuple[FrameFile, FrameFile], ctx: JobContext) -> ShownFrame:
        """``request``: the file, and that of the first frame. Raises :class:`UserError` when one cannot be read."""
        from lmstudio_app.training.frames import load_frame

        file, first_file = request
        if self._first is None or self._first[0] != first_file:
            self._first = first_file, load_frame(first_file)
        ctx.check()
        first = self._first[1]
        frame = first if file == first_file else load_frame(file)
        is_same = frame.keys.tokens == first.keys.tokens and frame.weights.shape == first.weights.shape
        change = frame.weights - first.weights if is_same else None
        changes = pool_thumbnails(change) if change is not None else None
        return ShownFrame(file, frame, change, pool_thumbnails(frame.weights), changes)


def pool_thumbnails(values: npt.NDArray[np.float32], size: int = THUMBNAIL) -> npt.NDArray[np.float32]:
    """``[…, rows, columns]`` of at most ``size``: of every patch the value that is farthest from 0, with its sign."""
    import numpy as np

    pooled: Any = np.nan_to_num(values)
    scale = min(1.0, size / max(pooled.shape[-2:]))
    if scale == 1.0:
        return np.asarray(pooled, np.float32)
    for axis in (-2, -1):
        length = pooled.shape[axis]
        count = max(1, round(length * scale))
        starts = np.arange(count) * length // count
        high = np.maximum.reduceat(pooled, starts, axis=axis)
        low = np.minimum.reduceat(pooled, starts, axis=axis)
        pooled = np.where(high >= -low, high, low)
    return np.asarray(pooled, np.float32)
