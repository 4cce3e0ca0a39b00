"""The models that a page can ask, as lines to choose from."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QCoreApplication

from lmstudio_app.gui.text import compact_number_text
from lmstudio_app.jobs import JobContext


@dataclass(frozen=True)
class Choice:
    reference: str
    title: str
    detail: str


def find_choices(prediction: str, ctx: JobContext) -> list[Choice]:
    """See :func:`lmstudio_app.playground.suitable.find_suitable`."""
    from lmstudio_app.gui.run_texts import dated_title
    from lmstudio_app.playground.suitable import Suitable, find_suitable

    def _detail(model: Suitable) -> str:
        translate = QCoreApplication.translate
        size = translate("models", "{count} parameters").format(count=compact_number_text(model.card.parameters))
        if model.run is not None:
            return translate("models", "{size}, trained here").format(size=size)
        if not model.made_for_it:
            return translate("models", "{size}, told by a prompt what to do").format(size=size)
        return size

    return [
        Choice(model.reference, dated_title(model.run) if model.run is not None else model.title, _detail(model))
        for model in find_suitable(prediction, ctx)
    ]
