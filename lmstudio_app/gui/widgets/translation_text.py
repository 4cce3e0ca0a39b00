"""One side of a translation: a text that says where the mouse is, and in which words can be marked by strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text_places import characters_before, make_mark, utf16_units
from lmstudio_app.gui.widgets.scaled_label import FontScale

_FAINT, _STRONG = 0.08, 0.55  # tints of the accent for strength 0 and 1; the text on it stays readable


@dataclass(frozen=True)
class WordMark:
    """Characters ``start`` to ``end``, tinted by ``strength`` (0 to 1)."""

    start: int
    end: int
    strength: float


class TranslationText(QPlainTextEdit):
    """``pointed_at`` comes with the character under the mouse (or the cursor, when it moves by key), -1 for none;
    ``chosen`` with the one that was clicked, or on which Enter was pressed in a text that cannot be edited.
    """

    pointed_at = Signal(int)
    chosen = Signal(int)

    def __init__(self, title: str, tip: str, parent: QWidget | None = None, *, editable: bool) -> None:
        super().__init__(parent)
        self._marks: tuple[WordMark, ...] = ()
        self._pointed = -1
        self._pressed = QPoint()
        self.setAccessibleName(title)
        self.setToolTip(tip if editable else "")
        self.setAccessibleDescription(tip)
        self.setTabChangesFocus(True)
        self.setMouseTracking(True)
        self.viewport().setMouseTracking(True)
        FontScale(self, 1.1)
        if not editable:
            self.setReadOnly(True)
            self.setTextInteractionFlags(
                Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
            )
            self.cursorPositionChanged.connect(self._on_cursor)

    @property
    def marks(self) -> tuple[WordMark, ...]:
        return self._marks

    def set_marks(self, marks: Sequence[WordMark]) -> None:
        """Later ones lie over earlier ones."""
        if tuple(marks) != self._marks:
            self._marks = tuple(marks)
            self._draw()

    def show_text(self, text: str) -> None:
        """Another text at the same place of the view."""
        if text == self.toPlainText():
            return
        bar = self.verticalScrollBar()
        place = bar.value()
        self._marks = ()
        self.setExtraSelections([])
        self.setPlainText(text)
        bar.setValue(place)

    def place_under(self, point: QPoint) -> int:
        """The character at a point of the viewport; -1 where there is no text."""
        cursor = self.cursorForPosition(point)
        rectangle = self.cursorRect(cursor)
        if abs(rectangle.center().y() - point.y()) > rectangle.height():
            return -1
        position = cursor.position()
        if rectangle.x() > point.x():  # the nearest gap is behind the character
            position -= 1
        place = characters_before(self.toPlainText(), position)
        if position < 0 or place >= len(self.toPlainText()) or point.x() - rectangle.x() > 3 * theme.em(self):
            return -1
        return place

    def point_at(self, place: int) -> QPoint:
        """The middle of a character, in the viewport."""
        cursor = QTextCursor(self.document())
        cursor.setPosition(utf16_units(self.toPlainText()[:place]))
        left = self.cursorRect(cursor)
        cursor.setPosition(utf16_units(self.toPlainText()[: place + 1]))
        right = self.cursorRect(cursor)
        same_line = right.y() == left.y()
        return QPoint((left.x() + right.x()) // 2 if same_line else left.x() + 2, left.center().y())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        super().mouseMoveEvent(event)
        self._point(self.place_under(event.position().toPoint()))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._pressed = event.position().toPoint()
        super().mousePressEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        point = event.position().toPoint()
        is_click = (point - self._pressed).manhattanLength() < theme.em(self, 0.4)
        if self.isReadOnly() and event.button() == Qt.MouseButton.LeftButton and is_click:
            self.chosen.emit(self.place_under(point))

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._point(-1)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if self.isReadOnly() and is_enter and not event.modifiers():
            self.chosen.emit(characters_before(self.toPlainText(), self.textCursor().position()))
            return
        super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_marks"):
            QTimer.singleShot(0, self, self._draw)

    def _on_cursor(self) -> None:
        if self.hasFocus():
            self._point(characters_before(self.toPlainText(), self.textCursor().position()))

    def _point(self, place: int) -> None:
        if place != self._pointed:
            self._pointed = place
            self.pointed_at.emit(place)

    def _draw(self) -> None:
        palette, text = self.palette(), self.toPlainText()
        selections = []
        for mark in self._marks:
            start, end = utf16_units(text[: mark.start]), utf16_units(text[: mark.end])
            style = QTextCharFormat()
            amount = _FAINT + (_STRONG - _FAINT) * min(1.0, mark.strength)
            style.setBackground(theme.blend(palette.accent().color(), palette.base().color(), amount))
            selections.append(make_mark(self.document(), start, end, style))
        self.setExtraSelections(selections)
