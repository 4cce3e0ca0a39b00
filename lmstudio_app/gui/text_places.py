"""Places in a shown text: Python counts characters, Qt counts UTF-16 units, of which an emoji has two."""

from __future__ import annotations

from PySide6.QtGui import QTextCharFormat, QTextCursor, QTextDocument
from PySide6.QtWidgets import QTextEdit


def utf16_units(text: str) -> int:
    """How long Qt takes a text to be."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def characters_before(text: str, units: int) -> int:
    """How many characters of ``text`` stand before a place that Qt counts."""
    return len(text.encode("utf-16-le", "surrogatepass")[: 2 * max(0, units)].decode("utf-16-le", "ignore"))


def select_range(document: QTextDocument, start: int, end: int) -> QTextCursor:
    """A cursor that has ``start`` to ``end`` (UTF-16 units) selected."""
    cursor = QTextCursor(document)
    cursor.setPosition(start)
    cursor.setPosition(end, QTextCursor.MoveMode.KeepAnchor)
    return cursor


def make_mark(document: QTextDocument, start: int, end: int, style: QTextCharFormat) -> QTextEdit.ExtraSelection:
    """A look for ``start`` to ``end`` (UTF-16 units) that leaves the text and its undo history alone."""
    mark = QTextEdit.ExtraSelection()
    mark.cursor, mark.format = select_range(document, start, end), style
    return mark
