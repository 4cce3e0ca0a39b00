"""Downloads in the window on their good and bad days: cut, paused, killed, refused, damaged, out of room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from lmstudio_app.gui.downloads import DONE, FAILED, PAUSED, RUNNING, STARTER_PACK, WAITING, DownloadManager
from lmstudio_app.gui.tabs.model import ModelTab
from lmstudio_app.gui.widgets.hub_downloads import DownloadLine, DownloadsPanel
from lmstudio_app.models import catalog
from lmstudio_app.models.catalog import CatalogEntry, CatalogFile, HubSource
from lmstudio_app.models.names import install_folder
from lmstudio_app.settings import cache_folder
from tests.hub_server import COMMIT, HubServer, serve_hub

REF = "tests/tiny"
# the window of another process, which downloads until it is killed
WINDOW = """
import sys
from PySide6.QtCore import QCoreApplication
from lmstudio_app.gui.services import make_services
from lmstudio_app.settings import Settings

app = QCoreApplication([])
services = make_services(Settings())
services.downloads.add(sys.argv[1])
app.exec()
"""


@pytest.fixture
def manager(services: Any) -> DownloadManager:
    return services.downloads


@pytest.fixture
def panel(qtbot: QtBot, manager: DownloadManager) -> DownloadsPanel:
    panel = DownloadsPanel(manager)
    qtbot.addWidget(panel)
    panel.resize(900, 300)
    return panel


@pytest.fixture
def tiny(hub: HubServer, tiny_encoder: Path) -> bytes:
    """The weights of a model that the hub has."""
    return hub.add(REF, tiny_encoder).files["model.safetensors"]


def part(reference: str = REF) -> Path:
    return cache_folder() / "downloads" / install_folder(reference).name / COMMIT / "model.safetensors"


def weights(reference: str = REF) -> bytes:
    return (install_folder(reference) / "model.safetensors").read_bytes()


def press(qtbot: QtBot, line: DownloadLine, name: str) -> None:
    assert not line.buttons[name].isHidden(), name
    qtbot.mouseClick(line.buttons[name], Qt.MouseButton.LeftButton)


@pytest.fixture
def until(qtbot: QtBot, manager: DownloadManager) -> Callable[..., None]:
    """Waits until a download is in a state."""

    def _wait(state: str, reference: str = REF) -> None:
        qtbot.waitUntil(lambda: manager.find(reference).state == state, timeout=20_000)

    return _wait


@pytest.fixture
def stalled(hub: HubServer, qtbot: QtBot) -> Iterator[threading.Event]:
    """The hub stops in the middle of large files until this is set."""
    event = hub.stall = threading.Event()
    yield event
    event.set()


def test_a_line_shows_how_far_how_fast_and_how_long_still(
    qtbot: QtBot, panel: DownloadsPanel, manager: DownloadManager, hub: HubServer, tiny: bytes, until: Any
) -> None:
    hub.delay = 0.03
    assert panel.isHidden()
    manager.add(REF)
    line = panel.lines[REF]
    assert not panel.isHidden()
    qtbot.waitUntil(lambda: "left" in line.amount.text(), timeout=20_000)
    assert "/s" in line.amount.text()
    assert 0 < line.bar.value() < 1000
    until(DONE)
    assert line.status.text() == "On this computer. Every file has the checksum that the hub states."
    assert weights() == tiny
    press(qtbot, line, "dismiss")
    assert panel.isHidden()
    assert manager.downloads == []


def test_several_wait_for_their_turn(
    panel: DownloadsPanel, manager: DownloadManager, hub: HubServer, tiny: bytes, tiny_encoder: Path, until: Any,
    stalled: threading.Event,
) -> None:  # fmt: skip
    hub.add("tests/second", tiny_encoder)
    manager.add(REF)
    manager.add("tests/second")
    assert manager.add("tests/second") is manager.find("tests/second")  # twice is once
    until(RUNNING)
    assert panel.lines["tests/second"].status.text() == "Waits for its turn"
    assert manager.find("tests/second").state == WAITING
    assert manager.busy
    stalled.set()
    until(DONE, "tests/second")
    assert weights(REF) == weights("tests/second") == tiny
    assert not manager.busy


def test_a_pause_hangs_up_and_the_next_one_begins(
    qtbot: QtBot, panel: DownloadsPanel, manager: DownloadManager, hub: HubServer, tiny: bytes, until: Any,
    tiny_encoder: Path, stalled: threading.Event,
) -> None:  # fmt: skip
    hub.add("tests/second", tiny_encoder)
    manager.add(REF)
    manager.add("tests/second")
    qtbot.waitUntil(lambda: part().is_file() and part().stat().st_size > 10_000, timeout=20_000)
    press(qtbot, panel.lines[REF], "pause")
    until(PAUSED)
    kept = part().stat().st_size
    assert panel.lines[REF].status.text() == "Paused"
    until(RUNNING, "tests/second")
    stalled.set()
    hub.stall = None
    until(DONE, "tests/second")
    assert part().stat().st_size == kept
    assert panel.lines[REF].amount.text().endswith(f"{manager.find(REF).progress.total / 1000:.1f} kB")
    press(qtbot, panel.lines[REF], "resume")
    until(DONE)
    assert hub.downloads("model.safetensors")[-1] == f"bytes={kept}-"
    assert weights() == tiny


def test_a_cancel_asks_and_deletes_what_came(
    qtbot: QtBot, panel: DownloadsPanel, manager: DownloadManager, tiny: bytes, stalled: threading.Event, until: Any
) -> None:
    panel.show()
    manager.add(REF)
    qtbot.waitUntil(lambda: part().is_file() and part().stat().st_size > 10_000, timeout=20_000)
    qtbot.waitUntil(lambda: manager.find(REF).progress is not None)
    press(qtbot, panel.lines[REF], "cancel")
    assert "would have to be downloaded again" in panel.question.informativeText()
    panel.question.no_button.click()
    assert manager.find(REF).state == RUNNING
    press(qtbot, panel.lines[REF], "cancel")
    with qtbot.waitSignal(manager.discarded, timeout=10_000):
        panel.question.yes_button.click()
    assert manager.find(REF) is None
    assert not part().parent.exists()
    assert panel.isHidden()


def test_one_that_waits_is_cancelled_without_a_question(
    qtbot: QtBot, panel: DownloadsPanel, manager: DownloadManager, tiny: bytes, stalled: threading.Event
) -> None:
    manager.add(REF)
    manager.add("tests/never")
    with qtbot.waitSignal(manager.discarded):
        press(qtbot, panel.lines["tests/never"], "cancel")
    assert list(panel.lines) == [REF]


def test_a_connection_that_is_cut_is_taken_up_again(
    panel: DownloadsPanel, manager: DownloadManager, hub: HubServer, tiny: bytes, until: Any
) -> None:
    hub.cut_after = [20_480, 8_192]
    manager.add(REF)
    until(DONE)
    assert hub.downloads("model.safetensors") == [None, "bytes=20480-", "bytes=28672-"]
    assert weights() == tiny


def test_the_hub_may_send_to_another_host(
    manager: DownloadManager, hub: HubServer, tiny: bytes, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve_hub() as other:
        other.repositories = hub.repositories
        hub.files_at = other.url.replace("127.0.0.1", "localhost")
        manager.add(REF)
        until(DONE)
        assert other.downloads("model.safetensors") == [None]
        assert {authorization for _, _, authorization in other.sent} == {None}
    assert weights() == tiny


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_window_that_was_killed_is_followed_by_one_that_goes_on(
    qtbot: QtBot, services: Any, manager: DownloadManager, hub: HubServer, tiny: bytes, until: Any,
    stalled: threading.Event,
) -> None:  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", WINDOW, REF], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (part().is_file() and part().stat().st_size > 10_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = part().stat().st_size
    stalled.set()
    hub.stall = None
    tab = ModelTab(services)
    qtbot.addWidget(tab)
    tab.resize(1000, 700)
    tab.pages.go_to("disk")
    tab.show()
    page = tab.pages.page("disk")
    qtbot.waitUntil(lambda: REF in page.downloads.lines)
    line = page.downloads.lines[REF]
    assert line.status.text() == "Begun earlier; it can go on where it ended"
    assert manager.find(REF).progress.done == sum(path.stat().st_size for path in part().parent.iterdir())
    assert " kB of " in line.amount.text()
    assert tab.pages.bar.tabText(2) == "On this disk (downloads: 1)"
    press(qtbot, line, "resume")
    until(DONE)
    assert hub.downloads("model.safetensors")[-1] == f"bytes={kept}-"
    assert weights() == tiny
    tab.shutdown()


def test_what_a_window_has_begun_can_be_discarded(
    qtbot: QtBot, panel: DownloadsPanel, manager: DownloadManager
) -> None:
    part().parent.mkdir(parents=True)
    part().write_bytes(b"x" * 1000)
    with qtbot.waitSignal(manager.offer_begun().finished):
        pass
    panel.show()
    press(qtbot, panel.lines[REF], "cancel")
    with qtbot.waitSignal(manager.discarded):
        panel.question.yes_button.click()
    assert not part().parent.exists()
    assert manager.downloads == []


def test_one_goes_on_with_the_weights_it_was_begun_with(
    qtbot: QtBot, manager: DownloadManager, hub: HubServer, tiny: bytes, until: Any
) -> None:
    hub.repositories[REF].files["other.bin"] = b"x" * 20_000
    hub.corrupt = True
    manager.add(REF, ["other.bin"])
    until(FAILED)
    manager.add(REF)
    until(FAILED)
    assert manager.find(REF).weights == ("other.bin",)
    hub.corrupt = False
    manager.add(REF, ["model.safetensors"])
    until(DONE)
    assert weights() == tiny


def test_closing_keeps_what_came(qtbot: QtBot, manager: DownloadManager, tiny: bytes, stalled: threading.Event) -> None:
    manager.add(REF)
    qtbot.waitUntil(lambda: part().is_file() and part().stat().st_size > 10_000, timeout=20_000)
    start = time.monotonic()
    assert manager.runner.shutdown(5.0)
    assert time.monotonic() - start < 1.0
    assert manager.find(REF).state == PAUSED
    assert part().stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message", "needs_token"),
    [
        ({"status": 401}, "does not give out tests/tiny to somebody unknown", True),
        ({"gated": "auto"}, "tests/tiny is gated", True),
        ({"status": 403, "error": ""}, "does not give out tests/tiny to this account", True),
        ({"status": 404}, "has no model tests/tiny", False),
        ({"status": 429}, "asked too often", False),
    ],
)
def test_what_the_hub_refuses_can_be_tried_again(
    qtbot: QtBot, panel: DownloadsPanel, manager: DownloadManager, hub: HubServer, tiny: bytes, until: Any,
    options: dict[str, Any], message: str, needs_token: bool,
) -> None:  # fmt: skip
    repository = hub.repositories[REF]
    before = {name: getattr(repository, name) for name in options}
    for name, value in options.items():
        setattr(repository, name, value)
    with qtbot.waitSignal(manager.failed) as failed:
        manager.add(REF)
    assert message in failed.args[1].message
    line = panel.lines[REF]
    assert message in line.error.text()
    assert line.buttons["token"].isHidden() is not needs_token
    assert line.buttons["resume"].text() == "Try again"
    for name, value in before.items():
        setattr(repository, name, value)
    press(qtbot, line, "resume")
    until(DONE)
    assert line.error.isHidden()
    assert weights() == tiny


def test_a_wrong_hash_is_told_and_the_file_fetched_anew(
    qtbot: QtBot, panel: DownloadsPanel, manager: DownloadManager, hub: HubServer, tiny: bytes, until: Any
) -> None:
    hub.corrupt = True
    manager.add(REF)
    until(FAILED)
    assert "model.safetensors of tests/tiny arrived damaged" in panel.lines[REF].error.text()
    assert not part().exists()
    hub.corrupt = False
    press(qtbot, panel.lines[REF], "resume")
    until(DONE)
    assert hub.downloads("model.safetensors") == [None, None]
    assert weights() == tiny


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_a_disk_that_fills_up_says_so_and_keeps_what_came(
    qtbot: QtBot, panel: DownloadsPanel, manager: DownloadManager, hub: HubServer, tiny: bytes, until: Any
) -> None:
    """The limit of a file's size stands for the disk's end; the system tells both in the same way."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(tiny) // 2, hard))
    try:
        manager.add(REF)
        until(FAILED)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "The disk is full. Free some space" in panel.lines[REF].error.text()
    kept = part().stat().st_size
    assert kept > 0
    press(qtbot, panel.lines[REF], "resume")
    until(DONE)
    assert hub.downloads("model.safetensors")[-1] == f"bytes={kept}-"
    assert weights() == tiny


