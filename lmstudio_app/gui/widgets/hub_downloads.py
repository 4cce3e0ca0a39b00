"""The downloads of the window, a line each: how far it is, how fast, how long still, and what can be done about it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QPalette, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.errors import UserError
from lmstudio_app.events import Progress
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.downloads import DONE, FAILED, PAUSED, RUNNING, STARTER_PACK, WAITING, Download, DownloadManager
from lmstudio_app.gui.text import amount_text, error_texts, progress_text, status_text
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import FontScale, Heading
from lmstudio_app.gui.widgets.value_label import ValueLabel
from lmstudio_app.models.hub_client import TOKEN

_SHOWN = 3  # lines, before one has to scroll


class DownloadLine(QFrame):
    """``pressed`` with the name of what was asked for: pause, resume, cancel, dismiss, load or token."""

    pressed = Signal(str)

    def __init__(self, download: Download, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.title = ElidedLabel(self, mode=Qt.TextElideMode.ElideMiddle)
        FontScale(self.title, weight=self.title.font().Weight.DemiBold)
        self.title.setText(download.title if download.reference == STARTER_PACK else download.reference)
        self.status = ElidedLabel(self)
        self.status.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.bar = QProgressBar(self)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(theme.em(self, 0.5))
        self.bar.setRange(0, 1000)
        self.bar.setAccessibleName(self.tr("Progress"))
        self.bar.setToolTip(self.tr("How much of it is here"))
        self.amount = ValueLabel(42, self, alignment=Qt.AlignmentFlag.AlignRight)
        self.amount.setAccessibleName(self.tr("Amount done"))
        self.error = Notice(self)
        self.buttons: dict[str, QPushButton] = {}
        row = QHBoxLayout()
        row.addWidget(self.title, 3)
        row.addWidget(self.status, 4)
        for name, (text, tip) in self._actions().items():
            button = QPushButton(text, self)
            button.setToolTip(tip)
            button.setAccessibleName(self.tr("{action}: {model}").format(action=text, model=download.reference))
            button.setAccessibleDescription(tip)
            button.clicked.connect(lambda _=False, name=name: self.pressed.emit(name))
            self.buttons[name] = button
            row.addWidget(button)
        below = QHBoxLayout()
        below.addWidget(self.bar, 1)
        below.addWidget(self.amount)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.4)
        layout.setContentsMargins(pad * 2, pad, pad * 2, pad)
        layout.setSpacing(theme.em(self, 0.25))
        layout.addLayout(row)
        layout.addLayout(below)
        layout.addWidget(self.error)
        self.show_download(download)

    def _actions(self) -> dict[str, tuple[str, str]]:
        return {
            "token": (self.tr("Access token…"), self.tr("Log in to the hub with an access token")),
            "pause": (self.tr("Pause"), self.tr("Hang up; what came stays, and the next download begins")),
            "resume": (self.tr("Continue"), self.tr("Go on where it ended")),
            "cancel": (self.tr("Cancel"), self.tr("End it and delete what came")),
            "load": (self.tr("Load"), self.tr("Read the model into memory")),
            "dismiss": (self.tr("Clear"), self.tr("Take this line off the list; the model stays")),
        }

    def show_download(self, download: Download) -> None:
        state = download.state
        shown = {
            "token": state == FAILED and download.error is not None and download.error.parameters.get("needs") == TOKEN,
            "pause": download.is_going_on,
            "resume": state in (PAUSED, FAILED),
            "cancel": state != DONE,
            "load": state == DONE and download.reference != STARTER_PACK,
            "dismiss": state == DONE,
        }
        for name, is_shown in shown.items():
            self.buttons[name].setVisible(is_shown)
        self.buttons["resume"].setText(self.tr("Try again") if state == FAILED else self.tr("Continue"))
        self.buttons["cancel"].setText(self.tr("Cancel") if download.is_going_on else self.tr("Discard"))
        self.status.setText(self._status(download))
        self.error.set_text(self._error(download.error) if state == FAILED and download.error else "")
        self._show_amount(download)

    def _status(self, download: Download) -> str:
        match download.state:
            case "waiting":
                return self.tr("Waits for its turn")
            case "paused" if download.status is None:
                return self.tr("Begun earlier; it can go on where it ended")
            case "paused":
                return self.tr("Paused")
            case "failed":
                return self.tr("Did not work")
            case "done" if download.checked:
                return self.tr("On this computer. Every file has the checksum that the hub states.")
            case "done":
                return self.tr("On this computer")
        return status_text(download.status) if download.status is not None else self.tr("Begins…")

    @staticmethod
    def _error(error: UserError) -> str:
        return " ".join(text for text in error_texts(error) if text)

    def _show_amount(self, download: Download) -> None:
        progress = download.progress
        running = download.state == RUNNING
        self.bar.setVisible(download.state != DONE)
        if progress is None:
            self.bar.setRange(0, 0 if running else 1000)
            self.amount.set_text("")
            return
        self.bar.setRange(0, 1000)
        self.bar.setValue(min(1000, round(1000 * progress.done / progress.total)) if progress.total else 0)
        if running:
            text = progress_text(progress)
        elif download.state == DONE:
            text = amount_text(progress.total or progress.done, "B")
        else:  # how fast it was says nothing any more
            text = progress_text(Progress(done=progress.done, total=progress.total, unit="B"))
        self.amount.set_text(text)


class DownloadsPanel(QWidget):
    """Hidden while there is none. Several may show the same downloads."""

    load_requested = Signal(str)
    token_requested = Signal()

    def __init__(self, manager: DownloadManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._manager = manager
        self.lines: dict[str, DownloadLine] = {}
        self._heading = Heading(self.tr("Downloads"), self, scale=1.0)
        inside = QWidget(self)
        self._column = QVBoxLayout(inside)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(theme.em(self, 0.3))
        self._column.addStretch(1)
        self._inside = inside
        self.area = _Area(inside, self)
        self.area.setAccessibleName(self.tr("Downloads"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.3))
        layout.addWidget(self._heading)
        layout.addWidget(self.area)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        manager.added.connect(self._on_added)
        manager.changed.connect(self._on_changed)
        manager.removed.connect(self._on_removed)
        for download in manager.downloads:
            self._on_added(download.reference)
        self.setVisible(bool(self.lines))

    def _on_added(self, reference: str) -> None:
        download = self._manager.find(reference)
        if download is None:
            return
        line = self.lines[reference] = DownloadLine(download, self._inside)
        line.pressed.connect(lambda name: self._on_pressed(reference, name))
        self._column.insertWidget(self._column.count() - 1, line)
        line.show()
        self._fit()

    def _on_changed(self, reference: str) -> None:
        download = self._manager.find(reference)
        line = self.lines.get(reference)
        if download is not None and line is not None:
            line.show_download(download)

    def _on_removed(self, reference: str) -> None:
        line = self.lines.pop(reference, None)
        if line is not None:
            self._column.removeWidget(line)
            line.hide()
            line.deleteLater()
            self._fit()

    def _fit(self) -> None:
        self.setVisible(bool(self.lines))
        self.area.fit()

    def _on_pressed(self, reference: str, name: str) -> None:
        match name:
            case "pause":
                self._manager.pause(reference)
            case "resume":
                self._manager.resume(reference)
            case "dismiss":
                self._manager.dismiss(reference)
            case "load":
                self.load_requested.emit(reference)
            case "token":
                self.token_requested.emit()
            case "cancel":
                self._on_cancel(reference)

    def _on_cancel(self, reference: str) -> None:
        """What came may have taken an hour: ask, unless there is nothing yet."""
        download = self._manager.find(reference)
        if download is None:
            return
        if download.progress is None or not download.progress.done or download.state == WAITING:
            self._manager.cancel(reference)
            return
        self.question = dialogs.ask(
            self,
            title=self.tr("Cancel the download"),
            question=self.tr("Delete what came of {name}?").format(name=reference),
            explanation=self.tr("{amount} are here and would have to be downloaded again. Pause keeps them.").format(
                amount=amount_text(download.progress.done, "B")
            ),
            yes=self.tr("Delete it"),
            no=self.tr("Keep it"),
            on_yes=lambda: self._manager.find(reference) and self._manager.cancel(reference),
        )


def _height(line: QWidget, width: int) -> int:
    return line.heightForWidth(width) if line.hasHeightForWidth() else line.sizeHint().height()


class _Area(QScrollArea):
    """As high as its first lines are at the width there is."""

    def __init__(self, inside: QWidget, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(inside)
        inside.installEventFilter(self)
        self.fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.fit()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:  # a line has more to say, or less
            self.fit()
        return super().eventFilter(watched, event)

    def fit(self) -> None:
        layout = self.widget().layout()
        width = max(self.viewport().width(), theme.characters(self, 60))  # it has none before it is shown
        lines = [item.widget() for item in map(layout.itemAt, range(layout.count())) if item.widget() is not None]
        heights = [_height(line, width) for line in lines[:_SHOWN]]
        height = sum(heights) + layout.spacing() * max(0, len(heights) - 1)
        if height != self.maximumHeight():
            self.setFixedHeight(height)
