"""What jobs say, in the reader's language: templates are translated first and filled in afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, QLocale

from lmstudio_app.errors import UserError
from lmstudio_app.events import Progress, Status
from lmstudio_app.files import format_bytes

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel


def error_texts(error: UserError) -> tuple[str, str]:
    """Message and remedy of an error, translated."""
    message = QCoreApplication.translate("errors", error.template).format(**error.parameters)
    remedy = error.remedy_template
    return message, QCoreApplication.translate("errors", remedy).format(**error.parameters) if remedy else ""


def model_title(model: LoadedModel | None) -> str:
    """What a person calls the model: the title it was saved with, else the last part of its reference."""
    if model is None:
        return ""
    return model.card.title or Path(model.reference).name


def status_text(status: Status) -> str:
    values = {key: _Grouped(value) if type(value) is int else value for key, value in status.parameters.items()}
    return QCoreApplication.translate("status", status.template).format(**values)


class _Grouped(int):
    """A number that is written with the grouping of the reader's locale wherever the template asks for nothing else."""

    def __format__(self, spec: str) -> str:
        return super().__format__(spec) if spec else number_text(self)


def number_text(value: float, decimals: int = 0) -> str:
    """A number with the grouping of the reader's locale."""
    return QLocale().toString(float(value), "f", decimals)


def compact_number_text(value: float) -> str:
    """About three significant digits: ``945``, ``12.3k``, ``4.56M``."""
    for limit, divisor, suffix in ((1e3, 1.0, ""), (1e6, 1e3, "k"), (1e9, 1e6, "M"), (1e12, 1e9, "G")):
        if abs(value) < limit:
            scaled = value / divisor
            digits = 0 if abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2
            return f"{scaled:.{digits}f}{suffix}"
    return f"{value:.3g}"


def duration_text(seconds: float) -> str:
    """``0:42``, ``12:05`` or ``1:02:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def amount_text(value: float, unit: str) -> str:
    if unit == "B":
        return format_bytes(value)
    amount = number_text(value)
    if not unit:
        return amount
    unit = QCoreApplication.translate("units", unit)
    return QCoreApplication.translate("units", "{amount} {unit}").format(amount=amount, unit=unit)


def progress_text(progress: Progress) -> str:
    """``12.3 MB of 90.9 MB, 4.1 MB/s, 0:19 left``: as much of it as is known."""
    translate = QCoreApplication.translate
    done = amount_text(progress.done, "B" if progress.unit == "B" else "")
    if progress.total:
        text = translate("progress", "{done} of {total}").format(
            done=done, total=amount_text(progress.total, progress.unit)
        )
    else:
        text = amount_text(progress.done, progress.unit)
    if progress.rate and progress.eta is not None:
        return translate("progress", "{amount}, {rate}/s, {time} left").format(
            amount=text, rate=amount_text(progress.rate, progress.unit), time=duration_text(progress.eta)
        )
    if progress.rate:
        return translate("progress", "{amount}, {rate}/s").format(
            amount=text, rate=amount_text(progress.rate, progress.unit)
        )
    return text
