"""Write questions for the first stage of the starter reader: cloze questions made of the bundled running texts.

    .venv/bin/python packaging/derive_questions.py       # after changing the handbook

A number, a name or a noun phrase of a sentence is taken for the answer, and the clause around it, with a question word
in its place and words left out at random, for the question: Lewis, Denoyer, Riedel 2019, "Unsupervised Question
Answering by Cloze Translation", https://arxiv.org/abs/1906.04980. Some questions come from another sentence that names
the same: Ram et al. 2021, "Few-Shot Question Answering by Pretraining Span Selection",
https://arxiv.org/abs/2101.00438. The texts are those of ``articles`` and ``handbook``, never those of ``xquad-en``. The
same texts always give the same file, in SQuAD's format: the bundled data set ``cloze-questions``. When the number of
questions changes, ``resources/datasets/index.yaml`` has to say so.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DATASETS = ROOT / "resources" / "datasets"
OUTPUT = DATASETS / "cloze-questions" / "questions.json.gz"
SEED = 13
WORDS = (60, 125)  # of a context, at the least and at the most
PER_CONTEXT = 3
RECURRING = 0.25  # share of the questions whose sentence is not in the context
LONGEST_QUESTION = 16  # words


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = re.compile(
    rf"\b(?:\d{{1,2}} (?:{_MONTH})(?: \d{{3,4}})?|(?:{_MONTH})(?: \d{{1,2}},)? \d{{3,4}}|(?:{_MONTH}) \d{{1,2}}|"
    r"(?:early |mid-|late )?\d{3,4}s|1\d{3}|20\d{2}|\d{1,2}(?:st|nd|rd|th)[ -]centur(?:y|ies)|\d+ (?:BC|AD|BCE|CE))\b"
)
_NUMBER = re.compile(
    r"(?<![\w.,])(?:[$£€]\s?)?\d+(?:,\d{3})*(?:\.\d+)?"
    r"(?:\s?%| (?:percent|million|billion|trillion|hundred|thousand|years?|days?|months?|hours?|km|kilomet\w+|miles?|m|"
    r"met(?:er|re)s|feet|inches|kg|tons?|tonnes|degrees|people|square \w+)\b)*(?![\w])|"
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|a hundred)\b"
)
_NAME = re.compile(
    r"\b[A-ZÀ-Þ][\w’'-]+(?:\.)?(?:(?: (?:of|the|de|du|la|von|van|al|and|for)){0,2} [A-ZÀ-Þ][\w’'-]+)*",
)
_LITTLE = _words(
    """
    a an the this that these those it its he she they his her their him them we our i you your who which what when
    where how why of in on at by for with from to into onto between among during after before under over about
    against through as than and or but nor so if while because although though since until unless is are was were
    be been being has have had do does did can could may might will would shall should must not no also only more
    most less least very such other others some any all each every both either neither many much few several one
    there here then thus however therefore within without per via like often usually sometimes later still even
    just rather well own same up down out off
    """
)
_BEFORE_PHRASE = _words(
    """
    a an the of by with for from as in on into between its his her their and called
    """
)
_AFTER_PHRASE = _words(
    """
    of in on and or is are was were which that who to by for at from with as has have had can could may will would
    when where while but because into during after before than
    """
)
_PLACE_BEFORE = _words(
    """
    in at near from to across throughout around into
    """
)
_WORD = re.compile(r"[\w’'-]+(?:\.\d+)?|[^\w\s]")
_BREAK = re.compile(r"[;:()—–]|,\s+(?=(?:and|but|which|who|while|although|where|when|with|as|so)\b)")


@dataclass(frozen=True)
class Blank:
    """A piece of a sentence that can be asked for: ``sentence[start:end]``, and its kind."""

    start: int
    end: int
    kind: str  # date, number, name, phrase


def read_documents(name: str) -> list[list[str]]:
    """The documents of a running text, each a list of sentences."""
    path = next(path for path in sorted((DATASETS / name).iterdir()) if path.name.startswith(f"{name}.txt"))
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    return [block.split("\n") for block in text.strip().split("\n\n")]


def find_blanks(sentence: str) -> list[Blank]:
    """Dates, numbers, names and noun phrases, none within another; found without a tagger, so not always right."""
    found: list[Blank] = []

    def _add(start: int, end: int, kind: str) -> None:
        if end > start and all(end <= other.start or start >= other.end for other in found):
            found.append(Blank(start, end, kind))

    for match in _DATE.finditer(sentence):
        _add(*match.span(), "date")
    for match in _NUMBER.finditer(sentence):
        _add(*match.span(), "number")
    for match in _NAME.finditer(sentence):
        start, end = match.span()
        first = match.group().split(" ")[0]
        if first.lower() in _LITTLE:  # "The British Museum" at the beginning, or a pronoun
            start += len(first) + 1
        text = sentence[start:end].rstrip(".")
        if len(text) > 2 and (start > 0 or " " in text):
            _add(start, start + len(text), "name")
    for start, end in _phrases(sentence):
        _add(start, end, "phrase")
    return sorted(found, key=lambda blank: blank.start)


def _phrases(sentence: str) -> Iterator[tuple[int, int]]:
    """Runs of one to four words that carry meaning, between words that begin and end a noun phrase."""
    words = [(match.group(), match.start(), match.end()) for match in _WORD.finditer(sentence)]
    at = 0
    while at < len(words):
        stop = at
        while stop < len(words) and words[stop][0][0].isalpha() and words[stop][0].lower() not in _LITTLE:
            stop += 1
        if at > 0 and 1 <= stop - at <= 4 and words[at - 1][0].lower() in _BEFORE_PHRASE:
            behind = words[stop][0].lower() if stop < len(words) else "."
            last = words[stop - 1][0]
            if (behind in _AFTER_PHRASE or not behind[0].isalnum()) and not last.endswith(("ly", "ing", "ed")):
                yield words[at][1], words[stop - 1][2]
        at = max(stop, at + 1)


def make_question(sentence: str, blank: Blank, rng: random.Random) -> str:
    """The clause around the blank as a question, with words missing; empty when too little is left."""
    begin, end = _clause(sentence, blank)
    left = [word for word in _WORD.findall(sentence[begin : blank.start]) if word[0].isalnum()]
    right = [word for word in _WORD.findall(sentence[blank.end : end]) if word[0].isalnum()]
    before = left[-1].lower() if left else ""
    asked, drops = _question_word(sentence[blank.start : blank.end], blank.kind, before, rng)
    if drops and left:
        left.pop()
    room = LONGEST_QUESTION - len(asked.split())
    share = min(len(left), max(room - len(right), room // 2))
    left, right = left[len(left) - share :], right[: room - share]
    lost = rng.choice((0.0, 0.1, 0.2, 0.3))
    left, right = (
        [word for word in side if rng.random() >= lost * (1.5 if word.lower() in _LITTLE else 1.0)]
        for side in (left, right)
    )
    if sum(word.lower() not in _LITTLE for word in left + right) < 3:
        return ""
    style = rng.random()
    if style < 0.6 or not left:
        words = [asked, *left, *right]
    elif style < 0.8:
        words = [*left, asked, *right]
    else:
        words = [asked, *right, *left]
    if rng.random() < 0.2:
        words = [words[0], *_shuffled(words[1:], rng)]
    text = " ".join(words)
    return text[0].upper() + text[1:] + "?"


def _clause(sentence: str, blank: Blank) -> tuple[int, int]:
    begin, end = 0, len(sentence)
    for match in _BREAK.finditer(sentence):
        if match.end() <= blank.start and blank.start - match.end() >= 0:
            begin = match.end()
        if match.start() >= blank.end:
            end = match.start()
            break
    if len(sentence[begin:end].split()) < 7:  # too short to be found again
        return 0, len(sentence)
    return begin, end


def _is_plain(sentence: str, blank: Blank) -> bool:
    """A single word that is no name: there are many of them, and people seldom ask for one."""
    return blank.kind == "phrase" and " " not in sentence[blank.start : blank.end]


def _question_word(answer: str, kind: str, before: str, rng: random.Random) -> tuple[str, bool]:
    """The question word, and whether it stands for the preposition before the blank too."""
    if kind == "date":
        if re.fullmatch(r"\d{4}", answer) and rng.random() < 0.4:
            return rng.choice(("in what year", "what year", "in which year")), before == "in"
        return "when", before in {"in", "on", "since", "by", "until", "from", "during", "the"}
    if kind == "number":
        if answer[0] in "$£€":
            return "how much", False
        return rng.choice(("how many", "how many", "how much", "what number of")), False
    if kind == "name":
        if before in _PLACE_BEFORE and rng.random() < 0.6:
            return rng.choice(("where", "where", "in what place", "which country", "what city")), True
        if before == "by" or rng.random() < 0.4:
            return "who", False
        return _with_head(answer, rng), False
    return _with_head(answer, rng), before in {"the", "a", "an"}


def _with_head(answer: str, rng: random.Random) -> str:
    """``what``, sometimes with the last word of a longer answer: what war, for the civil war."""
    words = answer.split()
    if len(words) > 1 and words[-1].islower() and rng.random() < 0.35:
        return f"{rng.choice(('what', 'which', 'what kind of', 'what type of'))} {words[-1]}"
    return rng.choice(("what", "what", "what", "which"))


def _shuffled(words: Sequence[str], rng: random.Random) -> list[str]:
    """Words moved by about two places at most, as the noise of Lample et al. 2018."""
    return [word for _, word in sorted((place + rng.uniform(0, 3), word) for place, word in enumerate(words))]


def cut_contexts(document: Sequence[str], rng: random.Random) -> Iterator[tuple[int, int]]:
    """Runs of whole sentences, ``document[begin:end]``, of some random length within ``WORDS``."""
    begin = 0
    while begin < len(document):
        target, count, end = rng.randint(*WORDS), 0, begin
        while end < len(document) and (count == 0 or count + len(document[end].split()) <= target):
            count += len(document[end].split())
            end += 1
        if WORDS[0] // 2 <= count <= 2 * WORDS[1]:
            yield begin, end
        begin = end


def ask_about(document: Sequence[str], rng: random.Random) -> Iterator[dict[str, Any]]:
    """SQuAD paragraphs of one document."""
    for begin, end in cut_contexts(document, rng):
        context = " ".join(document[begin:end])
        places = [len(" ".join(document[begin:at])) + (at > begin) for at in range(begin, end)]
        inside = [
            (place, sentence, blank)
            for place, sentence in zip(places, document[begin:end], strict=True)
            for blank in find_blanks(sentence)
        ]
        outside = [
            (context.index(answer), sentence, blank)
            for at, sentence in enumerate(document)
            if not begin <= at < end
            for blank in find_blanks(sentence)
            if blank.kind == "name" and context.count(answer := sentence[blank.start : blank.end]) == 1
        ]
        rng.shuffle(inside)
        rng.shuffle(outside)
        inside.sort(key=lambda item: _is_plain(item[1], item[2]) and rng.random() < 0.7)  # fewer of the most frequent
        questions: list[dict[str, Any]] = []
        used: set[int] = set()
        while len(questions) < PER_CONTEXT and (inside or outside):
            is_other = bool(outside) and (not inside or rng.random() < RECURRING)
            place, sentence, blank = (outside if is_other else inside).pop(0)
            start = place if is_other else place + blank.start
            question = "" if start in used else make_question(sentence, blank, rng)
            if question:
                used.add(start)
                answer = sentence[blank.start : blank.end]
                questions.append({"question": question, "answers": [{"text": answer, "answer_start": start}]})
        if questions:
            yield {"context": context, "qas": questions}


def derive(seed: int = SEED) -> dict[str, Any]:
    """The whole file: an article a text."""
    rng = random.Random(seed)
    articles = []
    for name in ("articles", "handbook"):
        paragraphs = [paragraph for document in read_documents(name) for paragraph in ask_about(document, rng)]
        for number, question in enumerate(question for paragraph in paragraphs for question in paragraph["qas"]):
            question["id"] = f"{name}-{number}"
        articles.append({"title": name, "paragraphs": paragraphs})
    return {"version": "1.1", "data": articles}


def main() -> None:
    made = derive()
    OUTPUT.parent.mkdir(exist_ok=True)
    text = json.dumps(made, ensure_ascii=False)
    OUTPUT.write_bytes(gzip.compress(text.encode("utf-8"), 9, mtime=0))
    count = sum(len(paragraph["qas"]) for article in made["data"] for paragraph in article["paragraphs"])
    print(f"{OUTPUT.relative_to(ROOT)}: {count:,} questions, {OUTPUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
