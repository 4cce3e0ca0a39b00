"""A training in a process of its own: what kills it cannot take the window down, and it outlives the window."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

import lmstudio_app
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Failed
from lmstudio_app.jobs import JobContext
from lmstudio_app.settings import HOME_VARIABLE, home
from lmstudio_app.training.claims import is_running, read_claim
from lmstudio_app.training.event_file import EVENTS, EventTail
from lmstudio_app.training.following import FollowResult, follow, outcome, wait
from lmstudio_app.training.runs import RunFolder, TrainRequest, open_run

OUTPUT = "output.log"
_SHOWN_OUTPUT = 20_000  # bytes of it in the details of an error
_OOM_SCORE = 500  # of 1000: when memory runs out, Linux ends the training rather than the window
_children: list[subprocess.Popen[bytes]] = []  # asked now and then, so that none that ended stays a zombie


def train_in_process(request: TrainRequest, ctx: JobContext) -> FollowResult:
    """The job: train in a new process, and follow it as :func:`~lmstudio_app.training.following.follow_run` does.

    ``cancel`` lets go of the training, which goes on; before it has begun, it ends it.
    """
    folder, tail = _start(request, ctx)
    return outcome(folder, follow(folder, tail, ctx))


def start_in_background(request: TrainRequest, ctx: JobContext) -> Path:
    """The job: start the training in a new process. Returns the run's folder as soon as that process writes it.

    Raises :class:`UserError` when it could not start, with the reason that it has printed.
    """
    return _start(request, ctx)[0]


def _start(request: TrainRequest, ctx: JobContext) -> tuple[Path, EventTail]:
    run = _prepare(request)
    ctx.status("Starting a process for the training")
    tail = EventTail(run.path, _size(run.path / EVENTS))
    log_start = _size(run.path / OUTPUT)
    process = _spawn(run.path)
    try:
        while not _has_claimed(run.path, process):
            if process.poll() is not None:
                if _size(run.path / EVENTS) > tail.offset:  # it began, and has ended already
                    break
                raise _could_not_start(run, process.returncode, log_start)
            wait(ctx.control, 0.05)
    except Cancelled:
        process.terminate()
        raise
    return run.path, tail


def _prepare(request: TrainRequest) -> RunFolder:
    """A folder whose recipe the new process takes: without a checkpoint, a resume begins at the beginning."""
    run = open_run(request)
    if request.resume:
        run.open()
        try:  # now, so that the new process's first event is its own
            run.note_lost_end()
        finally:
            run.close()
    return run


def _spawn(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "lmstudio_app", "train", "--resume", "--run-dir", str(folder)]
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    _children[:] = [child for child in _children if child.poll() is None]
    with (folder / OUTPUT).open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment(), **options
        )
    _children.append(process)
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):  # only a wish: some containers do not allow it
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(str(_OOM_SCORE), encoding="ascii")
    return process


def _environment() -> Mapping[str, str]:
    environment = {**os.environ, HOME_VARIABLE: str(home())}
    root = str(Path(lmstudio_app.__file__).resolve().parents[1])
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):  # a checkout
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return environment


def _has_claimed(folder: Path, process: subprocess.Popen[bytes]) -> bool:
    """Is it our process that writes the run, or a child of it? (Windows' environments start a second Python.)"""
    claim = read_claim(folder)
    if claim is None or not is_running(folder):
        return False
    try:
        return claim.pid == process.pid or process.pid in (parent.pid for parent in psutil.Process(claim.pid).parents())
    except psutil.Error:
        return False


def _could_not_start(run: RunFolder, code: int, log_start: int) -> UserError:
    with (run.path / OUTPUT).open("rb") as file:
        file.seek(max(log_start, _size(run.path / OUTPUT) - _SHOWN_OUTPUT))
        text = file.read().decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    reason = (errors or lines or [f"exit code {code}"])[-1]
    problem = UserError(
        "The training could not start in a process of its own: {reason}",
        "{log} holds all that it has printed.",
        details=text,
        reason=reason,
        log=str(run.path / OUTPUT),
    )
    if not is_running(run.path):
        run.open()
        try:  # the history tells it as well, and the same command may try again
            run.append(Failed(message=problem.message, remedy=problem.remedy, details=text))
        finally:
            run.close()
    return problem


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
