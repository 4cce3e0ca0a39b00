"""How the model answers: who it is to be, how daring it is, and presets of both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QPlainTextEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.forms import DataclassForm
from lmstudio_app.gui.try_texts import token_label
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.chat_distribution import DistributionPicture
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.tasks.replying import ReplyOptions

SECTION = "sampling"
_PAUSE = 300  # milliseconds of no typing after which a change is told
_ELSEWHERE = ("system", "batch_size")  # has an editor of its own; means nothing for one reply
# the fields of ReplyOptions that the form edits
Sampling = dataclasses.make_dataclass(
    "Sampling",
    [
        (item.name, item.type, dataclasses.field(default=item.default, metadata=item.metadata))
        for item in dataclasses.fields(ReplyOptions)
        if item.name not in _ELSEWHERE
    ],
    frozen=True,
)


class ChatSettings(QScrollArea):
    """``changed`` comes a moment after the reader has changed anything."""

    changed = Signal()
    preset_chosen = Signal(str)
    preset_saved = Signal(str)  # under this name, what is set now
    preset_deleted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._own: set[str] = set()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE)
        self._timer.timeout.connect(self.changed)
        self._naming: QInputDialog | None = None
        self._inside = inside = QWidget(self)
        self.presets = QuietCombo(
            self.tr("Preset"), self.tr("A system prompt and settings that were kept together under a name"), inside
        )
        self.presets.setPlaceholderText(self.tr("As set below"))
        self.presets.activated.connect(self._on_preset)
        self.save_button = make_button(self.tr("Save…"), self.tr("Keep what is set now as a preset"), inside)
        self.save_button.clicked.connect(self._on_save)
        self.delete_button = make_button(self.tr("Delete"), self.tr("Delete this preset of yours"), inside)
        self.delete_button.clicked.connect(lambda: self.preset_deleted.emit(str(self.presets.currentData())))
        self.system = QPlainTextEdit(inside)
        self.system.setAccessibleName(self.tr("System prompt"))
        self.system.setPlaceholderText(self.tr("You are a helpful assistant."))
        self.system.setToolTip(self.tr("The model reads this before every conversation"))
        self.system.setTabChangesFocus(True)
        self.system.setFixedHeight(theme.em(self, 5.2))
        self.system.textChanged.connect(self._on_changed)
        self.form = DataclassForm({SECTION: Sampling}, parent=inside)
        self.form.changed.connect(self._on_changed)
        self.picture = DistributionPicture(inside)
        self._caption = Hint("", inside)
        choice = QHBoxLayout()
        choice.setSpacing(theme.em(self, 0.3))
        choice.addWidget(self.presets, 1)
        choice.addWidget(self.save_button)
        choice.addWidget(self.delete_button)
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, theme.em(self, 0.4), 0)
        column.setSpacing(theme.em(self, 0.4))
        column.addWidget(self._title(self.tr("Preset"), self.presets))
        column.addLayout(choice)
        column.addWidget(self._title(self.tr("System prompt"), self.system))
        column.addWidget(self.system)
        column.addWidget(Hint(self.tr("Who the model is to be, and how it is to answer. It reads this first."), inside))
        column.addSpacing(theme.em(self, 0.3))
        column.addWidget(self.form)
        column.addWidget(self._title(self.tr("What this does to the next token"), self.picture))
        column.addWidget(self.picture)
        column.addWidget(self._caption)
        column.addStretch(1)
        self.setWidget(inside)
        self.viewport().setAutoFillBackground(False)
        inside.setAutoFillBackground(False)  # setWidget switched it on
        self.set_presets([], set())
        self.show_candidates(None)
        self._rescale()
        self._fit()

    def _fit(self) -> None:
        """Wide enough that nothing has to be scrolled sideways."""
        bar = self.verticalScrollBar().sizeHint().width()
        self.setMinimumWidth(self._inside.minimumSizeHint().width() + bar)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "picture"):
            QTimer.singleShot(0, self, self._fit)

    def _title(self, text: str, buddy: QWidget) -> QLabel:
        label = QLabel(text, self)
        label.setBuddy(buddy)
        return label

    # --- what others use

    @property
    def system_text(self) -> str:
        return self.system.toPlainText().strip()

    def options(self) -> ReplyOptions:
        """What is set. Raises the ``UserError`` of its own checks."""
        return ReplyOptions(**self.values(), system=self.system_text)

    def values(self) -> dict[str, Any]:
        """What is set, by the names of the dataclass's fields."""
        return {name.removeprefix(f"{SECTION}."): value for name, value in self.form.values().items()}

    def set_all(self, system: str, sampling: Mapping[str, Any]) -> None:
        """Show these settings without telling of a change. Fields that are not named get their defaults."""
        self.form.blockSignals(True)
        self.form.reset()
        self.form.set_values({f"{SECTION}.{name}": value for name, value in sampling.items()})
        self.form.blockSignals(False)
        if system != self.system.toPlainText():
            self.system.blockSignals(True)
            self.system.setPlainText(system)
            self.system.blockSignals(False)
        self._timer.stop()
        self._rescale()

    def set_presets(self, names: Sequence[tuple[str, str, str]], own: set[str], current: str = "") -> None:
        """``names`` are name, title and help of each preset; those in ``own`` can be deleted."""
        self._own = own
        self.presets.clear()
        for name, title, tip in names:
            self.presets.addItem(title, name)
            self.presets.setItemData(self.presets.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.presets.setCurrentIndex(self.presets.findData(current) if current else -1)
        self._settle()

    def choose_preset(self, name: str) -> None:
        """Mark which preset the settings are; empty: none."""
        self.presets.setCurrentIndex(self.presets.findData(name) if name else -1)
        self._settle()

    def show_candidates(self, piece: Any | None) -> None:
        """Let the picture show the place of a reply where this token stands; None: an example."""
        candidates = list(piece.candidates) if piece is not None else []
        self.picture.set_candidates(
            [token_label(item.token) for item in candidates], [c.probability for c in candidates]
        )
        if candidates:
            self._caption.setText(
                self.tr("The place of the last reply where the model was least sure, at “{token}”.").format(
                    token=token_label(piece.text)  # type: ignore[union-attr]
                )
            )
        else:
            self._caption.setText(self.tr("An example: the second token is half as probable as the first, and so on."))

    def shutdown(self) -> None:
        if self._timer.isActive():
            self._timer.stop()
            self.changed.emit()

    # --- what the reader does

    def _on_changed(self) -> None:
        self.presets.setCurrentIndex(-1)
        self._settle()
        self._rescale()
        self._timer.start()

    def _rescale(self) -> None:
        values = self.values()
        self.picture.set_sampling(
            float(values.get("temperature", 1.0)), int(values.get("top_k", 0)), float(values.get("top_p", 1.0))
        )

    def _settle(self) -> None:
        self.delete_button.setEnabled(self.presets.currentData() in self._own)

    def _on_preset(self, index: int) -> None:
        self._settle()
        self.preset_chosen.emit(str(self.presets.itemData(index)))

    def _on_save(self) -> None:
        dialog = QInputDialog(self)
        dialog.setWindowTitle(self.tr("Save a preset"))
        dialog.setLabelText(self.tr("Name of the preset"))
        dialog.setOkButtonText(self.tr("Save"))
        dialog.textValueSelected.connect(self._on_named)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()
        self._naming = dialog

    def _on_named(self, name: str) -> None:
        if name.strip():
            self.preset_saved.emit(name.strip())
