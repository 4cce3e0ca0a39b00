"""The process that takes text out of PDF, Word and web pages, and what happens when a file keeps it busy for ever."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge import extraction_worker

PATIENCE = 60.0  # seconds without a further page or paragraph, after which a file is given up
_POLL = 0.05
_PROBLEMS = {
    "encrypted": ("{path} is protected by a password.", "Save it without one, and add it again."),
    "damaged": ("{path} is damaged, or not what its name says ({reason}).", "Open it in its program and save it anew."),
    "large": ("{path} needs too much memory.", "Split it into smaller files."),
    "unreadable": ("{path} cannot be read: {reason}.", "Check its permissions, or leave it out."),
}


class Extractor:
    """Reads files one after another in a process that is started when it is needed; a context manager.

    ``patience`` is the time in seconds after which a file that gives no further page is given up.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue(maxsize=1000)

    def __enter__(self) -> Extractor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        while self._lines.get() is not None:  # so that the thread that fills it can end
            pass
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def blocks(self, path: Path, kind: str, ctx: JobContext) -> Iterator[dict[str, Any]]:
        """The blocks of a file; see :mod:`lmstudio_app.knowledge.extraction_worker`.

        Raises :class:`UserError` for a file that cannot be read or takes too long.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        is_complete = False
        try:
            process.stdin.write(json.dumps({"path": str(path), "kind": kind}) + "\n")
            process.stdin.flush()
            while True:
                line = self._next_line(path, ctx)
                if line is None:
                    self._process = None
                    process.wait()
                    raise UserError(
                        "{path} made its reader end (code {code}).",
                        "Open it in its program and save it anew, or leave it out.",
                        path=str(path),
                        code=process.returncode,
                    )
                block = json.loads(line)
                if block.get("end"):
                    is_complete = True
                    if "problem" in block:
                        template, remedy = _PROBLEMS[block["problem"]]
                        raise UserError(template, remedy, path=str(path), reason=block["reason"] or block["problem"])
                    return
                yield block
        finally:
            if not is_complete:  # what it still says would be taken for the next file's
                self.close()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", str(Path(extraction_worker.__file__))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
        )
        assert self._process.stdout is not None
        self._lines = queue.Queue(maxsize=1000)
        thread = threading.Thread(
            target=_read, args=(self._process.stdout, self._lines), name="text extraction", daemon=True
        )
        thread.start()
        return self._process

    def _next_line(self, path: Path, ctx: JobContext) -> str | None:
        deadline = time.monotonic() + self.patience
        while True:
            ctx.check()
            with contextlib.suppress(queue.Empty):
                return self._lines.get(timeout=_POLL)
            if time.monotonic() > deadline:
                raise UserError(
                    "{path} took longer than {seconds} seconds for one page and is left out.",
                    "Save it anew from its program, or split it.",
                    path=str(path),
                    seconds=f"{self.patience:g}",
                )


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
