"""The dialog of a new sweep: which keys of the recipe take which values, and how many trainings that makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import yaml
from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.field_editors import ChoiceEdit, translate
from lmstudio_app.gui.metrics import metric_title
from lmstudio_app.gui.recipe_fields import RecipeField, recipe_fields
from lmstudio_app.gui.run_texts import task_title, value_text
from lmstudio_app.gui.text import duration_text, error_texts, number_text
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.tasks import find_task
from lmstudio_app.training.sweep_config import MOST_TRIALS, SweepConfig

VALUES, RANGE = "values", "range"
_FIRST = "training.learning_rate"


class SweepDimension(QWidget):
    """One key: a list of values, or for numbers a range."""

    changed = Signal()
    removed = Signal()

    def __init__(self, field: RecipeField, now: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self.field = field
        title = translate(field.title)
        self.title = QLabel(self.tr("{title}, now {value}").format(title=title, value=value_text(now, field.key)), self)
        self.title.setToolTip(f"{field.key}\n{translate(field.help)}")
        is_number = field.kind in (int, float) and not field.choices
        self.kind = ChoiceEdit(self)
        self.kind.addItem(self.tr("Values"), VALUES)
        if is_number:
            self.kind.addItem(self.tr("Range"), RANGE)
        self.kind.setEnabled(is_number)
        self.kind.setAccessibleName(self.tr("How {title} is given").format(title=title))
        self.kind.setToolTip(self.tr("A list of values, or, for the methods random and tpe, a range to draw from"))
        self.values = self._line(self.tr("Values of {title}").format(title=title), self.tr("With commas between"))
        self.low = self._line(self.tr("Lowest {title}").format(title=title), self.tr("The lowest value"))
        self.high = self._line(self.tr("Highest {title}").format(title=title), self.tr("The highest value"))
        self.log = QCheckBox(self.tr("log"), self)
        self.log.setToolTip(self.tr("Draw each power of ten alike: right for learning rates"))
        self.log.setAccessibleName(self.tr("Logarithmic {title}").format(title=title))
        remove = QPushButton(self.tr("Remove"), self)
        remove.setFlat(True)
        remove.setToolTip(self.tr("Leave this key as the recipe has it"))
        remove.setAccessibleName(self.tr("Remove {title}").format(title=title))
        remove.clicked.connect(lambda: self.removed.emit())
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self.title.setMinimumWidth(theme.characters(self, 34))
        self._to = QLabel(self.tr("to"), self)
        row.addWidget(self.title)
        row.addWidget(self.kind)
        row.addWidget(self.values, 1)
        for widget in (self.low, self._to, self.high, self.log):
            row.addWidget(widget)
        row.addWidget(remove)
        self._suggest(now)
        self.kind.currentIndexChanged.connect(self._on_kind)
        self.log.toggled.connect(self.changed)
        self._on_kind()

    def _line(self, name: str, tip: str) -> QLineEdit:
        line = QLineEdit(self)
        line.setAccessibleName(name)
        line.setToolTip(tip)
        line.textChanged.connect(self.changed)
        return line

    def _suggest(self, now: Any) -> None:
        """Values around the recipe's own, to begin with."""
        field = self.field
        if field.choices:
            values: list[Any] = list(field.choices)
        elif field.kind is bool:
            values = [True, False]
        elif field.kind in (int, float) and isinstance(now, int | float) and now:
            factors = (0.3, 1, 3) if field.kind is float and (field.maximum or 2) / now > 3 else (0.5, 1, 2)
            values = [field.kind(float(f"{now * factor:.2g}")) for factor in factors]
            low = field.minimum if field.minimum is not None else min(values)
            high = field.maximum if field.maximum is not None else max(values)
            values = list(dict.fromkeys(min(max(value, field.kind(low)), field.kind(high)) for value in values))
        else:
            values = [now]
        self.values.setText(", ".join(_text(value) for value in values))
        self.low.setText(_text(values[0]))
        self.high.setText(_text(values[-1]))
        self.log.setChecked(field.kind is float and isinstance(values[0], float) and 0 < values[0] < 0.01)

    def _on_kind(self) -> None:
        is_range = self.kind.currentData() == RANGE
        self.values.setVisible(not is_range)
        for widget in (self.low, self._to, self.high, self.log):
            widget.setVisible(is_range)
        self.changed.emit()

    def value(self) -> Any:
        """As a sweep's ``space`` has it. Raises :class:`UserError` for what is no value of this key."""
        if self.kind.currentData() == RANGE:
            low, high = (self._parse(line.text()) for line in (self.low, self.high))
            return {"low": low, "high": high, "log": self.log.isChecked()}
        parts = [part for part in self.values.text().split(",") if part.strip()]
        if not parts:
            raise UserError("{key} has no values.", "Write some, with commas between.", key=self.field.key)
        return [self._parse(part) for part in parts]

    def _parse(self, text: str) -> Any:
        field, text = self.field, text.strip()
        try:
            if field.kind is bool:
                return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
            if field.kind in (int, float):
                value = yaml.safe_load(text) if field.kind is int else float(text)
                if not isinstance(value, int | float) or isinstance(value, bool) or field.kind(value) != value:
                    raise ValueError(text)
                return field.kind(value)
        except (ValueError, KeyError, yaml.YAMLError):
            wanted = {bool: "true or false", int: "a whole number", float: "a number"}[field.kind]
            raise UserError(
                "{key} cannot be {text}.", "Write {wanted}.", key=field.key, text=text or "empty", wanted=wanted
            ) from None
        return text


