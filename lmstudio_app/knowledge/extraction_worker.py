"""Takes the text out of PDF, Word and web pages in a process of its own: ``python -P extraction_worker.py``.

Files come from anywhere: a damaged one can keep a parser busy for hours, and a process can be ended. It imports nothing
of the application. A request is a line of JSON on stdin, ``{"path": …, "kind": "pdf" | "docx" | "html"}``. The answers
are lines of JSON on stdout: blocks ``{"text": …, "heading": …, "level": …, "page": …}``, of which a heading has a level
(1 to 6) and a page of a PDF its number, then ``{"end": true}`` or ``{"problem": NAME, "reason": …}``.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import signal
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

LARGEST_PART = 500_000_000  # bytes of a Word file's parts when unpacked: what is larger is made to fill the memory
_SPACES = re.compile(r"[ \t\u00a0]+")
_BLOCKS = frozenset(
    re.findall(
        r"\S+",
        "address article aside blockquote dd details div dl dt fieldset figcaption figure footer form header hr li "
        "main ol p pre section summary table tr ul body br caption option",
    )
)
_LEFT_OUT = frozenset(
    re.findall(r"\S+", "script style noscript template svg math head nav iframe object select textarea button")
)
_MEMORY = 4 << 30  # bytes of address space
Block = dict[str, Any]


class Refused(Exception):
    """A file that cannot be read: the name of what is wrong, and the reason in the library's words."""

    def __init__(self, problem: str, reason: str = "") -> None:
        super().__init__(problem, reason)
        self.problem, self.reason = problem, reason


def read_pdf(path: str) -> Iterator[Block]:
    """A block a page. A page that cannot be read is told by its number, and the others are read."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    with open(path, "rb") as file:
        try:
            reader = PdfReader(file)
            is_open = not reader.is_encrypted or bool(reader.decrypt(""))
            count = len(reader.pages) if is_open else 0
        except PyPdfError as error:
            raise Refused("damaged", str(error)) from error
        if not is_open:
            raise Refused("encrypted")
        for number in range(count):
            try:
                text = reader.pages[number].extract_text()
            except Exception as error:  # noqa: BLE001 - a damaged page raises anything; it is told
                yield {"text": "", "page": number + 1, "problem": f"{type(error).__name__}: {error}"[:200]}
                continue
            yield {"text": _tidy(text), "page": number + 1}


def _tidy(text: str) -> str:
    """Without what only the page's layout needs: hyphens at the end of lines and runs of spaces."""
    text = re.sub(r"(?<=[^\W\d_])(?:-\n|\u00ad\n?)(?=[^\W\d_])(?=[a-zà-öø-ÿ])", "", text)
    return "\n".join(_SPACES.sub(" ", line).strip() for line in text.split("\n")).strip()


def read_docx(path: str) -> Iterator[Block]:
    """Paragraphs and tables in their order; a row of a table is a line, its cells with bars between them."""
    import docx
    from docx.opc.exceptions import PackageNotFoundError
    from docx.table import Table

    try:
        with zipfile.ZipFile(path) as archive:
            if any(info.flag_bits & 1 for info in archive.infolist()):
                raise Refused("encrypted")
            if sum(info.file_size for info in archive.infolist()) > LARGEST_PART:
                raise Refused("large")
        document = docx.Document(path)
    except (zipfile.BadZipFile, PackageNotFoundError, KeyError, ValueError) as error:
        with open(path, "rb") as file:
            is_compound = file.read(4) == b"\xd0\xcf\x11\xe0"  # an old .doc, or one with a password
        raise Refused("encrypted" if is_compound else "damaged", str(error)) from error
    for item in document.iter_inner_content():
        if isinstance(item, Table):
            rows = [" | ".join(_cells(row)) for row in item.rows]
            yield {"text": "\n".join(rows)}
            continue
        style = (item.style.name or "") if item.style is not None else ""
        found = re.fullmatch(r"Heading ([1-6])", style)
        level = int(found[1]) if found else 1 if style == "Title" else 0
        yield {"text": item.text.strip(), **({"level": level} if level else {})}


