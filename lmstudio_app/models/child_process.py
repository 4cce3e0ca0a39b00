"""Another program's lines, read while the job can be cancelled, which kills it."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from lmstudio_app.jobs import JobContext

POLL = 0.05  # seconds between two looks at the cancel switch


def run_lines(
    command: Sequence[str],
    ctx: JobContext,
    on_line: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run ``command`` to its end, handing over each line of its stdout and stderr; returns its exit code.

    When the job is cancelled, or ``on_line`` raises, the program is killed within a tenth of a second.
    """
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    ctx.check()
    with subprocess.Popen(
        command,
        env={
            **(os.environ if environment is None else environment),
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=os.name == "posix",  # Ctrl+C reaches us alone, and we end it in good order
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    ) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=_read, args=(process.stdout, lines), name="program output", daemon=True)
        reader.start()
        try:
            while True:
                ctx.check()
                with contextlib.suppress(queue.Empty):
                    line = lines.get(timeout=POLL)
                    if line is None:
                        break
                    on_line(line)
        except BaseException:
            process.kill()
            raise
        finally:
            reader.join()
    return process.returncode


def _read(stream: IO[str], lines: queue.SimpleQueue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
