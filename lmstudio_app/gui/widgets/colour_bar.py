"""What the colours of a heat map stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QImage, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QWidget

from lmstudio_app.gui import theme
from lmstudio_app.inspection.scales import Scaled

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class ColourBar(QWidget):
    """From the least at the bottom to :attr:`top`, as the scale has it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._strip: QImage | None = None
        self._buffer: npt.NDArray[np.uint8] | None = None
        self._value_at: Callable[[float], float] = float
        self._is_relative = False
        self.top = 1.0
        self.setAccessibleName(self.tr("Colour scale"))

    def set_scale(self, lut: npt.NDArray[np.uint8], top: float) -> None:
        """``lut`` is sRGB ``[256, 3]``; its first colour stands for 0, its last for the weight ``top``."""
        self.set_lut(lut)
        self._tell(lambda place: place * top, self.tr("Weights from 0 to {top}").format(top=_number(top)))

    def set_scaled(self, lut: npt.NDArray[np.uint8], scaled: Scaled) -> None:
        """Of any scale of :data:`lmstudio_app.inspection.scales.SCALES`."""
        tips = {
            "row": self.tr("Shares of the largest weight of each row"),
            "column": self.tr("Shares of the largest weight of each column"),
            "log": self.tr("Weights from {low} to {top}, in powers of ten"),
            "difference": self.tr("From {low} (less) over 0 to {top} (more)"),
        }
        tip = tips.get(scaled.scale, self.tr("Weights from {low} to {top}"))
        self.set_lut(lut)
        self._tell(
            scaled.value_at,
            tip.format(low=_number(scaled.low), top=_number(scaled.high)),
            is_relative=scaled.is_relative,
        )

    def set_lut(self, lut: npt.NDArray[np.uint8]) -> None:
        """Other colours for the same scale."""
        import numpy as np

        strip = np.full((len(lut), 1, 4), 255, dtype=np.uint8)
        strip[:, 0, :3] = lut[::-1]
        self._buffer = strip
        self._strip = QImage(strip.data, 1, len(lut), 4, QImage.Format.Format_RGBX8888)
        self.update()

    def _tell(self, value_at: Callable[[float], float], tip: str, *, is_relative: bool = False) -> None:
        self._value_at, self._is_relative = value_at, is_relative
        self.top = value_at(1.0)
        self.setToolTip(tip)
        self.setAccessibleDescription(tip)
        self.update()

    def _label(self, place: float) -> str:
        value = self._value_at(place)
        return self.tr("{share} %").format(share=round(100 * value)) if self._is_relative else _number(value)

    def sizeHint(self) -> QSize:
        return QSize(theme.em(self, 0.7) + theme.em(self, 0.3) + theme.characters(self, 7), theme.em(self, 8))

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._strip is None:
            return
        painter = QPainter(self)
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * 0.85)
        painter.setFont(font)
        line = QFontMetricsF(font).height()
        bar = QRectF(0.5, 0.5, theme.em(self, 0.7), self.height() - 1)
        painter.drawImage(bar, self._strip)
        painter.setPen(self.palette().color(QPalette.ColorRole.Mid))
        painter.drawRect(bar)
        painter.setPen(theme.muted(self.palette()))
        left = bar.right() + theme.em(self, 0.3)
        parts = (0.0, 0.25, 0.5, 0.75, 1.0) if self.height() > 8 * line else (0.0, 1.0)
        for part in parts:
            y = bar.bottom() - part * bar.height()
            y = min(max(y, line / 2), self.height() - line / 2)
            area = QRectF(left, y - line / 2, self.width() - left, line)
            flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(area, int(flags), self._label(part))


def _number(value: float) -> str:
    if abs(value) < 5e-10:
        return "0"
    return f"{value:.3g}".replace("-", "−")