def test_too_little_room_is_told_before_anything_comes(
    panel: DownloadsPanel, manager: DownloadManager, hub: HubServer, tiny: bytes, until: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import shutil

    usage = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr("lmstudio_app.files.shutil.disk_usage", lambda path: usage)
    manager.add(REF)
    until(FAILED)
    assert "1.0 kB are free. Free some space" in panel.lines[REF].error.text()
    assert hub.downloads("model.safetensors") == []


def test_a_model_loads_beside_a_download(
    qtbot: QtBot, services: Any, manager: DownloadManager, tiny: bytes, tiny_classifier: Path, until: Any,
    stalled: threading.Event,
) -> None:  # fmt: skip
    tab = ModelTab(services)
    qtbot.addWidget(tab)
    tab.open_reference(REF)
    tab.load()  # downloads it first
    until(RUNNING)
    assert tab.busy
    tab.open_reference(str(tiny_classifier))
    assert tab.chooser.load_button.isEnabled()
    with qtbot.waitSignal(tab.model_loaded, timeout=30_000) as loaded:
        tab.load()
    assert loaded.args[0].folder == tiny_classifier
    assert manager.find(REF).state == RUNNING
    stalled.set()
    until(DONE)
    qtbot.wait(50)
    assert tab.loaded.folder == tiny_classifier  # who turned to another one is not brought back
    tab.shutdown()


def test_the_window_asks_before_it_ends_a_download(
    qtbot: QtBot, window: Any, hub: HubServer, tiny: bytes, stalled: threading.Event
) -> None:
    downloads = window.services.downloads
    downloads.add(REF)
    qtbot.waitUntil(lambda: part().is_file() and part().stat().st_size > 10_000, timeout=20_000)
    window.close()
    assert window.isVisible()
    window.close_question.yes_button.click()
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=10_000)
    assert downloads.find(REF).state == PAUSED
    assert part().stat().st_size > 10_000


