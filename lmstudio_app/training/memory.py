"""Too little memory: a step or an evaluation is done again in smaller parts, or the user is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError, is_out_of_memory
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    from lmstudio_app.training.checkpoints import Position
    from lmstudio_app.training.session import Session


class NoRoom(Exception):
    """There was not enough memory for ``rows`` rows at once.

    Caught only where everything that the failed attempt held can be let go: an exception keeps alive what the
    functions that it came through had in their variables, so nothing is freed before its handler is left.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super().__init__(f"out of memory with {rows} rows")


class BatchTooLarge(UserError):
    """A batch found no memory, and halving it was not wanted: the run can go on in ``2 * parts`` parts a batch."""

    parts = 1
    run_folder: Path | None = None


@contextlib.contextmanager
def noticing(session: Session, rows: int) -> Iterator[None]:
    """Turn a lack of memory into :class:`NoRoom`, unless there are several processes: they cannot go back alone."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if session.processes.count > 1 or not is_out_of_memory(error):
            raise
        raise NoRoom(rows) from error


def make_room(session: Session, position: Position, rows: int, ctx: JobContext) -> None:
    """Halve the training's batches. Raises :class:`UserError` when that is not wanted or not possible."""
    session.optimizer.zero_grad()  # of the batches that did fit
    free_cache()
    if rows <= 1:
        raise UserError(
            "The memory is not enough for a single row of this data.",
            "Lower training.max_length, choose bf16 precision or a smaller model, or let fewer parameters train.",
        )
    if session.config.on_out_of_memory != "halve":
        problem = BatchTooLarge(
            "The memory is not enough for {rows} rows at once.",
            "Halve training.batch_size and double training.gradient_accumulation, which gives the same result, or set "
            "training.on_out_of_memory to halve. The last checkpoint is kept.",
            rows=rows,
        )
        problem.parts = position.parts
        raise problem
    position.parts *= 2
    ctx.warn(
        "The memory is not enough for {rows} rows at once; from here on each batch is done in {parts} parts, which "
        "gives the same result.",
        rows=rows,
        parts=position.parts,
    )


def make_room_to_evaluate(session: Session, ctx: JobContext) -> None:
    """Halve the evaluation's batches. Raises :class:`UserError` when that is not wanted or not possible."""
    free_cache()
    rows = session.evaluation_size
    if rows <= 1:
        raise UserError(
            "The memory is not enough to evaluate a single row of this data.",
            "Lower training.max_length, or choose bf16 precision or a smaller model. The last checkpoint is kept.",
        )
    if session.config.on_out_of_memory != "halve":
        problem = BatchTooLarge(
            "The memory is not enough to evaluate {rows} rows at once.",
            "Halve training.batch_size, or set training.on_out_of_memory to halve. The last checkpoint is kept.",
            rows=rows,
        )
        problem.parts = session.evaluation_parts
        raise problem
    session.evaluation_parts *= 2
    ctx.warn("The memory is not enough to evaluate {rows} rows at once; from here on they are half as many.", rows=rows)


def free_cache() -> None:
    """Give back what torch keeps of a GPU's memory for later."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
