"""Is there a display? Asked of real X servers where there are some."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmstudio_app.display import display_problem, missing_library_problem, session_type

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS and Windows have a display")
ROOT = Path(__file__).resolve().parent.parent


LOOK_AND_CLOSE = """
from PySide6 import QtWidgets
from PySide6.QtCore import QTimer
from lmstudio_app.gui import app

def look():
    shown = [widget for widget in QtWidgets.QApplication.topLevelWidgets() if widget.isVisible()]
    print(QtWidgets.QApplication.platformName(), len(shown), shown[0].windowTitle(), flush=True)
    QtWidgets.QApplication.closeAllWindows()

class Application(QtWidgets.QApplication):
    def exec(self):
        QTimer.singleShot(300, look)
        return super().exec()

QtWidgets.QApplication = Application
raise SystemExit(app.main([]))
"""


@pytest.fixture
def x_server() -> Iterator[str]:
    """The name of the display of a private X server."""
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is not installed")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    assert number, "Xvfb did not start"
    yield f":{number}"
    server.terminate()
    server.wait(10)


def test_session_is_told_from_the_environment() -> None:
    assert session_type({"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}) == "wayland"
    assert session_type({"DISPLAY": ":0"}) == "x11"
    assert session_type({}) == "none"


def test_no_display_is_one_sentence() -> None:
    assert display_problem({}) == "There is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)."
    assert display_problem({"QT_QPA_PLATFORM": "xcb"})


def test_platforms_without_a_screen_need_no_display() -> None:
    assert display_problem({"QT_QPA_PLATFORM": "offscreen"}) == ""
    assert display_problem({"QT_QPA_PLATFORM": "vnc:size=1280x800"}) == ""


def test_dead_display_is_noticed() -> None:
    assert display_problem({"DISPLAY": ":7654"}) == "The display :7654 does not answer."


def test_living_display_is_no_problem(x_server: str) -> None:
    assert display_problem({"DISPLAY": x_server}) == ""


def test_missing_libraries_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmstudio_app import system_libraries

    assert missing_library_problem({"DISPLAY": ":0"}) == ""
    need = system_libraries.Need("x11", ("libmade-up1",), "made-up", "made-up", "libmade-up.so.1")
    monkeypatch.setattr(system_libraries, "NEEDS", (need,))
    assert "libmade-up1" in missing_library_problem({"DISPLAY": ":0"})
    assert missing_library_problem({"DISPLAY": ":0", "QT_QPA_PLATFORM": "offscreen"}) == ""


def test_window_opens_on_a_real_x_server(x_server: str, app_home: Path) -> None:
    """The platform plugin of most Linux desktops, which the other tests do not load."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("QT_", "WAYLAND"))}
    opened = subprocess.run(
        [sys.executable, "-c", LOOK_AND_CLOSE],
        cwd=ROOT,
        env=environment | {"DISPLAY": x_server, "LMSTUDIO_APP_HOME": str(app_home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert opened.returncode == 0, opened.stderr
    assert opened.stdout.startswith("xcb 1 "), opened.stdout + opened.stderr
