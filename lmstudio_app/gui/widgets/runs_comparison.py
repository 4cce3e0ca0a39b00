"""Several runs beside each other: their curves in one chart, and a table of what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.curves import Smoother
from lmstudio_app.gui.field_editors import translate
from lmstudio_app.gui.metrics import metric_title
from lmstudio_app.gui.overlay import AXES, STEP_VALUES, TRAINING
from lmstudio_app.gui.recipe_fields import field_title
from lmstudio_app.gui.run_texts import dated_title, moment_text, short_key, value_text
from lmstudio_app.gui.widgets.differences_table import DifferencesTable
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.overlay_chart import OverlayChart, OverlayLine, line_sample
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.settings import Settings

if TYPE_CHECKING:
    from lmstudio_app.gui.run_queries import Compared

_LEGEND_KEYS = 4  # differing keys that a line of the legend names


class RunsComparison(QWidget):
    """Shows a :class:`Compared`; give it a new one when the runs have grown."""

    run_chosen = Signal(object)  # Path

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._compared: Compared | None = None
        self._legend_key: Any = None
        self.chart = OverlayChart(self)
        self.chart.setAccessibleName(self.tr("Curves of the chosen runs"))
        self.chart.setToolTip(
            self.tr("The wheel zooms, dragging moves; the values at the cursor are those of all runs")
        )
        self.table = DifferencesTable(self)
        self.table.run_chosen.connect(self.run_chosen)
        left, right = QWidget(self), QWidget(self)
        box = QVBoxLayout(left)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(theme.em(self, 0.35))
        box.addLayout(self._build_controls())
        box.addWidget(self.chart, 1)
        self._legend = QGridLayout()
        self._legend.setHorizontalSpacing(theme.em(self, 0.5))
        self._legend.setVerticalSpacing(theme.em(self, 0.1))
        box.addLayout(self._legend)
        self.all_keys = QCheckBox(self.tr("Also what is the same"), right)
        self.all_keys.setToolTip(self.tr("Show every key of the recipes; those that differ are tinted"))
        self.all_keys.setAccessibleName(self.all_keys.text())
        self.all_keys.setChecked(bool(settings.get("runs.all_keys", False)))
        self.all_keys.toggled.connect(self._on_all_keys)
        box = QVBoxLayout(right)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(theme.em(self, 0.35))
        box.addWidget(self.all_keys)
        box.addWidget(self.table, 1)
        self._splitter = QSplitter(Qt.Orientation.Horizontal, self)
        for number, part in enumerate((left, right)):
            self._splitter.addWidget(part)
            self._splitter.setStretchFactor(number, 3 - number)
        self._splitter.setChildrenCollapsible(False)
        self._splitter.setHandleWidth(theme.em(self, 0.6))
        sizes = settings.get("runs.comparison_splitter")
        self._splitter.setSizes(sizes or [theme.characters(self, 90), theme.characters(self, 66)])
        self._splitter.splitterMoved.connect(lambda: settings.set("runs.comparison_splitter", self._splitter.sizes()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._splitter)

    def _build_controls(self) -> QHBoxLayout:
        tr, settings = self.tr, self._settings
        self.metric_box = QuietCombo(tr("Curve"), tr("What is compared: any metric of any of the runs"), self)
        self.axis = QuietCombo(tr("Horizontal axis"), tr("Steps, passes over the data, or minutes at work"), self)
        self.axis.setMinimumContentsLength(7)
        for name, title in zip(AXES, (tr("Steps"), tr("Epochs"), tr("Minutes")), strict=True):
            self.axis.addItem(title, name)
        self.axis.setCurrentIndex(max(0, self.axis.findData(settings.get("runs.axis", "step"))))
        self.smoothing = QSlider(Qt.Orientation.Horizontal, self)
        self.smoothing.setRange(0, 99)
        self.smoothing.setValue(int(settings.get("runs.smoothing", 60)))
        self.smoothing.setAccessibleName(tr("Smoothing"))
        self.smoothing.setToolTip(
            tr("Smooths the curves of the steps so that their trend shows: 0 not at all, 0.99 the most")
        )
        self.smoothing.setMinimumWidth(theme.characters(self, 10))
        self.log = QCheckBox(tr("Log scale"), self)
        self.log.setToolTip(tr("A logarithmic axis for the values: small changes of small values are seen"))
        self.log.setAccessibleName(tr("Logarithmic values"))
        self.log.setChecked(bool(settings.get("runs.log", False)))
        everything = QPushButton(tr("Show all"), self)
        everything.setToolTip(tr("Undo zooming and moving"))
        everything.setAccessibleName(tr("Show all of the curves"))
        row = QHBoxLayout()
        for text, widget in (
            (tr("Curve"), self.metric_box),
            (tr("Axis"), self.axis),
            (tr("Smoothing"), self.smoothing),
        ):
            label = QLabel(text, self)
            label.setBuddy(widget)
            row.addWidget(label)
            row.addWidget(widget, 1 if widget is self.smoothing else 0)
        row.addWidget(self.log)
        row.addWidget(everything)
        self.metric_box.currentIndexChanged.connect(lambda: self._keep("runs.metric", self.metric_box.currentData()))
        self.axis.currentIndexChanged.connect(lambda: self._keep("runs.axis", self.axis.currentData()))
        self.smoothing.valueChanged.connect(lambda value: self._keep("runs.smoothing", value))
        self.log.toggled.connect(lambda on: self._keep("runs.log", on))
        everything.clicked.connect(self.chart.show_all)
        return row

    def _keep(self, key: str, value: Any) -> None:
        self._settings.set(key, value)
        self._draw()
        if key in ("runs.metric", "runs.axis", "runs.log"):
            self.chart.show_all()

    # --- what it shows

    def show_runs(self, compared: Compared) -> None:
        folders = [run.folder for run in compared.comparison.runs]
        is_other = self._compared is None or folders != [run.folder for run in self._compared.comparison.runs]
        self._compared = compared
        self._fill_metrics()
        self._fill_legend()
        self.table.show_runs(compared, self.titles(), all_keys=self.all_keys.isChecked())
        self._draw()
        if is_other:
            self.chart.show_all()

    def clear(self) -> None:
        self._compared = None

    def titles(self) -> list[str]:
        """What tells each run from the others: its title, the differing keys of its recipe, or else when it began."""
        assert self._compared is not None
        runs, differences = self._compared.comparison.runs, self._compared.comparison.differences
        keys = list(differences)
        values = [tuple(str(row[number]) for row in differences.values()) for number in range(len(runs))]
        names = [
            run.title or (moment_text(run.started) if values.count(value) > 1 else "")
            for run, value in zip(runs, values, strict=True)
        ]
        titles = []
        for number, name in enumerate(names):
            parts = [f"{short_key(key)} {value_text(differences[key][number], key)}" for key in keys[:_LEGEND_KEYS]]
            titles.append(", ".join(filter(None, [name, *parts])))
        return titles

    def _fill_metrics(self) -> None:
        assert self._compared is not None
        names = list(dict.fromkeys(name for run in self._compared.lines for name in run.lines))
        training = [TRAINING + name for name in STEP_VALUES if TRAINING + name in names]
        wanted = [*training[:1], *(name for name in names if name not in training), *training[1:]]
        if [self.metric_box.itemData(row) for row in range(self.metric_box.count())] == wanted:
            return
        chosen = self._settings.get("runs.metric", TRAINING + "loss")
        self.metric_box.blockSignals(True)
        self.metric_box.clear()
        for name in wanted:
            self.metric_box.addItem(self.curve_title(name), name)
        self.metric_box.setCurrentIndex(max(0, self.metric_box.findData(chosen)))
        self.metric_box.blockSignals(False)

    def curve_title(self, name: str) -> str:
        titles = {
            TRAINING + "loss": self.tr("Training loss"),
            TRAINING + "learning_rate": self.tr("Learning rate"),
            TRAINING + "grad_norm": self.tr("Gradient norm"),
            TRAINING + "examples_per_second": self.tr("Examples/s"),
            "loss": self.tr("Evaluation loss"),
        }
        return titles.get(name, metric_title(name))

    def _fill_legend(self) -> None:
        assert self._compared is not None
        key = (tuple(self.titles()), theme.is_dark(self.palette()), theme.em(self))
        if key == self._legend_key:
            return
        self._legend_key = key
        while (item := self._legend.takeAt(0)) is not None:
            item.widget().deleteLater()
        columns = 2 if len(key[0]) > 3 else 1
        for number, title in enumerate(key[0]):
            sample, label = QLabel(self), ElidedLabel(self)
            sample.setPixmap(line_sample(number, self))
            label.setText(title)
            run = self._compared.comparison.runs[number]
            label.setToolTip("\n".join([dated_title(run), *self._differing(number)]))
            self._legend.addWidget(sample, number // columns, 2 * (number % columns))
            self._legend.addWidget(label, number // columns, 2 * (number % columns) + 1)

    def _differing(self, number: int) -> list[str]:
        assert self._compared is not None
        return [
            self.tr("{title} ({key}): {value}").format(
                title=translate(field_title(key)), key=key, value=value_text(values[number], key)
            )
            for key, values in self._compared.comparison.differences.items()
        ]

    def lines(self) -> list[OverlayLine]:
        """The curves as they are drawn."""
        assert self._compared is not None
        name, axis, weight = self.metric_box.currentData(), self.axis.currentData(), self.smoothing.value() / 100
        titles, found = self.titles(), []
        for number, run in enumerate(self._compared.lines):
            x, y = run.points(name, axis)
            if not len(x):
                continue
            is_step = name.startswith(TRAINING)
            raw = None
            if is_step and weight:
                raw, y = y, np.array(Smoother(weight).update(y))
            found.append(OverlayLine(str(run.folder), titles[number], number, x, y, raw, markers=not is_step))
        return found

    def _draw(self) -> None:
        if self._compared is not None and self.metric_box.count():
            self.chart.set_lines(self.lines(), self.axis.currentText(), log=self.log.isChecked())

    def _on_all_keys(self, shown: bool) -> None:
        self._settings.set("runs.all_keys", shown)
        if self._compared is not None:
            self.table.show_runs(self._compared, self.titles(), all_keys=shown)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and getattr(self, "_compared", None):
            self._fill_legend()
            self._on_all_keys(self.all_keys.isChecked())

    def shutdown(self) -> None:
        self.chart.shutdown()
