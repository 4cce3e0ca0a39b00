"""What the colours of a heat map stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QImage, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QWidget

from lmstudio_app.gui import theme

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class ColourBar(QWidget):
    """From 0 at the bottom to :attr:`top`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._strip: QImage | None = None
        self._buffer: npt.NDArray[np.uint8] | None = None
        self.top = 1.0
        self.setAccessibleName(self.tr("Colour scale"))

    def set_scale(self, lut: npt.NDArray[np.uint8], top: float) -> None:
        """``lut`` is sRGB ``[256, 3]``; its last colour stands for the weight ``top``."""
        import numpy as np

        strip = np.full((len(lut), 1, 4), 255, dtype=np.uint8)
        strip[:, 0, :3] = lut[::-1]
        self._buffer = strip
        self._strip = QImage(strip.data, 1, len(lut), 4, QImage.Format.Format_RGBX8888)
        self.top = top
        self.setToolTip(self.tr("Weights from 0 to {top}").format(top=_number(top)))
        self.setAccessibleDescription(self.toolTip())
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(theme.em(self, 0.7) + theme.em(self, 0.3) + theme.characters(self, 6), theme.em(self, 8))

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
            painter.drawText(area, int(flags), _number(part * self.top))


def _number(value: float) -> str:
    return f"{value:.3g}"
