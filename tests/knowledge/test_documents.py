"""What is taken out of files, and what is said of those that cannot be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import docx
import pypdf
import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.knowledge import extraction_worker
from lmstudio_app.knowledge.documents import Document, find_files, read_document
from lmstudio_app.knowledge.extraction import Extractor
from tests.knowledge.conftest import Listener, write_pdf


def read(path: Path, patience: float = 60.0) -> Document:
    with Extractor(patience) as extractor:
        return read_document(path, extractor, JobContext())


def heading_at(document: Document, text: str) -> str:
    place = document.text.index(text)
    return [mark.heading for mark in document.marks if mark.start <= place][-1]


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_text_is_the_files_own(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes("\ufeff# Größe\r\n\r\nEin *Satz*.\r\n".encode())
    assert read(path).text == "# Größe\n\nEin *Satz*.\n" == path.read_text(encoding="utf-8-sig")


def test_older_encodings_are_found_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("知识库可以回答问题，语言模型阅读文字。今天我们学习中文。".encode("gb18030"))
    assert read(path).text.startswith("知识库可以回答问题，")


def test_markdown_headings_nest_and_code_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("intro\n# One\na\n## Two ##\nb\n```\n# no heading\n```\nc\n### Three\nd\n## Four\ne\n#hash\n")
    document = read(path)
    assert [mark.heading for mark in document.marks] == ["One", "One › Two", "One › Two › Three", "One › Four"]
    assert all(document.text[mark.start] == "#" for mark in document.marks)


def test_a_row_of_a_table_is_told_with_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('city,people\n"Bonn, am Rhein",330000\n\nKöln,1080000\n', encoding="utf-8")
    document = read(path)
    assert document.text == "city: Bonn, am Rhein\npeople: 330000\n\ncity: Köln\npeople: 1080000"
    assert [document.text[mark.start :][:10] for mark in document.marks] == ["city: Bonn", "city: Köln"]


def test_web_page_without_its_menus(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        "<html><head><title>Trees</title><style>p{}</style></head><body><nav>Home</nav><h1>Oak</h1>"
        "<p>Oaks grow <b>slowly</b> &amp; long.</p><script>var x</script><h2>Leaves</h2><ul><li>green<li>lobed</ul>"
        "<table><tr><td>a</td><td>é</td></tr></table><p>open",
        encoding="utf-8",
    )
    document = read(path)
    assert document.text == "Oak\n\nOaks grow slowly & long.\n\nLeaves\n\ngreen\n\nlobed\n\na | é |\n\nopen"
    assert heading_at(document, "green") == "Oak › Leaves"


def test_word_file_with_headings_and_a_table(tmp_path: Path) -> None:
    made = docx.Document()
    made.add_heading("Tides", 1)
    made.add_paragraph("The moon pulls the water.")
    table = made.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "high", "low"
    made.add_heading("Spring tides", 2)
    made.add_paragraph("Sun and moon pull together.")
    path = tmp_path / "a.docx"
    made.save(str(path))
    document = read(path)
    assert document.text.split("\n\n") == [
        "Tides", "The moon pulls the water.", "high | low", "Spring tides", "Sun and moon pull together.",
    ]  # fmt: skip
    assert heading_at(document, "Sun") == "Tides › Spring tides"


def test_pdf_pages_are_known_and_lines_are_mended(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["A trans-\nformer reads text.", "Second page (of two)."])
    document = read(path)
    assert document.text == "A transformer reads text.\n\nSecond page (of two)."
    assert [(mark.start, mark.page, mark.breaks) for mark in document.marks] == [(0, 1, False), (27, 2, False)]


def test_pages_without_text_are_told(tmp_path: Path) -> None:
    document = read(write_pdf(tmp_path / "a.pdf", ["Some text.", b"0 0 m 9 9 l S"]))
    assert [template.format(**values) for template, values in document.notes] == [
        f"1 of the 2 pages of {tmp_path / 'a.pdf'} have no text."
    ]


def problem(path: Path, patience: float = 60.0) -> str:
    with pytest.raises(UserError) as caught:
        read(path, patience)
    assert str(path) in caught.value.message
    return caught.value.one_line()


def test_files_that_cannot_be_read_are_told_in_a_sentence(tmp_path: Path) -> None:
    assert "scan" in problem(write_pdf(tmp_path / "scan.pdf", [b"0 0 m 9 9 l S"]))
    for name in ("bad.pdf", "bad.docx"):
        (tmp_path / name).write_bytes(b"%PDF-1.4 this is none" + os.urandom(2000))
        assert "damaged" in problem(tmp_path / name)
    (tmp_path / "old.docx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000))
    assert "password" in problem(tmp_path / "old.docx")
    (tmp_path / "empty.txt").write_text(" \n")
    assert "no text" in problem(tmp_path / "empty.txt")
    (tmp_path / "binary.txt").write_bytes(b"\x00\x01\x02" * 100)
    assert "not a text file" in problem(tmp_path / "binary.txt")
    (tmp_path / "a.xyz").write_text("text")
    assert "kind" in problem(tmp_path / "a.xyz")


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_password_that_is_empty_opens(tmp_path: Path, algorithm: str) -> None:
    for name, password in (("restricted.pdf", ""), ("locked.pdf", "geheim")):
        writer = pypdf.PdfWriter(write_pdf(tmp_path / "plain.pdf", ["may be read, not printed"]))
        writer.encrypt(password, "owner", algorithm=algorithm)
        writer.write(tmp_path / name)
    assert read(tmp_path / "restricted.pdf").text == "may be read, not printed"
    assert "password" in problem(tmp_path / "locked.pdf")


def endless_pdf(path: Path) -> Path:
    """A page of a few kilobytes that keeps the parser busy for minutes."""
    return write_pdf(path, ["A short first page.", b"BT /F1 12 Tf " + b"(a) Tj " * 3_000_000 + b"ET"], compress=True)


def test_a_file_that_takes_for_ever_is_given_up_and_the_next_is_read(tmp_path: Path) -> None:
    path, other = endless_pdf(tmp_path / "slow.pdf"), write_pdf(tmp_path / "quick.pdf", ["Quick."])
    with Extractor(patience=1.5) as extractor:
        begun = time.monotonic()
        with pytest.raises(UserError, match="for one page"):
            read_document(path, extractor, JobContext())
        assert time.monotonic() - begun < 10
        extractor.patience = 60.0
        assert read_document(other, extractor, JobContext()).text == "Quick."


def test_the_reader_ends_with_whoever_asks(tmp_path: Path) -> None:
    """As when the application is killed while a page takes for ever."""
    worker = subprocess.Popen(
        [sys.executable, "-P", extraction_worker.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    path = endless_pdf(tmp_path / "slow.pdf")
    worker.stdin.write(json.dumps({"path": str(path), "kind": "pdf"}).encode() + b"\n")
    worker.stdin.flush()
    assert b"first page" in worker.stdout.readline()
    worker.stdin.close()
    assert worker.wait(10) == 0
    worker.stdout.close()


def test_a_cancelled_reading_ends_at_once(tmp_path: Path) -> None:
    path, control = endless_pdf(tmp_path / "slow.pdf"), Control()
    with Extractor() as extractor:
        blocks = extractor.blocks(path, "pdf", JobContext(control=control))
        assert next(blocks)["text"] == "A short first page."
        control.cancel()
        begun = time.monotonic()
        with pytest.raises(Cancelled):
            next(blocks)
    assert time.monotonic() - begun < 2


def test_folders_are_walked_in_order_without_hidden_files(tmp_path: Path, ctx: Listener) -> None:
    for name in ("b/two.md", "b/.hidden.md", ".git/x.md", "a.txt", "a.xyz", "~$a.docx", "b/one.TXT"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    found = list(find_files([tmp_path, tmp_path / "a.txt"], ctx))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.txt", "b/one.TXT", "b/two.md"]
