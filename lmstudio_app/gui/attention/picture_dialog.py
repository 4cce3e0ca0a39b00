"""Save what the attention studio shows: what of it, as which kind of file, how wide, and where."""

from __future__ import annotations

from dataclasses import dataclass
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

from lmstudio_app.files import format_bytes
from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.number_edit import IntegerEdit
from lmstudio_app.inspection.drawing import DEFAULT_WIDTH, MAXIMUM_WIDTH, MINIMUM_WIDTH
from lmstudio_app.inspection.drawing import FORMATS as PICTURES
from lmstudio_app.inspection.export import FORMATS, VIEWS
from lmstudio_app.inspection.export_numbers import MOST_ROWS, ROW_BYTES
from lmstudio_app.inspection.page_html import MOST_WEIGHTS
from lmstudio_app.inspection.reading import Reading
from lmstudio_app.settings import Settings


@dataclass(frozen=True)
class SaveChoice:
    """``view`` is one of ``export.VIEWS``, ``width`` in pixels."""

    path: Path
    view: str
    width: int
    dark: bool


class PictureDialog(QDialog):
    """Emits :attr:`chosen` with a :class:`SaveChoice`; all but the name is remembered."""

    chosen = Signal(object)

    def __init__(
        self, settings: Settings, reading: Reading, layer: int, head: int, view: str, parent: QWidget | None = None
    ) -> None:
        """``view``: what is offered first."""
        super().__init__(parent)
        self._settings = settings
        self._reading = reading
        self._names = {
            "head": f"attention-layer{layer}-head{head}",
            "lines": f"attention-layer{layer}-head{head}-lines",
            "grid": "attention",
            "rollout": "attention-rollout",
        }
        self.setWindowTitle(self.tr("Save the attention"))
        self.what = QComboBox(self)
        for name, title in (
            ("head", self.tr("Layer {layer}, head {head}: map").format(layer=layer, head=head)),
            ("lines", self.tr("Layer {layer}, head {head}: lines between the tokens").format(layer=layer, head=head)),
            ("grid", self.tr("All layers and heads")),
            ("rollout", self.tr("All layers together (attention rollout)")),
        ):
            if name != "rollout" or reading.kind != "cross":  # what one text takes from another runs through no layers
                self.what.addItem(title, name)
        self.what.setCurrentIndex(max(0, self.what.findData(view if view in VIEWS else "head")))
        self._describe(self.what, self.tr("What"), self.tr("One head, the whole overview, or all layers as one map"))
        self.format = QComboBox(self)
        for name, title in self._formats():
            self.format.addItem(title, name)
        remembered = settings.get("attention.picture_format", "png")
        self.format.setCurrentIndex(max(0, self.format.findData(remembered)))
        self._describe(self.format, self.tr("Save as"), self.tr("A picture, a page for the browser, or the numbers"))
        self.width_edit = IntegerEdit(MINIMUM_WIDTH, MAXIMUM_WIDTH, self)
        self.width_edit.setSingleStep(200)
        self.width_edit.setSuffix(self.tr(" pixels"))
        self.width_edit.setValue(int(settings.get("attention.picture_width", DEFAULT_WIDTH)))
        self._describe(self.width_edit, self.tr("Width"), self.tr("The height follows from it"))
        self.dark = QCheckBox(self.tr("Dark background"), self)
        self.dark.setChecked(bool(settings.get("attention.picture_dark", theme.is_dark(self.palette()))))
        self._describe(self.dark, self.tr("Dark background"), self.tr("For slides; light is better for print"))
        self.path = QLineEdit(self)
        self._describe(self.path, self.tr("File"), self.tr("Where it is written"))
        self.browse = QPushButton(self.tr("Browse…"), self)
        self._describe(self.browse, self.tr("Browse"), self.tr("Choose the file in a dialog"))
        self.browse.clicked.connect(self._on_browse)
        self._lay_out()
        self.path.setText(str(self._folder() / self._name()))
        self.what.currentIndexChanged.connect(self._on_what_changed)
        self.format.currentIndexChanged.connect(self._on_format_changed)
        self.path.textEdited.connect(self._on_path_edited)
        self.path.textChanged.connect(self._check)
        self._check()

    def _lay_out(self) -> None:
        file_row = QHBoxLayout()
        file_row.addWidget(self.path, 1)
        file_row.addWidget(self.browse)
        form = QFormLayout()
        form.setSpacing(theme.em(self, 0.5))
        form.addRow(self.tr("&What"), self.what)
        form.addRow(self.tr("Save &as"), self.format)
        form.addRow(self.tr("&Width"), self.width_edit)
        form.addRow("", self.dark)
        file_label = QLabel(self.tr("&File"), self)
        file_label.setBuddy(self.path)
        form.addRow(file_label, file_row)
        self.hint = QLabel(self)
        self.hint.setWordWrap(True)
        self.hint.setForegroundRole(self.hint.palette().ColorRole.PlaceholderText)
        self.hint.setMinimumHeight(2 * self.hint.fontMetrics().lineSpacing())
        save, cancel = QDialogButtonBox.StandardButton.Save, QDialogButtonBox.StandardButton.Cancel
        self.buttons = QDialogButtonBox(save | cancel, self)
        self.buttons.accepted.connect(self._on_save)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setSpacing(theme.em(self, 0.7))
        layout.addLayout(form)
        layout.addWidget(self.hint)
        layout.addWidget(self.buttons)
        self.setMinimumWidth(theme.characters(self, 72))

    def _formats(self) -> tuple[tuple[str, str], ...]:
        return (
            ("png", self.tr("Picture (PNG)")),
            ("svg", self.tr("Drawing for the web (SVG)")),
            ("pdf", self.tr("Drawing for print (PDF)")),
            ("html", self.tr("Interactive page for the browser (HTML)")),
            ("npz", self.tr("Numbers for NumPy (NPZ)")),
            ("csv", self.tr("Numbers as a table (CSV)")),
        )

    @staticmethod
    def _describe(widget: QWidget, name: str, tip: str) -> None:
        widget.setAccessibleName(name)
        widget.setToolTip(tip)

    # --- the name

    def _folder(self) -> Path:
        pictures = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.PicturesLocation)
        return Path(self._settings.get("attention.picture_folder", pictures or str(Path.home())))

    def _name(self) -> str:
        return f"{self._names[self.what.currentData()]}.{self.format.currentData()}"

    def _on_what_changed(self) -> None:
        """A name of ours follows; one that somebody typed stays."""
        path = Path(self.path.text())
        if path.stem in self._names.values():
            self.path.setText(str(path.with_name(self._name())))
        self._check()

    def _on_format_changed(self) -> None:
        path = Path(self.path.text().strip())
        if path.name:
            is_known = path.suffix.lower().removeprefix(".") in FORMATS
            stem = path.stem if is_known else path.name
            self.path.setText(str(path.with_name(f"{stem}.{self.format.currentData()}")))
        self._check()

    def _on_path_edited(self, text: str) -> None:
        """Whoever types another ending means another kind of file."""
        index = self.format.findData(Path(text.strip()).suffix.lower().removeprefix("."))
        if index >= 0 and index != self.format.currentIndex():
            self.format.blockSignals(True)
            self.format.setCurrentIndex(index)
            self.format.blockSignals(False)

    # --- what can be done

    def _check(self) -> None:
        """What this kind of file is, what is replaced, and whether it can be written at all."""
        form = self.format.currentData()
        self.width_edit.setEnabled(form in PICTURES)
        self.dark.setEnabled(form in PICTURES)
        text = self.path.text().strip()
        path = Path(text).expanduser()
        problem = self._problem(form)
        hints = [problem or self._about(form)]
        if path.is_file():
            hints.append(self.tr("This file is there already; it will be replaced."))
        self.hint.setText(" ".join(hint for hint in hints if hint))
        can_save = bool(text) and not path.is_dir() and not problem
        self.buttons.button(QDialogButtonBox.StandardButton.Save).setEnabled(can_save)

    def _count(self) -> int:
        """How many weights are saved."""
        one = len(self._reading.queries) * len(self._reading.keys)
        return one * len(self._reading.layers) * self._reading.heads if self.what.currentData() == "grid" else one

    def _problem(self, form: str) -> str:
        count = self._count()
        if form == "html" and count > MOST_WEIGHTS:
            return self.tr("So many weights are too much for a browser: choose one head, or shorten the text.")
        if form == "csv" and count > MOST_ROWS:
            return self.tr("So many weights are too much for a table: choose one head, or save the numbers as NPZ.")
        return ""

    def _about(self, form: str) -> str:
        count = self._count()
        if form == "npz":
            size = format_bytes(4 * count)
            return self.tr("The model's own weights and its tokens, as arrays: {size}.").format(size=size)
        if form == "csv":
            size = format_bytes(ROW_BYTES * count)
            text = self.tr("A row for every weight: {count} rows, about {size}.")
            return text.format(count=f"{count:,}", size=size)
        if form == "html":
            return self.tr("One file that any browser opens, also without a network. It holds the text, too.")
        if form == "png":
            return ""
        return self.tr("Sharp at any size; its text can be searched.")

    def _on_browse(self) -> None:
        filters = {name: f"{title} (*.{name})" for name, title in self._formats()}
        dialog = QFileDialog(self, self.tr("Save the attention"), self.path.text(), ";;".join(filters.values()))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectNameFilter(filters[self.format.currentData()])
        dialog.setDefaultSuffix(self.format.currentData())
        dialog.filterSelected.connect(
            lambda chosen: dialog.setDefaultSuffix(next(name for name, title in filters.items() if title == chosen))
        )
        dialog.setOption(QFileDialog.Option.DontConfirmOverwrite)
        dialog.fileSelected.connect(self._on_file_selected)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_file_selected(self, path: str) -> None:
        self._on_path_edited(path)
        self.path.setText(path)

    def _on_save(self) -> None:
        form = self.format.currentData()
        path = Path(self.path.text().strip()).expanduser()
        if path.suffix.lower().removeprefix(".") != form:
            path = path.with_name(f"{path.name}.{form}")
        self._settings.set("attention.picture_width", self.width_edit.value())
        self._settings.set("attention.picture_dark", self.dark.isChecked())
        self._settings.set("attention.picture_format", form)
        self._settings.set("attention.picture_folder", str(path.parent))
        self.accept()
        self.chosen.emit(SaveChoice(path, self.what.currentData(), self.width_edit.value(), self.dark.isChecked()))
