"""Markdown as a chat model writes it: cut into text and code, and the text shown by Qt's own reader.

Nothing of it is trusted. HTML stays the text it is, a picture becomes a link to it, nothing is fetched, and formulas
are shown as they were written. A text that is still being written is as good as one that has ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from PySide6.QtGui import (
    QColor,
    QFont,
    QFontDatabase,
    QFontMetricsF,
    QPalette,
    QTextBlock,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextFrameFormat,
    QTextLength,
    QTextTable,
)

from lmstudio_app.gui import theme

FEATURES = QTextDocument.MarkdownFeature.MarkdownDialectGitHub | QTextDocument.MarkdownFeature.MarkdownNoHTML
LONGEST = 1500  # characters of a piece of text after which the next paragraph begins another piece

_FENCE = re.compile(r"^(?P<indent>[ \t]*(?:>[ \t]?)*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`]*)$")
_CONTINUES = re.compile(r"^(\s|[-*+>|]|\d+[.)])")  # a line that may belong to a list, a quote or a table before it
_CODE_SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_FORMULA = re.compile(
    r"\$\$.+?\$\$|\\\[.+?\\\]|\\\(.+?\\\)|\$(?![\s$])[^$\n]+?(?<!\s)\$(?!\d)",
    re.DOTALL,
)
_PICTURE = re.compile(r"!(?=\[)")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_BLOCK_LINE = re.compile(r"^\s*(#{1,6}\s|\||([-*_]\s*){3,}$|=+\s*$|-+\s*$)")


@dataclass(frozen=True)
class Part:
    """A piece of a message: Markdown, or the inside of a fenced block of code. ``closed``: nothing is added to it."""

    text: str
    is_code: bool = False
    language: str = ""
    closed: bool = True


def split_parts(text: str) -> list[Part]:
    """Text and fenced code in their order. Long text is cut between paragraphs, so that each piece stays small."""
    parts: list[Part] = []
    lines: list[str] = []
    fence, indent, language = "", "", ""
    size = 0

    def _flush(*, is_code: bool, closed: bool = True) -> None:
        nonlocal size
        joined = "\n".join(lines)
        if is_code or joined.strip():
            parts.append(Part(joined if is_code else joined.strip("\n"), is_code, language if is_code else "", closed))
        lines.clear()
        size = 0

    for line in text.split("\n"):
        match = _FENCE.match(line)
        if fence:
            if match and match["fence"].startswith(fence) and not match["info"].strip():
                _flush(is_code=True)
                fence = ""
            else:
                lines.append(line.removeprefix(indent))
        elif match:
            _flush(is_code=False)
            fence, indent = match["fence"], match["indent"]
            language = (match["info"].split() or [""])[0].strip("{}.").lower()
        else:
            starts_paragraph = bool(lines) and not lines[-1].strip() and bool(line.strip())
            if size > LONGEST and starts_paragraph and not _CONTINUES.match(line):
                _flush(is_code=False)
            lines.append(line)
            size += len(line) + 1
    _flush(is_code=bool(fence), closed=False)
    return parts


def harmless(text: str) -> str:
    """The Markdown with formulas kept as written, pictures as links, and every line break a line break."""
    return _with_line_breaks("".join(_outside_code(text)))


def _outside_code(text: str) -> Iterator[str]:
    start = 0
    for match in _CODE_SPAN.finditer(text):
        yield _protected(text[start : match.start()])
        yield match[0]
        start = match.end()
    yield _protected(text[start:])


def _protected(text: str) -> str:
    start, made = 0, []
    for match in _FORMULA.finditer(text):
        made += [_PICTURE.sub("", text[start : match.start()]), _PUNCTUATION.sub(r"\\\1", match[0])]
        start = match.end()
    return "".join([*made, _PICTURE.sub("", text[start:])])


def _with_line_breaks(text: str) -> str:
    """Models mean their line breaks; Markdown would join the lines of a paragraph."""
    lines = text.split("\n")
    for index in range(len(lines) - 1):
        line, following = lines[index], lines[index + 1]
        if line.strip() and following.strip() and not (_BLOCK_LINE.match(line) or _BLOCK_LINE.match(following)):
            lines[index] = line.rstrip() + "  "
    return "\n".join(lines)


def code_font(font: QFont) -> QFont:
    """The system's monospace font, a little smaller, since such letters are wider."""
    fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    if font.pointSizeF() > 0:
        fixed.setPointSizeF(font.pointSizeF() * 0.95)
    return fixed


def readable(colour: QColor, background: QColor, ink: QColor) -> QColor:
    """``colour``, moved towards ``ink`` until it has a contrast of 4.5 to 1 with ``background``."""
    for step in range(10):
        mixed = theme.blend(ink, colour, step / 10)
        if theme.contrast(mixed, background) >= 4.5:
            return mixed
    return ink


def show_markdown(
    document: QTextDocument, text: str, font: QFont, palette: QPalette, *, line_breaks: bool = True
) -> None:
    """Fill ``document`` with the Markdown, in the font and the colours of whoever shows it.

    ``line_breaks``: each one is meant, as models write; in a text of a person they are where the line was full.
    """
    if document.defaultFont() != font:
        document.setDefaultFont(font)
    document.setMarkdown(harmless(text) if line_breaks else "".join(_outside_code(text)), FEATURES)
    _Dress(document, font, palette).apply()


