"""Dialogs that more than one part of the window opens. None of them blocks: they are opened, never
executed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QCoreApplication, Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QAbstractButton, QApplication, QMessageBox, QWidget

from lmstudio_app import __version__
from lmstudio_app.errors import UserError
from lmstudio_app.gui.text import error_texts


@dataclass(frozen=True)
class Way:
    """A way out of an error, as a button of its dialog."""

    text: str
    tip: str
    go: Callable[[], None]


class ErrorDialog(QMessageBox):
    """One sentence, the remedy, a button that copies the details for a report, and perhaps one that mends it."""

    def __init__(self, error: UserError, parent: QWidget | None = None, way: Way | None = None) -> None:
        super().__init__(parent)
        self.error = error
        message, remedy = error_texts(error)
        self.setWindowTitle(self.tr("That did not work"))
        self.setIcon(QMessageBox.Icon.Warning)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setText(message)
        self.setInformativeText(remedy)
        self.setAccessibleName(message)
        close = self.addButton(QMessageBox.StandardButton.Close)
        self.setDefaultButton(QMessageBox.StandardButton.Close)
        self.setEscapeButton(close)
        self.copy_button = self.addButton(self.tr("Copy details"), QMessageBox.ButtonRole.ActionRole)
        self.copy_button.setToolTip(self.tr("Copy a technical description, for a bug report"))
        self.copy_button.clicked.disconnect()  # the box would close
        self.copy_button.clicked.connect(self._on_copy)
        self.way_button = None
        if way is not None:
            self.way_button = self.addButton(way.text, QMessageBox.ButtonRole.AcceptRole)
            self.way_button.setToolTip(way.tip)
            self.way_button.setAccessibleDescription(way.tip)
            self.way_button.clicked.connect(lambda: way.go())
            self.setDefaultButton(self.way_button)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowModality(Qt.WindowModality.NonModal)

    def details(self) -> str:
        """What "Copy details" puts on the clipboard."""
        error = self.error
        lines = [
            f"lmstudio-app {__version__}, Python {platform.python_version()}, {platform.platform()}",
            error.message,
            error.remedy,
            error.details,
        ]
        return "\n".join(line for line in lines if line) + "\n"

    def _on_copy(self) -> None:
        QApplication.clipboard().setText(self.details())
        self.copy_button.setText(self.tr("Copied"))


def show_error(parent: QWidget | None, error: UserError, way: Way | None = None) -> ErrorDialog:
    """Open the dialog of an error; one that is already open for the same error or sentence is raised."""
    owner = parent.window() if parent is not None else None
    for dialog in owner.findChildren(ErrorDialog) if owner is not None else []:
        if dialog.isVisible() and (dialog.error is error or dialog.error.message == error.message):
            dialog.raise_()
            return dialog
    dialog = ErrorDialog(error, owner, way)
    dialog.show()
    return dialog


class QuestionDialog(QMessageBox):
    """A question with a verb on each button. ``on_yes`` is called when the first one is chosen."""

    def __init__(self, parent: QWidget, title: str, question: str, explanation: str, yes: str, no: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setIcon(QMessageBox.Icon.Question)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setText(question)
        self.setInformativeText(explanation)
        self.yes_button = self.addButton(yes, QMessageBox.ButtonRole.DestructiveRole)
        self.no_button = self.addButton(no, QMessageBox.ButtonRole.RejectRole)
        self.setDefaultButton(self.no_button)
        self.setEscapeButton(self.no_button)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)


def ask(
    parent: QWidget,
    *,
    title: str,
    question: str,
    explanation: str,
    yes: str,
    no: str,
    on_yes: Callable[[], None],
) -> QuestionDialog:
    """Open a question. Escape and closing the dialog mean ``no``."""
    dialog = QuestionDialog(parent, title, question, explanation, yes, no)

    def _on_clicked(button: QAbstractButton) -> None:
        if button is dialog.yes_button:
            on_yes()

    dialog.buttonClicked.connect(_on_clicked)
    dialog.open()
    return dialog


def open_path(path: Path) -> None:
    """Open a file or folder with what the system opens such with."""
    QDesktopServices.openUrl(QUrl.fromLocalFile(str(path)))


FAREWELL = 5000  # milliseconds that it stays when nobody clicks it


def show_farewell() -> QMessageBox:
    """Says that a training goes on without the window, and goes away by itself."""
    translate = QCoreApplication.translate
    dialog = QMessageBox()
    dialog.setIcon(QMessageBox.Icon.Information)
    dialog.setWindowTitle(translate("farewell", "lmstudio-app"))
    dialog.setText(translate("farewell", "The training goes on without the window."))
    dialog.setInformativeText(
        translate("farewell", "It runs in a process of its own. The next window that you open offers to show it.")
    )
    dialog.setStandardButtons(QMessageBox.StandardButton.Close)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setWindowModality(Qt.WindowModality.NonModal)
    QTimer.singleShot(FAREWELL, dialog, dialog.close)
    dialog.show()
    return dialog


def show_about(parent: QWidget) -> QMessageBox:
    dialog = QMessageBox(parent)
    translate = QCoreApplication.translate
    dialog.setWindowTitle(translate("about", "About lmstudio-app"))
    dialog.setTextFormat(Qt.TextFormat.PlainText)
    dialog.setText(translate("about", "lmstudio-app {version}").format(version=__version__))
    dialog.setInformativeText(
        translate(
            "about",
            "A workbench where you can see a language model learn. Nothing you load, type or train leaves "
            "this computer. Licence: Apache 2.0.",
        )
    )
    dialog.setStandardButtons(QMessageBox.StandardButton.Close)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.open()
    return dialog
