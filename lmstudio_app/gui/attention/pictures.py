"""What the attention studio shows, saved to a file that is chosen in a dialog, or put on the clipboard."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QApplication, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.picture_dialog import PictureDialog, SaveChoice
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.inspection.arrangement import Arrangement
from lmstudio_app.inspection.drawing import DEFAULT_WIDTH, PictureStyle
from lmstudio_app.inspection.export import SaveJob, run_save_job

_NUMBERS = (".npz", ".csv")


class AttentionPictures(QObject):
    """Saves what the studio of :meth:`set_subject` shows, as jobs; ``owner`` is the page that the dialog belongs to."""

    told = Signal(str)  # news that need no answer

    def __init__(self, services: Services, owner: QWidget) -> None:
        super().__init__(owner)
        self._services = services
        self._settings = services.settings
        self._owner = owner
        self._studio: AttentionStudio | None = None
        self.dialog: PictureDialog | None = None

    def set_subject(self, studio: AttentionStudio) -> None:
        """Whose reading, head and look are saved."""
        self._studio = studio

    def ask(self, view: str = "head") -> None:
        """Open the dialog, with one of ``export.VIEWS`` offered first."""
        studio = self._studio
        if studio is None or studio.reading is None:
            return
        self.dialog = PictureDialog(self._settings, studio.reading, studio.layer, studio.head, view, self._owner)
        self.dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.dialog.chosen.connect(self.save)
        self.dialog.open()

    def save(self, choice: SaveChoice) -> None:
        handle = self._start(choice.view, choice.width, dark=choice.dark, output=choice.path)
        if handle is not None:
            handle.succeeded.connect(lambda _: self.told.emit(self.tr("Saved {path}").format(path=choice.path)))

    def copy(self, view: str = "head") -> None:
        """Put a picture onto the clipboard, light or dark as the window is."""
        width = int(self._settings.get("attention.picture_width", DEFAULT_WIDTH))
        handle = self._start(view, width, dark=theme.is_dark(self._owner.palette()), output=None)
        if handle is not None:
            handle.succeeded.connect(self._on_drawn)

    def _start(self, view: str, width: int, *, dark: bool, output: Path | None) -> JobHandle | None:
        studio = self._studio
        if studio is None or studio.reading is None:
            return None
        look = studio.look
        is_numbers = output is not None and output.suffix.lower() in _NUMBERS  # which are the model's own
        job = SaveJob(
            reading=studio.reading,
            view=view,
            layer=studio.layer,
            head=studio.head,
            output=output,
            style=PictureStyle(width=width, dark=dark, colormap=look.colormap, scale=look.scale),
            arrangement=Arrangement() if is_numbers else Arrangement(look.hide_special, look.merge_words),
            layer_map=studio.layer_map() if view in ("head", "lines") else None,
        )
        title = self.tr("Saving the attention") if output is not None else self.tr("Drawing the picture")
        return self._services.inspection_runner.start(run_save_job, job, title=title)

    def _on_drawn(self, png: bytes) -> None:
        QApplication.clipboard().setImage(QImage.fromData(png, "PNG"))
        self.told.emit(self.tr("The picture is on the clipboard."))
