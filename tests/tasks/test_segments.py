"""Texts are cut into pieces that fit, and what is between them stands where it stood."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lmstudio_app.tasks.segments import cut_text, join_text, piece_text

TEXT = """# A walk

It is late.  The sun sets!
- One duck
- 42

    She sings, he listens; they wait for the boat until the night comes.
"""


def never(pieces: Sequence[str]) -> list[bool]:
    return [False] * len(pieces)


def longer_than(words: int) -> object:
    return lambda pieces: [len(piece.split()) > words for piece in pieces]


def pieces(text: str, too_long: object = never, *, by_sentence: bool = True) -> list[str]:
    return [piece_text(text, span) for span in cut_text(text, too_long, by_sentence=by_sentence)]  # type: ignore[arg-type]


def test_sentences_without_marks_and_without_what_has_no_letter() -> None:
    assert pieces(TEXT) == [
        "A walk",
        "It is late.",
        "The sun sets!",
        "One duck",
        "She sings, he listens; they wait for the boat until the night comes.",
    ]


def test_what_is_between_stays() -> None:
    spans = cut_text(TEXT, never)
    joined = join_text(TEXT, spans, [TEXT[begin:end].upper() for begin, end in spans])
    assert joined.text == TEXT.upper()
    assert [joined.text[slice(*span)] for span in joined.spans] == [TEXT[slice(*span)].upper() for span in spans]
    assert join_text("  \n", [], []).text == "  \n"


@pytest.mark.parametrize(
    ("source", "translations", "joined"),
    [
        ("It rains. We stay.", ["下雨了。", "我们留下。"], "下雨了。我们留下。"),
        ("下雨了。我们留下。", ["It rains.", "We stay."], "It rains. We stay."),
        ("It rains. We stay.", ["비가 온다.", "우리는 있다."], "비가 온다. 우리는 있다."),
        ("One. Two.\n\nThree.", ["一。", "二。", "三。"], "一。二。\n\n三。"),
        ("One. Two.", ["Eins.", ""], "Eins."),
    ],
)
def test_sentences_stand_apart_as_their_script_wants_it(source: str, translations: list[str], joined: str) -> None:
    assert join_text(source, cut_text(source, never), translations).text == joined


def test_what_is_too_long_is_cut_at_clauses_then_between_words_then_anywhere() -> None:
    assert pieces(TEXT, longer_than(10))[4:] == [
        "She sings, he listens;",
        "they wait for the boat until the night comes.",
    ]
    assert pieces(TEXT, longer_than(4))[4:] == [
        "She sings, he listens;",
        "they wait for the",
        "boat until the night",
        "comes.",
    ]

    def _long(found: Sequence[str]) -> list[bool]:
        return [len(piece) > 8 for piece in found]

    assert pieces("Donaudampfschifffahrt", _long) == ["Donaudam", "pfschiff", "fahrt"]
    assert pieces("他在河边看书，她在家里做饭，孩子们在睡觉。", _long) == [
        "他在河边看书，",
        "她在家里做饭，",
        "孩子们在睡觉。",
    ]


def test_whole_texts_are_cut_only_when_they_are_too_long() -> None:
    text = "One two. Three four.\n\nFive six seven. Eight."
    assert pieces(text, by_sentence=False) == ["One two. Three four. Five six seven. Eight."]
    assert pieces(text, longer_than(4), by_sentence=False) == ["One two. Three four.", "Five six seven. Eight."]
    assert pieces(text, longer_than(3), by_sentence=False) == ["One two.", "Three four.", "Five six seven.", "Eight."]
    assert cut_text(" \n", never) == []
