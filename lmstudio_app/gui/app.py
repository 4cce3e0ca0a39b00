"""Opens the window: ``lmstudio-app`` without a command."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

from lmstudio_app import __version__
from lmstudio_app.display import display_problem, session_type

EXIT_NO_WINDOW = 2
WARM_UP_DELAY = 700  # milliseconds from the first paint to the import of torch in the background

# What Qt's X11 plugin needs from the system and PySide6 does not bring: shared object -> Debian's package.
_X11_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libfontconfig.so.1": "libfontconfig1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xinerama.so.0": "libxcb-xinerama0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
}


def missing_library_problem() -> str:
    """Which of Qt's system libraries are missing, and the command that installs them; empty when none is.

    Qt itself would abort the process, with a message that names neither.
    """
    if not sys.platform.startswith("linux") or session_type() != "x11" or os.environ.get("QT_QPA_PLATFORM"):
        return ""
    packages = []
    for name, package in _X11_LIBRARIES.items():
        try:
            ctypes.CDLL(name)
        except OSError:
            packages.append(package)
    if not packages:
        return ""
    return f"Qt's system libraries are missing; install them: apt-get install {' '.join(packages)}"


def _refuse(reason: str) -> int:
    """One line that says why no window opens, and what works without one."""
    sys.stderr.write(f"error: {reason.rstrip('.')}. Without a window: lmstudio-app train RECIPE.yaml\n")
    return EXIT_NO_WINDOW


def main(argv: Sequence[str] = ()) -> int:
    """Open the window and run until it is closed. 0 after that; 2 when no window can be opened here."""
    if problem := display_problem() or missing_library_problem():
        return _refuse(problem)
    if sys.platform == "win32":
        import torch  # noqa: F401 - after Qt its libraries may fail to load there (torch 2.9 and later)
    try:
        from PySide6.QtCore import QTimer
        from PySide6.QtWidgets import QApplication
    except ImportError as error:
        return _refuse(f"Qt cannot be loaded ({error})")

    from lmstudio_app.gui import dialogs
    from lmstudio_app.gui.garbage import GarbageCollector
    from lmstudio_app.gui.job_runner import has_unstoppable_jobs
    from lmstudio_app.gui.main_window import MainWindow
    from lmstudio_app.gui.reporting import ExceptionReporter, LogFile

    app = QApplication([sys.argv[0], *argv])
    app.setApplicationName("lmstudio-app")
    app.setApplicationDisplayName("lmstudio-app")
    app.setApplicationVersion(__version__)
    app.setDesktopFileName("lmstudio-app")
    with LogFile(), ExceptionReporter() as reporter:
        window = MainWindow()
        reporter.reported.connect(lambda error: dialogs.show_error(window, error))
        collector = GarbageCollector(app)
        window.show()
        QTimer.singleShot(WARM_UP_DELAY, window.warm_up)
        code = app.exec()
        collector.stop()
    if has_unstoppable_jobs():
        sys.stderr.flush()
        os._exit(code)  # its thread hangs in a call that cannot be interrupted; what it wrote so far is whole
    return code
