"""Which of its kinds of attention a model is asked for."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.inspection.kinds import KINDS


class KindCombo(QuietCombo):
    """Its data are the names of ``KINDS``."""

    def __init__(self, parent: QWidget) -> None:
        title = self.tr("Which attention")
        super().__init__(title, self.tr("A model that reads one text and writes another looks in three ways"), parent)
        texts = {
            "encoder": (self.tr("While it reads"), self.tr("Each token of what it reads looks at the others")),
            "decoder": (self.tr("While it writes"), self.tr("Each written token looks at those before it")),
            "cross": (self.tr("From written to read"), self.tr("Each written token looks at what was read")),
        }
        for name in KINDS:
            self.addItem(texts[name][0], name)
            self.setItemData(self.count() - 1, texts[name][1], Qt.ItemDataRole.ToolTipRole)
        self.setMinimumContentsLength(max(len(text) for text, _ in texts.values()))
