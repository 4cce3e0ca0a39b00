"""The views of one reading, as records: the frame builds each when it is first shown."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QWidget

from lmstudio_app.gui.attention.studio import AttentionStudio

_ROOM = "lmstudio_app.gui.attention"


@dataclass(frozen=True)
class StudioView:
    """A widget ``class_name(studio, parent)`` with ``shutdown()``, in ``module`` of this room.

    ``is_of_head``: it shows the chosen head, so that head, look and picture belong to it. ``picture`` is what
    ``AttentionPictures`` calls its drawing.
    """

    name: str
    module: str
    class_name: str
    is_of_head: bool = True
    picture: str = "head"

    def build(self, studio: AttentionStudio, parent: QWidget) -> QWidget:
        """Importing pyqtgraph, which is to be there by now."""
        module = importlib.import_module(f"{_ROOM}.{self.module}")
        view: QWidget = getattr(module, self.class_name)(studio, parent)
        return view


VIEWS = (
    StudioView("map", "head_view", "HeadView"),
    StudioView("lines", "lines_view", "LinesView", picture="lines"),
    StudioView("text", "text_view", "TextView"),
    StudioView("formula", "formula_view", "FormulaView"),
    StudioView("together", "together_view", "TogetherView", is_of_head=False, picture="rollout"),
    StudioView("reasons", "reasons_view", "ReasonsView", is_of_head=False),
    StudioView("lens", "lens_view", "LensView", is_of_head=False),
)


def view_texts(name: str) -> tuple[str, str]:
    """Title and tip of a view, in the language of the window."""
    texts = {
        "map": (_tr("Map"), _tr("One head as a table of colours: a row for each token that looks")),
        "lines": (_tr("Lines"), _tr("One head, or all of a layer, as lines from the token that looks")),
        "text": (_tr("Text"), _tr("The text itself, shaded by where one of its tokens looks")),
        "together": (_tr("Together"), _tr("All heads as one map, and how they differ from layer to layer")),
        "formula": (_tr("Formula"), _tr("How one head works its weights out, number by number")),
        "reasons": (_tr("Reasons"), _tr("What each token adds to an answer, by the gradients of the model")),
        "lens": (_tr("Layer by layer"), _tr("What the model would say if it stopped after each layer")),
    }
    return texts[name]


def _tr(text: str) -> str:
    return QCoreApplication.translate("StudioView", text)
