"""The curves of a run once more, as TensorBoard event files: ``tensorboard --logdir RUN/tensorboard``.

Written in the training's own thread, into a buffer: tensorboardX's ``SummaryWriter`` has a thread of its own, and when
that one dies of a full disk, whoever logs next waits for it for ever.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmstudio_app.events import Evaluated, Event, StepLogged

TENSORBOARD = "tensorboard"
_FLUSH_INTERVAL = 10.0  # seconds
_STEP_FIELDS = (
    "loss", "learning_rate", "grad_norm", "tokens_per_second", "examples_per_second", "memory", "epoch",
)  # fmt: skip


class TensorBoardLog:
    """Takes a training's events; steps become ``train/…`` and evaluations ``eval/…``.

    A resumed run writes a second file, which says from which step on the first one no longer counts. When a file
    cannot be written, ``warn`` is called once with the reason, and the training goes on without.
    """

    def __init__(self, folder: Path, recipe: str, warn: Callable[[str], None]) -> None:
        self._folder = folder
        self._recipe = recipe
        self._warn = warn
        self._writer: Any = None
        self._broken = False
        self._last_flush = time.monotonic()

    def add(self, event: Event) -> None:
        if self._broken:
            return
        try:
            if isinstance(event, StepLogged):
                values = {f"train/{name}": getattr(event, name) for name in _STEP_FIELDS}
                self._write(values, event.step, event.time)
                if time.monotonic() - self._last_flush >= _FLUSH_INTERVAL:
                    self._flush()
            elif isinstance(event, Evaluated):
                values = {f"eval/{name}": value for name, value in event.metrics.items()}
                self._write(values, event.step, event.time)
                self._flush()
        # ImportError and TypeError: another protobuf in the environment than tensorboardX was made for
        except (OSError, ImportError, TypeError, ValueError) as error:
            self._give_up(error)

    def close(self) -> None:
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            self._give_up(error)
        self._writer = None

    def _give_up(self, error: Exception) -> None:
        self._broken = True
        if self._writer is not None:
            with contextlib.suppress(OSError):  # the buffer's rest has no place either
                self._writer.close()
            self._writer = None
        self._warn(str(getattr(error, "strerror", None) or error))

    def _flush(self) -> None:
        self._writer.flush()
        self._last_flush = time.monotonic()

    def _write(self, values: dict[str, float], step: int, moment: float) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        if self._writer is None:
            self._open(step, moment)
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._record(wall_time=moment, step=step, summary=summary)

    def _open(self, step: int, moment: float) -> None:
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import text

        self._folder.mkdir(exist_ok=True)
        # a name of its own, also for a run that is resumed within the same second
        self._writer = RecordWriter(str(self._folder / f"events.out.tfevents.{int(moment):010}.{secrets.token_hex(4)}"))
        self._record(wall_time=moment, file_version="brain.Event:2")
        # what earlier files say of this step and of later ones is void
        self._record(wall_time=moment, step=step, session_log=SessionLog(status=SessionLog.START))
        as_code = "".join(f"    {line}\n" for line in self._recipe.splitlines())  # TensorBoard reads it as Markdown
        self._record(wall_time=moment, step=step, summary=text("recipe", as_code))

    def _record(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event as Record

        self._writer.write(Record(**fields).SerializeToString())
