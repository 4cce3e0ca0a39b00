"""Problems as the Data page shows them: failures as problems, and what belongs to another file than the one shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lmstudio_app.data.problems import Problem
from lmstudio_app.errors import UserError
from lmstudio_app.gui.text import error_texts

if TYPE_CHECKING:
    from lmstudio_app.data.sources import Table


def as_problem(error: UserError) -> Problem:
    """What failed, with its details for the clipboard."""
    message, remedy = error_texts(error)
    parameters = {"message": message, "remedy": remedy, "details": f"{message}\n{remedy}\n{error.details}"}
    return Problem("failed", "{message} {remedy}", parameters, None, "details", "error")


def for_preview(problems: Sequence[Problem], table: Table) -> tuple[Problem, ...]:
    """Lines and reading options of the evaluation file have no place in the preview of the training data."""
    names = {part.path.name for part in table.parts}
    kept = []
    for problem in problems:
        file = problem.parameters.get("file")
        if (file is None and len(table.parts) > 1) or (file is not None and file not in names):
            problem = replace(problem, row=None)
        if file is not None and file not in names:
            problem = replace(problem, fix=None, more_fixes=())
        kept.append(problem)
    return tuple(kept)