# --- the starter models


@pytest.fixture
def pack(hub: HubServer, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> list[CatalogEntry]:
    files = tuple(CatalogFile(path.name, None, path.stat().st_size) for path in tiny_encoder.iterdir())
    size = sum(file.size for file in files)
    entries = []
    for name in ("one", "two"):
        hub.add(f"tests/{name}", tiny_encoder)
        source = HubSource(f"tests/{name}")
        entries.append(CatalogEntry(f"starter:{name}", name, "encoder", size, "mit", "", (source,), files))
    monkeypatch.setattr(catalog, "_bundled", lambda: {entry.name: entry for entry in entries})
    return entries


def test_one_button_gets_all_starter_models(
    qtbot: QtBot, services: Any, manager: DownloadManager, hub: HubServer, pack: list[CatalogEntry], until: Any
) -> None:
    hub.delay = 0.01
    tab = ModelTab(services)
    qtbot.addWidget(tab)
    tab.show()
    button = tab.pages.starter_button
    assert button.text() == f"Get the starter models ({2 * pack[0].size / 1000:.1f} kB)"
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert not button.isEnabled()
    qtbot.waitUntil(lambda: manager.find(STARTER_PACK).progress is not None, timeout=20_000)
    assert manager.find(STARTER_PACK).progress.total == 2 * pack[0].size
    until(DONE, STARTER_PACK)
    assert weights("starter:one") == weights("starter:two")
    assert not button.isVisible()
    assert {row.state for row in tab.chooser.list.rows if row.reference} == {"here"}
    tab.shutdown()
