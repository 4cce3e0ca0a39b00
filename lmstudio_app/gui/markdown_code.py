"""Colours for a block of code: what its parts are, told beside the window when Pygments is installed."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from PySide6.QtGui import QColor, QPalette

from lmstudio_app.gui import theme
from lmstudio_app.gui.markdown import readable
from lmstudio_app.gui.text_places import utf16_units
from lmstudio_app.jobs import JobContext

LONGEST = 20_000  # characters that are told apart; a longer block stays in one colour
KINDS = ("comment", "keyword", "text", "number", "name")


@dataclass(frozen=True)
class Span:
    """``length`` characters from ``start`` on are of this kind, one of :data:`KINDS`; in UTF-16 units, as in Qt."""

    start: int
    length: int
    kind: str


def tell_apart(question: tuple[str, str], ctx: JobContext) -> list[Span]:
    """What the parts of a code are: ``question`` is its language and the code. Nothing for an unknown language."""
    language, code = question
    lexer = _lexer(language)
    if lexer is None or len(code) > LONGEST:
        return []
    spans, place = [], 0
    for token, text in lexer.get_tokens(code):
        ctx.check()
        length = utf16_units(text)
        if kind := _kind(token):
            spans.append(Span(place, length, kind))
        place += length
    return spans


def _lexer(language: str):  # type: ignore[no-untyped-def]
    try:
        from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
        from pygments.util import ClassNotFound  # type: ignore[import-untyped]
    except ImportError:
        return None
    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None


@functools.cache
def _kind(token: object) -> str:
    from pygments.token import Comment, Keyword, Name, Number, Operator, String  # type: ignore[import-untyped]

    for kind, known in (
        ("comment", (Comment,)),
        ("keyword", (Keyword, Operator.Word, Name.Tag)),
        ("text", (String,)),
        ("number", (Number,)),
        ("name", (Name.Function, Name.Class, Name.Builtin, Name.Decorator, Name.Attribute)),
    ):
        if any(token in item for item in known):
            return kind
    return ""


def colour_of(kind: str, palette: QPalette, background: QColor) -> QColor:
    """The colour of a kind, readable on ``background``."""
    series = theme.chart_colours(palette).series
    colours = {
        "comment": theme.muted(palette),
        "keyword": series[0],
        "text": series[2],
        "number": series[1],
        "name": series[3],
    }
    return readable(colours[kind], background, palette.text().color())
