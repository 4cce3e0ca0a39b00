"""What a run is called and how its state is said: the same words in every list."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QCoreApplication, QDateTime, QLocale
from PySide6.QtGui import QColor, QPalette

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.number_edit import format_number
from lmstudio_app.gui.widgets.task_chooser import task_text
from lmstudio_app.tasks import TASKS

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
    """The title that a person gave it, else the name of its folder."""
    return run.title or run.name


def task_title(name: str) -> str:
    return next((task_text(task.title) for task in TASKS if task.name == name), name)


def model_name(run: RunSummary) -> str:
    return Path(run.model).name or run.model


def data_name(run: RunSummary) -> str:
    return ", ".join(Path(part).name for part in run.data.split(", "))


def moment_text(seconds: float) -> str:
    """Of today the time, of other days date and time, short."""
    moment = QDateTime.fromSecsSinceEpoch(int(seconds))
    if datetime.date.fromtimestamp(seconds) == datetime.date.today():
        time = QLocale().toString(moment.time(), QLocale.FormatType.ShortFormat)
        return QCoreApplication.translate("runs", "today {time}").format(time=time)
    return QLocale().toString(moment, QLocale.FormatType.ShortFormat)


def short_key(key: str) -> str:
    """The last part of a recipe's key, or the one before where the last says too little: ``strategy.name``."""
    *sections, last = key.split(".")
    return sections[-1] if last == "name" and sections else last


def drawn_text(value: Any) -> str:
    """As :func:`value_text`, a number that was drawn at random in three digits."""
    return value_text(float(f"{value:.3g}") if isinstance(value, float) else value)


def value_text(value: Any) -> str:
    """The value of a recipe's key, for people."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return QCoreApplication.translate("runs", "yes") if value else QCoreApplication.translate("runs", "no")
    if isinstance(value, float):
        return format_number(value)
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
