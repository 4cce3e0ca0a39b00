"""Pictures of attention: to a file that is chosen in a dialog, or to the clipboard."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.picture_dialog import PictureDialog
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.inspection.export import PictureJob, run_picture_job
from lmstudio_app.inspection.picture import PictureStyle


class AttentionPictures(QObject):
    """Draws what :meth:`set_subject` named, as a job; ``owner`` is the page that its dialog belongs to."""

    told = Signal(str)  # news that need no answer

    def __init__(self, services: Services, owner: QWidget) -> None:
        super().__init__(owner)
        self._services = services
        self._settings = services.settings
        self._owner = owner
        self._studio: AttentionStudio | None = None
        self.dialog: PictureDialog | None = None

    def set_subject(self, studio: AttentionStudio) -> None:
        """Whose reading, head and look are drawn."""
        self._studio = studio

    def ask(self) -> None:
        """Open the dialog that saves a picture."""
        if self._studio is None or self._studio.reading is None:
            return
        self.dialog = PictureDialog(self._settings, self._studio.layer, self._studio.head, self._owner)
        self.dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.dialog.chosen.connect(self.save)
        self.dialog.open()

    def save(self, path: Path, width: int, one_head: bool, dark: bool) -> None:
        if self._studio is None:
            return
        handle = self._start(self._style(width, dark=dark), one_head=one_head, output=path)
        if handle is not None:
            handle.succeeded.connect(lambda _: self.told.emit(self.tr("Saved {path}").format(path=path)))

    def copy(self) -> None:
        """Put the head onto the clipboard, as it is on the screen."""
        if self._studio is None:
            return
        width = int(self._settings.get("attention.picture_width", 1600))
        handle = self._start(self._style(width, dark=theme.is_dark(self._owner.palette())), one_head=True, output=None)
        if handle is not None:
            handle.succeeded.connect(self._on_drawn)

    def _style(self, width: int, *, dark: bool) -> PictureStyle:
        assert self._studio is not None
        look = self._studio.look
        return PictureStyle(width=width, dark=dark, colormap=look.colormap, shared_scale=look.scale == "shared")

    def _start(self, style: PictureStyle, *, one_head: bool, output: Path | None) -> JobHandle | None:
        studio = self._studio
        if studio is None or studio.reading is None or studio.reading.maps is None:
            return None
        layer, head = (studio.layer, studio.head) if one_head else (None, None)
        job = PictureJob(studio.reading.maps, layer, head, style, output)
        return self._services.inspection_runner.start(run_picture_job, job, title=self.tr("Drawing the picture"))

    def _on_drawn(self, png: bytes) -> None:
        QApplication.clipboard().setImage(QImage.fromData(png, "PNG"))
        self.told.emit(self.tr("The picture is on the clipboard."))
