"""What a run is called and how its state is said: the same words in every list."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QCoreApplication, QDateTime, QLocale
from PySide6.QtGui import QColor, QPalette

from lmstudio_app.gui import theme
from lmstudio_app.gui.data_sources import source_title
from lmstudio_app.gui.widgets.number_edit import format_number
from lmstudio_app.gui.widgets.task_chooser import task_text
from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.tasks import TASKS
from lmstudio_app.training.history import search_runs
from lmstudio_app.training.summaries import FINAL

if TYPE_CHECKING:
    from lmstudio_app.training.runs import RunSummary

STATES = ("running", "finished", "stopped", "interrupted", "failed")


def state_text(state: str, *, paused: bool = False) -> str:
    texts = {
        "running": QCoreApplication.translate("runs", "running"),
        "finished": QCoreApplication.translate("runs", "finished"),
        "stopped": QCoreApplication.translate("runs", "stopped"),
        "interrupted": QCoreApplication.translate("runs", "interrupted"),
        "failed": QCoreApplication.translate("runs", "failed"),
    }
    return QCoreApplication.translate("runs", "paused") if paused else texts.get(state, state)


def state_colour(state: str, palette: QPalette) -> QColor:
    """Of the dot beside the word; the word is there for those who do not tell the colours apart."""
    match state:
        case "running":
            return palette.color(QPalette.ColorRole.Accent)
        case "finished":
            return theme.success(palette)
        case "stopped" | "interrupted":
            return theme.warning(palette)
        case "failed":
            return theme.danger(palette)
    return theme.muted(palette)


def run_title(run: RunSummary) -> str:
    """The title that a person gave it, else what its trained model is called: ``MiniLM-L6 encoder · Sentiment``."""
    if run.title:
        return run.title
    title = QCoreApplication.translate("runs", "{model} · {task}")
    return title.format(model=model_name(run), task=task_title(run.task))


def dated_title(run: RunSummary) -> str:
    """A title that no other run has: one that a person gave it, else with the moment when it began."""
    if run.title:
        return run.title
    title = QCoreApplication.translate("runs", "{title}, {moment}")
    return title.format(title=run_title(run), moment=moment_text(run.started))


def task_title(name: str) -> str:
    return next((task_text(task.title) for task in TASKS if task.name == name), name)


def model_name(run: RunSummary) -> str:
    """What it began with: as the Model page calls it, or the run that left it."""
    entry = load_catalog().get(run.model)
    if entry is not None:
        return entry.title
    path = Path(run.model)
    return (path.parent.name if path.name == FINAL else path.name) or run.model


def data_name(run: RunSummary) -> str:
    """What it learned from, as the Data page calls it."""
    return ", ".join(source_title(part) for part in run.data.split(", "))


def matching_runs(runs: Sequence[RunSummary], text: str) -> list[RunSummary]:
    """The runs in which every word is found: in what :func:`search_runs` looks at, or in what is shown of it."""
    found = []
    for run in runs:
        shown = "\n".join((run_title(run), model_name(run), data_name(run), task_title(run.task))).casefold()
        if search_runs([run], " ".join(word for word in text.casefold().split() if word not in shown)):
            found.append(run)
    return found


def moment_text(seconds: float) -> str:
    """Of today the time, of other days date and time, short."""
    moment = QDateTime.fromSecsSinceEpoch(int(seconds))
    if datetime.date.fromtimestamp(seconds) == datetime.date.today():
        time = QLocale().toString(moment.time(), QLocale.FormatType.ShortFormat)
        return QCoreApplication.translate("runs", "today {time}").format(time=time)
    return QLocale().toString(moment, QLocale.FormatType.ShortFormat)


def short_moment_text(seconds: float) -> str:
    """Of today the time alone, of other days the date, for the head of a narrow column."""
    moment = QDateTime.fromSecsSinceEpoch(int(seconds))
    if datetime.date.fromtimestamp(seconds) == datetime.date.today():
        return QLocale().toString(moment.time(), QLocale.FormatType.ShortFormat)
    return QLocale().toString(moment.date(), QLocale.FormatType.ShortFormat)


def short_key(key: str) -> str:
    """The last part of a recipe's key, or the one before where the last says too little: ``strategy.name``."""
    *sections, last = key.split(".")
    return sections[-1] if last == "name" and sections else last


def drawn_text(value: Any, key: str = "") -> str:
    """As :func:`value_text`, a number that was drawn at random in three digits."""
    return value_text(float(f"{value:.3g}") if isinstance(value, float) else value, key)


def value_text(value: Any, key: str = "") -> str:
    """The value of a recipe's ``key`` for people: a choice is called as in the form."""
    if value is None:
        return "–"
    if isinstance(value, str):
        from lmstudio_app.gui.choice_titles import ARCHITECTURE_CHOICES, RECIPE_CHOICES

        choices = RECIPE_CHOICES.get(key) or ARCHITECTURE_CHOICES.get(key) or {}
        return QCoreApplication.translate("recipe", choices[value][0]) if value in choices else value
    if isinstance(value, bool):
        return QCoreApplication.translate("runs", "yes") if value else QCoreApplication.translate("runs", "no")
    if isinstance(value, float):
        return format_number(value)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