def _cells(row: Any) -> list[str]:
    """Texts of a row's cells; one that spans several columns comes once."""
    found, before = [], None
    for cell in row.cells:
        if cell._tc is not before:
            found.append(_SPACES.sub(" ", cell.text.replace("\n", " ")).strip())
        before = cell._tc
    return found


def read_html(path: str) -> Iterator[Block]:
    """Headings, and the blocks of text between them; menus, scripts and forms are left out."""
    from lxml import etree, html

    with open(path, "rb") as file:
        data = file.read()
    try:
        # as the standard has it: UTF-8 unless the file says otherwise
        encoding = None if _states_encoding(data) else "utf-8" if _is_utf8(data) else "cp1252"
        root = html.document_fromstring(data, parser=html.HTMLParser(encoding=encoding, remove_comments=True))
    except (etree.LxmlError, ValueError) as error:
        raise Refused("damaged", str(error)) from error
    title = root.findtext(".//title")
    if title and title.strip():
        yield {"text": " ".join(title.split()), "level": 1, "title": True}
    parts: list[str] = []
    for kind, text in _walk(root):
        if kind == "text":
            parts.append(text)
            continue
        if (made := _join(parts)).strip():
            yield {"text": made, **({"level": int(kind)} if kind.isdigit() else {})}
        parts = []
    if (made := _join(parts)).strip():
        yield {"text": made}


def _states_encoding(data: bytes) -> bool:
    head = data[:2048].lower()
    return head.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"<?xml")) or b"charset" in head


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _join(parts: list[str]) -> str:
    return re.sub(r"\s+", " ", "".join(parts)).strip()


def _walk(root: Any) -> Iterator[tuple[str, str]]:
    """("text", …), and at the end of every block ("block", "") or, where it is a heading, (its level, "")."""
    from lxml import etree

    skipped = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        tag = element.tag if isinstance(element.tag, str) else ""
        is_left_out, level = tag in _LEFT_OUT, tag[1] if re.fullmatch(r"h[1-6]", tag) else ""
        if event == "start":
            skipped += is_left_out
            if skipped:
                continue
            if tag in _BLOCKS or level:
                yield "block", ""
            if element.text:
                yield "text", element.text
            continue
        skipped -= is_left_out
        if skipped:
            continue
        if level or tag in _BLOCKS:
            yield level or "block", ""
        elif tag in ("td", "th"):
            yield "text", " | "
        if element.tail:
            yield "text", element.tail


READERS: dict[str, Callable[[str], Iterator[Block]]] = {"pdf": read_pdf, "docx": read_docx, "html": read_html}


def _answer(request: dict[str, str]) -> Iterator[Block]:
    try:
        yield from READERS[request["kind"]](request["path"])
        yield {"end": True}
    except Refused as error:
        yield {"problem": error.problem, "reason": error.reason, "end": True}
    except OSError as error:
        yield {"problem": "unreadable", "reason": error.strerror or str(error), "end": True}
    except (MemoryError, RecursionError) as error:
        yield {"problem": "large", "reason": type(error).__name__, "end": True}
    except Exception as error:  # noqa: BLE001 - a damaged file raises anything; it is told
        yield {"problem": "damaged", "reason": f"{type(error).__name__}: {error}"[:300], "end": True}


def main() -> None:
    logging.disable(logging.CRITICAL)  # pypdf tells of every irregularity
    sys.setrecursionlimit(5000)
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = _MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C goes to the terminal's whole group; whoever asks ends this
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    while True:
        for block in _answer(json.loads(requests.get())):
            sys.stdout.write(json.dumps(block) + "\n")
            sys.stdout.flush()


def _listen(requests: queue.SimpleQueue[bytes]) -> None:
    """Hand on the requests, and end the process with whoever asks, also in the middle of an endless page."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