class SweepDialog(QDialog):
    """``recipe`` is the one that is varied; ``estimate`` gives the seconds of one training of it, when known."""

    chosen = Signal(object)  # SweepConfig

    def __init__(
        self, recipe: Mapping[str, Any], estimate: Callable[[], float | None], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(self.tr("New sweep"))
        self._recipe = recipe
        self._estimate = estimate
        self.config: SweepConfig | None = None
        self.dimensions: list[SweepDimension] = []
        task = str(recipe["task"])
        self._fields = {item.key: item for item in recipe_fields(task, is_new="architecture" in recipe)}
        self._intro = Hint(
            self.tr(
                "The recipe of the Train page ({task}) is trained again and again, each time with other values of the "
                "settings below. Every training is a run of its own."
            ).format(task=task_title(task)),
            self,
        )
        layout = QVBoxLayout(self)
        layout.addWidget(self._intro)
        layout.addLayout(self._build_chooser())
        layout.addWidget(self._build_area(), 1)
        layout.addLayout(self._build_method(task))
        self.summary = QLabel(self)
        self.summary.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.notice = Notice(self)
        layout.addWidget(self.summary)
        layout.addWidget(self.notice)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel, self)
        self.start_button = QPushButton(self.tr("Start the sweep"), self)
        self.start_button.setProperty("primary", True)
        self.start_button.setToolTip(self.tr("Train all of them, one after the other; the Train page shows them live"))
        self.buttons.addButton(self.start_button, QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.button(QDialogButtonBox.StandardButton.Cancel).setToolTip(self.tr("Start nothing"))
        self.buttons.accepted.connect(self._on_accepted)
        self.buttons.rejected.connect(self.reject)
        layout.addWidget(self.buttons)
        self.add_key(_FIRST)
        self.resize(theme.characters(self, 120), theme.em(self, 24))

    def _build_chooser(self) -> QHBoxLayout:
        self.keys = QComboBox(self)
        self.keys.setAccessibleName(self.tr("Setting to vary"))
        self.keys.setToolTip(self.tr("A field of the recipe that takes other values"))
        self.keys.setMaxVisibleItems(24)
        sections = {
            "training": self.tr("Training"),
            "strategy": self.tr("What may change"),
            "options": self.tr("Task"),
            "architecture": self.tr("New model"),
            "data": self.tr("Data"),
        }
        for key, item in self._fields.items():
            section = sections.get(key.partition(".")[0], "")
            text = self.tr("{section}: {title}").format(section=section, title=translate(item.title))
            self.keys.addItem(text, key)
            self.keys.setItemData(self.keys.count() - 1, translate(item.help), Qt.ItemDataRole.ToolTipRole)
        self.add_button = QPushButton(self.tr("Vary it"), self)
        self.add_button.setToolTip(self.tr("Add the chosen key to the list"))
        self.add_button.clicked.connect(lambda: self.add_key(self.keys.currentData()))
        label = QLabel(self.tr("Setting"), self)
        label.setBuddy(self.keys)
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self.keys, 1)
        row.addWidget(self.add_button)
        return row

    def _build_area(self) -> QScrollArea:
        area = QScrollArea(self)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.StyledPanel)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setMinimumHeight(theme.em(self, 8))
        holder = QWidget(area)
        self._rows = QVBoxLayout(holder)
        self._rows.addStretch(1)
        area.setWidget(holder)
        return area

    def _build_method(self, task: str) -> QGridLayout:
        tr = self.tr
        self.method = ChoiceEdit(self)
        for name, title, tip in (
            ("grid", tr("Grid: every combination"), tr("Needs lists of values")),
            ("random", tr("Random: drawn values"), tr("Covers wide ranges with few trainings")),
            ("tpe", tr("Guided: near what did well (TPE)"), tr("Learns from the trials so far where to look next")),
        ):
            self.method.addItem(title, name)
            self.method.setItemData(self.method.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.method.setAccessibleName(tr("Method"))
        self.method.setToolTip(tr("How the values are chosen"))
        self.trials = QSpinBox(self)
        self.trials.setRange(1, MOST_TRIALS)
        self.trials.setValue(12)
        self.trials.setAccessibleName(tr("Trainings"))
        self.trials.setToolTip(tr("How many trainings; a grid has as many as combinations"))
        main = find_task(task).main_metric
        self.metric_box = ChoiceEdit(self)
        for name in dict.fromkeys((main, "loss")):
            self.metric_box.addItem(tr("Evaluation loss") if name == "loss" else metric_title(name), name)
        self.metric_box.setAccessibleName(tr("Compared by"))
        self.metric_box.setToolTip(tr("The metric of the finished models that tells which values are best"))
        grid = QGridLayout()
        fields = ((tr("Method"), self.method), (tr("Trainings"), self.trials), (tr("Compared by"), self.metric_box))
        for column, (text, widget) in enumerate(fields):
            label = QLabel(text, self)
            label.setBuddy(widget)
            grid.addWidget(label, 0, 2 * column)
            grid.addWidget(widget, 0, 2 * column + 1)
        grid.setColumnStretch(1, 2)
        grid.setColumnStretch(5, 1)
        self.method.currentIndexChanged.connect(self._update)
        self.trials.valueChanged.connect(self._update)
        self.metric_box.currentIndexChanged.connect(self._update)
        return grid

    # --- the keys

    def add_key(self, key: str) -> SweepDimension | None:
        """Vary one more key; one that is there already gets the focus."""
        known = next((row for row in self.dimensions if row.field.key == key), None)
        if known is not None or key not in self._fields:
            if known is not None:
                known.values.setFocus()
            return known
        row = SweepDimension(self._fields[key], self._now(key), self)
        row.changed.connect(self._update)
        row.removed.connect(lambda: self._remove(row))
        self.dimensions.append(row)
        self._rows.insertWidget(self._rows.count() - 1, row)
        self._update()
        return row

    def _now(self, key: str) -> Any:
        value: Any = self._recipe
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return self._fields[key].default if value is None else value

    def _remove(self, row: SweepDimension) -> None:
        self.dimensions.remove(row)
        self._rows.removeWidget(row)
        row.hide()
        row.deleteLater()
        self._update()

    # --- what it comes to

    def _update(self) -> None:
        if not hasattr(self, "start_button"):
            return  # still being built
        self.trials.setEnabled(self.method.currentData() != "grid")
        problem = ""
        try:
            self.config = SweepConfig(
                recipe=self._recipe,
                space={row.field.key: row.value() for row in self.dimensions},
                method=self.method.currentData(),
                trials=self.trials.value(),
                metric=self.metric_box.currentData(),
            )
        except UserError as error:
            self.config = None
            problem = " ".join(error_texts(error))
        self.notice.set_text(problem)
        self.start_button.setEnabled(self.config is not None)
        self.summary.setText(self._summary() if self.config is not None else "")

    def _summary(self) -> str:
        assert self.config is not None
        count, seconds = self.config.total, self._estimate()
        trainings = (
            self.tr("1 training") if count == 1 else self.tr("{count} trainings").format(count=number_text(count))
        )
        if seconds is None:
            return self.tr("{trainings}; how long one takes is not known yet.").format(trainings=trainings)
        return self.tr("{trainings} of about {each}: about {all} in all.").format(
            trainings=trainings, each=duration_text(seconds), all=duration_text(seconds * count)
        )

    def _on_accepted(self) -> None:
        if self.config is not None:
            self.chosen.emit(self.config)
            self.accept()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "start_button"):
            self.adjustSize()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value_text(value) if isinstance(value, float) else str(value)
