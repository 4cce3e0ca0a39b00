"""The left of the Train page: what is trained, the recipe's form, and the buttons that run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.forms import DataclassForm
from lmstudio_app.gui.widgets.requirements import Requirements
from lmstudio_app.training.recipe import StrategyConfig, TrainingConfig
from lmstudio_app.training.strategies import STRATEGIES

IDLE, RUNNING, PAUSED, STOPPING = "idle", "running", "paused", "stopping"


class RecipePanel(QWidget):
    start_requested = Signal()
    pause_toggled = Signal(bool)
    stop_requested = Signal()
    cancel_requested = Signal()
    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.requirements = Requirements(self)
        strategies = {strategy.name: (strategy.title, strategy.help) for strategy in STRATEGIES}
        self.form = DataclassForm(
            {"strategy": StrategyConfig, "training": TrainingConfig}, {"strategy.name": strategies}, self
        )
        self._replaced: dict[str, Any] | None = None  # what the form held before it went back to the defaults
        self._state = IDLE
        self._area = area = QScrollArea(self)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.viewport().setAutoFillBackground(False)
        holder = QWidget(area)
        holder.setAutoFillBackground(False)
        inner = QVBoxLayout(holder)
        pad = theme.em(self, 0.5)
        inner.setContentsMargins(pad // 2, 0, pad, 0)
        inner.addWidget(self.form)
        self._reset = QPushButton(holder)
        self._reset.setFlat(True)
        self._reset.clicked.connect(self._on_reset)
        self.form.changed.connect(self._on_changed)
        inner.addWidget(self._reset, 0, Qt.AlignmentFlag.AlignLeft)
        inner.addStretch(1)
        area.setWidget(holder)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(self.requirements)
        layout.addWidget(area, 1)
        layout.addLayout(self._build_buttons())
        self.set_state(IDLE, can_start=False)

    def minimumSizeHint(self) -> QSize:
        """As wide as the form needs beside a scroll bar."""
        bar = self._area.verticalScrollBar().sizeHint().width()
        form = self._area.widget().minimumSizeHint().width() + bar
        return super().minimumSizeHint().expandedTo(QSize(max(form, theme.characters(self, 42)), 0))

    def _build_buttons(self) -> QGridLayout:
        def button(text: str, tip: str, signal: Any) -> QPushButton:
            made = QPushButton(text, self)
            made.setToolTip(tip)
            made.setAccessibleName(text)
            made.setAccessibleDescription(tip)
            made.clicked.connect(lambda: signal.emit())
            return made

        self.start_button = button(
            self.tr("Start training"), self.tr("Train with this recipe (F5)"), self.start_requested
        )
        self.start_button.setProperty("primary", True)
        self.start_button.setShortcut("F5")
        self.pause_button = QPushButton(self)
        self.pause_button.setCheckable(True)
        self.pause_button.toggled.connect(self.pause_toggled)
        self.stop_button = button(
            self.tr("Stop and save"),
            self.tr("End now and keep the model as it is; the run can be resumed later"),
            self.stop_requested,
        )
        self.cancel_button = button(
            self.tr("Cancel"),
            self.tr("End now without a finished model; a checkpoint is kept, so the run can be resumed"),
            self.cancel_requested,
        )
        grid = QGridLayout()
        grid.setSpacing(theme.em(self, 0.4))
        grid.addWidget(self.start_button, 0, 0, 1, 3)
        grid.addWidget(self.pause_button, 1, 0)
        grid.addWidget(self.stop_button, 1, 1)
        grid.addWidget(self.cancel_button, 1, 2)
        return grid

    def _on_changed(self) -> None:
        self._replaced = None
        self._update_reset()
        self.changed.emit()

    def _on_reset(self) -> None:
        """To the defaults, and with the next click back again."""
        mine, values = self._replaced, self.form.values()
        if mine is not None:
            self.form.set_values(mine)
        else:
            self.form.reset()
            self._replaced = values
        self._update_reset()

    def _update_reset(self) -> None:
        if self._replaced is not None:
            self._reset.setText(self.tr("Bring back my values"))
            self._reset.setToolTip(self.tr("Undo: set every field to what it was before"))
        else:
            self._reset.setText(self.tr("Back to the defaults"))
            self._reset.setToolTip(self.tr("Set every field to the value that is right for most trainings"))
        self._reset.setAccessibleName(self._reset.text())
        self._reset.setEnabled(self._state == IDLE and (self._replaced is not None or not self.form.is_default()))

    def set_state(self, state: str, *, can_start: bool) -> None:
        """Which buttons make sense now."""
        self.start_button.setEnabled(state == IDLE and can_start)
        self.form.setEnabled(state == IDLE)
        self._state = state
        self._update_reset()
        self.pause_button.setEnabled(state in (RUNNING, PAUSED))
        self.pause_button.blockSignals(True)
        self.pause_button.setChecked(state == PAUSED)
        self.pause_button.blockSignals(False)
        paused = state == PAUSED
        self.pause_button.setText(self.tr("Go on") if paused else self.tr("Pause"))
        self.pause_button.setToolTip(
            self.tr("Go on training") if paused else self.tr("Wait after the current step, with everything in memory")
        )
        self.pause_button.setAccessibleName(self.pause_button.text())
        for button in (self.stop_button, self.cancel_button):
            button.setEnabled(state in (RUNNING, PAUSED))

    def values(self) -> dict[str, dict[str, Any]]:
        """The sections ``strategy`` and ``training``, as a recipe has them."""
        nested: dict[str, dict[str, Any]] = {}
        for name, value in self.form.values().items():
            section, _, key = name.partition(".")
            nested.setdefault(section, {})[key] = value
        return nested

    def restore(self, values: Mapping[str, Any], *, advanced_open: bool) -> None:
        """Show what :meth:`values` gave; what is missing, unknown or unfit leaves its field as it is."""
        sections = [(section, keys) for section, keys in values.items() if isinstance(keys, Mapping)]
        self.form.set_values({f"{section}.{key}": value for section, keys in sections for key, value in keys.items()})
        self.form.advanced.set_open(advanced_open)
