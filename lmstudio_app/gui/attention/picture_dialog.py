"""Save a picture: what of it, how wide, and where."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QStandardPaths, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.number_edit import IntegerEdit
from lmstudio_app.inspection.picture import MAXIMUM_WIDTH, MINIMUM_WIDTH
from lmstudio_app.settings import Settings


class PictureDialog(QDialog):
    """Emits :attr:`chosen` with what to draw; the choices are remembered."""

    chosen = Signal(object, int, bool, bool)  # Path, width in pixels, one head (else all), dark

    def __init__(self, settings: Settings, layer: int, head: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._names = (f"attention-layer{layer}-head{head}.png", "attention.png")
        self.setWindowTitle(self.tr("Save a picture"))
        self.what = QComboBox(self)
        self.what.addItem(self.tr("Layer {layer}, head {head}").format(layer=layer, head=head))
        self.what.addItem(self.tr("All layers and heads"))
        self._describe(self.what, self.tr("Picture of"), self.tr("One head with its tokens, or the whole overview"))
        self.width_edit = IntegerEdit(MINIMUM_WIDTH, MAXIMUM_WIDTH, self)
        self.width_edit.setSingleStep(200)
        self.width_edit.setSuffix(self.tr(" pixels"))
        self.width_edit.setValue(int(settings.get("attention.picture_width", 1600)))
        self._describe(self.width_edit, self.tr("Width"), self.tr("The height follows from it"))
        self.dark = QCheckBox(self.tr("Dark background"), self)
        self.dark.setChecked(bool(settings.get("attention.picture_dark", theme.is_dark(self.palette()))))
        self._describe(self.dark, self.tr("Dark background"), self.tr("For slides; light is better for print"))
        self.path = QLineEdit(self)
        self._describe(self.path, self.tr("File"), self.tr("Where the picture is written"))
        browse = QPushButton(self.tr("Browse…"), self)
        self._describe(browse, self.tr("Browse"), self.tr("Choose the file in a dialog"))
        browse.clicked.connect(self._on_browse)
        file_row = QHBoxLayout()
        file_row.addWidget(self.path, 1)
        file_row.addWidget(browse)
        form = QFormLayout()
        form.setSpacing(theme.em(self, 0.5))
        form.addRow(self.tr("&Picture of"), self.what)
        form.addRow(self.tr("&Width"), self.width_edit)
        form.addRow("", self.dark)
        file_label = QLabel(self.tr("&File"), self)
        file_label.setBuddy(self.path)
        form.addRow(file_label, file_row)
        self.hint = QLabel(self)
        self.hint.setWordWrap(True)
        self.hint.setForegroundRole(self.hint.palette().ColorRole.PlaceholderText)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel, self
        )
        self.buttons.accepted.connect(self._on_save)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.em(self, 0.7))
        layout.addLayout(form)
        layout.addWidget(self.hint)
        layout.addWidget(self.buttons)
        self.setMinimumWidth(theme.characters(self, 72))
        self.what.currentIndexChanged.connect(self._on_what_changed)
        self.path.textChanged.connect(self._check)
        self._on_what_changed(0)

    @staticmethod
    def _describe(widget: QWidget, name: str, tip: str) -> None:
        widget.setAccessibleName(name)
        widget.setToolTip(tip)

    def _folder(self) -> Path:
        pictures = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.PicturesLocation)
        return Path(self._settings.get("attention.picture_folder", pictures or str(Path.home())))

    def _on_what_changed(self, index: int) -> None:
        current = Path(self.path.text()) if self.path.text() else None
        if current is None or current.name in self._names:
            folder = current.parent if current is not None else self._folder()
            self.path.setText(str(folder / self._names[index]))
        self._check()

    def _check(self) -> None:
        """Say beforehand that a file is replaced, and allow saving only to a name."""
        text = self.path.text().strip()
        path = Path(text).expanduser()
        self.hint.setText(self.tr("This file is there already; it will be replaced.") if path.is_file() else "")
        self.buttons.button(QDialogButtonBox.StandardButton.Save).setEnabled(bool(text) and not path.is_dir())

    def _on_browse(self) -> None:
        dialog = QFileDialog(self, self.tr("Save a picture"), self.path.text(), self.tr("PNG picture (*.png)"))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("png")
        dialog.setOption(QFileDialog.Option.DontConfirmOverwrite)
        dialog.fileSelected.connect(self.path.setText)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_save(self) -> None:
        path = Path(self.path.text().strip()).expanduser()
        if not path.suffix:
            path = path.with_suffix(".png")
        self._settings.set("attention.picture_width", self.width_edit.value())
        self._settings.set("attention.picture_dark", self.dark.isChecked())
        self._settings.set("attention.picture_folder", str(path.parent))
        one_head = self.what.currentIndex() == 0
        self.accept()
        self.chosen.emit(path, self.width_edit.value(), one_head, self.dark.isChecked())
