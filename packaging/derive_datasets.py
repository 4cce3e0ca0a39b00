"""Write the bundled data sets that are derived from other bundled texts.

    .venv/bin/python packaging/derive_datasets.py       # after changing the handbook

From ``resources/handbook/en/``: running text for pretraining, sentences with the chapter they come from, and sections
with their summaries. From the contexts of ``xquad-en``: running text of an encyclopedia. The same texts always give
the same files. When numbers of rows change, ``resources/datasets/index.yaml`` has to say so; a test compares both.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HANDBOOK = ROOT / "resources" / "handbook" / "en"
DATASETS = ROOT / "resources" / "datasets"
XQUAD = DATASETS / "xquad-en" / "xquad.en.json.gz"

_GLOSSARY = "Glossary"  # its sentences belong to all topics, and its summaries say nothing
_TOPIC_WORDS = 20  # a shorter sentence is joined with the next one of its section: alone it tells no topic
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-Z0-9À-Þ])")
_ABBREVIATION = re.compile(r"(?:^|[\s(\"'])(?:[A-Z]|c|Dr|Mr|Mrs|Ms|St|Vol|No|vs|Jr|Sr|Gen|Prof)\.$")


@dataclass(frozen=True)
class Section:
    """One section of the handbook; ``chapter`` is the title of its chapter."""

    chapter: str
    heading: str
    summary: str
    paragraphs: tuple[str, ...]

    @property
    def sentences(self) -> list[str]:
        return [sentence for paragraph in self.paragraphs for sentence in split_sentences(paragraph)]


def read_chapter(path: Path) -> list[Section]:
    """The sections of one chapter.

    A chapter is a title (``#``) and sections: a heading (``##``), a summary (``>``), and paragraphs, all separated by
    blank lines. Raises ``ValueError``, naming the section, for anything else.
    """
    blocks = [" ".join(block.split()) for block in path.read_text(encoding="utf-8").strip().split("\n\n")]
    if not blocks[0].startswith("# "):
        raise ValueError(f"{path.name} does not begin with a title")
    chapter = blocks[0].removeprefix("# ")
    starts = [at for at, block in enumerate(blocks) if block.startswith("## ")]
    sections = []
    for start, end in zip(starts, [*starts[1:], len(blocks)], strict=True):
        heading, *body = blocks[start:end]
        if len(body) < 2 or not body[0].startswith("> ") or any(text[0] in "#>" for text in body[1:]):
            raise ValueError(f"{path.name}: the section {heading} is not a summary and paragraphs")
        sections.append(Section(chapter, heading.removeprefix("## "), body[0].removeprefix("> "), tuple(body[1:])))
    return sections


def read_handbook(folder: Path = HANDBOOK) -> list[Section]:
    """All sections in the order of the book."""
    return [section for path in sorted(folder.glob("*.md")) for section in read_chapter(path)]


def split_sentences(text: str) -> list[str]:
    """Split at ``.``, ``!`` or ``?`` before a capital or a digit, but not after an initial or an abbreviation."""
    text = " ".join(text.split())
    found, start = [], 0
    for match in _SENTENCE_END.finditer(text):
        if _ABBREVIATION.search(text[start : match.start()]):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    return [*found, text[start:]] if text[start:] else found


def running_text(documents: Iterable[Sequence[str]]) -> str:
    """One sentence a line, a blank line between documents."""
    return "\n\n".join("\n".join(document) for document in documents) + "\n"


def topics(sections: Iterable[Section]) -> str:
    """Tab-separated: a sentence or a few short ones of one section, and the title of its chapter."""
    lines = ["text\tlabel"]
    for section in sections:
        if section.chapter == _GLOSSARY:
            continue
        waiting: list[str] = []
        rows: list[str] = []
        for sentence in section.sentences:
            waiting.append(sentence)
            text = " ".join(waiting)
            if len(text.split()) >= _TOPIC_WORDS:
                rows.append(text)
                waiting = []
        if waiting:
            rows[-1] = " ".join([rows[-1], *waiting])
        lines += [f"{row}\t{section.chapter}" for row in rows]
    return "\n".join(lines) + "\n"


def summaries(sections: Iterable[Section]) -> str:
    """JSON Lines: the text of a section and its summary."""
    rows = (
        {"document": "\n".join(section.paragraphs), "summary": section.summary}
        for section in sections
        if section.chapter != _GLOSSARY
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def encyclopedia(path: Path = XQUAD) -> list[list[str]]:
    """The contexts of a SQuAD file as documents of sentences, in the order of its articles."""
    articles = json.loads(gzip.decompress(path.read_bytes()))["data"]
    return [split_sentences(paragraph["context"]) for article in articles for paragraph in article["paragraphs"]]


def write_all(folder: Path = DATASETS) -> list[Path]:
    """Write every derived file below ``folder``."""
    sections = read_handbook()
    files = {
        "handbook/handbook.txt": running_text(section.sentences for section in sections),
        "handbook/topics.tsv": topics(sections),
        "handbook/summaries.jsonl": summaries(sections),
        "encyclopedia/encyclopedia.txt": running_text(encyclopedia()),
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8"))  # bytes: the same line ends on every system
    return [folder / name for name in files]


def main() -> None:
    for path in write_all():
        lines = sum(1 for line in path.read_text(encoding="utf-8").splitlines() if line)
        print(f"{path.relative_to(ROOT)}: {lines:,} lines, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
