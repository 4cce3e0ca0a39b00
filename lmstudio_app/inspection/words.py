"""From the pieces that a tokenizer makes of a text to the words that a person reads."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_JOINERS = "'’_"  # inside of words, as in don't
# scripts that write words without spaces between them: a piece is as much of a word as there is to see
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF))


@dataclass(frozen=True)
class Word:
    """``text[start:end]``, and the indices of the pieces that it was made of."""

    start: int
    end: int
    pieces: tuple[int, ...]


def join_pieces(text: str, spans: Sequence[tuple[int, int] | None]) -> list[Word]:
    """The words of a text whose pieces lie at ``spans`` (None for a special token).

    Pieces join where a letter or digit follows another one without a gap, whatever vocabulary they are of; in Chinese
    and other scripts without spaces they stay as they are. White space around a piece is not of the word. A piece that
    is nothing but white space, or of which no character is left, goes to the word before it.
    """
    words: list[list[int]] = []  # start, end
    pieces: list[list[int]] = []
    pending: list[int] = []  # pieces before the first word
    for index, span in enumerate(spans):
        if span is None:
            continue
        start, end = _trimmed(text, *span)
        if start == end or (words and start < words[-1][1]):  # white space, or a part of the same character
            (pieces[-1] if pieces else pending).append(index)
            if words and start < end:
                words[-1][1] = max(words[-1][1], end)
        elif words and start == words[-1][1] and _is_inside_word(text, start):
            words[-1][1] = end
            pieces[-1].append(index)
        else:
            words.append([start, end])
            pieces.append([*pending, index])
            pending = []
    return [Word(start, end, tuple(of_it)) for (start, end), of_it in zip(words, pieces, strict=True)]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _is_inside_word(text: str, place: int) -> bool:
    """Do the characters around this place belong to the same word?"""
    before, after = text[place - 1], text[place]
    if _is_letter(before) and _is_letter(after):
        return True
    if after in _JOINERS:
        return _is_letter(before) and place + 1 < len(text) and _is_letter(text[place + 1])
    return before in _JOINERS and _is_letter(after) and place > 1 and _is_letter(text[place - 2])


def _is_letter(character: str) -> bool:
    code = ord(character)
    # a combining mark (of Hindi, say) is no letter by itself, but a part of one
    is_of_word = character.isalnum() or unicodedata.category(character).startswith("M")
    return is_of_word and not any(first <= code <= last for first, last in _UNSPACED)
