"""Text files in any encoding, plain or gzipped: which encoding it is, and the lines in blocks with their numbers."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from lmstudio_app.data.problems import Findings
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext

BLOCK = 1 << 17  # bytes read at once: parsing them takes 2 ms or so, during which the window waits
SAMPLE = 1 << 18
_LONGEST_LINE = 1 << 25  # characters
_LARGEST_DOCUMENT = 2_000_000_000  # characters
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
Advance = Callable[[float], object]  # told the bytes that are done, may raise Cancelled
_COMMON_NAMES = {  # the common superset or relative of what charset-normalizer says
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "euc_jis_2004": "euc_jp",
    "euc_jisx0213": "euc_jp",
    "shift_jis": "cp932",
    "shift_jis_2004": "cp932",
    "euc_kr": "cp949",
    "johab": "cp949",
}
_ESCAPED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Encoding:
    """``bad_line`` is the first line that is not UTF-8; ``damaged`` means that most of the rest is, so that
    only the damaged lines are set aside; ``alternatives`` are other encodings worth a try."""

    name: str
    guessed: bool = False
    bad_line: int | None = None
    damaged: bool = False
    alternatives: tuple[str, ...] = ()


class TextFile:
    """Opens a file, transparently gunzipping it, and knows how many bytes of it were read (for progress)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._raw: IO[bytes] = path.open("rb")
        self._stream: IO[bytes] = self._raw
        if path.suffix.lower() == ".gz":
            self._stream = cast(IO[bytes], gzip.GzipFile(fileobj=self._raw))

    def __enter__(self) -> TextFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.close()
        self._raw.close()

    def read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise UserError(
                "{path} is damaged: it cannot be unpacked.", "Fetch or pack the file again.", path=str(self.path)
            ) from error

    @property
    def position(self) -> int:
        return self._raw.tell()


def read_sample(path: Path, size: int = SAMPLE) -> bytes:
    with TextFile(path) as file:
        return file.read(size)


def check_encoding_name(name: str) -> str:
    """Python's own name of a text encoding. Raises :class:`UserError` for any other, such as ``hex``."""
    try:
        b"a".decode(name, "replace")
        return codecs.lookup(name).name
    except (LookupError, ValueError) as error:
        raise UserError(
            "There is no encoding {name}.", "Try utf-8, gb18030, utf-16, cp1252 or latin-1.", name=name
        ) from error


def detect_encoding(path: Path, ctx: JobContext) -> Encoding:
    """Byte order mark, else UTF-8 if the whole file is, else the most plausible older encoding.

    Reads the file once. Raises :class:`UserError` for a file that is no text.
    """
    head = read_sample(path)
    for mark, name in _BOMS:
        if head.startswith(mark):
            return Encoding(name)
    if b"\0" in head:
        return Encoding(_wide_encoding(head, path), guessed=True)
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    line, done = 1, 0
    with TextFile(path) as file:
        while chunk := file.read(BLOCK):
            ctx.check()
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                data = error.object  # what the decoder still held, and the chunk
                line += data.count(b"\n", 0, error.start)
                return _older_encoding(data[max(0, error.start - 2000) :] + file.read(SAMPLE), line)
            line += chunk.count(b"\n")
            done += len(chunk)
        if decoder.getstate()[0]:  # the file ends in the middle of a character
            return _older_encoding(head if done <= SAMPLE else chunk, line)
    return Encoding("utf-8")


