"""What a training says goes to its run folder as well as to whoever listens, and so does how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lmstudio_app.errors import Cancelled, as_user_error
from lmstudio_app.events import Event, Failed, Finished, Progress
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.runs import RunFolder


@contextlib.contextmanager
def recording(run: RunFolder, ctx: JobContext) -> Iterator[JobContext]:
    """A context whose events also go to the run's ``events.jsonl``; it notes how the run ended."""
    run.open()

    def _emit(event: Event) -> None:
        if not isinstance(event, Progress):
            run.append(event)
        ctx.emit(event)

    context = JobContext(_emit, ctx.control)
    try:
        yield context
    except Cancelled:
        context.emit(Finished(state="interrupted", result={"run_folder": str(run.path)}))
        raise
    except Exception as error:
        problem = as_user_error(error)
        failed = Failed(message=problem.message, remedy=problem.remedy, details=problem.details)
        with contextlib.suppress(OSError):  # the disk may be what failed; the first error is the one to tell
            run.append(failed)
        ctx.emit(failed)
        raise
    finally:
        run.close()
