"""What a way of looking inside can tell and what not, with its sources; it folds away and stays as it was left."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.settings import Settings


class SourcedNote(Disclosure):
    """``paragraphs`` are rich text; ``key`` is the setting that remembers whether it is open."""

    def __init__(
        self,
        title: str,
        paragraphs: Sequence[str],
        settings: Settings,
        key: str,
        parent: QWidget | None = None,
        *,
        tip: str = "",
    ) -> None:
        super().__init__(title, "", parent)
        tip = tip or self.tr("What this view can tell and what not, and who found out")
        self.button.setToolTip(tip)
        self.button.setAccessibleDescription(tip)
        gap = theme.em(self, 0.3)
        html = "".join(f"<p style='margin:0 0 {gap}px 0'>{paragraph}</p>" for paragraph in paragraphs)
        self.text = QLabel(html, self.body)
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setAccessibleName(title)
        layout = QVBoxLayout(self.body)
        side = theme.em(self, 0.5)
        layout.setContentsMargins(side, 0, side, 0)
        layout.addWidget(self.text)
        self.set_open(bool(settings.get(key, False)))
        self.toggled.connect(lambda is_open: settings.set(key, is_open))
