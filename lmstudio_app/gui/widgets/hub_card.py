"""A model card of the hub: Markdown that strangers wrote. Nothing of it is fetched, run or opened by itself."""

from __future__ import annotations

import re

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QTextCursor
from PySide6.QtWidgets import QTextBrowser, QWidget

from lmstudio_app.gui.card_text import LONGEST
from lmstudio_app.gui.markdown import show_markdown


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


class HubCard(QTextBrowser):
    """``link_clicked`` with the address, which whoever listens may ask about and open."""

    link_clicked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setOpenLinks(False)
        self.setOpenExternalLinks(False)
        self.setAccessibleName(self.tr("Model card"))
        self.setToolTip("")
        self.anchorClicked.connect(self._on_anchor)
        self._text = ""

    def loadResource(self, kind: int, name: QUrl) -> object:
        """Pictures and styles of a card stay where they are."""
        return None

    def set_card(self, text: str, missing: str = "") -> None:
        """Show a card that :func:`readable_card` has made readable, or why there is none."""
        self._text = text
        shown = self._text
        if len(shown) > LONGEST:
            cut = self.tr("*The card goes on on the model's page.*")
            shown = f"{shown[:LONGEST].rsplit(chr(10), 1)[0]}\n\n{cut}"
        self._show(shown or missing or self.tr("The authors have written no model card."))

    def card(self) -> str:
        """What is shown, as Markdown."""
        return self._text

    def _show(self, text: str) -> None:
        show_markdown(self.document(), text, self.font(), self.palette(), line_breaks=False)
        self.moveCursor(QTextCursor.MoveOperation.Start)
        self.verticalScrollBar().setValue(0)

    def _on_anchor(self, url: QUrl) -> None:
        if url.scheme() in ("http", "https"):
            self.link_clicked.emit(url.toString())
        elif url.hasFragment() and not url.path():
            self._scroll_to_heading(url.fragment())

    def _scroll_to_heading(self, name: str) -> None:
        """Headings are known by their words, as on the hub: ``#how-to-use``."""
        block = self.document().begin()
        while block.isValid():
            if block.blockFormat().headingLevel() and _slug(block.text()) == name.lower():
                top = self.document().documentLayout().blockBoundingRect(block).top()
                self.verticalScrollBar().setValue(round(top))
                return
            block = block.next()
