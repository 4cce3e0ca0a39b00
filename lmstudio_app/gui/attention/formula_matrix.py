"""A small matrix as colours that fills its widget; the linked parts of a formula are made of these."""

from __future__ import annotations

from math import ceil, log2
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPalette, QPen, QWheelEvent
from PySide6.QtWidgets import QWidget

from lmstudio_app.gui import theme
from lmstudio_app.inspection.scales import pool_pairs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Place = tuple[int, int]  # row, column
Span = tuple[float, float]  # the first and the last in view, in cells
_STEP = 0.75  # of the view that is left by a notch of the wheel


class MatrixView(QWidget):
    """Draws bytes through a table of colours; cells smaller than a pixel are pooled, so that no strong one is lost."""

    pointed = Signal(object)  # Place or None
    clicked = Signal(int, int)
    zoomed = Signal(float, float, float)  # factor, around row, column
    dragged = Signal(float, float)  # by rows, columns
    whole_wanted = Signal()

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shades: dict[Place, npt.NDArray[np.uint8]] = {}  # by how often rows and columns were halved
        self._is_signed = False
        self._lut: npt.NDArray[np.uint32] | None = None
        self._images: dict[Place, QImage] = {}
        self._spans: tuple[Span, Span] = ((0, 1), (0, 1))
        self._marked: tuple[int | None, int | None] = (None, None)
        self._pens = (QColor(), QColor())
        self._pointed: Place | None = None
        self._pressed: QPointF | None = None
        self._is_dragging = False
        self.setAccessibleName(name)
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    # --- content

    def set_shades(self, shades: npt.NDArray[np.uint8], lut: npt.NDArray[np.uint8], *, signed: bool) -> None:
        """``shades`` are places in ``lut``, sRGB ``[256, 3]``; ``signed``: 128 is nothing."""
        self._shades = {(0, 0): shades}
        self._is_signed = signed
        self.set_colours(lut)
        self.set_spans((0, shades.shape[0]), (0, shades.shape[1]))

    def set_colours(self, lut: npt.NDArray[np.uint8]) -> None:
        import numpy as np

        wide = lut.astype(np.uint32)
        self._lut = np.uint32(0xFF000000) | (wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2]
        self._images.clear()
        self.update()

    @property
    def shape(self) -> tuple[int, int]:
        return self._shades[0, 0].shape if self._shades else (0, 0)  # type: ignore[return-value]

    def set_spans(self, rows: Span, columns: Span) -> None:
        """The part that is in view."""
        self._spans = (rows, columns)
        self.update()

    @property
    def spans(self) -> tuple[Span, Span]:
        return self._spans

    def mark(self, row: int | None, column: int | None) -> None:
        """Outline a row, a column, or the cell where both meet."""
        if (row, column) != self._marked:
            self._marked = (row, column)
            self.update()

    @property
    def marked(self) -> tuple[int | None, int | None]:
        return self._marked

    def set_pens(self, row: QColor, column: QColor) -> None:
        self._pens = (row, column)
        self.update()

    def colour_at(self, place: Place) -> QColor:
        """What a cell is painted in."""
        assert self._lut is not None
        return QColor.fromRgb(int(self._lut[self._shades[0, 0][place]]))

    # --- geometry

    def place_at(self, position: QPointF) -> Place | None:
        if not self._shades or not QRectF(self.rect()).contains(position):
            return None
        (top, bottom), (left, right) = self._spans
        row = int(top + position.y() / self.height() * (bottom - top))
        column = int(left + position.x() / self.width() * (right - left))
        rows, columns = self.shape
        return (row, column) if 0 <= row < rows and 0 <= column < columns else None

    def cell_rect(self, row: int | None, column: int | None) -> QRectF:
        """Of a row, a column or a cell; two pixels at least in each direction."""
        (top, bottom), (left, right) = self._spans
        across, down = self.width() / (right - left), self.height() / (bottom - top)
        x, width = (0.0, float(self.width())) if column is None else ((column - left) * across, max(2.0, across))
        y, height = (0.0, float(self.height())) if row is None else ((row - top) * down, max(2.0, down))
        return QRectF(x, y, width, height)

    def sizeHint(self) -> QSize:
        return QSize(theme.em(self, 9), theme.em(self, 9))

    # --- painting

    def _image(self) -> tuple[QImage, Place]:
        """The finest picture whose pixels are not smaller than those of the screen, and how often it was halved."""
        scale = self.devicePixelRatio()
        (top, bottom), (left, right) = self._spans
        level = (
            _halvings((bottom - top) / (self.height() * scale)),
            _halvings((right - left) / (self.width() * scale)),
        )
        if level not in self._images:
            assert self._lut is not None
            pixels = self._lut[self._pooled(level)]
            rows, columns = pixels.shape
            image = QImage(pixels.data, columns, rows, 4 * columns, QImage.Format.Format_RGB32)
            self._images[level] = image.copy()  # it owns its pixels
        return self._images[level], level

    def _pooled(self, level: Place) -> npt.NDArray[np.uint8]:
        if level not in self._shades:
            axis = 0 if level[0] > 0 else 1
            finer = (level[0] - 1, level[1]) if axis == 0 else (0, level[1] - 1)
            self._shades[level] = pool_pairs(self._pooled(finer), axis, signed=self._is_signed)
        return self._shades[level]

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        area = QRectF(self.rect())
        if not self._shades:
            painter.fillRect(area, self.palette().color(QPalette.ColorRole.AlternateBase))
            return
        image, level = self._image()
        (top, bottom), (left, right) = self._spans
        across, down = 2 ** level[1], 2 ** level[0]
        source = QRectF(left / across, top / down, (right - left) / across, (bottom - top) / down)
        painter.drawImage(area, image, source)
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Mid), 1))
        painter.drawRect(area.adjusted(0, 0, -1, -1))
        row, column = self._marked
        width = max(2, theme.em(self, 0.1))
        if row is not None and column is not None:
            for part, colour in (
                (self.cell_rect(row, None), self._pens[0]),
                (self.cell_rect(None, column), self._pens[1]),
            ):
                painter.setPen(QPen(colour, 1))
                painter.drawRect(part.adjusted(0.5, 0.5, -0.5, -0.5))
            self._outline(painter, self.cell_rect(row, column), theme.warning(self.palette()), width)
        elif row is not None:
            self._outline(painter, self.cell_rect(row, None), self._pens[0], width)
        elif column is not None:
            self._outline(painter, self.cell_rect(None, column), self._pens[1], width)

    @staticmethod
    def _outline(painter: QPainter, rect: QRectF, colour: QColor, width: int) -> None:
        pen = QPen(colour, width)
        pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
        painter.setPen(pen)
        inset = width / 2 if min(rect.width(), rect.height()) > 3 * width else 0.0
        painter.drawRect(rect.adjusted(inset, inset, -inset, -inset))

    # --- hands

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._pressed = event.position()
            self._is_dragging = False

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._pressed is None:
            self._point(self.place_at(event.position()))
            return
        moved = event.position() - self._pressed
        if self._is_dragging or moved.manhattanLength() > theme.em(self, 0.4):
            self._is_dragging = True
            (top, bottom), (left, right) = self._spans
            self._pressed = event.position()
            self.dragged.emit(-moved.y() / self.height() * (bottom - top), -moved.x() / self.width() * (right - left))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        pressed, self._pressed = self._pressed, None
        place = self.place_at(event.position())
        if pressed is not None and not self._is_dragging and place is not None:
            self.clicked.emit(*place)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.whole_wanted.emit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        notches = event.angleDelta().y() / 120
        (top, bottom), (left, right) = self._spans
        if notches:
            self.zoomed.emit(
                _STEP**notches,
                top + event.position().y() / self.height() * (bottom - top),
                left + event.position().x() / self.width() * (right - left),
            )
        event.accept()

    def leaveEvent(self, event: QEvent) -> None:
        super().leaveEvent(event)
        self._point(None)

    def _point(self, place: Place | None) -> None:
        if place != self._pointed:
            self._pointed = place
            self.pointed.emit(place)


def _halvings(cells: float) -> int:
    """How often cells are halved until this many of them on a pixel are one at most."""
    return max(0, ceil(log2(max(cells, 1))))
