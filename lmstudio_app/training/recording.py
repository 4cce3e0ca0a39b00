"""What a training says goes to its run folder as well as to whoever listens, and so does how it ended."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from lmstudio_app.errors import Cancelled, as_user_error
from lmstudio_app.events import Event, Failed, Finished, Progress, Status
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.control import Steering
from lmstudio_app.training.runs import RECIPE, RunFolder
from lmstudio_app.training.tensorboard import TENSORBOARD, TensorBoardLog


@contextlib.contextmanager
def recording(run: RunFolder, ctx: JobContext) -> Iterator[JobContext]:
    """A context whose events also go to the run's ``events.jsonl``; it notes how the run ended.

    Meanwhile the run can be paused, stopped and cancelled through its folder (:mod:`lmstudio_app.training.control`).
    """
    run.open()
    try:
        run.note_lost_end()
        with _Recorder(run, ctx) as recorder:
            try:
                yield recorder.context
            except Cancelled:
                recorder.emit(Finished(state="interrupted", result={"run_folder": str(run.path)}))
                raise
            except Exception as error:
                problem = as_user_error(error)
                recorder.fail(Failed(message=problem.message, remedy=problem.remedy, details=problem.details))
                raise
    finally:
        run.close()


class _Recorder:
    """Hands events on, from the training's thread and from the one that steers it, one at a time."""

    def __init__(self, run: RunFolder, ctx: JobContext) -> None:
        assert run.claim is not None
        self._run = run
        self.context = JobContext(self.emit, ctx.control)
        self._listener = ctx
        self._lock = threading.RLock()  # entered again by a warning about an event
        self._has_ended = False
        self._steering = Steering(run.path, run.claim, ctx.control, self._emit_aside)
        recipe = (run.path / RECIPE).read_text(encoding="utf-8")
        self._tensorboard = TensorBoardLog(run.path / TENSORBOARD, recipe, self._warn_of_tensorboard)

    def __enter__(self) -> _Recorder:
        self._steering.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._steering.close()
        self._tensorboard.close()

    def emit(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Progress):
                self._steering.note(event)
            else:
                if isinstance(event, Finished):
                    self._come_to_an_end()
                self._tensorboard.add(event)
                self._run.append(event)
            self._listener.emit(event)

    def fail(self, failed: Failed) -> None:
        with self._lock:
            self._come_to_an_end()
            with contextlib.suppress(OSError):  # the disk may be what failed; the first error is the one to tell
                self._run.append(failed)
            self._listener.emit(failed)

    def _come_to_an_end(self) -> None:
        """Nothing may come after the last word, neither a warning nor that the training goes on."""
        self._tensorboard.close()
        self._has_ended = True

    def _emit_aside(self, event: Event) -> None:
        with self._lock:
            if not self._has_ended:
                self.emit(event)

    def _warn_of_tensorboard(self, reason: str) -> None:
        template = "The files for TensorBoard cannot be written ({reason}); the training goes on without them."
        warning = Status(template=template, parameters={"reason": reason}, warning=True)
        with contextlib.suppress(OSError):  # the same full disk; the training itself tells of it when it must
            self._run.append(warning)
        self._listener.emit(warning)
