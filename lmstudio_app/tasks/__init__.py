"""Tasks: what a model can be trained for and asked to do. One file a task, one line in ``TASKS``."""

from __future__ import annotations

from lmstudio_app.errors import UserError
from lmstudio_app.tasks.sentiment import SENTIMENT
from lmstudio_app.tasks.task import Label, Task

TASKS: tuple[Task, ...] = (SENTIMENT,)


def find_task(name: str) -> Task:
    for task in TASKS:
        if task.name == name:
            return task
    raise UserError(
        "There is no task {name}.",
        "Choose one of: {names}.",
        name=name,
        names=", ".join(t.name for t in TASKS),
    )


__all__ = ["TASKS", "Label", "Task", "find_task"]
