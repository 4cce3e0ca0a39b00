"""A text whose sentences can be pointed at, chosen, and marked."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QMouseEvent, QPalette, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text_places import make_mark, select_range, utf16_units

WEAK, STRONG, DOUBTFUL = "weak", "strong", "doubtful"
_TINTS = {WEAK: 0.10, STRONG: 0.38}


@dataclass(frozen=True)
class SpanMark:
    """How sentence ``index`` looks: a tint, a strong one, or underlined in the colour of a warning."""

    index: int
    kind: str


class SentenceText(QPlainTextEdit):
    """``pointed`` comes with the number of the sentence under the pointer, or -1; ``chosen`` with a clicked one.

    The keyboard chooses by moving the cursor where the text is read-only. Sentences are characters of the text that is
    shown; when somebody edits it, they are gone.
    """

    pointed = Signal(int)
    chosen = Signal(int)

    def __init__(self, name: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._starts: list[int] = []  # in UTF-16 units, as Qt counts
        self._ends: list[int] = []
        self._marks: tuple[SpanMark, ...] = ()
        self._pointed = -1
        self._setting = False
        self.setAccessibleName(name)
        self.setToolTip(tip)
        self.setTabChangesFocus(True)
        self.setMouseTracking(True)
        self.viewport().setMouseTracking(True)
        self.cursorPositionChanged.connect(self._on_cursor)

    def show_text(self, text: str) -> None:
        """Another text, without sentences yet; one that goes on is added to, so that the view stays where it is."""
        before = self.toPlainText()
        self._forget()
        if text == before:
            return
        self._setting = True
        if before and text.startswith(before):
            cursor = QTextCursor(self.document())
            cursor.movePosition(QTextCursor.MoveOperation.End)
            cursor.insertText(text[len(before) :])
        else:
            self.setPlainText(text)
        self._setting = False

    def set_sentences(self, text: str, spans: Sequence[tuple[int, int]]) -> None:
        """Where the sentences of ``text``, which is shown, begin and end; in their order."""
        self._forget()
        at = units = 0
        for start, end in spans:
            units += utf16_units(text[at:start])
            self._starts.append(units)
            units += utf16_units(text[start:end])
            self._ends.append(units)
            at = end

    def set_marks(self, marks: Sequence[SpanMark]) -> None:
        self._marks = tuple(mark for mark in marks if 0 <= mark.index < len(self._starts))
        self._draw()

    @property
    def marks(self) -> tuple[SpanMark, ...]:
        return self._marks

    def sentence(self, index: int) -> str:
        """What is shown of a sentence."""
        return str(self._cursor(index).selectedText())

    def scroll_to(self, index: int) -> None:
        """Bring a sentence into view, if it is not; the text cursor stays where it is."""
        if not 0 <= index < len(self._starts):
            return
        cursor = QTextCursor(self.document())
        cursor.setPosition(self._starts[index])
        area = self.cursorRect(cursor)
        if self.viewport().rect().contains(area):
            return
        bar = self.verticalScrollBar()
        line = self._line_of(cursor)
        bar.setValue(max(0, line - bar.pageStep() // 3))

    def select(self, text: str, start: int, end: int) -> None:
        """Select characters of ``text``, which is shown, and bring their beginning into view."""
        cursor = select_range(self.document(), utf16_units(text[:end]), utf16_units(text[:start]))
        self.setTextCursor(cursor)
        bar = self.verticalScrollBar()
        bar.setValue(max(0, self._line_of(cursor) - 1))

    def index_at(self, position: int) -> int:
        """The sentence at a place of the document (UTF-16 units), or -1."""
        index = bisect.bisect_right(self._starts, position) - 1
        return index if index >= 0 and position < self._ends[index] else -1

    # --- events

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        super().mouseMoveEvent(event)
        self._point(self._under(event))

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._point(-1)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        if event.button() == Qt.MouseButton.LeftButton and not self.textCursor().hasSelection():
            index = self._under(event)
            if self._starts:
                self.chosen.emit(index)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_marks"):
            QTimer.singleShot(0, self, self._draw)

    def _under(self, event: QMouseEvent) -> int:
        point = event.position().toPoint()
        cursor = self.cursorForPosition(point)
        area = self.cursorRect(cursor)
        near = theme.em(self, 0.6)
        if not area.adjusted(-2 * near, -near // 2, 2 * near, near // 2).contains(point):
            return -1  # beside the text
        return self.index_at(cursor.position())

    def _point(self, index: int) -> None:
        shape = Qt.CursorShape.PointingHandCursor if index >= 0 else Qt.CursorShape.IBeamCursor
        if self.viewport().cursor().shape() != shape:
            self.viewport().setCursor(shape)
        if index != self._pointed:
            self._pointed = index
            self.pointed.emit(index)

    def _on_cursor(self) -> None:
        if self.isReadOnly() and self.hasFocus() and not self._setting and self._starts:
            self.pointed.emit(self.index_at(self.textCursor().position()))

    # --- marks

    def _forget(self) -> None:
        self._starts, self._ends, self._marks, self._pointed = [], [], (), -1
        self.setExtraSelections([])

    def _cursor(self, index: int) -> QTextCursor:
        return select_range(self.document(), self._starts[index], self._ends[index])

    def _draw(self) -> None:
        palette = self.palette()
        selections = []
        for mark in self._marks:
            style = QTextCharFormat()
            if mark.kind == DOUBTFUL:
                style.setUnderlineStyle(QTextCharFormat.UnderlineStyle.WaveUnderline)
                style.setUnderlineColor(theme.warning(palette))
            else:
                base = palette.color(QPalette.ColorRole.Base)
                style.setBackground(theme.blend(palette.accent().color(), base, _TINTS[mark.kind]))
            selections.append(make_mark(self.document(), self._starts[mark.index], self._ends[mark.index], style))
        self.setExtraSelections(selections)

    def _line_of(self, cursor: QTextCursor) -> int:
        """The visual line that a place is in: what the scroll bar counts."""
        block = cursor.block()
        layout = block.layout()
        line = layout.lineForTextPosition(cursor.positionInBlock()) if layout is not None else None
        return int(block.firstLineNumber() + (line.lineNumber() if line is not None and line.isValid() else 0))
