"""The overview: one thumbnail a head, layers downwards, heads to the right; one of them is selected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPoint, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QFont,
    QFontMetrics,
    QHelpEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from lmstudio_app.gui import theme

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class ThumbnailGrid(QWidget):
    """Put it into a scroll area that resizes its widget; thumbnails grow with the width, within limits."""

    current_changed = Signal(int, int)  # row (a layer's place), column (a head's place)
    activated = Signal()  # Enter or a double click: show the selected head large

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._atlas: QImage | None = None
        self._buffer: npt.NDArray[np.uint8] | None = None  # what the image looks at
        self._shape = (0, 0)  # thumbnails down and across
        self._tile = QSize(1, 1)  # of the atlas, in its pixels
        self._row_names: Sequence[str] = ()
        self._column_names: Sequence[str] = ()
        self._describe: Callable[[int, int], str] = lambda row, column: ""
        self._current = (0, 0)
        self._hovered: tuple[int, int] | None = None
        self._cell = QSize(1, 1)
        self._step = QSize(1, 1)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(self.tr("Overview of all layers and heads"))

    # --- content

    def set_thumbnails(
        self,
        colours: npt.NDArray[np.uint8],
        row_names: Sequence[str],
        column_names: Sequence[str],
        describe: Callable[[int, int], str],
    ) -> None:
        """``colours`` is sRGB ``[rows, columns, height, width, 3]``; ``describe`` gives a thumbnail's tooltip."""
        import numpy as np

        rows, columns, height, width = colours.shape[:4]
        # one image of all: [rows, height, columns, width, 3], each line padded to four bytes as QImage wants it
        atlas = np.full((rows * height, columns * width, 4), 255, dtype=np.uint8)
        atlas[..., :3] = colours.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
        self._buffer = atlas
        self._atlas = QImage(
            atlas.data, atlas.shape[1], atlas.shape[0], atlas.strides[0], QImage.Format.Format_RGBX8888
        )
        self._shape, self._tile = (rows, columns), QSize(width, height)
        self._row_names, self._column_names, self._describe = row_names, column_names, describe
        self._current = (min(self._current[0], rows - 1), min(self._current[1], columns - 1))
        self._lay_out()
        self._tell()

    def clear(self) -> None:
        self._atlas = self._buffer = None
        self._shape = (0, 0)
        self._hovered = None
        self.updateGeometry()
        self.update()

    @property
    def current(self) -> tuple[int, int]:
        return self._current

    def set_current(self, row: int, column: int) -> None:
        """Select a thumbnail; outside the grid the nearest one."""
        rows, columns = self._shape
        if not rows:
            return
        wanted = (max(0, min(row, rows - 1)), max(0, min(column, columns - 1)))
        if wanted != self._current:
            self._current = wanted
            self._tell()
            self.update()
            self.current_changed.emit(*wanted)

    def _tell(self) -> None:
        self.setAccessibleDescription(self._describe(*self._current).replace("\n", ", "))

    # --- geometry

    def _small_font(self) -> QFont:
        font = QFont(self.font())
        font.setPointSizeF(font.pointSizeF() * 0.85)
        return font

    def _margins(self) -> tuple[int, int]:
        """Room for the names at the left and at the top."""
        metrics = QFontMetrics(self._small_font())
        width = max((metrics.horizontalAdvance(name) for name in self._row_names), default=0)
        return width + theme.em(self, 0.5), metrics.height() + theme.em(self, 0.15)

    def _lay_out(self) -> None:
        rows, columns = self._shape
        if not rows:
            return
        left, top = self._margins()
        gap = max(2, theme.em(self, 0.14))
        room = (self.width() - left) // columns - gap
        width = max(theme.em(self, 1.3), min(room, theme.em(self, 7)))
        height = max(theme.em(self, 0.6), round(width * self._tile.height() / self._tile.width()))
        self._cell = QSize(width, height)
        self._step = QSize(width + gap, height + gap)
        self.setMinimumSize(left + columns * (theme.em(self, 1.3) + gap), top + rows * self._step.height() + gap)
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        return self.minimumSize()

    def cell_rect(self, row: int, column: int) -> QRect:
        """Where a thumbnail is, in pixels of this widget."""
        left, top = self._margins()
        place = QPoint(left + column * self._step.width(), top + row * self._step.height())
        return QRect(place, self._cell)

    def cell_at(self, position: QPoint) -> tuple[int, int] | None:
        rows, columns = self._shape
        left, top = self._margins()
        x, y = position.x() - left, position.y() - top
        if not rows or x < 0 or y < 0:
            return None
        column, row = x // self._step.width(), y // self._step.height()
        return (row, column) if row < rows and column < columns else None

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._lay_out()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._lay_out()

    # --- input

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            cell = self.cell_at(event.pos())
            if cell is None:
                QToolTip.hideText()
            else:
                QToolTip.showText(event.globalPos(), self._describe(*cell), self, self.cell_rect(*cell))
            return True
        return super().event(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        cell = self.cell_at(event.position().toPoint())
        if cell is not None and event.button() == Qt.MouseButton.LeftButton:
            self.set_current(*cell)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self.cell_at(event.position().toPoint()) is not None:
            self.activated.emit()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._hover(self.cell_at(event.position().toPoint()))

    def leaveEvent(self, event: QEvent) -> None:
        self._hover(None)
        super().leaveEvent(event)

    def _hover(self, cell: tuple[int, int] | None) -> None:
        if cell != self._hovered:
            self._hovered = cell
            self.setCursor(Qt.CursorShape.PointingHandCursor if cell else Qt.CursorShape.ArrowCursor)
            self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        row, column = self._current
        rows, columns = self._shape
        control = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        keys = {
            Qt.Key.Key_Left: (row, column - 1),
            Qt.Key.Key_Right: (row, column + 1),
            Qt.Key.Key_Up: (row - 1, column),
            Qt.Key.Key_Down: (row + 1, column),
            Qt.Key.Key_Home: (0 if control else row, 0),
            Qt.Key.Key_End: (rows - 1 if control else row, columns - 1),
            Qt.Key.Key_PageUp: (0, column),
            Qt.Key.Key_PageDown: (rows - 1, column),
        }
        if event.key() in keys and rows:
            self.set_current(*keys[Qt.Key(event.key())])
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and rows:
            self.activated.emit()
        else:
            super().keyPressEvent(event)

    # --- painting

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._atlas is None:
            return
        painter = QPainter(self)
        palette = self.palette()
        rows, columns = self._shape
        left, top = self._margins()
        painter.setFont(self._small_font())
        for row, name in enumerate(self._row_names):
            area = QRect(0, self.cell_rect(row, 0).top(), left - theme.em(self, 0.35), self._cell.height())
            self._write(painter, area, Qt.AlignmentFlag.AlignRight, name, row == self._current[0])
        for column, name in enumerate(self._column_names):
            area = QRect(self.cell_rect(0, column).left(), 0, self._cell.width(), top - theme.em(self, 0.15))
            self._write(painter, area, Qt.AlignmentFlag.AlignHCenter, name, column == self._current[1])
        shrinks = self._cell.width() * self.devicePixelRatio() < self._tile.width()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, shrinks)
        painter.setPen(QPen(palette.color(QPalette.ColorRole.Mid), 1))
        exposed = event.rect()
        for row in range(rows):
            if not self.cell_rect(row, 0).united(self.cell_rect(row, columns - 1)).intersects(exposed):
                continue
            for column in range(columns):
                target = self.cell_rect(row, column)
                source = QRectF(
                    column * self._tile.width(), row * self._tile.height(), self._tile.width(), self._tile.height()
                )
                painter.drawImage(QRectF(target), self._atlas, source)
                painter.drawRect(target.adjusted(0, 0, -1, -1))
        if self._hovered is not None and self._hovered != self._current:
            painter.setPen(QPen(palette.color(QPalette.ColorRole.Dark), 2))
            painter.drawRect(self.cell_rect(*self._hovered))
        self._outline_current(painter)

    def _outline_current(self, painter: QPainter) -> None:
        colour = self.palette().color(QPalette.ColorRole.Accent)
        width = max(2, theme.em(self, 0.14)) + (1 if self.hasFocus() else 0)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = QPen(colour, width)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        painter.setPen(pen)
        painter.drawRect(QRectF(self.cell_rect(*self._current)).adjusted(-0.5, -0.5, 0.5, 0.5))

    def _write(self, painter: QPainter, area: QRect, alignment: Qt.AlignmentFlag, text: str, is_current: bool) -> None:
        palette = self.palette()
        painter.setPen(palette.color(QPalette.ColorRole.Text) if is_current else theme.muted(palette))
        painter.drawText(area, alignment | Qt.AlignmentFlag.AlignVCenter, text)
