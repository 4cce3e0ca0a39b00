import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_folder, atomic_path, atomic_write_text, format_bytes, require_free_space


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    atomic_write_text(target, "old")
    atomic_write_text(target, "néw")
    assert target.read_text(encoding="utf-8") == "néw"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_a_failed_writing_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError), atomic_path(target) as temporary:
        temporary.write_text("half, then \ud800", encoding="utf-8")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale.bin").write_text("old")
    with atomic_folder(target) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "new.bin").write_text("new")
        assert (target / "stale.bin").exists()
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*")) == ["sub", "sub/new.bin"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "kept.bin").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_folder(target) as temporary:
        shutil.copy(target / "missing.bin", temporary)
    assert [path.name for path in target.iterdir()] == ["kept.bin"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_too_little_space_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1_000_000))
    require_free_space(tmp_path / "not" / "there" / "yet", 900_000)
    with pytest.raises(UserError, match=r"960\.0 kB are needed .* 1\.0 MB are free"):
        require_free_space(tmp_path, 960_000)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (90_868_376, "90.9 MB"), (2.5e9, "2.5 GB"), (3e12, "3.0 TB")],
)
def test_sizes_are_written_as_disks_state_them(count: float, text: str) -> None:
    assert format_bytes(count) == text
