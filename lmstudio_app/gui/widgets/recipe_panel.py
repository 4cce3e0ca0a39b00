"""The left of the Train page: what is trained and on what, the recipe's form, and the buttons that run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QFrame, QPushButton, QScrollArea, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.choice_titles import RECIPE_CHOICES
from lmstudio_app.gui.forms import DataclassForm
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.layer_plan import LayerPlanView
from lmstudio_app.gui.widgets.new_model_panel import NewModelPanel
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.requirements import LOADED, NEW, Requirements
from lmstudio_app.gui.widgets.task_chooser import task_text
from lmstudio_app.gui.widgets.training_buttons import IDLE, PAUSED, RUNNING, STOPPING, TrainingButtons
from lmstudio_app.tasks import TASKS, Task
from lmstudio_app.tasks.task import NoOptions
from lmstudio_app.training.probe_config import ProbeConfig
from lmstudio_app.training.recipe import StrategyConfig, TrainingConfig

__all__ = ["IDLE", "PAUSED", "RUNNING", "STOPPING", "RecipePanel"]


class RecipePanel(QWidget):
    """Shows the recipe of one task at a time; :meth:`set_task` changes it."""

    start_requested = Signal()
    pause_toggled = Signal(bool)
    stop_requested = Signal()
    cancel_requested = Signal()
    trial_requested = Signal()  # try the new model's vocabulary
    changed = Signal()  # anything that is remembered
    sample_requested = Signal()  # of a sentence to watch
    model_changed = Signal()  # what is trained, or which part of it

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.task: Task = TASKS[0]
        self.requirements = Requirements(self)
        self.notice = Notice(self)
        self.form = DataclassForm(
            {"options": NoOptions, "strategy": StrategyConfig, "training": TrainingConfig, "probe": ProbeConfig},
            RECIPE_CHOICES,
            self,
            titles={
                "strategy": self.tr("What may change"),
                "training": self.tr("How it is trained"),
                "probe": self.tr("Watch a sentence while it learns"),
            },
            recommended=self.task.recommended,
        )
        self.plan = LayerPlanView(self)
        self.form.add_below("strategy", self.plan)
        self.sample = make_button(
            self.tr("Take an example"),
            self.tr("Fill in a sentence that suits what is learned; another one with each click"),
            self.form,
            self.sample_requested.emit,
        )
        self.form.add_below("probe", self.sample)
        self.new_model: NewModelPanel | None = None  # built when a training begins with one
        self._architecture: dict[str, Any] = {}  # its values, while it is not built
        self._replaced: dict[str, Any] | None = None  # what the form held before it went back to the defaults
        self._state = IDLE
        self._build_area()
        self.buttons = TrainingButtons(self)
        self.start_button, self.pause_button = self.buttons.start, self.buttons.pause
        self.stop_button, self.cancel_button = self.buttons.stop, self.buttons.cancel
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(self.requirements)
        layout.addWidget(self.notice)
        layout.addWidget(self._area, 1)
        layout.addWidget(self.buttons)
        self.form.changed.connect(self._on_form_changed)
        self.requirements.start_changed.connect(self._on_start_changed)
        self.start_button.clicked.connect(lambda: self.start_requested.emit())
        self.pause_button.toggled.connect(self.pause_toggled)
        self.stop_button.clicked.connect(lambda: self.stop_requested.emit())
        self.cancel_button.clicked.connect(lambda: self.cancel_requested.emit())
        self._planned = self.form.values()
        self.set_task(self.task, {})
        self.set_state(IDLE, can_start=False)

    def _build_area(self) -> None:
        self._area = area = QScrollArea(self)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.viewport().setAutoFillBackground(False)
        holder = QWidget(area)
        holder.setAutoFillBackground(False)
        self._inner = inner = QVBoxLayout(holder)
        pad = theme.em(self, 0.5)
        inner.setContentsMargins(pad // 2, 0, pad, 0)
        inner.setSpacing(pad)
        inner.addWidget(self.form)
        self._reset = QPushButton(holder)
        self._reset.setFlat(True)
        self._reset.clicked.connect(self._on_reset)
        inner.addWidget(self._reset, 0, Qt.AlignmentFlag.AlignLeft)
        inner.addStretch(1)
        area.setWidget(holder)

    def minimumSizeHint(self) -> QSize:
        """As wide as the form needs beside a scroll bar."""
        bar = self._area.verticalScrollBar().sizeHint().width()
        form = self._area.widget().minimumSizeHint().width() + bar
        return super().minimumSizeHint().expandedTo(QSize(max(form, theme.characters(self, 42)), 0))

    # --- the task, and what a training starts from

    def set_task(self, task: Task, values: Mapping[str, Any]) -> None:
        """Show the form of ``task`` with the values that :meth:`values` once gave, else with the recommended ones."""
        self.task = task
        self._replaced = None
        self._drop_new_model()
        self._architecture = {}
        self.form.blockSignals(True)
        self.form.replace_section("options", task.options, task_text(task.title), task.recommended)
        self.form.reset()
        self.form.blockSignals(False)
        self.requirements.set_can_be_new(bool(task.families))
        self.requirements.set_start(LOADED)
        self._restore(values)
        self._update_reset()
        self.model_changed.emit()

    @property
    def is_new(self) -> bool:
        """Does the training begin with random weights?"""
        return self.requirements.start.currentData() == NEW and bool(self.task.families)

    def start_from(self, start: str) -> None:
        """Begin with the loaded model (``model``) or with a new one (``new``)."""
        self.requirements.set_start(start)
        self._on_start_changed()

    def _on_start_changed(self) -> None:
        self._show_new_model()
        self.model_changed.emit()
        self.changed.emit()

    def _show_new_model(self) -> None:
        if self.is_new and self.new_model is None:
            self.new_model = NewModelPanel(self.task.families, self.task.recommended, self._area.widget())
            self.new_model.form.set_values(self._architecture)
            self.new_model.form.setEnabled(self._state == IDLE)
            self.new_model.changed.connect(self._on_architecture_changed)
            self.new_model.trial.requested.connect(self.trial_requested)
            self._inner.insertWidget(0, self.new_model)
        if self.new_model is not None:
            self.new_model.setVisible(self.is_new)
        self._update_reset()

    def _drop_new_model(self) -> None:
        if self.new_model is not None:
            self.new_model.hide()
            self._inner.removeWidget(self.new_model)
            self.new_model.deleteLater()
            self.new_model = None

    def _on_architecture_changed(self) -> None:
        self._replaced = None
        self._update_reset()
        self.model_changed.emit()
        self.changed.emit()

    def show_misfit(self, problem: UserError | None) -> None:
        """Why the model and the task do not go together."""
        self.notice.set_text(" ".join(error_texts(problem)) if problem is not None else "")

    # --- the form's values

    def _on_form_changed(self) -> None:
        self._replaced = None
        self._update_reset()
        before, self._planned = self._planned, self.form.values()
        if any(before.get(name) != value for name, value in self._planned.items() if name.startswith("strategy.")):
            self.model_changed.emit()
        self.changed.emit()

    def _forms(self) -> list[DataclassForm]:
        return [self.form] + ([self.new_model.form] if self.new_model is not None and self.is_new else [])

    def _flat_values(self) -> dict[str, Any]:
        return {name: value for form in self._forms() for name, value in form.values().items()}

    def _on_reset(self) -> None:
        """To the defaults, and with the next click back again."""
        mine, values = self._replaced, self._flat_values()
        for form in self._forms():
            if mine is not None:
                form.set_values(mine)
            else:
                form.reset()
        self._replaced = None if mine is not None else values
        self._update_reset()

    def _update_reset(self) -> None:
        if self._replaced is not None:
            self._reset.setText(self.tr("Bring back my values"))
            self._reset.setToolTip(self.tr("Undo: set every field to what it was before"))
        else:
            self._reset.setText(self.tr("Back to the defaults"))
            self._reset.setToolTip(
                self.tr("Set every field to the value that is right for most trainings of this kind")
            )
        self._reset.setAccessibleName(self._reset.text())
        is_changed = any(not form.is_default() for form in self._forms())
        self._reset.setEnabled(self._state == IDLE and (self._replaced is not None or is_changed))

    def set_state(self, state: str, *, can_start: bool) -> None:
        """Which buttons make sense now."""
        self._state = state
        self.buttons.set_state(state, can_start=can_start)
        self.form.setEnabled(state == IDLE)
        self.requirements.set_editable(state == IDLE)
        if self.new_model is not None:
            self.new_model.form.setEnabled(state == IDLE)
        self._update_reset()

    def values(self) -> dict[str, Any]:
        """The sections of the recipe, nested as it has them, and ``start``: ``model`` or ``new``."""
        flat = dict(self._architecture)
        if self.new_model is not None:
            flat |= self.new_model.form.values()
        nested: dict[str, Any] = {"start": NEW if self.is_new else LOADED}
        for name, value in (flat | self.form.values()).items():
            *sections, key = name.split(".")
            here = nested
            for section in sections:
                here = here.setdefault(section, {})
            here[key] = value
        return nested

    def restore(self, values: Mapping[str, Any], *, advanced_open: bool) -> None:
        """Show what :meth:`values` gave; what is missing, unknown or unfit leaves its field as it is."""
        self._restore(values)
        self.form.advanced.set_open(advanced_open)

    def _restore(self, values: Mapping[str, Any]) -> None:
        flat = flatten(values)
        self._architecture |= {name: value for name, value in flat.items() if name.startswith("architecture.")}
        if flat.get("start") == NEW and self.task.families:
            self.requirements.set_start(NEW)
        self._show_new_model()
        if self.new_model is not None:
            self.new_model.form.set_values(self._architecture)
        self.form.set_values(flat)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``section.key`` of nested sections."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
