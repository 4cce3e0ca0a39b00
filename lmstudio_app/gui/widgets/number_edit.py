"""Number fields that write numbers as people in the field do: ``1e-4``, ``0.1``, ``3``."""

from __future__ import annotations

import math

from PySide6.QtCore import QSize, Signal
from PySide6.QtGui import QValidator, QWheelEvent
from PySide6.QtWidgets import QAbstractSpinBox, QSpinBox, QWidget

from lmstudio_app.gui import theme

_LARGEST_INT = 2**31 - 1


def format_number(value: float) -> str:
    """The shortest text that reads back to the same number, in scientific notation below 0.001."""
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        mantissa, _, exponent = f"{value:.6e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.8f}".rstrip("0").rstrip(".")


def neighbour(value: float, direction: int) -> float:
    """The next of 1, 2 and 5 times a power of ten, up or down: what an arrow key does to a learning rate."""
    if value <= 0:
        return 0.0
    exponent = math.floor(math.log10(value) + 1e-9)
    grid = [m * 10.0**e for e in (exponent - 1, exponent, exponent + 1) for m in (1.0, 2.0, 5.0)]
    if direction > 0:
        return min(g for g in grid if g > value * (1 + 1e-9))
    return max(g for g in grid if g < value * (1 - 1e-9))


class _FormField:
    """Ignores the wheel unless it has the focus, so that scrolling a form changes nothing; one width for all."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 12), super().minimumSizeHint().height())

    def sizeHint(self) -> QSize:
        return self.minimumSizeHint()


class IntegerEdit(_FormField, QSpinBox):
    """A whole number."""

    def __init__(self, minimum: float | None, maximum: float | None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        low = -_LARGEST_INT if minimum is None else int(minimum)
        high = _LARGEST_INT if maximum is None else min(int(maximum), _LARGEST_INT)
        self.setRange(low, high)
        self.setAccelerated(True)


class FloatEdit(_FormField, QAbstractSpinBox):
    """A real number in plain or scientific notation.

    ``logarithmic`` numbers step through 1, 2, 5, 10, …; the others by a twentieth of their range.
    """

    value_changed = Signal(float)

    def __init__(
        self,
        minimum: float | None,
        maximum: float | None,
        *,
        logarithmic: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._minimum = -math.inf if minimum is None else float(minimum)
        self._maximum = math.inf if maximum is None else float(maximum)
        self._logarithmic = logarithmic
        self._value = 0.0
        self.lineEdit().textChanged.connect(self._on_text)
        self.editingFinished.connect(self._on_finished)

    def value(self) -> float:
        return self._value

    def set_value(self, value: float) -> None:
        """Show ``value``, clipped to the limits."""
        value = min(max(float(value), self._minimum), self._maximum)
        changed, self._value = value != self._value, value
        if self._parse(self.lineEdit().text()) != value:
            self.lineEdit().setText(format_number(value))
        if changed:
            self.value_changed.emit(value)

    def _parse(self, text: str) -> float | None:
        try:
            value = float(text.strip().replace(",", "."))
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def _on_text(self, text: str) -> None:
        value = self._parse(text)
        if value is not None and self._minimum <= value <= self._maximum and value != self._value:
            self._value = value
            self.value_changed.emit(value)

    def _on_finished(self) -> None:
        """Text that is no number, or beyond the limits, gives way to the last good value."""
        if self._parse(self.lineEdit().text()) != self._value:
            self.lineEdit().setText(format_number(self._value))

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        value = self._parse(text)
        if value is not None and self._minimum <= value <= self._maximum:
            return QValidator.State.Acceptable, text, position
        if all(character in "0123456789.,eE+-" for character in text.strip()):
            return QValidator.State.Intermediate, text, position
        return QValidator.State.Invalid, text, position

    def stepEnabled(self) -> QAbstractSpinBox.StepEnabledFlag:
        flags = QAbstractSpinBox.StepEnabledFlag.StepNone
        if self._value < self._maximum:
            flags |= QAbstractSpinBox.StepEnabledFlag.StepUpEnabled
        if self._value > self._minimum:
            flags |= QAbstractSpinBox.StepEnabledFlag.StepDownEnabled
        return flags

    def stepBy(self, steps: int) -> None:
        value = self._value
        for _ in range(abs(steps)):
            if self._logarithmic and value > 0:
                value = neighbour(value, steps)
            else:
                width = self._maximum - self._minimum
                step = 0.05 * width if math.isfinite(width) and width <= 1 else 1.0 if value >= 1 else 0.1
                value = round(value + math.copysign(step, steps), 10)
        self.set_value(value)
        self.selectAll()
