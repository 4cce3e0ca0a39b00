"""The overview: one thumbnail a head, in a table of layers and heads or in some order; one of them is selected."""

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
from lmstudio_app.gui.attention.overview_places import Place, Places, RunningPlaces, TablePlaces

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


_LEAST, _USUAL, _MOST = 1.3, 3.4, 7.0  # width of a thumbnail, in em


class ThumbnailGrid(QWidget):
    """Put it into a scroll area that resizes its widget; thumbnails grow with the width, within limits.

    A head's place is its row and column in the table, also while :meth:`set_order` shows them otherwise.
    """

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
        self._row_numbers: Sequence[str] = ()
        self._describe: Callable[[int, int], str] = lambda row, column: ""
        self._current = (0, 0)
        self._hovered: Place | None = None
        self._order: list[Place] | None = None
        self._places: Places = RunningPlaces((), 1, 0, QSize(1, 1), 0)
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
        row_numbers: Sequence[str] = (),
    ) -> None:
        """``colours`` is sRGB ``[rows, columns, height, width, 3]``; ``describe`` gives a thumbnail's tooltip.

        ``row_numbers`` are the rows' short names, as thumbnails in another order are called by; else 0, 1 and so on.
        The order stays; with another number of heads they are a table again.
        """
        import numpy as np

        rows, columns, height, width = colours.shape[:4]
        # one image of all: [rows, height, columns, width, 3], each line padded to four bytes as QImage wants it
        atlas = np.full((rows * height, columns * width, 4), 255, dtype=np.uint8)
        atlas[..., :3] = colours.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
        self._buffer = atlas
        self._atlas = QImage(
            atlas.data, atlas.shape[1], atlas.shape[0], atlas.strides[0], QImage.Format.Format_RGBX8888
        )
        if self._shape != (rows, columns):
            self._order = None
        self._shape, self._tile = (rows, columns), QSize(width, height)
        self._row_names, self._column_names, self._describe = row_names, column_names, describe
        self._row_numbers = row_numbers or [str(row) for row in range(rows)]
        self._current = (min(self._current[0], rows - 1), min(self._current[1], columns - 1))
        self._lay_out()
        self._tell()

    def clear(self) -> None:
        self._atlas = self._buffer = None
        self._shape = (0, 0)
        self._order = None
        self._hovered = None
        self.updateGeometry()
        self.update()

    def set_order(self, order: Sequence[Place] | None) -> None:
        """Show these heads only, one behind the other; None: all of them, as a table."""
        self._order = None if order is None else list(order)
        self._hovered = None
        self._lay_out()

    @property
    def order(self) -> list[Place] | None:
        return self._order

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
        gap = max(2, theme.em(self, 0.14))
        if self._order is None:
            left, top = self._margins()
            size = self._tile_size((self.width() - left) // columns - gap)
            self._places = TablePlaces(self._shape, QPoint(left, top), size, gap, theme.em(self, _LEAST))
        else:
            gap *= 2
            per_line = max(1, (self.width() + gap) // (theme.em(self, _USUAL) + gap))
            size = self._tile_size((self.width() + gap) // per_line - gap)
            head = QFontMetrics(self._small_font()).height() + theme.em(self, 0.1)
            self._places = RunningPlaces(self._order, per_line, head, size, gap)
        self.setMinimumSize(self._places.needed)
        self.updateGeometry()
        self.update()

    def _tile_size(self, room: int) -> QSize:
        width = max(theme.em(self, _LEAST), min(room, theme.em(self, _MOST)))
        return QSize(width, max(theme.em(self, 0.6), round(width * self._tile.height() / self._tile.width())))

    def sizeHint(self) -> QSize:
        return self.minimumSize()

    def cell_rect(self, row: int, column: int) -> QRect:
        """Where a thumbnail is, in pixels of this widget; empty when it is not shown."""
        return self._places.rect((row, column))

    def cell_at(self, position: QPoint) -> Place | None:
        return self._places.at(position) if self._shape[0] else None

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
                QToolTip.showText(event.globalPos(), self._describe(*cell), self, self._places.rect(cell))
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
        far = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        target = self._places.moved(self._current, Qt.Key(event.key()), far=far) if self._shape[0] else None
        if target is not None:
            self.set_current(*target)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self._shape[0]:
            self.activated.emit()
        else:
            super().keyPressEvent(event)

    # --- painting

    def paintEvent(self, event: QPaintEvent) -> None:
        if self._atlas is None:
            return
        painter = QPainter(self)
        palette = self.palette()
        painter.setFont(self._small_font())
        shown = self._places.within(event.rect())
        if isinstance(self._places, RunningPlaces):
            for place in shown:
                name = "·".join(filter(None, (self._row_numbers[place[0]], self._column_names[place[1]])))
                area = self._places.name_rect(place)
                self._write(painter, area, Qt.AlignmentFlag.AlignHCenter, name, place == self._current)
        else:
            self._write_names(painter)
        tile = self._tile
        shrinks = self._places.size.width() * self.devicePixelRatio() < tile.width()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, shrinks)
        painter.setPen(QPen(palette.color(QPalette.ColorRole.Mid), 1))
        for row, column in shown:
            target = self._places.rect((row, column))
            source = QRectF(column * tile.width(), row * tile.height(), tile.width(), tile.height())
            painter.drawImage(QRectF(target), self._atlas, source)
            painter.drawRect(target.adjusted(0, 0, -1, -1))
        if self._hovered is not None and self._hovered != self._current:
            painter.setPen(QPen(palette.color(QPalette.ColorRole.Dark), 2))
            painter.drawRect(self._places.rect(self._hovered))
        if not self._places.rect(self._current).isEmpty():
            self._outline_current(painter)

    def _write_names(self, painter: QPainter) -> None:
        """Of the rows and columns of the table."""
        left, top = self._margins()
        size = self._places.size
        for row, name in enumerate(self._row_names):
            area = QRect(0, self.cell_rect(row, 0).top(), left - theme.em(self, 0.35), size.height())
            self._write(painter, area, Qt.AlignmentFlag.AlignRight, name, row == self._current[0])
        for column, name in enumerate(self._column_names):
            area = QRect(self.cell_rect(0, column).left(), 0, size.width(), top - theme.em(self, 0.15))
            self._write(painter, area, Qt.AlignmentFlag.AlignHCenter, name, column == self._current[1])

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
