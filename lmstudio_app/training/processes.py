"""One training in several processes, as ``accelerate launch`` starts them: who they are, and how they agree.

Only the main process opens the run's folder, writes and listens; the others follow what it decides. With one process
everything here does nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lmstudio_app.devices import resolve_device, resolve_precision
from lmstudio_app.errors import Cancelled, UserError, as_user_error
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.training.recipe import Recipe, TrainingConfig
from lmstudio_app.training.recording import recording
from lmstudio_app.training.runs import RunFolder

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


class FailedElsewhere(UserError):
    """What went wrong in the main process, raised in the others: it needs to be told only once."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.template, self.remedy_template, self.parameters)


def _rebuild(template: str, remedy: str, parameters: dict[str, Any]) -> FailedElsewhere:
    return FailedElsewhere(template, remedy, **parameters)


@dataclass(frozen=True)
class Processes:
    """``index`` 0 is the main one."""

    count: int = 1
    index: int = 0

    @property
    def is_main(self) -> bool:
        return self.index == 0

    def share(self, make: Callable[[], T]) -> T:
        """What ``make`` returns in the main process, in every process.

        What it raises there ends the others too: with :class:`FailedElsewhere`, or with :class:`Cancelled`.
        """
        if self.count == 1:
            return make()
        from accelerate.utils import broadcast_object_list

        if not self.is_main:
            box: list[Any] = [None, None]
            broadcast_object_list(box)
            if box[1] is not None:
                raise box[1]
            return cast(T, box[0])
        try:
            value = make()
        except Cancelled:
            broadcast_object_list([None, Cancelled()])
            raise
        except Exception as error:
            problem = as_user_error(error)
            told = FailedElsewhere("{message}", "{advice}", message=problem.message, advice=problem.remedy)
            broadcast_object_list([None, told])
            raise
        broadcast_object_list([value, None])
        return value

    def meet(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            from accelerate.state import PartialState

            PartialState().wait_for_everyone()

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process goes first, and what it leaves in a cache is there for the others."""
        if self.count > 1 and not self.is_main:
            self.meet()
        yield
        if self.count > 1 and self.is_main:
            self.meet()

    def agreeing(self, ctx: JobContext) -> JobContext:
        """A context for the work between two steps: only :func:`agree` ends it, so that no process goes alone."""
        return ctx if self.count == 1 else JobContext(ctx.emit, Control())

    def agree(self, ctx: JobContext) -> bool:
        """Pause, cancel or go on together, as the main process is told. Returns whether the training is to stop.

        Raises :class:`Cancelled` in every process.
        """
        if self.count == 1:
            ctx.check()
            return ctx.stopping
        if self.is_main and ctx.control.paused:
            ctx.control.wait_while_paused()
        cancelled, stopping = self.share(lambda: (ctx.control.cancelled, ctx.stopping))
        if cancelled:
            raise Cancelled
        return stopping


def join_processes(device: str) -> Processes:
    """Meet the other processes of this training, where a launcher has started some (``WORLD_SIZE``)."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return Processes()
    from accelerate.state import PartialState

    state = PartialState(cpu=_is_cpu(device))
    return Processes(state.num_processes, state.process_index)


def _is_cpu(device: str) -> bool:
    return resolve_device(device).type == "cpu"


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Device and mixed precision through accelerate; its state is global and is begun anew for every run."""
    import torch
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState, PartialState

    if not torch.distributed.is_initialized():
        # a window trains many times in one process, each time perhaps with another precision or device
        AcceleratorState._reset_state(reset_partial_state=True)
    device = resolve_device(config.device)
    is_bf16 = resolve_precision(config.precision, device) == torch.bfloat16
    PartialState(cpu=device.type == "cpu")
    # parts of the model may be frozen, for a while or for ever, or have no share in a loss
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    return Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if is_bf16 else "no", kwargs_handlers=handlers)


def share_run(processes: Processes, open_run: Callable[[], RunFolder]) -> RunFolder:
    """The run that the main process opens, as every process sees it."""
    if processes.is_main:
        run: list[RunFolder] = []

        def _open() -> tuple[Path, Recipe]:
            run.append(open_run())
            return run[0].path, run[0].recipe

        processes.share(_open)
        return run[0]
    return RunFolder(*processes.share(_nothing))


def _nothing() -> Any:
    """What a process that only listens has to say."""


@contextlib.contextmanager
def recording_once(run: RunFolder, processes: Processes, ctx: JobContext) -> Iterator[JobContext]:
    """As :func:`recording` in the main process; the others say and write nothing, and are ended by :meth:`agree`."""
    if processes.is_main:
        with recording(run, ctx) as recorded:
            yield recorded
    else:
        yield JobContext()
