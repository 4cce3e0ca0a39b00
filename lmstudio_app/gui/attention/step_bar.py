"""A slider through a row of things, with buttons to step and to play them one after the other."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QSlider, QToolButton, QWidget

from lmstudio_app.gui import theme

PACE = 600  # milliseconds a step while it plays


class StepBar(QWidget):
    """Steps are counted from 0. ``value_changed`` tells what a person (or Play) chose, not what was set."""

    value_changed = Signal(int)

    def __init__(self, title: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setAccessibleName(title)
        self.slider.setToolTip(tip)
        self.slider.valueChanged.connect(self.value_changed)
        self.back = self._make_button(self.tr("One step back"))
        self.back.setArrowType(Qt.ArrowType.LeftArrow)
        self.back.clicked.connect(lambda: self._step(-1))
        self.play = self._make_button("")
        self.play.setCheckable(True)
        self.play.toggled.connect(self._on_play_toggled)
        self.forward = self._make_button(self.tr("One step on"))
        self.forward.setArrowType(Qt.ArrowType.RightArrow)
        self.forward.clicked.connect(lambda: self._step(1))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.em(self, 0.3))
        for button in (self.back, self.play, self.forward):
            row.addWidget(button)
        row.addWidget(self.slider, 1)
        self._timer = QTimer(self)
        self._timer.setInterval(PACE)
        self._timer.timeout.connect(self._on_timeout)
        self._name_play(False)
        widths = [self.play.fontMetrics().horizontalAdvance(text) for text in (self.tr("Play"), self.tr("Pause"))]
        self.play.setMinimumWidth(max(widths) + theme.em(self, 0.9))  # so that nothing moves when it is pressed
        self.set_count(0)

    def _make_button(self, tip: str) -> QToolButton:
        button = QToolButton(self)
        button.setAccessibleName(tip)
        button.setToolTip(tip)
        return button

    @property
    def value(self) -> int:
        return self.slider.value()

    @property
    def is_playing(self) -> bool:
        return self._timer.isActive()

    def set_count(self, count: int) -> None:
        """How many steps there are; Play ends."""
        self.stop()
        self.slider.blockSignals(True)
        self.slider.setRange(0, max(0, count - 1))
        self.slider.blockSignals(False)
        self.setEnabled(count > 1)

    def extend(self, count: int) -> None:
        """More steps than so far, of a row that grows; it goes on playing."""
        self.slider.blockSignals(True)
        self.slider.setMaximum(max(0, count - 1))
        self.slider.blockSignals(False)
        self.setEnabled(count > 1)

    def set_pace(self, milliseconds: int) -> None:
        """How long each step is seen while it plays."""
        self._timer.setInterval(milliseconds)

    def set_value(self, value: int) -> None:
        self.slider.blockSignals(True)
        self.slider.setValue(value)
        self.slider.blockSignals(False)

    def stop(self) -> None:
        self.play.setChecked(False)

    def _step(self, by: int) -> None:
        self.stop()
        self.slider.setValue(self.slider.value() + by)

    def _on_play_toggled(self, on: bool) -> None:
        self._name_play(on)
        if not on:
            self._timer.stop()
            return
        if self.slider.value() == self.slider.maximum():
            self.slider.setValue(0)
        self._timer.start()

    def _name_play(self, on: bool) -> None:
        text = self.tr("Pause") if on else self.tr("Play")
        self.play.setText(text)
        self.play.setAccessibleName(text)
        self.play.setToolTip(self.tr("Stop here") if on else self.tr("Show one step after the other, from here on"))

    def _on_timeout(self) -> None:
        self.slider.setValue(self.slider.value() + 1)
        if self.slider.value() == self.slider.maximum():
            self.stop()

    def hideEvent(self, event: QEvent) -> None:
        super().hideEvent(event)  # type: ignore[arg-type]
        self.stop()
