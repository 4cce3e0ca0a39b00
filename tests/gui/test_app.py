import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PySide6.QtCore import QObject, QTimer, qWarning
from PySide6.QtWidgets import QApplication

from lmstudio_app.gui import app
from lmstudio_app.gui.garbage import GarbageCollector
from lmstudio_app.gui.reporting import ExceptionReporter, LogFile

FRONT_DOOR = [sys.executable, "-m", "lmstudio_app"]


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux sessions may lack a display")
def test_without_a_display_one_line_says_so_and_names_what_works() -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")}
    done = subprocess.run(FRONT_DOOR, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: There is no display here")
    assert line.endswith("lmstudio-app train RECIPE.yaml")


def test_a_qt_that_does_not_load_is_one_line_too(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PySide6.QtWidgets", None)
    assert app.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Qt cannot be loaded" in line
    assert "lmstudio-app train RECIPE.yaml" in line


def test_missing_system_libraries_are_named(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "missing_library_problem", lambda: "Install them: apt-get install libegl1")
    assert app.main() == 2
    assert "apt-get install libegl1. Without a window" in capsys.readouterr().err


LIFE = """
import sys, time
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
import lmstudio_app.gui.app as app, lmstudio_app.gui.main_window as main_window
app.WARM_UP_DELAY = 10_000_000
seen = []
original = main_window.MainWindow.showEvent
def on_show(self, event):
    original(self, event)
    heavy = {"torch", "transformers", "datasets", "pyarrow", "huggingface_hub", "pyqtgraph", "numpy", "pandas"}
    seen.append(sorted(heavy & set(sys.modules)))
    QTimer.singleShot(50, self.close)
main_window.MainWindow.showEvent = on_show
code = app.main()
print(code, seen[0])
"""


def test_the_window_opens_without_any_heavy_library_and_closes_with_0(app_home: Path) -> None:
    done = run(LIFE)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    log = (app_home / "logs" / "lmstudio-app.log").read_text()
    assert "started" in log
    assert "closed" in log
    assert "CRITICAL" not in log


WARM = """
import sys, gc
from PySide6.QtCore import QTimer
import lmstudio_app.gui.app as app, lmstudio_app.gui.main_window as main_window
app.WARM_UP_DELAY = 0
def look(window):
    if "accelerate" in sys.modules and not window.background_runner.busy:
        print(sorted({"torch", "transformers", "datasets", "pyqtgraph"} & set(sys.modules)), gc.isenabled())
        window.close()
original = main_window.MainWindow.showEvent
def on_show(self, event):
    original(self, event)
    self.timer = QTimer(self, interval=50)
    self.timer.timeout.connect(lambda: look(self))
    self.timer.start()
main_window.MainWindow.showEvent = on_show
sys.exit(app.main())
"""


def test_the_libraries_are_imported_beside_the_open_window() -> None:
    done = run(WARM)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['datasets', 'pyqtgraph', 'torch', 'transformers'] False"


def test_what_nothing_caught_is_logged_and_reported(qtbot, app_home: Path) -> None:
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    found = []
    with LogFile(), ExceptionReporter() as reporter:
        reporter.reported.connect(found.append)
        try:
            raise KeyError("in a slot")
        except KeyError as error:
            sys.excepthook(KeyError, error, error.__traceback__)
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        qtbot.waitUntil(lambda: len(found) == 2)
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook) == hooks
    assert "in a slot" in found[0].message
    assert "ZeroDivisionError" in found[1].details
    log = (app_home / "logs" / "lmstudio-app.log").read_text()
    assert "KeyError" in log
    assert "ZeroDivisionError" in log


def test_an_error_in_a_finalizer_goes_to_the_log_only(qtbot, app_home: Path) -> None:
    class Odd:
        def __del__(self) -> None:
            raise ValueError("in a finalizer")

    found = []
    with LogFile(), ExceptionReporter() as reporter:
        reporter.reported.connect(found.append)
        odd = Odd()
        del odd
    assert found == []
    assert "in a finalizer" in (app_home / "logs" / "lmstudio-app.log").read_text()


@pytest.mark.qt_log_ignore("a warning for the log")
def test_qts_own_messages_are_logged(qapp, app_home: Path) -> None:
    with LogFile():
        qWarning("a warning for the log")
    assert "WARNING" in (app_home / "logs" / "lmstudio-app.log").read_text()


def test_a_log_that_cannot_be_written_is_a_warning(app_home: Path, capsys) -> None:
    (app_home / "logs").write_text("in the way")
    with LogFile():
        logging.getLogger("lmstudio_app").error("unheard")
    assert "no log can be written" in capsys.readouterr().err


def test_garbage_is_collected_in_the_windows_thread_only(qtbot) -> None:
    threads = set()

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            threads.add(threading.get_ident())

    owner = QObject()
    collector = GarbageCollector(owner)
    try:
        stop = threading.Event()

        def _allocate() -> None:
            while not stop.is_set():
                for _ in range(1000):
                    Cycle()
                time.sleep(0.01)

        worker = threading.Thread(target=_allocate)
        worker.start()
        qtbot.waitUntil(lambda: bool(threads), timeout=10_000)
        stop.set()
        worker.join()
        assert threads == {threading.get_ident()}
    finally:
        collector.stop()
        owner.deleteLater()
    assert isinstance(QApplication.instance(), QApplication)
    assert not any(timer.isActive() for timer in owner.findChildren(QTimer))
