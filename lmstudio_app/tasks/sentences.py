"""Sentences and paragraphs of running text, by punctuation alone: no model, any size, many languages.

All places are characters of the text that came in. What lies between two spans is white space, so that a text can be
put together again exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# words before a full stop that end no sentence: English, German, French, Spanish, Italian, Dutch
_ABBREVIATIONS = frozenset(
    re.findall(
        r"\S+",
        "dr mr mrs ms prof st nos vol fig eq ch pp p vs al ca approx jr sr dept jan feb aug sept oct nov cf "
        "rev gen col capt lt sgt gov hon messrs mt "
        "bzw nr hr hrn frl str abs bd hrsg inkl evtl ggf sog vgl jh mio mrd tel geb gest bspw lat engl franz "
        "mm mme mmes mlle env av apr chap éd "
        "sra srta dra ud uds pág "
        "sig dott avv ing dhr mevr bijv",
    )
)
# dotted words that do end one, when a capital follows
_ENDING = frozenset({"a.m", "p.m"})
_DOTTED = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]{1,2}")  # e.g, z.B, U.S
_LONE = re.compile(r"[^\W\d_A-Z]\.")  # the p. of "p. ex."
_SHORT_NEXT = re.compile(r"\s*[^\W\d_]{1,2}\.")  # the B. of "z. B."
# what an ordinal of German stands before; other numbers may end a sentence
_COUNTED = re.compile(
    r"\s*(?:Januar|Jänner|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember|Jahrhundert|"
    r"Jahrestag|Geburtstag|Weltkrieg|Klasse|Platz|Stock|Kapitel|Auflage|Etage|Tag|Woche|Mal)"
)
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_END = re.compile(
    r"""[。！？｡।॥]+[”’」』）】》〉"']*"""  # where no space follows a sentence
    rf"""|[!?]+[”’」』）】》"']*(?=[{_CJK}「『])"""
    r"""|[.!?…؟۔]+(?:[”’“»«›)\]"']|[ \u00a0\u202f]»(?=\s|$|[.,;:]))*(?=\s)"""
    r"""|(?=\n[ \t\r]*\n)"""  # an empty line ends what has no full stop, such as a heading
)
_STOPS = ".!?…؟۔"
_OPENERS = "\"'“‘„‚«»‹›([¿¡ \u00a0\u202f"
_LOOK = 64  # characters around a full stop that say whether it ends a sentence
_BREAK = re.compile(r"[ \t\r\f\v]*\n\s*")
_WRAPPED = 45  # characters that a line has at least when it goes on in the next one
_LINE_ENDS = re.compile(r"[.!?:;…。！？；：؟।|][”’“»«)\]\"'」』）]*$")
_ITEM = re.compile(r"(?:[-*•–—>#|=+]|\(?\w{1,3}[.)])\s|[ \t]")  # a list item, a heading, a quote, a table


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Where each sentence begins and ends, without outer spaces; Latin, Chinese, Japanese and other punctuation.

    After a full stop a sentence ends when the next one begins like one (no small letter) and the word before it is no
    common abbreviation, initial or German ordinal. An empty line ends a sentence, a single line break does not.
    """
    return list(_split_sentences(text))


def sentence_texts(text: str) -> list[str]:
    """The sentences themselves. Nothing but spaces is lost."""
    return [text[begin:end] for begin, end in _split_sentences(text)]


def split_paragraphs(text: str) -> list[tuple[int, int]]:
    """Where each paragraph begins and ends, without outer spaces. A line is a paragraph.

    Text that is wrapped to lines stays together: a long line goes on in the next one when it does not end like a
    sentence and the next one is no list item, heading or quote.
    """
    spans: list[tuple[int, int]] = []
    begin = 0
    ends = [(found.start(), found.end()) for found in _BREAK.finditer(text)]
    line = 0
    for end, following in (*ends, (len(text), len(text))):
        if following < len(text) and _goes_on(text, line, end, following):
            line = following
            continue
        paragraph = text[begin:end]
        if stripped := paragraph.strip():
            start = begin + len(paragraph) - len(paragraph.lstrip())
            spans.append((start, start + len(stripped)))
        begin = line = following
    return spans


def _goes_on(text: str, line: int, end: int, following: int) -> bool:
    """Is the break after ``text[line:end]`` one of a text that is wrapped, and not the author's?"""
    if text.count("\n", end, following) != 1 or end - line < _WRAPPED:
        return False
    indented = text[text.index("\n", end) + 1 : following] != ""
    return not (indented or _LINE_ENDS.search(text[line:end].rstrip()) or _ITEM.match(text, following))


def _split_sentences(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    ends = [found.end() for found in _END.finditer(text) if found[0][:1] not in _STOPS or _ends_here(text, found)]
    for end in (*ends, len(text)):
        sentence = text[begin:end]
        if stripped := sentence.strip():
            start = begin + len(sentence) - len(sentence.lstrip())
            yield start, start + len(stripped)
        begin = end


def _ends_here(text: str, found: re.Match[str]) -> bool:
    if text[found.end() : found.end() + 1] and not text[found.end()].isspace():
        return True  # Chinese follows at once
    following = text[found.end() : found.end() + _LOOK].lstrip().lstrip(_OPENERS)
    if following[:1].islower():
        return False
    if not found[0].startswith(".") or found[0].startswith(".."):
        return True
    before = text[max(0, found.start() - _LOOK) : found.start()]
    words = before.split()
    last = words[-1].lstrip(_OPENERS) if words else ""
    if last.isdigit():  # the number of a list's item, or an ordinal
        is_first = len(last) <= 3 and not before[: len(before) - len(last)].rpartition("\n")[2].strip()
        return not (is_first or (len(last) <= 2 and _COUNTED.match(text, found.end())))
    if len(last) == 1 and last.isalpha():
        return not (last.isupper() or _SHORT_NEXT.match(text, found.end()))
    if len(words) > 1 and _LONE.fullmatch(words[-2]):
        return False
    is_dotted = _DOTTED.fullmatch(last) is not None and last.lower() not in _ENDING
    return not (last.lower() in _ABBREVIATIONS or is_dotted)
