"""Which model a page asks: a choice of those that suit, and how the loading goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.suitable_queries import Choice
from lmstudio_app.gui.text import compact_number_text, model_title
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel


class ModelPicker(QWidget):
    chosen = Signal(str)  # a reference
    others_requested = Signal()

    def __init__(self, parent: QWidget | None = None, *, title: str = "") -> None:
        super().__init__(parent)
        label = QLabel(title or self.tr("&Model"), self)
        self.combo = QuietCombo(
            title or self.tr("Model"), self.tr("Models on this computer that can do what this page is for"), self
        )
        self.combo.setPlaceholderText(self.tr("Looking for models…"))
        self.combo.setMinimumContentsLength(40)
        label.setBuddy(self.combo)
        self.combo.activated.connect(lambda index: self.chosen.emit(self.combo.itemData(index)))
        self.state = ElidedLabel(self)
        self.state.setForegroundRole(self.state.palette().ColorRole.PlaceholderText)
        self.others_button = QPushButton(self.tr("Other models…"), self)
        self.others_button.setAccessibleName(self.tr("Other models"))
        self.others_button.setToolTip(self.tr("Go to the Model page, where models are found and downloaded"))
        self.others_button.clicked.connect(self.others_requested)
        self._notice = Notice(self)
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.5))
        row.addWidget(label)
        row.addWidget(self.combo)
        row.addWidget(self.state, 1)
        row.addWidget(self.others_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._notice)
        self.set_problem("")

    def set_choices(self, choices: Sequence[Choice]) -> None:
        chosen = self.combo.currentData()
        self.combo.clear()
        for choice in choices:
            self.combo.addItem(choice.title, choice.reference)
            self.combo.setItemData(self.combo.count() - 1, choice.detail, Qt.ItemDataRole.ToolTipRole)
        self.combo.setCurrentIndex(self.combo.findData(chosen))
        self.combo.setPlaceholderText(self.tr("Choose a model") if choices else self.tr("No model"))

    def choose(self, reference: str) -> None:
        """Show this one as chosen; one that is not listed (a folder, say) is added."""
        if self.combo.findData(reference) < 0:
            self.combo.addItem(Path(reference).name, reference)
        self.combo.choose(reference)

    @property
    def has_problem(self) -> bool:
        return self._notice.isVisibleTo(self)

    def set_problem(self, text: str) -> None:
        self._notice.set_text(text)

    def set_loading(self, text: str) -> None:
        if text or self.has_problem:
            self.state.setText(text)

    def set_loaded(self, loaded: LoadedModel | None) -> None:
        """What is in memory now, and where."""
        self.set_problem("")
        if loaded is None:
            self.state.clear()
            return
        index = self.combo.findData(loaded.reference)
        if index >= 0 and self.combo.itemText(index) == Path(loaded.reference).name:
            self.combo.setItemText(index, model_title(loaded))
        self.state.setText(
            self.tr("{count} parameters, {device}").format(
                count=compact_number_text(loaded.card.parameters),
                device=str(loaded.device).upper() if loaded.device.type != "mps" else self.tr("Apple GPU"),
            )
        )
