"""Opens the window: ``lmstudio-app`` without a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from lmstudio_app import __version__, settings
from lmstudio_app.assets import resource
from lmstudio_app.display import display_problem, missing_library_problem

EXIT_NO_WINDOW = 2
WARM_UP_DELAY = 700  # milliseconds from the first paint to the import of torch in the background


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
        from PySide6.QtCore import QSettings, QTimer
        from PySide6.QtGui import QIcon
        from PySide6.QtWidgets import QApplication
    except ImportError as error:
        return _refuse(f"Qt cannot be loaded ({error})")

    from lmstudio_app.gui.import_hook import restore_import

    restore_import()
    from lmstudio_app.gui import dialogs
    from lmstudio_app.gui.garbage import GarbageCollector
    from lmstudio_app.gui.job_runner import has_unstoppable_jobs
    from lmstudio_app.gui.main_window import MainWindow
    from lmstudio_app.gui.reporting import ExceptionReporter, LogFile

    # Qt's own file dialog remembers its folders; deleting the app's folder is to undo that, too
    QSettings.setPath(QSettings.Format.NativeFormat, QSettings.Scope.UserScope, str(settings.home() / "qt"))
    app = QApplication([sys.argv[0], *argv])
    app.setApplicationName("lmstudio-app")
    app.setApplicationDisplayName("lmstudio-app")
    app.setApplicationVersion(__version__)
    app.setDesktopFileName("lmstudio-app")
    app.setWindowIcon(QIcon(str(resource("icons", "lmstudio-app.svg"))))
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
