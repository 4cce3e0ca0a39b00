"""The inside of a message: text, tables and blocks of code below each other, each as high as what is in it.

No layout of Qt's: while a reply is written, only its last part is measured again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QEvent, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import (
    QFontMetricsF,
    QPainter,
    QPaintEvent,
    QPalette,
    QSyntaxHighlighter,
    QTextCharFormat,
    QTextCursor,
)
from PySide6.QtWidgets import QApplication, QFrame, QLabel, QTextEdit, QToolButton, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.job_runner import JobRunner
from lmstudio_app.gui.markdown import Part, code_font, show_markdown, show_plain, split_parts
from lmstudio_app.gui.markdown_code import Span, colour_of, tell_apart
from lmstudio_app.gui.widgets.chat_reading import Reading

_SHORT = 300  # characters of a line that may be narrower than a message
_WIDE = 100_000.0
KEPT = 200  # blocks of code whose parts are remembered


class CodeColours:
    """Tells the parts of codes apart beside the window, each code once."""

    def __init__(self, runner: JobRunner) -> None:
        self._runner = runner
        self._known: dict[tuple[str, str], Sequence[Span]] = {}

    def ask(self, language: str, code: str, answer: Callable[[Sequence[Span]], None], owner: QWidget) -> None:
        """Calls ``answer`` later, unless ``owner`` is gone by then."""
        key = (language, code)
        if key in self._known:
            answer(self._known[key])
            return
        handle = self._runner.start(tell_apart, key, quiet=True)
        alive = [True]
        owner.destroyed.connect(lambda *_: alive.clear())

        def _on_told(spans: Sequence[Span]) -> None:
            self._known[key] = spans
            while len(self._known) > KEPT:
                del self._known[next(iter(self._known))]
            if alive:
                answer(spans)

        handle.succeeded.connect(_on_told)


class TextPart(Reading):
    """Markdown, or plain text for what the reader wrote."""

    def __init__(self, parent: QWidget, *, plain: bool) -> None:
        super().__init__(parent)
        self._plain = plain
        self._part: Part | None = None

    def set_part(self, part: Part) -> None:
        self._part = part
        self.keep_selection(self._show)

    def _show(self) -> None:
        if self._part is None:
            return
        if self._plain:
            show_plain(self.document(), self._part.text, self.font())
        else:
            show_markdown(self.document(), self._part.text, self.font(), self.palette())

    def natural_width(self) -> float:
        """The width at which no line of a plain text is broken."""
        lines = self._part.text.split("\n") if self._part is not None else []
        if any(len(line) > _SHORT for line in lines):
            return _WIDE
        metrics = QFontMetricsF(self.font())
        return max((metrics.horizontalAdvance(line) for line in lines), default=0.0)

    def height_for(self, width: int) -> int:
        return self.height_at(width)

    def restyle(self) -> None:
        self.keep_selection(self._show)


class _Highlighter(QSyntaxHighlighter):
    def __init__(self, code: CodePart) -> None:
        super().__init__(code.edit.document())
        self._code = code
        self._spans: Sequence[Span] = ()
        self._starts: list[int] = []

    def set_spans(self, spans: Sequence[Span]) -> None:
        self._spans, self._starts = spans, [span.start for span in spans]
        self.rehighlight()

    def highlightBlock(self, text: str) -> None:
        if not self._spans:
            return
        begin = self.currentBlock().position()
        end = begin + self.currentBlock().length()
        index = max(0, bisect_right(self._starts, begin) - 1)
        palette, background = self._code.palette(), self._code.background()
        while index < len(self._spans) and self._starts[index] < end:
            span = self._spans[index]
            style = QTextCharFormat()
            style.setForeground(colour_of(span.kind, palette, background))
            start = max(span.start, begin)
            if (length := min(span.start + span.length, end) - start) > 0:
                self.setFormat(start - begin, length, style)
            index += 1


class CodePart(QFrame):
    """A block of code with its language and a button that copies it."""

    def __init__(self, parent: QWidget, colours: CodeColours | None) -> None:
        super().__init__(parent)
        self._colours = colours
        self._part = Part("", True)
        self._coloured: tuple[str, str] | None = None
        self._title = QLabel(self)
        self._title.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.copy_button = QToolButton(self)
        self.copy_button.setAutoRaise(True)
        self.copy_button.setText(self.tr("Copy code"))
        self.copy_button.setAccessibleName(self.tr("Copy code"))
        self.copy_button.setToolTip(self.tr("Copy this block of code"))
        self.copy_button.clicked.connect(self._on_copy)
        self._said = QTimer(self)
        self._said.setSingleShot(True)
        self._said.timeout.connect(lambda: self.copy_button.setText(self.tr("Copy code")))
        self.edit = Reading(self)
        self.edit.setLineWrapMode(QTextEdit.LineWrapMode.NoWrap)
        self.edit.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.edit.setAccessibleName(self.tr("Code"))
        self._highlighter = _Highlighter(self)
        self._take_font()

    def background(self) -> Any:
        palette = self.palette()
        return theme.blend(palette.text().color(), palette.base().color(), 0.06)

    @property
    def code(self) -> str:
        return self._part.text

    def set_part(self, part: Part) -> None:
        before, self._part = self._part.text, part
        self._title.setText(part.language or self.tr("code"))
        if part.text != before:
            if before and part.text.startswith(before):
                cursor = QTextCursor(self.edit.document())
                cursor.movePosition(QTextCursor.MoveOperation.End)
                cursor.insertText(part.text[len(before) :])
            else:
                self.edit.keep_selection(lambda: self.edit.setPlainText(part.text))
        wanted = (part.language, part.text)
        if part.closed and part.language and self._colours is not None and self._coloured != wanted:
            self._coloured = wanted
            self._colours.ask(part.language, part.text, lambda spans: self._on_colours(wanted, spans), self)

    def _on_colours(self, wanted: tuple[str, str], spans: Sequence[Span]) -> None:
        if wanted == (self._part.language, self._part.text):
            self._highlighter.set_spans(spans)

    def _on_copy(self) -> None:
        QApplication.clipboard().setText(self.code)
        self.copy_button.setText(self.tr("Copied"))
        self._said.start(1500)

    def _take_font(self) -> None:
        self.edit.setFont(code_font(self.font()))
        self.edit.document().setDefaultFont(self.edit.font())

    def height_for(self, width: int) -> int:
        pad, head = theme.em(self, 0.5), self.copy_button.sizeHint().height()
        self._title.setGeometry(pad, 0, max(1, width - 2 * pad - self.copy_button.sizeHint().width()), head)
        copy = self.copy_button.sizeHint()
        self.copy_button.setGeometry(width - copy.width() - pad // 2, 0, copy.width(), head)
        document = self.edit.document()
        inside = int(document.size().height() + 0.999)
        if document.idealWidth() > width - 2 * pad:
            inside += self.edit.horizontalScrollBar().sizeHint().height()
        self.edit.setGeometry(pad, head, max(1, width - 2 * pad), inside + 1)
        return head + inside + pad

    def restyle(self) -> None:
        self._take_font()
        self._highlighter.rehighlight()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        radius = theme.em(self, 0.3)
        painter.setPen(self.palette().mid().color())
        painter.setBrush(self.background())
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), radius, radius)


class MessageBody(QWidget):
    """The parts of a message. :meth:`arrange` places them and says how high they are together."""

    link_clicked = Signal(str)
    restyled = Signal()  # other fonts or colours: it has another height

    def __init__(self, parent: QWidget, colours: CodeColours | None = None, *, plain: bool = False) -> None:
        super().__init__(parent)
        self._colours = colours
        self._plain = plain
        self._text = ""
        self._parts: list[Part] = []
        self._heights: list[int] = []
        self._width = -1
        self.widgets: list[TextPart | CodePart] = []

    @property
    def text(self) -> str:
        return self._text

    def set_text(self, text: str) -> None:
        """Show this text. Parts that are the same as before stay as they are."""
        self._text = text
        parts = split_parts(text)
        for index, part in enumerate(parts):
            if index < len(self._parts) and self._parts[index] == part:
                continue
            if index < len(self.widgets) and isinstance(self.widgets[index], CodePart) != part.is_code:
                self._drop_from(index)
            if index == len(self.widgets):
                self.widgets.append(self._make(part))
            self.widgets[index].set_part(part)
            self._heights[index:] = []
        self._drop_from(len(parts))
        self._parts = parts

    def _make(self, part: Part) -> TextPart | CodePart:
        if part.is_code:
            made: TextPart | CodePart = CodePart(self, self._colours)
        else:
            made = TextPart(self, plain=self._plain)
            made.anchorClicked.connect(lambda url: self.link_clicked.emit(url.toString()))
        made.show()
        return made

    def _drop_from(self, index: int) -> None:
        for widget in self.widgets[index:]:
            widget.hide()
            widget.deleteLater()
        del self.widgets[index:]
        del self._heights[index:]
        del self._parts[index:]

    def natural_width(self) -> int:
        """The width that needs no breaking of lines; blocks of code take all there is."""
        self._width = -1
        widths = [_WIDE if isinstance(item, CodePart) else item.natural_width() for item in self.widgets]
        return int(max(widths, default=0.0) + 2)

    def arrange(self, width: int) -> int:
        if width != self._width:
            self._heights, self._width = [], width
        gap, top = theme.em(self, 0.5), 0
        for index, widget in enumerate(self.widgets):
            if index == len(self._heights):
                self._heights.append(widget.height_for(width))
            widget.setGeometry(0, top, width, self._heights[index])
            top += self._heights[index] + gap
        return max(0, top - gap)

    def selected_text(self) -> str:
        edits = [item.edit if isinstance(item, CodePart) else item for item in self.widgets]
        chosen = [edit.textCursor().selection().toPlainText() for edit in edits if edit.textCursor().hasSelection()]
        return "\n".join(chosen)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and hasattr(self, "widgets"):
            QTimer.singleShot(0, self, self._restyle)  # the children are told after their parent

    def _restyle(self) -> None:
        self._width = -1
        for widget in self.widgets:
            widget.restyle()
        self.restyled.emit()