def show_plain(document: QTextDocument, text: str, font: QFont) -> None:
    document.setDefaultFont(font)
    document.setPlainText(text)


class _Dress:
    """Gives a document that Qt's reader has made the sizes and colours of the window."""

    def __init__(self, document: QTextDocument, font: QFont, palette: QPalette) -> None:
        self._document = document
        self._line = QFontMetricsF(font).height()
        self._font = font
        self._palette = palette
        base = palette.base().color()
        self._tint = theme.blend(palette.text().color(), base, 0.09)
        self._code = QTextCharFormat()
        self._code.setFont(
            code_font(font), QTextCharFormat.FontPropertiesInheritanceBehavior.FontPropertiesSpecifiedOnly
        )
        self._code.setBackground(self._tint)
        self._link = QTextCharFormat()
        self._link.setForeground(palette.link())
        self._link.setFontUnderline(True)

    def apply(self) -> None:
        cursor = QTextCursor(self._document)
        cursor.beginEditBlock()
        block = self._document.begin()
        previous: QTextBlock | None = None
        while block.isValid():
            self._dress_block(cursor, block, previous)
            previous, block = block, block.next()
        for frame in self._document.rootFrame().childFrames():
            if isinstance(frame, QTextTable):
                self._dress_table(frame)
        cursor.endEditBlock()

    def _dress_block(self, cursor: QTextCursor, block: QTextBlock, previous: QTextBlock | None) -> None:
        style = QTextBlockFormat(block.blockFormat())
        level = style.headingLevel()
        cursor.setPosition(block.position())
        in_table = cursor.currentTable() is not None
        listed = block.textList() is not None
        after_list = previous is not None and previous.textList() is not None
        gap = 0.25 if listed and after_list else 0.55
        if level:
            gap = 0.9
        if style.property(QTextFormat.Property.BlockCodeFence) is not None or style.nonBreakableLines():
            gap = 0.0 if previous is not None and previous.blockFormat().nonBreakableLines() else 0.5
            style.setBackground(self._tint)
        style.setTopMargin(0.0 if previous is None or in_table else gap * self._line)
        style.setBottomMargin(0.0)
        style.setLineHeight(118.0, QTextBlockFormat.LineHeightTypes.ProportionalHeight.value)
        quoted = style.intProperty(QTextFormat.Property.BlockQuoteLevel)
        if quoted:
            style.setLeftMargin(quoted * self._line)
            style.setRightMargin(0.0)
        if (
            not block.text()
            and previous is not None
            and not style.hasProperty(QTextFormat.Property.BlockTrailingHorizontalRulerWidth)
        ):
            cursor.setBlockFormat(style)
            return
        cursor.setBlockFormat(style)
        if level or quoted:
            whole = QTextCharFormat()
            if level:
                scale = {1: 1.35, 2: 1.22, 3: 1.1}.get(level, 1.0)
                whole.clearProperty(QTextFormat.Property.FontSizeAdjustment)
                whole.setProperty(QTextFormat.Property.FontSizeAdjustment, 0)
                whole.setFontPointSize(max(1.0, self._font.pointSizeF()) * scale)
                whole.setFontWeight(QFont.Weight.DemiBold)
            if quoted:
                whole.setForeground(theme.muted(self._palette))
            cursor.setPosition(block.position())
            cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock, QTextCursor.MoveMode.KeepAnchor)
            cursor.mergeCharFormat(whole)
        self._dress_fragments(cursor, block)

    def _dress_fragments(self, cursor: QTextCursor, block: QTextBlock) -> None:
        spans = []
        iterator = block.begin()
        while not iterator.atEnd():
            fragment = iterator.fragment()
            style = fragment.charFormat()
            if style.fontFixedPitch():
                spans.append((fragment.position(), fragment.length(), self._code))
            elif style.isAnchor():
                shown = QTextCharFormat(self._link)
                shown.setToolTip(style.anchorHref())
                spans.append((fragment.position(), fragment.length(), shown))
            iterator += 1
        for position, length, style in spans:
            cursor.setPosition(position)
            cursor.setPosition(position + length, QTextCursor.MoveMode.KeepAnchor)
            cursor.mergeCharFormat(style)

    def _dress_table(self, table: QTextTable) -> None:
        style = table.format()
        style.setBorderCollapse(True)
        style.setBorder(1.0)
        style.setBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
        style.setBorderBrush(self._palette.mid())
        style.setCellSpacing(0.0)
        style.setCellPadding(self._line * 0.25)
        style.setTopMargin(self._line * 0.5)
        style.setWidth(QTextLength())
        table.setFormat(style)
        head = QTextCharFormat()
        head.setFontWeight(QFont.Weight.DemiBold)
        for column in range(table.columns()):
            cell = table.cellAt(0, column)
            cell_style = cell.format()
            cell_style.setBackground(self._tint)
            cell.setFormat(cell_style)
            cursor = cell.firstCursorPosition()
            cursor.setPosition(cell.lastCursorPosition().position(), QTextCursor.MoveMode.KeepAnchor)
            cursor.mergeCharFormat(head)
