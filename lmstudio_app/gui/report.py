"""The report of ``lmstudio-app doctor``, for the Help menu."""

from __future__ import annotations

import subprocess
import sys

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext


def system_report(_: None, ctx: JobContext) -> str:
    """Run the doctor in a process of its own, so that it reports what a fresh start of the app would find."""
    front_door = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "lmstudio_app"]
    process = subprocess.Popen([*front_door, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None:
            ctx.check()
            try:
                output, problem = process.communicate(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        else:
            output, problem = process.communicate()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise UserError("The report could not be made.", "Run lmstudio-app doctor in a terminal.", details=problem)
    return output
