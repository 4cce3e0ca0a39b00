"""How the chosen data is used: which column feeds which input, what is kept for evaluation, how files are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.gui import theme
from lmstudio_app.gui.data_sources import source_files, source_title
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.gui.widgets.focus import insert_stops
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo

_PART, _OPEN, _FILE = "part", "open", "file"
_SPLIT_ROW = 20  # below the columns
_MOST_ROWS = 1_000_000_000
ENCODINGS = ("utf-8", "gb18030", "big5", "utf-16", "cp932", "cp949", "cp1252", "cp1251", "latin-1")
DELIMITERS = (",", "\t", ";", "|")


class DataForm(QWidget):
    """Says what the user changes; the page tells it what there is."""

    columns_changed = Signal()
    split_changed = Signal()
    reading_changed = Signal()
    eval_file_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._boxes: dict[str, QuietCombo] = {}
        self._specs: tuple[ColumnSpec, ...] = ()
        self._eval: Any = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        card = QFrame(self)
        card.setProperty("card", True)
        self._grid = QGridLayout(card)
        pad = theme.em(self, 0.5)
        self._grid.setContentsMargins(pad * 2, pad, pad * 2, pad)
        self._grid.setVerticalSpacing(theme.em(self, 0.3))
        self._grid.setColumnStretch(1, 1)
        layout.addWidget(card)
        self._card = card
        self._build_split()
        layout.addWidget(self._build_reading())

    def _row(self, row: int, title: str, box: QWidget, tip: str) -> QLabel:
        label = QLabel(title, self._card)
        label.setBuddy(box)
        label.setToolTip(tip)
        self._grid.addWidget(label, row, 0)
        self._grid.addWidget(box, row, 1)
        return label

    # --- columns

    def set_columns(self, specs: Sequence[ColumnSpec], names: Sequence[str], mapping: Mapping[str, str]) -> None:
        """One box an input of the task, filled with the columns there are."""
        if tuple(specs) != self._specs:
            self._build_columns(specs)
            self.deduplicate.setVisible(all(spec.type != "document" for spec in specs))
        for spec in specs:
            box = self._boxes[spec.name]
            box.blockSignals(True)
            box.clear()
            if not spec.required or spec.name not in mapping:
                box.addItem(self.tr("not used") if not spec.required else self.tr("choose a column"), "")
            for name in names:
                box.addItem(name, name)
            box.setCurrentIndex(max(0, box.findData(mapping.get(spec.name, ""))))
            box.blockSignals(False)

    def _build_columns(self, specs: Sequence[ColumnSpec]) -> None:
        for box in self._boxes.values():
            label = self._grid.itemAtPosition(self._grid.getItemPosition(self._grid.indexOf(box))[0], 0).widget()
            for widget in (label, box):
                self._grid.removeWidget(widget)
                widget.deleteLater()
        self._specs, self._boxes = tuple(specs), {}
        for row, spec in enumerate(specs):
            title = self.tr("{input} column").format(input=spec.title)
            box = QuietCombo(title, spec.help, self._card)
            box.currentIndexChanged.connect(self._on_column_changed)
            self._boxes[spec.name] = box
            self._row(row, title, box, spec.help)
        insert_stops(self._boxes.values(), before=self.eval_box)

    def column_box(self, name: str) -> QComboBox:
        return self._boxes[name]

    def columns(self) -> dict[str, str]:
        """Input to column; inputs without one are left out."""
        return {name: box.currentData() for name, box in self._boxes.items() if box.currentData()}

    def _on_column_changed(self) -> None:
        """A column feeds one input: the other that had it gets the one that became free. A chat has one form."""
        chosen = self.sender()
        assert isinstance(chosen, QComboBox)
        self._keep_one_form(chosen)
        for box in self._boxes.values():
            if box is not chosen and box.currentData() == chosen.currentData() and box.currentData():
                used = {other.currentData() for other in self._boxes.values()}
                free = [box.itemData(i) for i in range(box.count()) if box.itemData(i) not in used]
                box.choose(free[0] if free else box.itemData(0))
        self.columns_changed.emit()

    def _keep_one_form(self, chosen: QComboBox) -> None:
        """A chat is taken from its messages or from the columns of its roles: choosing one lets go of the other."""
        if not chosen.currentData() or not any(spec.role for spec in self._specs):
            return
        spec = next(spec for spec in self._specs if self._boxes[spec.name] is chosen)
        for other in self._specs:
            if (spec.role and other.type == "messages") or (spec.type == "messages" and other.role):
                self._boxes[other.name].choose("")

    # --- evaluation

    def _build_split(self) -> None:
        row = _SPLIT_ROW
        tip = self.tr("The data that tells how good the model is. It is never learnt from.")
        self.eval_box = QuietCombo(self.tr("Evaluation data"), tip, self._card)
        self.eval_box.addItem(self.tr("A part of this data"), _PART)
        self.eval_box.addItem(self.tr("Another file…"), _OPEN)
        self.eval_box.activated.connect(self._on_eval_activated)
        self._row(row, self.tr("Evaluate on"), self.eval_box, tip)
        tip = self.tr("How much of the data is kept for evaluation: the same part of every class, or whole documents")
        self.fraction = QSpinBox(self._card)
        self.fraction.setRange(1, 90)
        self.fraction.setMinimumHeight(self.eval_box.sizeHint().height())
        self.fraction.setSuffix(self.tr(" % of the rows"))
        self.fraction.setToolTip(tip)
        self.fraction.setAccessibleName(self.tr("Evaluation part"))
        self.fraction.setKeyboardTracking(False)
        self.fraction.valueChanged.connect(self.split_changed)
        self._fraction_label = self._row(row + 1, self.tr("Keep for it"), self.fraction, tip)
        tip = self.tr(
            "For a quick try of large data: so many rows are used, spread evenly over all of it (of running text the "
            "first ones). 0 takes all."
        )
        self.limit = QSpinBox(self._card)
        self.limit.setRange(0, _MOST_ROWS)
        self.limit.setSingleStep(1000)
        self.limit.setGroupSeparatorShown(True)
        self.limit.setSpecialValueText(self.tr("all rows"))
        self.limit.setSuffix(self.tr(" rows"))
        self.limit.setMinimumHeight(self.eval_box.sizeHint().height())
        self.limit.setToolTip(tip)
        self.limit.setAccessibleName(self.tr("Use at most so many rows"))
        self.limit.setAccessibleDescription(tip)
        self.limit.setKeyboardTracking(False)
        self.limit.valueChanged.connect(self.split_changed)
        self._row(row + 2, self.tr("Use at most"), self.limit, tip)
        self.deduplicate = QCheckBox(self.tr("Leave out duplicates"), self._card)
        self.deduplicate.setToolTip(
            self.tr("Keep one row of each text, and learn from none that is in the evaluation data")
        )
        self.deduplicate.setAccessibleName(self.deduplicate.text())
        self.deduplicate.toggled.connect(self.split_changed)
        self._grid.addWidget(self.deduplicate, row + 3, 1)

    def set_split(self, fraction: float, *, deduplicate: bool, limit: int) -> None:
        """Show without saying so."""
        for widget in (self.fraction, self.deduplicate, self.limit):
            widget.blockSignals(True)
        self.fraction.setValue(round(fraction * 100))
        self.deduplicate.setChecked(deduplicate)
        self.limit.setValue(limit)
        for widget in (self.fraction, self.deduplicate, self.limit):
            widget.blockSignals(False)

    def set_evaluation(self, evaluation: Any) -> None:
        """Show without saying so: a file (or two aligned ones), or None for a part of the data."""
        self._eval = evaluation
        index = self.eval_box.findData(_FILE)
        if index >= 0:
            self.eval_box.removeItem(index)
        if evaluation is not None:
            self.eval_box.insertItem(1, source_title(evaluation), _FILE)
        self.eval_box.setCurrentIndex(0 if evaluation is None else 1)
        files = "\n".join(map(str, source_files(evaluation))) if evaluation is not None else ""
        self.eval_box.setToolTip(files or self.eval_box.accessibleDescription())
        for widget in (self.fraction, self._fraction_label):
            widget.setVisible(evaluation is None)

    @property
    def evaluation(self) -> Any:
        """As in :class:`DataConfig`."""
        return self._eval

    @property
    def eval_fraction(self) -> float:
        return self.fraction.value() / 100

    def _on_eval_activated(self) -> None:
        choice = self.eval_box.currentData()
        self.set_evaluation(self._eval)
        if choice == _OPEN:
            self.eval_file_requested.emit()
        elif choice == _PART and self._eval is not None:
            self.set_evaluation(None)
            self.split_changed.emit()

    # --- reading

    def _build_reading(self) -> Disclosure:
        from lmstudio_app.data.problems import delimiter_name, encoding_name

        self.reading = Disclosure(
            self.tr("How the file is read"),
            self.tr("Found out by itself; change it when the preview looks wrong"),
            self,
        )
        grid = QGridLayout(self.reading.body)
        pad = theme.em(self, 0.5)
        grid.setContentsMargins(pad * 2, 0, pad * 2, 0)
        grid.setVerticalSpacing(theme.em(self, 0.3))
        grid.setColumnStretch(1, 1)
        automatic = self.tr("Automatic")
        choices: list[tuple[str, str, str, list[tuple[str, Any]]]] = [
            (
                "encoding",
                self.tr("Encoding"),
                self.tr("How the characters are stored"),
                [(encoding_name(name), name) for name in ENCODINGS],
            ),
            (
                "delimiter",
                self.tr("Separator"),
                self.tr("What stands between two columns"),
                [(delimiter_name(mark), mark) for mark in DELIMITERS],
            ),
            (
                "header",
                self.tr("First row"),
                self.tr("Whether the first row names the columns"),
                [(self.tr("Names of the columns"), True), (self.tr("Data"), False)],
            ),
            (
                "quoting",
                self.tr("Quotes"),
                self.tr("Whether they enclose fields or are part of the text"),
                [(self.tr("Enclose fields"), "double"), (self.tr("Part of the text"), "none")],
            ),
        ]
        self._reading_boxes: dict[str, QuietCombo] = {}
        for row, (name, title, tip, items) in enumerate(choices):
            box = QuietCombo(title, tip, self.reading.body)
            box.addItem(automatic, None)
            for text, value in items:
                box.addItem(text, value)
            box.currentIndexChanged.connect(self.reading_changed)
            self._reading_boxes[name] = box
            label = QLabel(title, self.reading.body)
            label.setBuddy(box)
            label.setToolTip(tip)
            grid.addWidget(label, row, 0)
            grid.addWidget(box, row, 1)
        return self.reading

    def reading_box(self, name: str) -> QComboBox:
        return self._reading_boxes[name]

    def reading_options(self) -> dict[str, Any]:
        return {name: box.currentData() for name, box in self._reading_boxes.items() if box.currentData() is not None}

    def set_reading(self, options: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Show the options without saying so, and behind "Automatic" what was found out."""
        from lmstudio_app.data.problems import delimiter_name, encoding_name

        found = {
            "encoding": encoding_name(facts["encoding"]) if facts.get("encoding") else "",
            "delimiter": delimiter_name(facts["delimiter"]) if facts.get("delimiter") else "",
            "header": "",
            "quoting": "",
        }
        if "header" in facts:
            found["header"] = self.tr("names") if facts["header"] else self.tr("data")
        if "quoting" in facts:
            found["quoting"] = self.tr("enclose fields") if facts["quoting"] else self.tr("are text")
        for name, box in self._reading_boxes.items():
            box.choose(options.get(name))
            applies = name in facts
            box.setEnabled(applies)
            text = self.tr("Auto: {found}").format(found=found[name]) if found[name] else self.tr("Automatic")
            box.setItemText(0, text if options.get(name) is None else self.tr("Automatic"))
