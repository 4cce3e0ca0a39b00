"""Text that is read and selected within a transcript."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QTextCursor, QTextOption, QWheelEvent
from PySide6.QtWidgets import QFrame, QTextBrowser, QWidget


class Reading(QTextBrowser):
    """Text to be read and selected that is as high as it is, and lets its surroundings scroll."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setOpenLinks(False)
        self.setUndoRedoEnabled(False)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setTabChangesFocus(True)
        self.viewport().setAutoFillBackground(False)
        self.document().setDocumentMargin(0)
        self.setLineWrapMode(QTextBrowser.LineWrapMode.FixedPixelWidth)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)

    def height_at(self, width: int) -> int:
        """How high the text is when its lines are broken at this width, which they are from now on."""
        if self.lineWrapColumnOrWidth() != width:
            # the width of the widget would come too late: Qt takes it over when it is shown
            self.setLineWrapColumnOrWidth(width)
        return int(self.document().size().height() + 0.999)

    def loadResource(self, kind: int, name: Any) -> Any:
        """Nothing is ever fetched or read for a text that a model wrote."""
        return None

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()

    def keep_selection(self, change: Callable[[], None]) -> None:
        """Change the text, and leave selected what is."""
        before = self.textCursor()
        anchor, place = before.anchor(), before.position()
        change()
        last = self.document().characterCount() - 1
        if anchor != place and max(anchor, place) <= last:
            cursor = QTextCursor(self.document())
            cursor.setPosition(anchor)
            cursor.setPosition(place, QTextCursor.MoveMode.KeepAnchor)
            self.setTextCursor(cursor)
