"""The data sets that come with the app: whole, as the index says, and derived from what they say they are."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from lmstudio_app.assets import resource
from lmstudio_app.data.catalog import bundled_data_sets
from lmstudio_app.data.columns import resolve_columns
from lmstudio_app.data.sources import Table, read_table
from lmstudio_app.jobs import JobContext
from lmstudio_app.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = tuple(bundled_data_sets())
DERIVED = ("handbook/handbook.txt", "handbook/topics.tsv", "handbook/summaries.jsonl", "encyclopedia/encyclopedia.txt")


@pytest.fixture
def derive(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``packaging/derive_datasets.py`` as a module."""
    path = ROOT / "packaging" / "derive_datasets.py"
    spec = importlib.util.spec_from_file_location("derive_datasets", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def read(name: str) -> Table:
    return read_table(name, JobContext())


@pytest.mark.parametrize("name", NAMES)
def test_each_set_is_what_the_index_says(name: str) -> None:
    entry = bundled_data_sets()[name]
    table = read(name)
    assert len(table.dataset) == entry.rows
    assert tuple(table.dataset.column_names) == entry.columns
    assert table.problems == ()
    assert table.rejected == 0
    assert entry.title
    assert entry.description
    assert entry.license
    assert entry.attribution


@pytest.mark.parametrize("name", NAMES)
def test_the_columns_of_each_set_are_found_for_its_task(name: str) -> None:
    entry = bundled_data_sets()[name]
    task = next(task for task in TASKS if task.name == entry.task)
    found = resolve_columns(read(name).dataset, task.columns)
    wanted = {"translation": {"en", "zh"}, "question_answering": {"question", "context", "answers"}}
    free = {"attribution", "id", "title"}
    assert set(found.values()) == wanted.get(entry.task, set(entry.columns) - free)


def test_foreign_sets_name_their_licence_and_changes() -> None:
    for entry in bundled_data_sets().values():
        if entry.license != "Apache-2.0":
            text = (entry.files[0].parent / "ATTRIBUTION.md").read_text(encoding="utf-8")
            assert entry.license in text
            assert "Changes:" in text


def test_all_together_are_small() -> None:
    folder = resource("datasets")
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 3_000_000


def test_derived_sets_are_what_the_handbook_gives_now(derive: ModuleType, tmp_path: Path) -> None:
    written = derive.write_all(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in written} == set(DERIVED)
    for name in DERIVED:
        bundled = resource("datasets", *name.split("/")).read_bytes()
        same = (tmp_path / name).read_bytes() == bundled
        assert same, f"{name} is not up to date: run packaging/derive_datasets.py"


def test_the_handbook_is_complete(derive: ModuleType) -> None:
    sections = derive.read_handbook()
    chapters = Counter(section.chapter for section in sections)
    assert len(chapters) == len(list(derive.HANDBOOK.glob("*.md"))) == 16
    assert len({section.heading for section in sections}) == len(sections) >= 120
    assert sum(len(sentence.split()) for section in sections for sentence in section.sentences) >= 25_000
    for section in sections:
        assert len(derive.split_sentences(section.summary)) <= 2, section.heading
        assert 100 <= sum(len(text.split()) for text in section.paragraphs) <= 320, section.heading
        assert all(sentence.rstrip('"')[-1] in ".!?" for sentence in section.sentences), section.heading


def test_a_chapter_with_a_broken_section_is_refused(derive: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "01-broken.md"
    path.write_text("# Title\n\n## Heading\n\nNo summary.\n\nText.\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"01-broken.md: the section ## Heading"):
        derive.read_chapter(path)
    path.write_text("## Heading\n\n> Summary.\n\nText.\n", encoding="utf-8")
    with pytest.raises(ValueError, match="does not begin with a title"):
        derive.read_chapter(path)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two? Three!", ["One.", "Two?", "Three!"]),
        ("It rose by 1.5 points. Then it fell.", ["It rose by 1.5 points.", "Then it fell."]),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("J. R. Smith met Dr. Jones. They spoke.", ["J. R. Smith met Dr. Jones.", "They spoke."]),
        ("World War II. After it", ["World War II.", "After it"]),
        ("For example.com and e.g. this there is one.", ["For example.com and e.g. this there is one."]),
        ("  broken\nover  lines.\nNext.", ["broken over lines.", "Next."]),
    ],
)
def test_sentences_end_where_a_reader_ends_them(derive: ModuleType, text: str, sentences: list[str]) -> None:
    assert derive.split_sentences(text) == sentences


def test_running_text_keeps_the_sections_apart(derive: ModuleType) -> None:
    text = resource("datasets", "handbook", "handbook.txt").read_text(encoding="utf-8")
    documents = [document.splitlines() for document in text.strip().split("\n\n")]
    assert documents == [section.sentences for section in derive.read_handbook()]


def test_topics_are_balanced_enough_to_learn() -> None:
    counts = Counter(read("handbook-topics").dataset["label"])
    assert len(counts) == 15
    assert min(counts.values()) * 3 > max(counts.values())


def test_every_answer_stands_where_it_is_said_to() -> None:
    for row in read("xquad-en").dataset:
        answers = json.loads(row["answers"])
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text


def test_every_chat_is_a_question_and_its_answer() -> None:
    path = bundled_data_sets()["handbook-chat"].files[0]
    chats = [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert {tuple(message["role"] for message in chat) for chat in chats} == {("user", "assistant")}
    assert all(chat[0]["content"].endswith("?") and chat[1]["content"].endswith(".") for chat in chats)
    assert len({chat[0]["content"] for chat in chats}) == len(chats) >= 150


def test_every_translation_names_its_authors() -> None:
    rows = read("tatoeba-en-zh").dataset[:]
    assert all(text.startswith("CC-BY 2.0 (France) Attribution: tatoeba.org #") for text in rows["attribution"])
    assert len(set(rows["en"])) == len(rows["en"])
    assert all(any("\u4e00" <= character <= "\u9fff" for character in text) for text in rows["zh"])
