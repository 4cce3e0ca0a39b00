"""Knowledge bases by name: made, found, renamed, thrown away."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge.building import BuildRequest, build_knowledge_base
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.knowledge.handbook import HANDBOOK, handbook_folder
from lmstudio_app.knowledge.shelf import (
    create_base,
    find_on_shelf,
    folder_of,
    list_shelf,
    rename_base,
    shelf_folder,
    trash_base,
)
from lmstudio_app.knowledge.store import DATABASE, build_lock


def names() -> list[str]:
    return [entry.name for entry in list_shelf(JobContext())]


def test_the_handbook_comes_first_and_is_there_before_it_is_built(app_home: Path) -> None:
    (entry,) = list_shelf(JobContext())
    assert (entry.name, entry.folder, entry.is_handbook, entry.is_empty) == (HANDBOOK, handbook_folder(), True, True)
    assert list(app_home.iterdir()) == []


def test_a_new_one_is_empty_until_it_is_built(folder: Path, encoder: Encoder) -> None:
    made = create_base("  Cats and\tbread ")
    assert made == shelf_folder() / "Cats and bread"
    assert names() == [HANDBOOK, "Cats and bread"]
    assert list_shelf(JobContext())[1].is_empty
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 no more")
    build_knowledge_base(BuildRequest(made, (folder,)), JobContext(), encoder)
    entry = list_shelf(JobContext())[1]
    assert (entry.files, entry.problems, entry.passages, entry.waiting) == (3, 1, 4, 0)
    assert not entry.is_empty
    assert not entry.is_handbook


def test_one_that_is_damaged_in_the_middle_says_so_and_hides_no_other(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A sentence.")
    damaged = create_base("damaged")
    build_knowledge_base(BuildRequest(damaged, (tmp_path / "a.txt",)), JobContext(), encoder)
    with (damaged / DATABASE).open("r+b") as file:  # the schema is whole, and the rest is not
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\0" * (size - 4096))
    create_base("fine")
    entries = list_shelf(JobContext())
    assert [entry.name for entry in entries] == [HANDBOOK, "damaged", "fine"]
    assert entries[1].error is not None
    assert "damaged" in entries[1].error.message


def test_one_that_is_damaged_says_so_and_hides_no_other() -> None:
    damaged = create_base("damaged")
    (damaged / DATABASE).write_bytes(b"this is no database" * 100)
    create_base("fine")
    entries = list_shelf(JobContext())
    assert [entry.name for entry in entries] == [HANDBOOK, "damaged", "fine"]
    assert entries[1].error is not None
    assert "damaged" in entries[1].error.message
    assert not entries[1].is_empty


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (" ", "needs a name"),
        ("a/b", "'/'"),
        ("..", "cannot be a name"),
        (".hidden", "cannot be a name"),
        ("end.", "cannot be a name"),
        ("NUL", "cannot be a name"),
        ("what?", "'\\?'"),
        ("x" * 61, "too long"),
        ("Handbook", "already"),
        ("taken", "already"),
        ("TAKEN", "already"),
    ],
)
def test_names_that_cannot_be_had(name: str, reason: str) -> None:
    create_base("taken")
    with pytest.raises(UserError, match=reason):
        create_base(name)
    create_base("other")
    if name.casefold() != "taken":
        with pytest.raises(UserError, match=reason):
            rename_base("taken", name)
    assert names() == [HANDBOOK, "other", "taken"]


def test_renaming_moves_it_with_all_it_knows(folder: Path, encoder: Encoder) -> None:
    build_knowledge_base(BuildRequest(create_base("Katzen"), (folder,)), JobContext(), encoder)
    moved = rename_base("Katzen", "Étoiles 猫")
    assert find_on_shelf("étoiles 猫") == moved
    assert find_on_shelf("Katzen") is None
    assert list_shelf(JobContext())[1].passages == 4
    assert rename_base("étoiles 猫", "ÉTOILES 猫").name == "ÉTOILES 猫"
    assert names() == [HANDBOOK, "ÉTOILES 猫"]


def test_nothing_is_moved_or_thrown_away_while_it_is_built() -> None:
    folder = create_base("busy")
    with build_lock(folder):
        for change in (lambda: rename_base("busy", "free"), lambda: trash_base("busy")):
            with pytest.raises(UserError, match="is building"):
                change()
    assert names() == [HANDBOOK, "busy"]


@pytest.mark.skipif(sys.platform != "linux", reason="only here is the trash a folder that can be looked into")
def test_deleting_moves_it_to_the_trash_and_leaves_the_files(
    app_home: Path, folder: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(app_home / "xdg"))
    for name in [name for name in sys.modules if name.startswith("send2trash")]:  # it looks for the trash once
        monkeypatch.delitem(sys.modules, name)
    build_knowledge_base(BuildRequest(create_base("old"), (folder,)), JobContext(), encoder)
    trash_base("old")
    assert names() == [HANDBOOK]
    assert (app_home / "xdg" / "Trash" / "files" / "old" / DATABASE).is_file()
    assert (folder / "cats.txt").is_file()


def test_the_handbook_can_be_neither_renamed_nor_deleted() -> None:
    with pytest.raises(UserError, match="handbook stays"):
        trash_base(HANDBOOK)
    with pytest.raises(UserError, match="handbook stays"):
        rename_base(HANDBOOK, "mine")
    with pytest.raises(UserError, match="no knowledge base called nobody"):
        trash_base("nobody")


def test_a_place_is_a_folder_or_a_name(
    tmp_path: Path, folder: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ctx = JobContext()
    mine = create_base("mine")
    assert folder_of("MINE", ctx) == mine
    assert folder_of("new", ctx) == Path("new")
    build_knowledge_base(BuildRequest(tmp_path / "mine", (folder,)), ctx, encoder)
    assert folder_of("mine", ctx) == Path("mine")  # the one in the folder where one is
    assert folder_of(tmp_path / "mine", ctx) == tmp_path / "mine"
