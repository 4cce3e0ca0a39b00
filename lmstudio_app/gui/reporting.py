"""The log file, and the net under everything: what nothing else caught is logged and shown, in any thread."""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
import types
from typing import Any

from PySide6.QtCore import (
    QCoreApplication,
    QMessageLogContext,
    QObject,
    QtMsgType,
    Signal,
    qInstallMessageHandler,
)

from lmstudio_app import __version__
from lmstudio_app.errors import as_user_error
from lmstudio_app.settings import home

log = logging.getLogger("lmstudio_app")

LOG_BYTES, LOG_FILES = 1_000_000, 3

_LEVELS = {
    QtMsgType.QtDebugMsg: logging.DEBUG,
    QtMsgType.QtInfoMsg: logging.INFO,
    QtMsgType.QtWarningMsg: logging.WARNING,
    QtMsgType.QtCriticalMsg: logging.ERROR,
    QtMsgType.QtFatalMsg: logging.CRITICAL,
}


def _on_qt_message(kind: QtMsgType, context: QMessageLogContext, message: str) -> None:
    log.log(_LEVELS[kind], "Qt: %s", message)


class LogFile:
    """While entered, the log goes to ``logs/lmstudio-app.log`` of the data folder, rotated, Qt's messages
    too.

    When the file cannot be written there is a warning on stderr and no log; the app runs all the same.
    """

    def __init__(self) -> None:
        self._handler: logging.Handler | None = None

    def __enter__(self) -> LogFile:
        try:
            folder = home() / "logs"
            folder.mkdir(parents=True, exist_ok=True)
            self._handler = logging.handlers.RotatingFileHandler(
                folder / "lmstudio-app.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8"
            )
        except OSError as error:
            sys.stderr.write(f"warning: no log can be written: {error}\n")
            return self
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(self._handler)
        log.setLevel(logging.INFO)
        qInstallMessageHandler(_on_qt_message)
        log.info("lmstudio-app %s started", __version__)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handler is not None:
            log.info("closed")
            qInstallMessageHandler(None)
            logging.getLogger().removeHandler(self._handler)
            self._handler.close()


class ExceptionReporter(QObject):
    """While entered, an uncaught exception is logged and emitted as :attr:`reported`.

    The signal may come from any thread; connect it to something that lives in the window's.
    """

    reported = Signal(object)  # UserError

    def __enter__(self) -> ExceptionReporter:
        self._previous = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        sys.excepthook = self._on_exception
        threading.excepthook = self._on_thread_exception
        sys.unraisablehook = self._on_unraisable
        return self

    def __exit__(self, *_: object) -> None:
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._previous

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QCoreApplication.quit()
            return
        log.critical("uncaught exception", exc_info=(kind, error, trace))
        self.reported.emit(as_user_error(error))

    def _on_thread_exception(self, args: Any) -> None:
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
            self._on_exception(args.exc_type, args.exc_value, args.exc_traceback)

    def _on_unraisable(self, args: Any) -> None:
        """Errors in finalizers: nothing the user could do, so they go to the log only."""
        log.error("%s %r", args.err_msg or "exception ignored in", args.object, exc_info=args.exc_value)
