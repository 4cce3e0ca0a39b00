"""How sure must a model of two classes be? The width of the neutral zone between them."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSlider, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text

_PERCENT = 100


class BandSlider(QWidget):
    """``band`` is the width, 0 to 1: at 0.2 a text is neutral from 40 to 60 %."""

    band_changed = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setRange(0, _PERCENT)
        self.slider.setSingleStep(2)
        self.slider.setPageStep(10)
        self.slider.setMinimumWidth(theme.characters(self, 12))
        self.slider.setAccessibleName(self.tr("How sure must it be?"))
        self.slider.setToolTip(self.tr("Further right, the model must be surer; else a text is called neutral"))
        caption = QLabel(self.tr("How sure must it be?"), self)
        caption.setBuddy(self.slider)
        self.value = QLabel(self)
        self.value.setForegroundRole(self.value.palette().ColorRole.PlaceholderText)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(caption)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.value)
        self.slider.valueChanged.connect(self._on_moved)
        self._tell()

    @property
    def band(self) -> float:
        return self.slider.value() / _PERCENT

    def set_band(self, band: float) -> None:
        self.slider.setValue(round(_PERCENT * band))

    def _on_moved(self) -> None:
        self._tell()
        self.band_changed.emit(self.band)

    def _tell(self) -> None:
        low, high = (number_text(_PERCENT * (0.5 + side * self.band / 2)) for side in (-1, 1))
        self.value.setText(
            self.tr("neutral from {low} to {high} %").format(low=low, high=high)
            if self.band
            else self.tr("never neutral")
        )
