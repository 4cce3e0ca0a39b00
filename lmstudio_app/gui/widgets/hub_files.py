"""The files of a model of the hub: in which form its weights are taken, and what is fetched for that."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.gui import hub_texts, theme
from lmstudio_app.gui.hub_queries import HubModel
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.gui.widgets.tree_rows import RoomyRows
from lmstudio_app.models.hub import HubFile, choose_files

_LISTED = 300  # files; some repositories have thousands


class HubFiles(QWidget):
    """``changed``: another form was chosen. ``weights`` is what a download takes; ``fetched`` are its files."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model: HubModel | None = None
        self.fetched: tuple[HubFile, ...] = ()
        tip = self.tr("Many models come in several forms; one of them is downloaded")
        self.combo = QuietCombo(self.tr("Weights"), tip, self)
        self.combo.currentIndexChanged.connect(self._on_changed)
        label = QLabel(self.tr("&Weights"), self)
        label.setBuddy(self.combo)
        label.setToolTip(tip)
        self.hint = Hint("", self)
        self.tree = QTreeWidget(self)
        self.tree.setColumnCount(3)
        self.tree.setHeaderLabels([self.tr("File"), self.tr("Size"), self.tr("Downloaded")])
        self.tree.setRootIsDecorated(False)
        self.tree.setItemDelegate(RoomyRows(self.tree))
        self.tree.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.tree.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.tree.setAccessibleName(self.tr("Files of the model"))
        self.tree.setToolTip(self.tr("Every file of the repository; those that are downloaded come first"))
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self.combo, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.3))
        layout.addLayout(row)
        layout.addWidget(self.hint)
        layout.addWidget(self.tree, 1)

    def minimumSizeHint(self) -> QSize:
        return super().minimumSizeHint().expandedTo(QSize(0, theme.em(self, 9)))

    @property
    def weights(self) -> tuple[str, ...]:
        """Names for a download; empty where the usual ones are taken."""
        if self._model is None or self.combo.currentIndex() < 0:
            return ()
        choice = self._model.choices[self.combo.currentIndex()]
        usual = {file.path for file in self._model.details.chosen}
        return () if usual.issuperset(choice.names) else choice.names

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.fetched)

    def set_model(self, model: HubModel) -> None:
        self._model = model
        self.combo.blockSignals(True)
        self.combo.clear()
        for choice in model.choices:
            self.combo.addItem(hub_texts.choice_text(choice))
            self.combo.setItemData(self.combo.count() - 1, "\n".join(choice.names), Qt.ItemDataRole.ToolTipRole)
        self.combo.setCurrentIndex(self._usual(model))
        self.combo.setEnabled(len(model.choices) > 1)
        self.combo.blockSignals(False)
        self._on_changed()

    @staticmethod
    def _usual(model: HubModel) -> int:
        """What is taken without a choice; among GGUF files the smallest of four bits, else the middle one."""
        chosen = {file.path for file in model.details.chosen}
        for number, choice in enumerate(model.choices):
            if chosen.issuperset(choice.names):
                return number
        four = [number for number, choice in enumerate(model.choices) if choice.bits == 4]
        medium = [number for number in four if "_M" in model.choices[number].quantisation]
        return (medium or four or [(len(model.choices) - 1) // 2])[0]

    def _on_changed(self) -> None:
        model = self._model
        if model is None:
            return
        index = self.combo.currentIndex()
        try:
            names = model.choices[index].names if index >= 0 else ()
            self.fetched = choose_files(model.details.result.repo_id, model.details.files, names) if names else ()
        except UserError:  # what it says stands above, as the model's own problem
            self.fetched = ()
        self.hint.setText(hub_texts.choice_explained(model.choices[index]) if index >= 0 else "")
        self._fill(model.details.files)
        self.changed.emit()

    def _fill(self, files: Sequence[HubFile]) -> None:
        fetched = {file.path for file in self.fetched}
        self.tree.clear()
        ordered = sorted(files, key=lambda file: (file.path not in fetched, "/" in file.path, -file.size))
        for file in ordered[:_LISTED]:
            is_fetched = file.path in fetched
            item = QTreeWidgetItem([file.path, format_bytes(file.size), self.tr("yes") if is_fetched else "–"])
            item.setTextAlignment(1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            item.setToolTip(0, file.path)
            if not is_fetched:
                muted = self.palette().color(QPalette.ColorRole.PlaceholderText)
                for column in range(3):
                    item.setForeground(column, muted)
            self.tree.addTopLevelItem(item)
        if len(ordered) > _LISTED:
            rest = self.tr("and {count} other files").format(count=number_text(len(ordered) - _LISTED))
            self.tree.addTopLevelItem(QTreeWidgetItem([rest, "", "–"]))
