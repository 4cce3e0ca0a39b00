"""JSON: one object a line, a list of objects, columns of values, or the SQuAD form of question answering.

A document is decoded object by object, so that no single step holds the interpreter for long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lmstudio_app.data.problems import Findings
from lmstudio_app.data.text_files import Advance, Encoding, TextFile, is_damaged, note_damaged, read_lines, read_text
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext

_BLANK = " \t\r\n"
_ROWS_KEYS = ("data", "rows", "examples", "items", "train")
TRANSLATION = "translation"  # the column in which the data sets of the Hugging Face hub hold a text by language
Row = tuple[int, dict[str, Any]]


def read_json_lines(
    file: TextFile, encoding: Encoding, advance: Advance, findings: Findings
) -> Iterator[list[Row | tuple[int, str, str]]]:
    """Yield blocks of (line, object); a line that is none comes as (line, reason, raw text)."""
    for first, lines in read_lines(file, encoding, advance):
        block: list[Row | tuple[int, str, str]] = []
        for number, line in enumerate(lines, first):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                findings.add(
                    "broken_json",
                    "Lines that are not valid JSON, set aside: {count} (line {rows}; {reason}).",
                    row=number,
                    fix="rejected",
                    reason=error.msg if isinstance(error, json.JSONDecodeError) else str(error),
                )
                block.append((number, "not valid JSON", line))
                continue
            if not isinstance(value, dict):
                findings.add(
                    "no_object",
                    "Lines that are no JSON object, set aside: {count} (line {rows}).",
                    row=number,
                    fix="rejected",
                )
                block.append((number, "no JSON object", line))
                continue
            if encoding.damaged and is_damaged(line):
                note_damaged(number, encoding, findings)
                block.append((number, "not UTF-8", line))
                continue
            block.append((number, value))
        yield block


class JsonDocument:
    """Walks one JSON document from top to bottom, a value at a time, and knows the line it is at."""

    def __init__(self, path: Path, encoding: Encoding, advance: Advance) -> None:
        self.text = read_text(path, encoding, advance)
        self.path = path
        self.at = 0
        self._decoder = json.JSONDecoder()
        self._counted = (0, 1)

    @property
    def line(self) -> int:
        at, line = self._counted
        line += self.text.count("\n", at, self.at)
        self._counted = (self.at, line)
        return line

    def broken(self, reason: str) -> UserError:
        return UserError(
            "Line {line} of {path} is not valid JSON ({reason}).",
            "Mend that line, or export the data again.",
            line=self.line,
            path=str(self.path),
            reason=reason,
        )

    def peek(self) -> str:
        text, at = self.text, self.at
        while at < len(text) and text[at] in _BLANK:
            at += 1
        self.at = at
        return text[at : at + 1]

    def take(self, character: str) -> bool:
        if self.peek() != character:
            return False
        self.at += 1
        return True

    def need(self, character: str) -> None:
        if not self.take(character):
            raise self.broken("unexpected end" if not self.peek() else f"{character} expected")

    def value(self) -> Any:
        self.peek()
        try:
            value, self.at = self._decoder.raw_decode(self.text, self.at)
        except json.JSONDecodeError as error:
            self.at = error.pos
            raise self.broken(error.msg) from error
        return value

    def items(self) -> Iterator[tuple[int, Any]]:
        """The elements of a list with the lines they start at."""
        self.need("[")
        if self.take("]"):
            return
        while True:
            self.peek()
            line = self.line
            yield line, self.value()
            if not self.take(","):
                break
        self.need("]")

    def members(self) -> Iterator[str]:
        """The keys of an object; the caller consumes each value."""
        self.need("{")
        if self.take("}"):
            return
        while True:
            key = self.value()
            self.need(":")
            yield str(key)
            if not self.take(","):
                break
        self.need("}")


def read_json(document: JsonDocument, ctx: JobContext, findings: Findings) -> Iterator[list[Row]]:
    """Yield blocks of rows of a JSON document in any of the known forms."""
    if document.peek() == "[":
        yield from _row_blocks(document, ctx, findings)
    elif document.peek() == "{":
        yield from _object(document, ctx, findings)
    else:
        raise document.broken("a list or an object expected")
    if document.peek():
        raise document.broken("text after the end")


def _object(document: JsonDocument, ctx: JobContext, findings: Findings) -> Iterator[list[Row]]:
    columns: dict[str, list[Any]] = {}
    single: dict[str, Any] = {}
    found_rows = False
    for key in document.members():
        if document.peek() == "[" and key in _ROWS_KEYS and _begins_with_object(document):
            found_rows = True
            yield from _row_blocks(document, ctx, findings)
        elif document.peek() == "[":
            columns[key] = []
            for _, value in document.items():
                if len(columns[key]) % 256 == 0:
                    ctx.check()
                columns[key].append(value)
        else:
            value = document.value()
            if isinstance(value, dict) and value and all(name.isdigit() for name in value):
                columns[key] = list(value.values())  # as pandas writes a frame: {"text": {"0": …, "1": …}}
            else:
                single[key] = value
    if found_rows:
        return
    if not columns:
        yield [(1, single)] if single else []
        return
    counts = {len(values) for values in columns.values()}
    if len(counts) > 1:
        raise UserError(
            "The columns of {path} are not equally long: {lengths}.",
            "Give every column the same number of values.",
            path=str(document.path),
            lengths=", ".join(f"{name} {len(values)}" for name, values in columns.items()),
        )
    names = list(columns)
    yield [
        (index, dict(zip(names, row, strict=True))) for index, row in enumerate(zip(*columns.values(), strict=True), 1)
    ]


def _begins_with_object(document: JsonDocument) -> bool:
    at = document.at
    document.need("[")
    found = document.peek() == "{"
    document.at = at
    return found


def _row_blocks(document: JsonDocument, ctx: JobContext, findings: Findings) -> Iterator[list[Row]]:
    block: list[Row] = []
    weight = 0
    squad: bool | None = None
    start = document.at
    for line, value in document.items():
        if not isinstance(value, dict):
            findings.add(
                "no_object",
                "Values that are no object, left out: {count} (line {rows}).",
                row=line,
            )
            continue
        if squad is None:
            squad = isinstance(value.get("paragraphs"), list)
        block.extend((line, row) for row in flatten_squad(value)) if squad else block.append((line, value))
        weight += document.at - start
        start = document.at
        if weight > 1 << 18:
            ctx.check()
            yield block
            block, weight = [], 0
    yield block


def flatten_squad(article: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row a question: id, title, context, question, and all its answers with where they begin (in characters).

    ``answers`` is ``{"text": […], "answer_start": […]}``, two empty lists for a question without an answer; the same
    answer given by several people comes once. Source: the SQuAD 1.1 and 2.0 files (Rajpurkar et al., 2016 and 2018).
    """
    for paragraph in article.get("paragraphs", ()):
        for question in paragraph.get("qas", ()):
            given: Sequence[Mapping[str, Any]] = () if question.get("is_impossible") else question.get("answers") or ()
            answers = {(answer.get("text", ""), answer.get("answer_start")): None for answer in given}
            yield {
                "id": str(question.get("id", "")),
                "title": str(article.get("title", "")),
                "context": paragraph.get("context", ""),
                "question": question.get("question", ""),
                "answers": {
                    "text": [text for text, _ in answers],
                    "answer_start": [start for _, start in answers],
                },
            }


def with_languages(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row whose ``translation`` is ``{"en": …, "de": …}`` gets a column a language instead."""
    texts = row.get(TRANSLATION)
    if not isinstance(texts, dict) or not texts or not all(isinstance(t, str | None) for t in texts.values()):
        return row
    rest = {name: value for name, value in row.items() if name != TRANSLATION}
    return row if rest.keys() & texts.keys() else {**rest, **texts}
