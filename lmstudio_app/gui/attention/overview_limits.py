"""From and to: which heads are shown by their numbers."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QLocale, QSignalBlocker, Signal
from PySide6.QtGui import QValidator
from PySide6.QtWidgets import QDoubleSpinBox, QGridLayout, QLabel, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.overview_choice import MEASURES, Bounds, Table, span_of
from lmstudio_app.gui.attention.overview_texts import measure_texts
from lmstudio_app.gui.text import number_text

_SCALES = {"entropy": 1.0, "distance": 1.0, "special": 100.0, "strength": 100.0}  # shown to measured
_DECIMALS = {"entropy": 1, "distance": 1, "special": 0, "strength": 0}
_STEPS = 20  # from the smallest to the largest value


class BoundBox(QDoubleSpinBox):
    """A number with its unit, that is no limit at its end: "any"."""

    def __init__(self, unit: str, *, is_upper: bool, parent: QWidget) -> None:
        super().__init__(parent)
        self._unit = unit
        self._is_upper = is_upper
        self._any = self.tr("any")
        self.setKeyboardTracking(False)

    @property
    def end(self) -> float:
        return self.maximum() if self._is_upper else self.minimum()

    @property
    def bound(self) -> float | None:
        return None if self.value() == self.end else self.value()

    def set_bound(self, bound: float | None) -> None:
        self.setValue(self.end if bound is None else bound)

    def textFromValue(self, value: float) -> str:
        return self._any if value == self.end else self.locale().toString(value, "f", self.decimals()) + self._unit

    def valueFromText(self, text: str) -> float:
        value, is_number = QLocale(self.locale()).toDouble(text.removesuffix(self._unit).strip())
        return value if is_number else self.end

    def validate(self, text: str, position: int) -> object:
        stripped = text.removesuffix(self._unit).strip()
        if self._any.startswith(stripped):
            return QValidator.State.Acceptable, text, position
        state = super().validate(stripped, min(position, len(stripped)))[0]  # type: ignore[index]
        return state, text, position


class Limits(QWidget):
    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.em(self, 0.5))
        grid.setVerticalSpacing(theme.em(self, 0.25))
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        self.boxes: dict[str, tuple[BoundBox, BoundBox]] = {}
        self._labels: dict[str, tuple[QLabel, QLabel]] = {}
        for row, (measure, (name, tip, unit)) in enumerate(measure_texts().items()):
            low, high = (BoundBox(unit, is_upper=is_upper, parent=self) for is_upper in (False, True))
            label, to = QLabel(name, self), QLabel(self.tr("to"), self)
            label.setToolTip(tip)
            label.setBuddy(low)
            for box, text in ((low, self.tr("{measure}, at least")), (high, self.tr("{measure}, at most"))):
                box.setAccessibleName(text.format(measure=name))
                box.setDecimals(_DECIMALS[measure])
                box.valueChanged.connect(lambda: self.changed.emit())
            for column, widget in enumerate((label, low, to, high)):
                grid.addWidget(widget, row, column)
            self.boxes[measure] = (low, high)
            self._labels[measure] = (label, to)

    def set_table(self, table: Table, *, has_special: bool) -> None:
        """Offer what these heads can be told apart by."""
        tips = measure_texts()
        for measure in MEASURES:
            span = span_of(table, measure)
            is_offered = span is not None and span[0] < span[1] and (measure != "special" or has_special)
            for widget in (*self._labels[measure], *self.boxes[measure]):
                widget.setVisible(is_offered)
            if span is None:
                continue
            low, high = (_SCALES[measure] * end for end in span)
            step = 10.0 ** -_DECIMALS[measure]
            for box in self.boxes[measure]:
                with QSignalBlocker(box):
                    box.setRange(low // step * step, -(-high // step) * step)
                    box.setSingleStep(max(step, round((high - low) / _STEPS, _DECIMALS[measure])))
                    ends = (number_text(end, _DECIMALS[measure]) for end in (low, high))
                    box.setToolTip(
                        self.tr("{explanation}. Here from {low} to {high}.").format(
                            explanation=tips[measure][1], low=next(ends), high=next(ends)
                        )
                    )

    @property
    def ranges(self) -> dict[str, Bounds]:
        found: dict[str, Bounds] = {}
        for measure, boxes in self.boxes.items():
            bounds = tuple(None if box.bound is None else box.bound / _SCALES[measure] for box in boxes)
            if bounds != (None, None):
                found[measure] = (bounds[0], bounds[1])
        return found

    def set_ranges(self, ranges: Mapping[str, Bounds]) -> None:
        """Without saying so."""
        for measure, boxes in self.boxes.items():
            for box, bound in zip(boxes, ranges.get(measure, (None, None)), strict=True):
                with QSignalBlocker(box):
                    box.set_bound(None if bound is None else bound * _SCALES[measure])
