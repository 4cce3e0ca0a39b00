"""Save a comparison: ask where and as what, and write it as a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QStandardPaths
from PySide6.QtWidgets import QFileDialog, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.services import Services
from lmstudio_app.inspection.comparison import Comparison
from lmstudio_app.inspection.comparison_export import FORMATS, SaveComparison, save_comparison
from lmstudio_app.inspection.drawing import DEFAULT_WIDTH, PictureStyle


def ask_and_save(
    owner: QWidget,
    services: Services,
    comparison: Comparison,
    names: tuple[str, str],
    place: tuple[int, int],
    on_saved: Callable[[Path], object],
) -> QFileDialog:
    """The dialog is not modal: it comes back at once. A failing write is told by the window, as of any job."""
    settings = services.settings
    titles = {
        owner.tr("Picture of this head (*.png)"): ("png", False),
        owner.tr("Drawing for the web (*.svg)"): ("svg", False),
        owner.tr("Drawing for print (*.pdf)"): ("pdf", False),
        owner.tr("Numbers for NumPy (*.npz)"): ("npz", False),
        owner.tr("Table of all heads (*.csv)"): ("csv", False),
        owner.tr("Table of this head's cells (*.csv)"): ("csv", True),
    }
    pictures = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.PicturesLocation)
    folder = str(settings.get("attention.picture_folder", pictures or str(Path.home())))
    dialog = QFileDialog(owner, owner.tr("Save the comparison"), folder)
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setNameFilters(list(titles))
    dialog.setDefaultSuffix("png")
    dialog.filterSelected.connect(lambda title: dialog.setDefaultSuffix(titles[title][0]))
    dialog.selectFile("attention-compared.png")

    def on_chosen(chosen: str) -> None:
        form, head_only = titles[dialog.selectedNameFilter()]
        path = Path(chosen)
        if path.suffix.lower().removeprefix(".") not in FORMATS:
            path = path.with_name(f"{path.name}.{form}")
        settings.set("attention.picture_folder", str(path.parent))
        style = PictureStyle(
            width=int(settings.get("attention.picture_width", DEFAULT_WIDTH)),
            dark=bool(settings.get("attention.picture_dark", theme.is_dark(owner.palette()))),
            colormap=str(settings.get("attention.colormap", "ink")),
        )
        job = SaveComparison(comparison, path, names, place, head_only=head_only, style=style)
        title = owner.tr("Saving the comparison")
        services.inspection_runner.start(save_comparison, job, title=title).succeeded.connect(on_saved)

    dialog.fileSelected.connect(on_chosen)
    dialog.finished.connect(dialog.deleteLater)
    dialog.open()
    return dialog
