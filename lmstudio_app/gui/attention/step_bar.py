"""A slider through a row of things, with buttons to step and to play them one after the other."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QSlider, QStyle, QToolButton, QWidget

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
        pixmaps = QStyle.StandardPixmap
        self.back = self._make_button(pixmaps.SP_MediaSkipBackward, self.tr("One step back"))
        self.back.clicked.connect(lambda: self._step(-1))
        self.play = self._make_button(pixmaps.SP_MediaPlay, self.tr("Play all steps from here"))
        self.play.setCheckable(True)
        self.play.toggled.connect(self._on_play_toggled)
        self.forward = self._make_button(pixmaps.SP_MediaSkipForward, self.tr("One step on"))
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
        self.set_count(0)

    def _make_button(self, icon: QStyle.StandardPixmap, tip: str) -> QToolButton:
        button = QToolButton(self)
        button.setIcon(self.style().standardIcon(icon))
        button.setAutoRaise(True)
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
        pixmaps = QStyle.StandardPixmap
        self.play.setIcon(self.style().standardIcon(pixmaps.SP_MediaPause if on else pixmaps.SP_MediaPlay))
        tip = self.tr("Pause") if on else self.tr("Play all steps from here")
        self.play.setToolTip(tip)
        self.play.setAccessibleName(tip)
        if not on:
            self._timer.stop()
            return
        if self.slider.value() == self.slider.maximum():
            self.slider.setValue(0)
        self._timer.start()

    def _on_timeout(self) -> None:
        self.slider.setValue(self.slider.value() + 1)
        if self.slider.value() == self.slider.maximum():
            self.stop()

    def hideEvent(self, event: QEvent) -> None:
        super().hideEvent(event)  # type: ignore[arg-type]
        self.stop()