def _wide_encoding(head: bytes, path: Path) -> str:
    """UTF-16 without a byte order mark: the zeros are the upper halves of ASCII characters, so on one side."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    name = "utf-16-le" if odd > even else "utf-16-be"
    if min(even, odd) < max(even, odd) * 0.1:
        try:
            text = codecs.getincrementaldecoder(name)("strict").decode(head)
        except UnicodeDecodeError:
            text = "\0"
        if not re.search("[\0-\x08\x0e-\x1f]", text):
            return name
    raise UserError(
        "{path} is not a text file.", "Export it as CSV, JSON Lines, Parquet or plain text.", path=str(path)
    )


def _older_encoding(sample: bytes, line: int) -> Encoding:
    cut = sample.find(b"\n") + 1  # begin with a whole line
    body = sample[cut:] if 0 < cut < 4000 and not sample[cut:].isascii() else sample
    text = body.decode("utf-8", "surrogateescape")
    bad = len(_ESCAPED.findall(text))
    good = sum(1 for character in text if character > "\x7f") - bad
    candidates = _candidates(body)
    if good > 10 * bad:
        return Encoding("utf-8", True, line, True, tuple(candidates[:2]))
    return Encoding(candidates[0], True, line, False, tuple(candidates[1:3]))


def _candidates(body: bytes) -> list[str]:
    """Older encodings that can decode ``body``, the most plausible first."""
    from charset_normalizer import from_bytes

    found: list[str] = []
    if _looks_chinese(body):
        found.append("gb18030")
    elif _mostly_lone(body):
        found.append("cp1252")
    else:
        best = from_bytes(body[:SAMPLE]).best()
        if best is not None and best.encoding != "utf_8":
            name = codecs.lookup(best.encoding).name
            found.append(_COMMON_NAMES.get(name, name))
    for name in ("gb18030", "cp1252", "latin-1"):
        if name not in found:
            found.append(name)
    decodable = []
    for name in found:
        try:
            codecs.getincrementaldecoder(name)("strict").decode(body)
        except UnicodeDecodeError:
            continue
        decodable.append(name)
    return decodable  # latin-1 decodes anything, so it is never empty


def _mostly_lone(body: bytes) -> bool:
    """Are the high bytes single ones between ASCII letters, as accents and curly quotes are?"""
    runs = re.findall(rb"[\x80-\xff]+", body)
    return sum(len(run) == 1 for run in runs) > 0.8 * len(runs)


def _looks_chinese(body: bytes) -> bool:
    """Do the high bytes pair up into the common (level 1) characters and the punctuation of GB 2312?

    Cyrillic pairs fall into its rare level 2, Japanese shows its kana (row 4 and 5), Big5 pairs with ASCII bytes, and
    Korean lacks the Chinese comma and full stop.
    """
    runs = re.findall(rb"(?:[\x81-\xfe][\x40-\xfe]|[\x80-\xff])+", body)
    pairs = level_one = kana = marks = single = 0
    for run in runs:
        index = 0
        while index < len(run):
            lead = run[index]
            if lead < 0x80:
                index += 1
                continue
            trail = run[index + 1] if index + 1 < len(run) else 0
            if lead >= 0xA1 and trail >= 0xA1:
                pairs += 1
                level_one += 0xB0 <= lead <= 0xD7
                kana += lead in (0xA4, 0xA5)
                marks += (lead, trail) in ((0xA3, 0xAC), (0xA1, 0xA3))
                index += 2
            else:
                single += 1
                index += 2 if trail >= 0x40 else 1
    if pairs < 2 or single > 0.1 * pairs or kana > 0.1 * pairs:
        return False
    hangul = all(0xB0 <= lead <= 0xC8 for run in runs for lead in run[::2] if lead >= 0xA1)
    return level_one > 0.6 * pairs and (marks > 0 or not hangul)


def read_lines(file: TextFile, encoding: Encoding, advance: Advance) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the first line, lines without their ends) in blocks.

    Only ``\\n``, ``\\r\\n`` and (in files that have no other) ``\\r`` end a line; the Unicode separators that
    ``str.splitlines`` would obey are text. Bytes that a damaged UTF-8 file cannot decode arrive as lone surrogates
    (see :func:`is_damaged`). Raises :class:`UserError` naming the line that an encoding cannot decode.
    """
    errors = "surrogateescape" if encoding.damaged else "strict"
    decoder = codecs.getincrementaldecoder(encoding.name)(errors)
    rest, number, newline = "", 1, ""
    while True:
        chunk = file.read(BLOCK)
        try:
            text = rest + decoder.decode(chunk, not chunk)
        except UnicodeDecodeError as error:
            line = number + error.object[: error.start].count(b"\n")
            raise UserError(
                "Line {line} of {path} is not in the encoding {encoding}.",
                "Choose another encoding, for example utf-8, gb18030 or cp1252.",
                line=line,
                path=str(file.path),
                encoding=encoding.name,
            ) from error
        newline = newline or ("\n" if "\n" in text or "\r" not in text[:-1] else "\r")
        lines = text.split(newline)
        rest = lines.pop()
        if "\r" in text and newline == "\n":
            lines = [line[:-1] if line.endswith("\r") else line for line in lines]
        if lines:
            yield number, lines
            number += len(lines)
        advance(min(file.position, file.size))
        if not chunk:
            break
        if len(rest) > _LONGEST_LINE:
            raise UserError(
                "Line {line} of {path} is longer than {limit} million characters.",
                "Check that the file is a table with one row a line.",
                line=number,
                path=str(file.path),
                limit=_LONGEST_LINE // 1_000_000,
            )
    if rest:
        yield number, [rest.removesuffix("\r")]


def read_text(path: Path, encoding: Encoding, advance: Advance) -> str:
    """The whole text, for formats that have no rows of their own; undecodable bytes become U+FFFD."""
    decoder = codecs.getincrementaldecoder(encoding.name)("replace")
    parts: list[str] = []
    size = 0
    with TextFile(path) as file:
        while chunk := file.read(BLOCK):
            parts.append(decoder.decode(chunk))
            size += len(parts[-1])
            advance(min(file.position, file.size))
            if size > _LARGEST_DOCUMENT:
                raise UserError(
                    "{path} is too large for one JSON document.",
                    "Convert it to JSON Lines (one object a line), which is read in parts.",
                    path=str(path),
                )
    parts.append(decoder.decode(b"", True))
    return "".join(parts)


def is_damaged(text: str) -> bool:
    """Did :func:`read_lines` meet a byte here that it could not decode?"""
    return _ESCAPED.search(text) is not None


def note_damaged(line: int, encoding: Encoding, findings: Findings) -> None:
    """A line that :func:`is_damaged` is set aside."""
    findings.add(
        "damaged",
        "Lines with bytes that are not UTF-8, set aside: {count} (line {rows}).",
        row=line,
        fix="rejected",
        more_fixes=tuple(f"encoding={name}" for name in encoding.alternatives),
    )


def decode_sample(sample: bytes, encoding: Encoding) -> list[str]:
    """The whole lines of a sample; a cut last line is left out."""
    whole = len(sample) < SAMPLE
    decoder = codecs.getincrementaldecoder(encoding.name)("replace")
    text = decoder.decode(sample, whole)
    lines = io.StringIO(text, newline=None).read().split("\n")
    if not whole and len(lines) > 1:
        lines.pop()
    return lines
