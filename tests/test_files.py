import os
import shutil
import stat
import subprocess
import sys
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_folder, atomic_path, atomic_write_text, format_bytes, require_free_space, sweep


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


def test_the_first_of_two_that_fill_a_cache_stays(tmp_path: Path) -> None:
    target = tmp_path / "entry"
    ready = (target / "name").is_file
    with atomic_folder(target, unless=ready) as slow:
        (slow / "name").write_text("slow")
        with atomic_folder(target, unless=ready) as quick:
            (quick / "name").write_text("quick")
        opened = (target / "name").stat().st_ino
    assert (target / "name").read_text() == "quick"
    assert (target / "name").stat().st_ino == opened
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


def test_one_that_was_made_before_the_work_began_stays_too(tmp_path: Path) -> None:
    """As happens between a look into the cache and the beginning of the work."""
    target = tmp_path / "entry"
    target.mkdir()
    (target / "name").write_text("first")
    with atomic_folder(target, unless=(target / "name").is_file) as second:
        (second / "name").write_text("second")
    assert (target / "name").read_text() == "first"


def test_several_replace_a_damaged_folder_at_once(tmp_path: Path) -> None:
    target = tmp_path / "entry"
    for _ in range(20):
        target.mkdir(exist_ok=True)
        (target / "name").unlink(missing_ok=True)
        (target / "other").write_text("all that is left")
        start = threading.Barrier(4)

        def fill(start: threading.Barrier = start) -> None:
            with atomic_folder(target, unless=(target / "name").is_file) as folder:
                (folder / "name").write_text("whole")
                start.wait()

        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(fill) for _ in range(4)]:
                future.result()
        assert [path.name for path in target.iterdir()] == ["name"]
        assert [path.name for path in tmp_path.iterdir()] == ["entry"]


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


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_files_and_folders_have_the_mode_that_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write_text(tmp_path / "new.txt", "x")
        with atomic_folder(tmp_path / "folder") as temporary:
            (temporary / "inside.txt").write_text("x")
        (tmp_path / "shared.txt").write_text("old")
        (tmp_path / "shared.txt").chmod(0o604)
        atomic_write_text(tmp_path / "shared.txt", "new")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"new.txt": 0o640, "folder": 0o750, "shared.txt": 0o604}


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 127)
    atomic_write_text(target, "x")
    assert target.read_text() == "x"


def test_what_a_killed_process_left_is_swept_away_and_what_it_moved_aside_comes_back(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from lmstudio_app import files\n"
        "target, moment = Path(sys.argv[1]), sys.argv[2]\n"
        "replace = os.replace\n"
        "def dying(source, goal):\n"
        "    if moment == 'swap' and Path(goal) == target: os._exit(9)\n"
        "    replace(source, goal)\n"
        "os.replace = dying\n"
        "with files.atomic_folder(target) as temporary:\n"
        "    (temporary / 'file.txt').write_text('new')\n"
        "    if moment == 'write': os._exit(9)\n"
    )
    target = tmp_path / "model"
    target.mkdir()
    (target / "file.txt").write_text("old")
    (tmp_path / ".hidden.txt").write_text("not ours")
    for moment in ("write", "swap"):
        done = subprocess.run([sys.executable, "-c", code, str(target), moment], check=False)
        assert done.returncode == 9
        assert len(list(tmp_path.iterdir())) > 2
        sweep(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden.txt", "model"]
        assert (target / "file.txt").read_text() == "old"
    sweep(tmp_path / "nowhere")


@pytest.mark.skipif(os.name == "nt", reason="pipes and links of POSIX")
def test_what_is_no_file_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    pipe, link, real = tmp_path / "pipe", tmp_path / "link.txt", tmp_path / "real" / "file.txt"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    atomic_write_text(pipe, "through the pipe")
    assert reader.communicate(timeout=10)[0] == b"through the pipe"
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    link.symlink_to(real)
    for text in ("first", "second"):
        atomic_write_text(link, text)
        assert link.is_symlink()
        assert real.read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.txt", "pipe", "real"]


def test_a_folder_is_told_before_the_work_begins(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), atomic_path(tmp_path):
        pytest.fail("nothing is written")
