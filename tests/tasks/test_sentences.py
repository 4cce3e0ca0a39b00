"""Sentences by their punctuation, and paragraphs by their lines."""

from __future__ import annotations

import pytest

from lmstudio_app.tasks.sentences import sentence_texts, split_paragraphs, split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("One line without an end", ["One line without an end"]),
        ("It rains. We stay! Why? Because…", ["It rains.", "We stay!", "Why?", "Because…"]),
        ("Dr. Smith met J. Doe, i.e. a friend. They left.", ["Dr. Smith met J. Doe, i.e. a friend.", "They left."]),
        ("See Fig. 3 and approx. 4.5 metres. Then go.", ["See Fig. 3 and approx. 4.5 metres.", "Then go."]),
        (
            'He said "Stop." Then he left. "Go on!" she said.',
            ['He said "Stop."', "Then he left.", '"Go on!" she said.'],
        ),
        ("It is e.g. this. and that.", ["It is e.g. this. and that."]),
        ("The answer is no. It stays.", ["The answer is no.", "It stays."]),
        ("The U.S. Army left at 5 p.m. Nobody saw it.", ["The U.S. Army left at 5 p.m.", "Nobody saw it."]),
        ("He was 12. She was 3.5 years older.", ["He was 12.", "She was 3.5 years older."]),
        ("1. Boil the water. 2 cups.", ["1. Boil the water.", "2 cups."]),
        ("A heading\n\nThe first\nsentence. More.", ["A heading", "The first\nsentence.", "More."]),
        ("今天下雨。我们在家！“为什么？”他问。", ["今天下雨。", "我们在家！", "“为什么？”", "他问。"]),
        ("真的吗?我不信!好吧……走。", ["真的吗?", "我不信!", "好吧……走。"]),
        ("雨が降る。家にいる。", ["雨が降る。", "家にいる。"]),
        ("「行くよ。」彼は言った。", ["「行くよ。」", "彼は言った。"]),
        ("Wait... what? Fine... Then go.", ["Wait... what?", "Fine...", "Then go."]),
        (
            "Am 3. Mai kam Dr. Kern z. B. mit Hr. Abt. „Schön!“ rief er.",
            ["Am 3. Mai kam Dr. Kern z. B. mit Hr. Abt.", "„Schön!“ rief er."],
        ),
        ("Er sagte: »Komm!« Dann ging er.", ["Er sagte: »Komm!«", "Dann ging er."]),
        (
            "«\u00a0Viens\u00a0!\u00a0» Il part. M. Dupont, p. ex. Marie, reste.",
            ["«\u00a0Viens\u00a0!\u00a0»", "Il part.", "M. Dupont, p. ex. Marie, reste."],
        ),
        ("«\u00a0Viens\u00a0!\u00a0» dit-il.", ["«\u00a0Viens\u00a0!\u00a0» dit-il."]),
        ("¿Quién es? ¡Soy yo! El Sr. Gil.", ["¿Quién es?", "¡Soy yo!", "El Sr. Gil."]),
        ("यह अच्छा है। चलो।", ["यह अच्छा है।", "चलो।"]),
        ("هل أنت بخير؟ نعم.", ["هل أنت بخير؟", "نعم."]),
    ],
)
def test_sentences_end_where_people_end_them(text: str, sentences: list[str]) -> None:
    assert sentence_texts(text) == sentences
    assert "".join("".join(sentences).split()) == "".join(text.split())  # nothing is lost
    assert [text[begin:end] for begin, end in split_sentences(text)] == sentences


WRAPPED = (
    "This text is wrapped by an editor that puts a break\ninto the middle of a sentence of this length.\nA new line."
)


@pytest.mark.parametrize(
    ("text", "paragraphs"),
    [
        ("", []),
        ("  \n \n", []),
        ("One.\nTwo.\n\n\n  Three.  \n", ["One.", "Two.", "Three."]),
        ("Roses are red\r\nViolets are blue", ["Roses are red", "Violets are blue"]),
        (WRAPPED, [WRAPPED[: WRAPPED.index("\nA new")], "A new line."]),
        (
            "The following things are needed for a really good tea\n- water\n- leaves",
            ["The following things are needed for a really good tea", "- water", "- leaves"],
        ),
        (
            "A long line that has no full stop and yet is the whole\n\nparagraph",
            ["A long line that has no full stop and yet is the whole", "paragraph"],
        ),
    ],
)
def test_paragraphs_are_lines_unless_these_are_wrapped(text: str, paragraphs: list[str]) -> None:
    spans = split_paragraphs(text)
    assert [text[begin:end] for begin, end in spans] == paragraphs
    ends = [0, *(end for _, end in spans)]
    begins = [*(begin for begin, _ in spans), len(text)]
    assert not "".join(text[end:begin] for end, begin in zip(ends, begins, strict=True)).strip()
