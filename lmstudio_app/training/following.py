"""Following a run that another process writes: its events, as they come, to its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Event, Failed, Finished
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.training.claims import is_running
from lmstudio_app.training.control import POLL, read_live, send_command
from lmstudio_app.training.event_file import EventTail, last_event
from lmstudio_app.training.summaries import require_run


@dataclass(frozen=True)
class FollowRequest:
    """Follow the run in ``folder`` from a byte of its event file on (see :class:`EventTail`); 0: from its beginning."""

    folder: Path
    start_offset: int = 0


@dataclass(frozen=True)
class FollowResult:
    """``state`` is ``finished``, ``stopped`` or, without a model, ``interrupted``: cancelled by somebody, resumable."""

    run_folder: Path
    model_folder: Path | None
    state: str
    metrics: dict[str, float] = field(default_factory=dict)


def follow_run(request: FollowRequest, ctx: JobContext) -> FollowResult:
    """The job: emit the run's events until it ends. A run that has ended already is told to its end at once.

    ``cancel`` only lets go of the run: it raises :class:`Cancelled`, and the training goes on. ``pause``, ``resume``
    and ``stop`` are passed on to the training. Raises :class:`UserError` when the run fails, or when its process
    vanishes without a word.
    """
    folder = require_run(request.folder)
    tail = EventTail(folder, request.start_offset)
    ending = follow(folder, tail, ctx)
    if ending is None and tail.offset == request.start_offset:  # nothing new: it had ended before
        ending = last_event(folder)
    return outcome(folder, ending)


def follow(folder: Path, tail: EventTail, ctx: JobContext) -> Event | None:
    """Emit what ``tail`` reads while the run's process lives. Returns its last word; None when there was none."""
    ending: Event | None = None
    relay = _Relay(folder, ctx.control)
    latest = 0.0
    while True:
        alive = is_running(folder)  # before reading: what it wrote last is read in any case
        while events := tail.read():
            for event in events:
                _require_interest(ctx.control)
                ctx.emit(event)
                latest = max(latest, event.time)
            ending = events[-1] if isinstance(events[-1], Finished | Failed) else None
        if not alive:
            return ending
        live = read_live(folder)
        if live.progress is not None and live.progress.time > latest:
            latest = live.progress.time
            ctx.emit(live.progress)
        relay.pass_on(live.paused)
        wait(ctx.control, POLL)


def wait(control: Control, seconds: float) -> None:
    """Sleep, and raise :class:`Cancelled` soon after a cancel. A pause is the training's, not the follower's."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        _require_interest(control)
        time.sleep(min(left, 0.05))


def _require_interest(control: Control) -> None:
    if control.cancelled:
        raise Cancelled


class _Relay:
    """Keeps the switches of the follower and those of the training alike."""

    def __init__(self, folder: Path, control: Control) -> None:
        self._folder = folder
        self._control = control
        self._paused_there = False
        self._sent_paused = False
        self._sent_stop = False

    def pass_on(self, paused_there: bool) -> None:
        """``paused_there``: what the training itself says."""
        if paused_there != self._paused_there:
            self._paused_there = paused_there
            if paused_there != self._sent_paused:  # not what was asked for here: somebody else did
                (self._control.pause if paused_there else self._control.resume)()
                self._sent_paused = paused_there
        if self._control.stopping and not self._sent_stop:
            self._sent_stop = self._send("stop")
        elif self._control.paused != self._sent_paused:
            command = "pause" if self._control.paused else "resume"
            if self._send(command):
                self._sent_paused = not self._sent_paused

    def _send(self, command: str) -> bool:
        try:
            send_command(self._folder, command)
        except UserError:  # it has just ended: its last word says how
            return False
        return True


def outcome(folder: Path, ending: Event | None) -> FollowResult:
    """What a run's last word comes to. Raises :class:`UserError` for a failure, and when there was no word."""
    match ending:
        case Finished(state=state, result=result):
            model = result.get("model_folder")
            return FollowResult(folder, Path(model) if model else None, state, _metrics(result.get("metrics")))
        case Failed():
            raise UserError(
                "{sentence}", "{advice}", details=ending.details, sentence=ending.message, advice=ending.remedy
            )
    raise UserError(
        "The training process ended without a word (killed, perhaps for want of memory).",
        "Resume the run: it goes on from its last checkpoint. A smaller batch size needs less memory.",
    )


def _metrics(values: Any) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()} if isinstance(values, dict) else {}
