"""The left side of the Model page: which model, on which device, in which precision, and the button that starts."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.events import Progress
from lmstudio_app.files import format_bytes
from lmstudio_app.gui import theme
from lmstudio_app.gui.model_queries import DeviceChoice
from lmstudio_app.gui.text import progress_text
from lmstudio_app.gui.widgets.model_list import ModelList
from lmstudio_app.gui.widgets.scaled_label import Heading, Hint


class ModelChooser(QWidget):
    """Knows nothing of jobs: it says what was asked for and shows what it is told."""

    hub_id_entered = Signal(str)
    folder_requested = Signal()
    file_requested = Signal()
    load_requested = Signal()
    cancel_requested = Signal()
    device_changed = Signal(str)
    precision_changed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._devices: tuple[DeviceChoice, ...] = ()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        heading = Heading(self.tr("Choose a model"), self)
        self.folder_button = QPushButton(self.tr("Open…"), self)
        self._explain(
            self.folder_button,
            self.tr(
                "Add a folder with config.json, model.safetensors and a tokenizer, one with adapters, or a GGUF file. "
                "You can also drop it here."
            ),
        )
        menu = QMenu(self.folder_button)
        menu.addAction(self.tr("A model's folder…")).triggered.connect(lambda: self.folder_requested.emit())
        menu.addAction(self.tr("A GGUF file…")).triggered.connect(lambda: self.file_requested.emit())
        self.folder_button.setMenu(menu)
        top = QHBoxLayout()
        top.addWidget(heading, 1)
        top.addWidget(self.folder_button)
        layout.addLayout(top)
        self.list = ModelList(self)
        self.list.set_guide(
            [
                (
                    self.tr("Which one should I take?"),
                    self.tr(
                        "To begin with, the MiniLM-L6 encoder: it is small, reads English, and learns to judge "
                        "sentences within minutes on any computer."
                    ),
                ),
                (
                    self.tr("What is an encoder?"),
                    self.tr(
                        "A model that reads a text and turns it into numbers. A training puts a head on top of it, "
                        "which chooses a label."
                    ),
                ),
                (
                    self.tr("Can I begin without one?"),
                    self.tr("Yes: choose data, then “a new model” on the Train page: a BERT or a GPT of your own."),
                ),
                (
                    self.tr("Where are the models I trained?"),
                    self.tr("“Try it” on the Train page loads one. From then on it is in this list."),
                ),
            ]
        )
        layout.addWidget(self.list, 1)
        layout.addLayout(self._build_hub_field())
        layout.addWidget(self._build_run_options())
        layout.addLayout(self._build_buttons())
        layout.addWidget(self._build_progress())

    def minimumSizeHint(self) -> QSize:
        return super().minimumSizeHint().expandedTo(QSize(theme.characters(self, 42), 0))

    @staticmethod
    def _explain(widget: QWidget, tip: str, name: str = "") -> None:
        widget.setToolTip(tip)
        widget.setAccessibleName(name or getattr(widget, "text", str)())
        widget.setAccessibleDescription(tip)

    def _build_hub_field(self) -> QVBoxLayout:
        self.hub_edit = QLineEdit(self)
        self.hub_edit.setPlaceholderText(self.tr("organisation/name"))
        self.hub_edit.setClearButtonEnabled(True)
        tip = self.tr("The name of a model on the Hugging Face hub, for example sentence-transformers/all-MiniLM-L6-v2")
        self._explain(self.hub_edit, tip, self.tr("Hub id"))
        self.hub_button = QPushButton(self.tr("Add"), self)
        self._explain(
            self.hub_button,
            self.tr("Put this model into the list; nothing is downloaded before you say so"),
            self.tr("Add the hub id"),
        )
        self.hub_button.setEnabled(False)
        self.hub_edit.textChanged.connect(lambda text: self.hub_button.setEnabled(bool(text.strip())))
        self.hub_edit.returnPressed.connect(self._on_hub_entered)
        self.hub_button.clicked.connect(self._on_hub_entered)
        line = QHBoxLayout()
        line.addWidget(self.hub_edit, 1)
        line.addWidget(self.hub_button)
        layout = QVBoxLayout()
        layout.setSpacing(theme.em(self, 0.15))
        layout.addLayout(line)
        layout.addWidget(
            Hint(self.tr("Or any model of the Hugging Face hub, by its name; “Find on the hub” searches it."))
        )
        return layout

    def _build_run_options(self) -> QFrame:
        frame = QFrame(self)
        frame.setProperty("card", True)
        grid = QGridLayout(frame)
        pad = theme.em(self, 0.5)
        grid.setContentsMargins(pad * 2, pad, pad * 2, pad)
        grid.setVerticalSpacing(theme.em(self, 0.3))
        grid.setColumnStretch(1, 1)
        self.device_box = QComboBox(frame)
        self.precision_box = QComboBox(frame)
        device_tip = self.tr("Where the model computes: on the processor (CPU), or on a graphics card")
        precision_tip = self.tr("How exactly it computes: float32 is exact, bf16 takes half the memory")
        for row, (title, box, tip) in enumerate(
            (
                (self.tr("Device"), self.device_box, device_tip),
                (self.tr("Precision"), self.precision_box, precision_tip),
            )
        ):
            label = QLabel(title, frame)
            label.setBuddy(box)
            label.setToolTip(tip)
            self._explain(box, tip, title)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            grid.addWidget(label, row, 0)
            grid.addWidget(box, row, 1)
        self.precision_hint = Hint("", self)
        grid.addWidget(self.precision_hint, 2, 1)
        self.device_box.addItem(self.tr("Automatic"), "auto")
        for text, name in ((self.tr("Automatic"), "auto"), ("float32", "float32"), ("bf16", "bf16")):
            self.precision_box.addItem(text, name)
        self.device_box.currentIndexChanged.connect(lambda: self.device_changed.emit(self.device))
        self.precision_box.currentIndexChanged.connect(lambda: self.precision_changed.emit(self.precision))
        self.device_box.currentIndexChanged.connect(self._update_precision_hint)
        self.precision_box.currentIndexChanged.connect(self._update_precision_hint)
        self._update_precision_hint()
        return frame

    def _build_buttons(self) -> QHBoxLayout:
        self.load_button = QPushButton(self.tr("Load"), self)
        self.load_button.setProperty("primary", True)
        self.load_button.setEnabled(False)
        self.load_button.clicked.connect(self.load_requested)
        self.cancel_button = QPushButton(self.tr("Cancel"), self)
        self._explain(self.cancel_button, self.tr("Stop the download or the loading; the model loaded before stays"))
        self.cancel_button.clicked.connect(self.cancel_requested)
        self.cancel_button.hide()
        line = QHBoxLayout()
        line.addWidget(self.load_button, 1)
        line.addWidget(self.cancel_button)
        return line

    def _build_progress(self) -> QWidget:
        self.progress = QWidget(self)
        self.status = Hint("", self)
        self.bar = QProgressBar(self.progress)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(theme.em(self, 0.5))
        self._explain(self.bar, self.tr("How far the download is"), self.tr("Progress"))
        self.amount = Hint("", self)
        layout = QVBoxLayout(self.progress)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.2))
        for widget in (self.status, self.bar, self.amount):
            layout.addWidget(widget)
        self.progress.hide()
        return self.progress

    # --- what it is told

    @property
    def device(self) -> str:
        return self.device_box.currentData()

    @property
    def precision(self) -> str:
        return self.precision_box.currentData()

    def set_options(self, device: str, precision: str) -> None:
        """Restore the two choosers; a device that is not there (yet) leaves the automatic choice."""
        for box, value in ((self.device_box, device), (self.precision_box, precision)):
            index = box.findData(value)
            if index >= 0:
                box.setCurrentIndex(index)

    def set_devices(self, devices: Sequence[DeviceChoice], device: str) -> None:
        """Fill the chooser once the devices are known; what is not there is shown as such."""
        self._devices = tuple(devices)
        names = {
            "cpu": self.tr("CPU"),
            "cuda": self.tr("CUDA (NVIDIA graphics card)"),
            "mps": self.tr("MPS (Apple GPU)"),
        }
        found = {choice.name: choice for choice in devices}
        box = self.device_box
        box.blockSignals(True)
        box.clear()
        box.addItem(self.tr("Automatic: {device}").format(device=devices[0].name.upper()), "auto")
        for name, title in names.items():
            choice = found.get(name)
            if choice is None:
                box.addItem(self.tr("{device}: none here").format(device=title), name)
                model = box.model()
                assert isinstance(model, QStandardItemModel)
                model.item(box.count() - 1).setEnabled(False)
                continue
            text = self.tr("{title}, {memory}").format(title=choice.title, memory=format_bytes(choice.memory))
            box.addItem(text, name)
            box.setItemData(box.count() - 1, title, Qt.ItemDataRole.ToolTipRole)
        index = box.findData(device) if device in found else 0
        box.setCurrentIndex(index)
        box.blockSignals(False)
        self._update_precision_hint()

    def _update_precision_hint(self) -> None:
        chosen = next((c for c in self._devices if c.name == self.device), self._devices[0] if self._devices else None)
        match self.precision:
            case "float32":
                text = self.tr("Exact, 4 bytes a parameter.")
            case "bf16" if chosen is not None and not chosen.fast_bf16:
                text = self.tr("Half the memory. This device only imitates bf16, so it is slower here.")
            case "bf16":
                text = self.tr("Half the memory, a little less exact.")
            case _ if chosen is not None and chosen.name == "cuda" and chosen.fast_bf16:
                text = self.tr("bf16 here: fast on this graphics card.")
            case _:
                text = self.tr("float32 here: exact.")
        self.precision_hint.setText(text)

    def set_action(self, text: str, tip: str, *, enabled: bool, primary: bool) -> None:
        """``primary``: this is what one most likely wants to do next."""
        self.load_button.setText(text)
        if self.load_button.property("primary") is not primary:
            self.load_button.setProperty("primary", primary)
            self.load_button.style().unpolish(self.load_button)  # the style sheet looks at the property only then
            self.load_button.style().polish(self.load_button)
        self._explain(self.load_button, tip)
        self.load_button.setEnabled(enabled)

    def set_busy(self, busy: bool, *, downloading: bool = False) -> None:
        """While busy the list stays usable, so that one can look at other models, and load one during a download."""
        self.cancel_button.setVisible(busy)
        self.cancel_button.setEnabled(busy)
        tip = (
            self.tr("Hang up. What came is kept, and the download goes on the next time")
            if downloading
            else self.tr("Stop the loading; the model loaded before stays")
        )
        self._explain(self.cancel_button, tip)
        self.progress.setVisible(busy)
        self.device_box.setEnabled(not busy or downloading)
        self.precision_box.setEnabled(not busy or downloading)
        if busy:
            self.bar.setRange(0, 0)
            self.amount.clear()

    def set_status(self, text: str) -> None:
        self.status.setText(text)

    def set_progress(self, progress: Progress) -> None:
        if progress.total:
            self.bar.setRange(0, 1000)
            self.bar.setValue(min(1000, round(1000 * progress.done / progress.total)))
        self.amount.setText(progress_text(progress))

    def _on_hub_entered(self) -> None:
        text = self.hub_edit.text().strip()
        if text:
            self.hub_id_entered.emit(text)
