"""What is asked of a file before it goes through a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks import Prediction


@dataclass(frozen=True)
class FileLook:
    """``columns`` of the table, those that ``guess`` takes for the inputs, and the rows.

    ``is_plain``: JSON Lines whose names are the inputs' own, which are taken as they are.
    """

    path: Path
    columns: tuple[str, ...]
    guess: dict[str, str]
    rows: int
    is_plain: bool


@dataclass(frozen=True, eq=False)
class LookRequest:
    path: Path
    prediction: Prediction


def look_at_file(request: LookRequest, ctx: JobContext) -> FileLook:
    """Raises :class:`UserError` for a file that cannot be read."""
    from lmstudio_app.data.columns import guess_columns
    from lmstudio_app.data.sources import read_table
    from lmstudio_app.playground.rows import is_json_lines

    table = read_table(str(request.path), ctx)
    inputs = request.prediction.inputs
    guess = guess_columns(table.dataset, inputs)
    needed = [spec.name for spec in inputs if spec.required or spec.type != "text"]
    is_plain = is_json_lines(request.path) and all(name in table.dataset.column_names for name in needed)
    return FileLook(request.path, tuple(table.dataset.column_names), guess, len(table.dataset), is_plain)
