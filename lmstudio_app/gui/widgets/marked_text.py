"""A text to read with stretches of it marked, one of them scrolled to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QTimer
from PySide6.QtGui import QFont, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text_places import make_mark, utf16_units


@dataclass(frozen=True)
class Mark:
    """Characters ``start`` to ``end``; ``strong``: what is looked for, else what is around it."""

    start: int
    end: int
    strong: bool = True


class MarkedText(QPlainTextEdit):
    def __init__(self, name: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._places: list[tuple[int, int, bool]] = []  # in UTF-16 units
        self.setReadOnly(True)
        self.setTabChangesFocus(True)
        self.setAccessibleName(name)
        self.setToolTip(tip)

    def show_text(self, text: str, marks: Sequence[Mark] = ()) -> None:
        """Marks later in the list lie over earlier ones; the first strong one (else the first) is scrolled to."""
        self.setPlainText(text)
        self._places = [
            (utf16_units(text[: m.start]), utf16_units(text[: m.end]), m.strong) for m in marks if m.start < m.end
        ]
        self._mark()
        places = [place for place in self._places if place[2]] or self._places
        if places:
            cursor = QTextCursor(self.document())
            cursor.setPosition(places[0][0])
            self.setTextCursor(cursor)
            self.centerCursor()

    @property
    def marked(self) -> str:
        """What is marked strongly; paragraphs are separated as Qt does it."""
        selections = self.extraSelections()
        return next(
            (str(s.cursor.selectedText()) for s, place in zip(selections, self._places, strict=True) if place[2]), ""
        )

    def clear(self) -> None:
        self._places = []
        self.setExtraSelections([])
        super().clear()

    def _mark(self) -> None:
        palette = self.palette()
        selections = []
        for start, end, strong in self._places:
            style = QTextCharFormat()
            amount = 0.35 if strong else 0.1
            style.setBackground(theme.blend(palette.accent().color(), palette.base().color(), amount))
            if strong:
                style.setFontWeight(QFont.Weight.DemiBold)
            selections.append(make_mark(self.document(), start, end, style))
        self.setExtraSelections(selections)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_places"):
            QTimer.singleShot(0, self, self._mark)
