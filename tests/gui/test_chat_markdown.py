"""What a chat model writes as Markdown, cut into parts and shown."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtGui import QTextDocument

from lmstudio_app.gui.markdown import LONGEST, Part, harmless, show_markdown, split_parts
from lmstudio_app.gui.markdown_code import tell_apart
from lmstudio_app.gui.theme import build_palette, contrast
from lmstudio_app.jobs import JobContext


def shown(qapp: Any, text: str) -> QTextDocument:
    document = QTextDocument()
    show_markdown(document, text, qapp.font(), build_palette(dark=False))
    return document


def test_code_is_cut_out_of_the_text() -> None:
    text = "Before\n\n```python\nprint(1)\n\nprint(2)\n```\nAfter\n~~~\na ``` b\n~~~"
    assert split_parts(text) == [
        Part("Before"),
        Part("print(1)\n\nprint(2)", True, "python"),
        Part("After"),
        Part("a ``` b", True),
    ]


def test_code_that_is_still_being_written_is_code() -> None:
    assert split_parts("Look:\n```js\nlet a") == [Part("Look:"), Part("let a", True, "js", closed=False)]
    assert split_parts("Look:\n```js") == [Part("Look:"), Part("", True, "js", closed=False)]
    assert split_parts("") == []


def test_code_within_a_list_loses_the_indent_of_its_fence() -> None:
    parts = split_parts("1. one\n   ```\n   x\n     y\n   ```\n2. two")
    assert [part.text for part in parts] == ["1. one", "x\n  y", "2. two"]


def test_a_longer_fence_may_hold_a_shorter_one() -> None:
    assert split_parts("````\n```\ninside\n```\n````")[0].text == "```\ninside\n```"


def test_long_text_is_cut_between_paragraphs_and_never_within_a_list() -> None:
    paragraph = "word " * 100
    parts = split_parts("\n\n".join([paragraph] * 20))
    assert len(parts) > 3
    assert all(len(part.text) < LONGEST + 2 * len(paragraph) for part in parts)
    assert "".join(part.text for part in parts).split() == (paragraph * 20).split()
    assert len(split_parts("\n\n".join([f"- {paragraph}"] * 20))) == 1


def test_headings_lists_tables_and_code_are_rendered(qapp: Any) -> None:
    document = shown(qapp, "# Title\n\n- a\n- b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\nuse `f(x)` now")
    assert document.firstBlock().text() == "Title"
    assert document.firstBlock().blockFormat().headingLevel() == 1
    assert document.firstBlock().next().textList() is not None
    assert len(document.rootFrame().childFrames()) == 1
    code = [block for block in _fragments(document) if block[0] == "f(x)"]
    assert code
    assert code[0][1].fontFixedPitch()


def _fragments(document: QTextDocument) -> list[tuple[str, Any]]:
    found, block = [], document.begin()
    while block.isValid():
        iterator = block.begin()
        while not iterator.atEnd():
            found.append((iterator.fragment().text(), iterator.fragment().charFormat()))
            iterator += 1
        block = block.next()
    return found


def test_html_stays_text_and_pictures_become_links(qapp: Any) -> None:
    document = shown(qapp, "<b>no</b> <script>alert(1)</script> ![see](http://192.0.2.1/a.png)")
    assert "<b>no</b> <script>alert(1)</script> see" in document.toPlainText()
    assert not any(style.isImageFormat() for _, style in _fragments(document))
    links = [style.anchorHref() for text, style in _fragments(document) if text == "see"]
    assert links == ["http://192.0.2.1/a.png"]


@pytest.mark.parametrize("formula", [r"$a_1 * b_2$", r"\(x_1\)", r"\[\sum_i x_i * y_i\]", "$$\na_b * c_d\n$$"])
def test_formulas_stay_as_they_are_written(qapp: Any, formula: str) -> None:
    assert formula.replace("\n", "\u2028") in shown(qapp, f"So {formula} it is").toPlainText().replace("\n", "\u2028")


def test_formulas_within_code_are_code(qapp: Any) -> None:
    assert harmless("`$a_b$` and $c_d$") == r"`$a_b$` and \$c\_d\$"
    assert "costs $5 and 6 $ more" in shown(qapp, "costs $5 and 6 $ more").toPlainText()


def test_a_line_break_is_one(qapp: Any) -> None:
    assert shown(qapp, "one\ntwo\n\nthree").toPlainText().replace("\u2028", "\n").startswith("one\ntwo\nthree")


def test_code_is_told_apart_and_unknown_languages_are_left_alone() -> None:
    spans = tell_apart(("python", "def f():\n    return '😀' # end"), JobContext())
    assert {span.kind for span in spans} == {"keyword", "name", "text", "comment"}
    comment = next(span for span in spans if span.kind == "comment")
    assert comment.start == len("def f():\n    return '..' ")  # Qt counts an emoji as two
    assert tell_apart(("no-such-language", "x"), JobContext()) == []


@pytest.mark.parametrize("dark", [False, True])
def test_colours_of_code_can_be_read(qapp: Any, dark: bool) -> None:
    from lmstudio_app.gui import theme
    from lmstudio_app.gui.markdown_code import KINDS, colour_of

    palette = build_palette(dark=dark)
    background = theme.blend(palette.text().color(), palette.base().color(), 0.06)
    assert all(contrast(colour_of(kind, palette, background), background) >= 4.5 for kind in KINDS)
