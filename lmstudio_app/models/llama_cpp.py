"""llama.cpp on a GGUF file, through the binding xllamacpp, in a process of its own (see ``llama_worker.py``)."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import IO, Any

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models import llama_worker

_POLL = 0.05  # seconds between two looks at the switches of a job
_REASON = re.compile(r"\bE [^\n]*?(?:error loading model: |failed to |error: )([^\n]+)")


def is_available() -> bool:
    """Is the binding installed? Whether it runs on this machine is only seen when it does."""
    return importlib.util.find_spec("xllamacpp") is not None


def count_threads() -> int:
    """The physical cores that this process may use: more threads than these only wait for each other."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed))


class LlamaProcess:
    """A GGUF model that comes into memory. One question at a time, once :meth:`wait_until_ready` has returned."""

    def __init__(self, gguf: Path, context: int, threads: int | None = None) -> None:
        self._gguf = gguf
        self._number = 0
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        # of our own, since a worker that is killed while it loads leaves its socket behind
        self._folder = tempfile.mkdtemp(prefix="lmstudio-app-")
        self._told: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", llama_worker.__file__],
            # Threads that wait for each other in a loop take the cores from everybody, a training beside them included,
            # and from themselves; threads that sleep at once lose two thirds of the speed of an idle machine. A short
            # loop, then sleep, costs nothing where it is idle and is the quickest where both cores are busy.
            env={**os.environ, "GOMP_SPINCOUNT": "2000", "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            text=True,
            encoding="utf-8",
            start_new_session=os.name == "posix",  # Ctrl+C reaches us alone, and we end it in good order
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._reader = threading.Thread(target=self._read, name="llama.cpp answers", daemon=True)
        self._reader.start()
        try:
            self._send(model=str(gguf), context=context, threads=threads or count_threads(), folder=self._folder)
        except BaseException:
            self.close()
            raise

    def wait_until_ready(self, ctx: JobContext) -> None:
        """Wait until the model is in memory. Raises :class:`UserError` when llama.cpp cannot load it."""
        while (answer := self._next(ctx)) is None:
            pass
        if "problem" in answer:
            raise self._broken(self._reason() or str(answer["problem"]))

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], ctx: JobContext) -> Generator[dict[str, Any]]:
        """The worker's answers to one request, the last one with ``done``.

        A stop of the job ends the answer where it is, within the time of one token or 0.1 s (then without ``done``); a
        cancel raises :class:`lmstudio_app.errors.Cancelled`. Raises :class:`UserError` when llama.cpp ends.
        """
        self._number += 1
        self._send(ask=dict(request), number=self._number)
        is_done = False
        try:
            while not ctx.stopping:
                answer = self._next(ctx)
                if answer is None or answer["number"] != self._number:  # of one before, which ended without waiting
                    continue
                is_done = "done" in answer or "problem" in answer
                if "problem" in answer:
                    raise UserError(
                        "llama.cpp refuses: {reason}.",
                        "Shorten what is asked, or load the model without llama.cpp (in a command: --engine torch).",
                        reason=str(answer["problem"]).rstrip(".")[:300],
                    )
                yield answer
                if is_done:
                    return
        finally:
            if not is_done:
                with contextlib.suppress(OSError, ValueError):  # it has ended already
                    self._send(stop=self._number)

    def close(self) -> None:
        """End the process. A second time does nothing."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        shutil.rmtree(self._folder, ignore_errors=True)  # it is gone once the model is loaded
        for file in (self._process.stdin, self._process.stdout, self._told):
            if file is not None:
                with contextlib.suppress(OSError):  # something was still to be written to a process that is gone
                    file.close()

    def _send(self, **values: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(values) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error

    def _next(self, ctx: JobContext) -> dict[str, Any] | None:
        """What comes next, or None when nothing came for a while."""
        ctx.check()
        try:
            answer = self._lines.get(timeout=_POLL)
        except queue.Empty:
            return None
        if answer is None:
            self._lines.put(None)
            raise self._ended()
        return answer

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def _reason(self) -> str:
        """The first thing that llama.cpp has said is wrong."""
        if self._told.closed:
            return ""
        self._told.seek(0)
        found = _REASON.search(self._told.read().decode("utf-8", "replace"))
        return found[1].strip() if found else ""

    def _broken(self, reason: str) -> UserError:
        return UserError(
            "llama.cpp cannot load {file} ({reason}).",
            "Download or copy the model again, or choose a smaller one.",
            file=self._gguf.name,
            reason=reason.rstrip(".")[:300],
        )

    def _ended(self) -> UserError:
        code = self._process.wait()
        reason = self._reason() or (f"signal {-code}" if code < 0 else f"exit code {code}")
        return UserError(
            "llama.cpp has ended while it ran {file} ({reason}).",
            "Try again; when it ends again, choose a smaller model or context.",
            file=self._gguf.name,
            reason=reason.rstrip(".")[:300],
        )
