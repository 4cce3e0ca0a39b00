"""Knowledge bases that are built, changed, interrupted, killed and damaged."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lmstudio_app.errors import Cancelled, UserError, as_user_error
from lmstudio_app.events import Progress, Status
from lmstudio_app.jobs import JobContext, Meter
from lmstudio_app.knowledge import building, store
from lmstudio_app.knowledge.building import BuildReport, BuildRequest, PassageOptions, build_knowledge_base
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.knowledge.passages import Passage
from lmstudio_app.knowledge.search import KnowledgeBase
from lmstudio_app.knowledge.store import FileState, Store, build_lock
from lmstudio_app.models.loading import LoadRequest, load_model
from tests.knowledge.conftest import Listener, write_pdf


def build(
    base: Path, encoder: Encoder, *sources: Path, ctx: JobContext | None = None, **options: object
) -> BuildReport:
    request = BuildRequest(base, sources, **options)  # type: ignore[arg-type]
    return build_knowledge_base(request, ctx or JobContext(), encoder)


def counts(report: BuildReport) -> tuple[int, int, int, int, int]:
    return report.added, report.changed, report.removed, report.unchanged, report.embedded


def check(base: Path, encoder: Encoder) -> int:
    """Every passage is where it says, has the vector of its text, and is in the index; returns how many there are."""
    with KnowledgeBase(base, encoder) as opened:
        held = opened._store
        vectors, owners = held.vectors(32)
        identifiers = [int(owner) for owner in owners if owner >= 0]
        assert held.count_passages() == len(identifiers) == len(set(identifiers))
        passages = held.passages(identifiers)
        texts = [store.with_heading(passages[owner][1].heading, passages[owner][2]) for owner in identifiers]
        expected = encoder.embed(texts, JobContext())
        np.testing.assert_allclose(vectors[owners >= 0], expected, atol=1e-5)
        for file, place, text, _ in passages.values():
            whole = opened.text(file)
            assert whole is not None
            assert whole[place.start : place.end] == text
        connection = held._connection
        indexed = {row for (row,) in connection.execute("SELECT rowid FROM words")}
        assert indexed == set(identifiers)
        connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return len(identifiers)


def test_only_what_has_changed_is_read_and_embedded(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    base = tmp_path / "base"
    assert counts(build(base, encoder, folder)) == (3, 0, 0, 0, 4)
    assert counts(build(base, encoder)) == (0, 0, 0, 3, 0)
    (folder / "cats.txt").write_text("Cats eat mice. " * 100, encoding="utf-8")
    (folder / "moon.txt").unlink()
    (folder / "new.txt").write_text("A new file.", encoding="utf-8")
    os.utime(folder / "bread.md")  # the same bytes, at another time
    report = build(base, encoder)
    assert counts(report)[:4] == (1, 1, 1, 1)
    assert report.embedded == report.passages - 2  # those of bread.md stay
    assert check(base, encoder) == report.passages
    with KnowledgeBase(base, encoder) as opened:
        assert [Path(file.path).name for file in opened.files()] == ["bread.md", "cats.txt", "new.txt"]
        assert opened.sources() == [folder]


def test_sources_are_added_and_removed(tmp_path: Path, folder: Path, encoder: Encoder, ctx: Listener) -> None:
    base, other = tmp_path / "base", tmp_path / "other.txt"
    other.write_text("Another file.")
    build(base, encoder, folder)
    assert counts(build(base, encoder, other))[:4] == (1, 0, 0, 3)
    assert counts(build(base, encoder, remove=(folder,)))[:4] == (0, 0, 3, 1)
    other.unlink()
    assert counts(build(base, encoder, ctx=ctx))[:4] == (0, 0, 1, 0)
    assert ctx.warnings == [f"{other} is gone, and with it its passages"]
    assert check(base, encoder) == 0


def test_files_that_cannot_be_read_are_told_once_and_the_rest_goes_in(
    tmp_path: Path, folder: Path, encoder: Encoder, ctx: Listener
) -> None:
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 not really")
    write_pdf(folder / "good.pdf", ["The first page.", "The second page."])
    base = tmp_path / "base"
    report = build(base, encoder, folder, ctx=ctx)
    assert report.files == 4
    assert len(ctx.warnings) == len(report.problems) == 1
    assert "bad.pdf is damaged" in ctx.warnings[0]
    again = Listener()
    report = build(base, encoder, ctx=again)
    assert again.warnings == []  # it is not read again before it changes
    assert [note.message for note in report.problems] == ctx.warnings
    assert report.problems[0].remedy
    shutil.copy(folder / "good.pdf", folder / "bad.pdf")
    assert build(base, encoder).problems == ()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_name_that_is_no_text_is_told(tmp_path: Path, folder: Path, encoder: Encoder, ctx: Listener) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("Coffee.")
    report = build(tmp_path / "base", encoder, folder, ctx=ctx)
    assert report.files == 3
    assert ctx.warnings == [f"The name of {folder}/caf?.txt cannot be written as text."]


def test_a_full_disk_is_told_and_costs_nothing(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    base = tmp_path / "base"
    passages = build(base, encoder, folder).passages
    opened = Store(base, write=True)
    opened._connection.execute("PRAGMA max_page_count = 1")  # it cannot grow: what SQLite says of a full disk
    state = FileState(1, 1, "")
    with pytest.raises(OSError, match="No space left") as caught, opened.transaction():
        opened.replace_document("/large.txt", state, os.urandom(200_000).hex(), [Passage(0, 400_000)], ())
    assert as_user_error(caught.value).message == "The disk is full."
    opened.close(at_rest=True)
    assert check(base, encoder) == passages


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_tried_again(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    (folder / "cats.txt").chmod(0)
    report = build(tmp_path / "base", encoder, folder)
    assert "permission" in report.problems[0].message
    (folder / "cats.txt").chmod(0o644)
    assert build(tmp_path / "base", encoder).added == 1


def test_sources_must_exist_and_be_readable(tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "a.xyz").write_text("text")
    for sources, text in (((tmp_path / "none",), "There is no file"), ((tmp_path / "a.xyz",), "kind"), ((), "nothing")):
        with pytest.raises(UserError, match=text):
            build(tmp_path / "base", encoder, *sources)
    assert not (tmp_path / "base").exists()
    with pytest.raises(UserError, match="no knowledge base"):
        KnowledgeBase(tmp_path / "base")


def test_progress_has_rate_and_eta(tmp_path: Path, folder: Path, encoder: Encoder, ctx: Listener) -> None:
    (folder / "long.txt").write_text("A sentence of some words, again and again. " * 100)
    build(tmp_path / "base", encoder, folder, ctx=ctx)
    progress = [event for event in ctx.events if isinstance(event, Progress)]
    assert {event.unit for event in progress} == {"files", "passages"}
    last = [event for event in progress if event.unit == "passages"][-1]
    assert last.done == last.total
    assert last.rate is not None
    assert last.rate > 0
    assert last.eta == 0


def test_another_encoder_embeds_everything_again(
    tmp_path: Path, folder: Path, encoder: Encoder, tiny_classifier: Path, ctx: Listener
) -> None:
    base = tmp_path / "base"
    build(base, encoder, folder)
    other = Encoder(load_model(LoadRequest(str(tiny_classifier), head="base", device="cpu"), JobContext()))
    with KnowledgeBase(base, other) as opened, pytest.raises(UserError, match="which is not"):
        opened.search("cats", JobContext())
    report = build(base, other, ctx=ctx)
    assert report.unchanged == 3
    assert report.embedded == report.passages
    assert any("embedded again" in warning for warning in ctx.warnings)
    assert check(base, other) == report.passages
    assert len(list(base.glob("vectors-*"))) == 1


def test_the_same_encoder_elsewhere_is_the_same(
    tmp_path: Path, folder: Path, encoder: Encoder, tiny_encoder: Path
) -> None:
    build(tmp_path / "base", encoder, folder)
    shutil.copytree(tiny_encoder, tmp_path / "moved")
    moved = Encoder(load_model(LoadRequest(str(tmp_path / "moved"), head="base", device="cpu"), JobContext()))
    assert build(tmp_path / "base", moved).embedded == 0


def test_other_passages_are_cut_anew(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    (folder / "long.txt").write_text("It was a good movie and a nice story. " * 60)
    base = tmp_path / "base"
    before = build(base, encoder, folder)
    after = build(base, encoder, passages=PassageOptions(passage_tokens=32, overlap_tokens=8))
    assert after.changed == 4
    assert after.passages > before.passages * 2
    assert build(base, encoder).unchanged == 4  # they stay as they were wished
    assert check(base, encoder) == after.passages


def test_passage_options_are_checked() -> None:
    with pytest.raises(UserError, match="more than half"):
        PassageOptions(passage_tokens=20, overlap_tokens=15)
    with pytest.raises(UserError, match="passage_tokens is 2"):
        PassageOptions(passage_tokens=2)


def test_holes_are_given_back(tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_WORTH_MOVING", 2)
    files, base = tmp_path / "files", tmp_path / "base"
    files.mkdir()
    for number in range(12):
        (files / f"{number:02}.txt").write_text(f"Text number {number}.")
    build(base, encoder, files)
    with KnowledgeBase(base, encoder) as opened:
        assert len(opened.search("text", JobContext(), top=20)) == 12
        for number in range(10):
            (files / f"{number:02}.txt").unlink()
        build(base, encoder)  # while it is open
        assert Path(opened.search("number 11", JobContext(), top=20)[0].file).name == "11.txt"
        assert len(opened.search("text", JobContext(), top=20)) == 2
    assert check(base, encoder) == 2
    assert [path.stat().st_size for path in base.glob("vectors-*")] == [2 * 32 * 4]


def test_missing_vectors_are_made_again_and_a_damaged_base_is_told(
    tmp_path: Path, folder: Path, encoder: Encoder, ctx: Listener
) -> None:
    base = tmp_path / "base"
    passages = build(base, encoder, folder).passages
    next(base.glob("vectors-*")).unlink()
    with KnowledgeBase(base, encoder) as opened, pytest.raises(UserError, match="damaged or missing"):
        opened.search("cats", JobContext())
    assert build(base, encoder, ctx=ctx).embedded == passages
    assert any("missing" in warning for warning in ctx.warnings)
    (base / store.DATABASE).write_bytes(os.urandom(5000))
    with pytest.raises(UserError, match="damaged"):
        KnowledgeBase(base, encoder)
    with pytest.raises(UserError, match="damaged"):
        build(base, encoder)


def test_damage_in_the_middle_is_told_wherever_it_is_met(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    base = tmp_path / "base"
    build(base, encoder, folder)
    with (base / store.DATABASE).open("r+b") as file:  # the schema is whole, and the rest is not
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\0" * (size - 4096))
    with sqlite3.connect(base / store.DATABASE) as file_of_facts, pytest.raises(sqlite3.DatabaseError):
        file_of_facts.execute("SELECT * FROM documents").fetchall()
    file_of_facts.close()
    with pytest.raises(UserError, match="damaged"), KnowledgeBase(base, encoder) as opened:
        opened.files()
    with pytest.raises(UserError, match="damaged"):
        build(base, encoder)


def test_a_newer_base_is_left_alone(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    base = tmp_path / "base"
    build(base, encoder, folder)
    with sqlite3.connect(base / store.DATABASE) as connection:
        connection.execute("UPDATE facts SET value = '99' WHERE name = 'format'")
    connection.close()
    with pytest.raises(UserError, match="newer version"):
        build(base, encoder)


def test_one_builds_at_a_time_and_others_may_read(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    base = tmp_path / "base"
    build(base, encoder, folder)
    writer = Store(base, write=True)
    with build_lock(base), pytest.raises(UserError, match="Another process"):
        build(base, encoder)
    with writer.transaction(), KnowledgeBase(base, encoder) as opened:
        writer.remove_document(str(folder / "cats.txt"))
        assert len(opened.files()) == 3
        assert opened.search("cats", JobContext())
    writer.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_base_at_rest_is_read_from_a_read_only_folder(tmp_path: Path, folder: Path, encoder: Encoder) -> None:
    base = tmp_path / "base"
    build(base, encoder, folder)
    assert sorted(path.name for path in base.iterdir() if path.suffix != ".lock") == [
        "passages.sqlite",
        "vectors-1.f32",
    ]
    base.chmod(0o555)
    try:
        with KnowledgeBase(base, encoder) as opened:
            assert opened.search("yeast", JobContext())
    finally:
        base.chmod(0o755)


def test_a_cancelled_build_keeps_what_it_has(
    tmp_path: Path, folder: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "WINDOW", 8)
    monkeypatch.setattr(Meter, "interval", 0.0)
    (folder / "long.txt").write_text("It was a good movie and a nice story. " * 200)
    ctx = JobContext(lambda event: ctx.control.cancel() if getattr(event, "done", 0) > 8 else None)
    with pytest.raises(Cancelled):
        build(tmp_path / "base", encoder, folder, ctx=ctx)
    with KnowledgeBase(tmp_path / "base", encoder) as opened:
        waiting, passages = opened.count_waiting(), opened.count_passages()
        assert 0 < waiting < passages
        found = opened.search("yeast", JobContext())
        assert [Path(item.file).name for item in found if item.bm25 > 0] == ["bread.md"]  # by its words already
    report = build(tmp_path / "base", encoder)
    assert (report.embedded, report.unchanged) == (waiting, 4)
    assert check(tmp_path / "base", encoder) == passages


def _build_for_ever(base: str, files: str, model: str) -> None:
    """In a process that is killed: builds small windows, then changes and removes files and builds again."""
    building.WINDOW, building._COMMIT_EVERY, store._WORTH_MOVING = 8, 0.0, 4
    encoder = Encoder(load_model(LoadRequest(model, head="base", device="cpu"), JobContext()))
    chance = random.Random(os.getpid())
    while True:
        name = Path(files) / f"{chance.randrange(6)}.txt"
        if chance.random() < 0.3:
            name.unlink(missing_ok=True)
        else:
            name.write_text(f"It was movie number {chance.random()}. " * chance.randrange(1, 25))
        build(Path(base), encoder, Path(files), ctx=JobContext())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_build_killed_at_any_moment_leaves_a_valid_base(tmp_path: Path, encoder: Encoder, tiny_encoder: Path) -> None:
    base, files = tmp_path / "base", tmp_path / "files"
    files.mkdir()
    (files / "stays.txt").write_text("This one stays.")
    build(base, encoder, files)
    context = multiprocessing.get_context("forkserver")  # each process begins with the libraries imported
    context.set_forkserver_preload(["torch", "transformers", "tests.knowledge.test_building"])
    chance = random.Random(1)
    for _ in range(4):
        process = context.Process(target=_build_for_ever, args=(str(base), str(files), str(tiny_encoder)))
        process.start()
        deadline = time.monotonic() + 60
        while process.is_alive() and not (base / "passages.sqlite-wal").exists() and time.monotonic() < deadline:
            time.sleep(0.002)  # it loads the model
        time.sleep(chance.uniform(0.0, 0.6))
        process.kill()
        process.join(10)
        assert process.exitcode == -signal.SIGKILL
        with KnowledgeBase(base, encoder) as opened:  # before anybody repairs anything
            found = opened.search("This one stays.", JobContext(), top=3)
            assert any(item.text == "This one stays." for item in found)
        report = build(base, encoder)
        assert check(base, encoder) == report.passages
    assert len(list(base.glob("vectors-*"))) == 1


def test_statuses_can_be_translated(tmp_path: Path, folder: Path, encoder: Encoder, ctx: Listener) -> None:
    build(tmp_path / "base", encoder, folder, ctx=ctx)
    statuses = [event for event in ctx.events if isinstance(event, Status)]
    assert statuses
    assert all("{" in event.template or not event.parameters for event in statuses)
