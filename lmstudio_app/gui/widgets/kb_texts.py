"""What answers of a knowledge base are called, in words and as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication

from lmstudio_app.gui.text import number_text
from lmstudio_app.knowledge.documents import HEADING_SEPARATOR
from lmstudio_app.knowledge.writing import plain_lines

if TYPE_CHECKING:
    from lmstudio_app.knowledge.answers import KnowledgeAnswer, Source
    from lmstudio_app.knowledge.asking import BothAnswers

translate = QCoreApplication.translate


def percent_text(share: float) -> str:
    """Nothing is certain."""
    if share > 0.994:
        return translate("knowledge", "over 99 %")
    return translate("knowledge", "under 1 %") if share < 0.006 else f"{number_text(100 * share)} %"


def likelihood_text(probability: float) -> str:
    """A probability in words."""
    for least, text in (
        (0.9, translate("knowledge", "almost certain")),
        (0.7, translate("knowledge", "likely")),
        (0.4, translate("knowledge", "possible")),
        (0.15, translate("knowledge", "unlikely")),
    ):
        if probability >= least:
            return text
    return translate("knowledge", "very unlikely")


def confidence_text(answer: KnowledgeAnswer) -> str:
    """How sure the answer is, said for who gave it."""
    values = {"percent": percent_text(answer.score), "word": likelihood_text(answer.score)}
    if answer.kind == "extracted":
        return translate("knowledge", "{percent} sure that this is the answer: {word}").format(**values)
    return translate("knowledge", "{percent} sure that the answer is in this place: {word}").format(**values)


def score_explanation() -> str:
    """What the numbers are."""
    return translate(
        "knowledge",
        "Passages are found by their words and by their meaning: the encoder turns question and passage into "
        "directions in space, and the closer two directions are, the more alike the texts. From that and from the "
        "words that both share comes the probability that a passage holds the answer; it was fitted to 632 questions "
        "with a known answer. A reader model then marks one place in the passages. Its score is that probability times "
        "the share that the reader gives this place among all places of the passage. Below the limit in the options, "
        "the answer is “not in the knowledge base”.",
    )


def preview_text(source: Source, length: int) -> str:
    """How a passage begins, in one line, without the signs of Markdown and without its heading."""
    heading = source.heading.rpartition(HEADING_SEPARATOR)[2]
    text = " ".join(" ".join(line for line in plain_lines(source.text) if line != heading).split())
    text = text or " ".join(source.text.split())
    return text if len(text) <= length else f"{text[:length].rstrip()}…"


def place_text(source: Source) -> str:
    """File, page and heading of a source in one line."""
    parts = [Path(source.file).name]
    if source.page is not None:
        parts.append(translate("knowledge", "page {page}").format(page=number_text(source.page)))
    if source.heading:
        parts.append(source.heading)
    return translate("knowledge", ", ").join(parts)


def cited_text(answer: KnowledgeAnswer) -> str:
    """A written answer with the numbers of its sources behind each sentence."""
    parts, at = [], 0
    for citation in answer.citations:
        marks = "".join(f"[{number}]" for number in citation.sources)
        parts += [answer.answer[at : citation.end], f" {marks}" if marks else ""]
        at = citation.end
    return "".join(parts) + answer.answer[at:]


def plain_text(both: BothAnswers) -> str:
    """For the clipboard: both answers and where they are from."""
    lines = [both.question, ""]
    if not both.marked.is_found:
        lines.append(translate("knowledge", "Not in the knowledge base."))
        return "\n".join(lines)
    if both.written is not None and both.written.is_found:
        lines += [cited_text(both.written), ""]
    lines += [" ".join(both.marked.answer.split()), ""]
    lines += [f"[{number}] {place_text(source)}" for number, source in enumerate(both.marked.sources, 1)]
    return "\n".join(lines)


def markdown_text(answers: Sequence[BothAnswers]) -> str:
    """A document with the questions, their answers, and the passages that these are from."""
    return "\n".join(_markdown(both) for both in answers)


def _markdown(both: BothAnswers) -> str:
    lines = [f"# {both.question}", ""]
    if not both.marked.is_found:
        share = percent_text(1 - both.probability)
        text = translate("knowledge", "Not in the knowledge base ({share} sure of that).").format(share=share)
        return "\n".join([*lines, text, ""])
    if both.written is not None and both.written.is_found:
        lines += [cited_text(both.written), ""]
    lines += [f"> {' '.join(both.marked.answer.split())}", "", confidence_text(both.marked), ""]
    lines += [f"## {translate('knowledge', 'Sources')}", ""]
    for number, source in enumerate(both.marked.sources, 1):
        place = translate("knowledge", "characters {start} to {end}").format(start=source.start, end=source.end)
        lines += [f"{number}. **{place_text(source)}** (`{source.file}`, {place})", ""]
        lines += [f"   > {line}" if line.strip() else "   >" for line in source.text.splitlines()] + [""]
    return "\n".join(lines)


def rows_text(answers: Sequence[BothAnswers]) -> str:
    """JSON Lines as ``predict question_answering`` writes them, with the questions."""
    rows = ({"question": both.question, **both.answer.to_row()} for both in answers)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
