"""A heat map of weights between tokens: zoom with the wheel, pan by dragging, and read off any cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPalette, QResizeEvent
from PySide6.QtWidgets import QFrame, QSizePolicy, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.token_ruler import TokenRuler
from lmstudio_app.gui.widgets.colour_bar import ColourBar
from lmstudio_app.inspection.scales import Scaled, pool_shades, scale_to

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmstudio_app.inspection.scales import Shades

Cell = tuple[int, int]  # query, key
_NEAREST = 4  # tokens that fill the view at the closest zoom
_LONGEST = 1.5  # the longer side of a cell to the shorter one


class Heatmap(QWidget):
    """Importing pyqtgraph, so build it only when it is shown.

    The cell under the mouse is outlined; a click (or an arrow key) keeps one marked when the mouse has left.
    """

    cell_changed = Signal(object)  # Cell or None: what the read-out should tell
    cell_kept = Signal(object)  # Cell or None: marked by a click or a key
    range_changed = Signal()  # another part is in view

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        import pyqtgraph as pg

        self._pg = pg
        self._weights: npt.NDArray[np.float32] | None = None
        self._levels: list[Shades] = []  # one pixel stands for 1, 2, 4 … tokens
        self._is_signed = False
        self._lut: npt.NDArray[np.uint8] | None = None
        self._shown = 0  # tokens along a pixel of the image that is shown; 0: none is
        self._kept: Cell | None = None
        self._hovered: Cell | None = None
        self._rows = TokenRuler(upright=False, parent=self)
        self._columns = TokenRuler(upright=True, parent=self)
        self._rows.clicked.connect(self._on_row_clicked)
        self._columns.clicked.connect(self._on_column_clicked)
        self._bar = ColourBar(self)
        self.view = pg.GraphicsView(self)
        self.view.setFrameShape(QFrame.Shape.NoFrame)
        self.view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._box = pg.ViewBox(enableMenu=False, invertY=True, defaultPadding=0)
        self.view.setCentralItem(self._box)
        self._image = pg.ImageItem(axisOrder="row-major")
        self._box.addItem(self._image)
        self._outline = pg.QtWidgets.QGraphicsRectItem()
        self._outline.setZValue(10)
        self._outline.hide()
        self._box.addItem(self._outline, ignoreBounds=True)
        self._box.sigRangeChanged.connect(self._on_range_changed)
        self.view.scene().sigMouseClicked.connect(self._on_mouse_clicked)
        self.view.viewport().installEventFilter(self)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(self.tr("Attention of one head"))
        self.setToolTip("")
        self._restyle()

    # --- content

    def set_tokens(self, queries: Sequence[str], keys: Sequence[str]) -> None:
        """Labels of the rows and the columns. The zoom goes back to the whole map."""
        self._rows.set_labels(queries)
        self._columns.set_labels(keys)
        self._kept = self._hovered = None
        width, height = len(keys), len(queries)
        self._box.setLimits(
            xMin=0,
            yMin=0,
            xMax=width,
            yMax=height,
            minXRange=min(_NEAREST, width),
            minYRange=min(_NEAREST, height),
            maxXRange=width,
            maxYRange=height,
        )
        self._lay_out()
        self.show_all()

    def set_weights(
        self, weights: npt.NDArray[np.float32], lut: npt.NDArray[np.uint8], top: float | None = None
    ) -> None:
        """Float32 ``[query, key]``; the last colour of ``lut`` stands for ``top`` (None: the largest weight)."""
        self.set_scaled(weights, scale_to(weights, float(weights.max()) if top is None else top), lut)

    def set_scaled(
        self,
        weights: npt.NDArray[np.float32],
        scaled: Scaled,
        lut: npt.NDArray[np.uint8],
        levels: Sequence[Shades] = (),
    ) -> None:
        """``weights`` float ``[query, key]`` are what the read-out tells, ``scaled`` is what is drawn.

        ``levels``: the shades and what :func:`pool_shades` made of them, as far as they are there already.
        """
        self._weights = weights
        self._is_signed = scaled.is_signed
        self._levels = list(levels) or [scaled.shades]
        self._shown = 0
        self.set_lut(lut)
        self._bar.set_scaled(lut, scaled)
        self._show_shades()
        self._mark()
        self.cell_changed.emit(self.cell)

    def set_lut(self, lut: npt.NDArray[np.uint8]) -> None:
        """Other colours for the same shades."""
        self._lut = lut
        self._image.setLookupTable(lut)
        self._bar.set_lut(lut)

    def clear(self) -> None:
        """Show no weights; the tokens stay."""
        self._weights = None
        self._levels = []
        self._shown = 0
        self._image.clear()
        self._hovered = self._kept = None
        self._mark()
        self.cell_changed.emit(None)

    def show_all(self) -> None:
        """Zoom out to the whole map."""
        if self._rows._labels:
            self._box.setRange(xRange=(0, len(self._columns._labels)), yRange=(0, len(self._rows._labels)), padding=0)

    @property
    def cell(self) -> Cell | None:
        """The cell that the read-out tells about."""
        return self._hovered or self._kept

    @property
    def kept(self) -> Cell | None:
        """The cell that is marked, also when the mouse is elsewhere."""
        return self._kept

    def weight(self, cell: Cell) -> float:
        assert self._weights is not None
        return float(self._weights[cell])

    def show_range(self, queries: tuple[float, float], keys: tuple[float, float]) -> None:
        """Zoom to this part, as :meth:`visible_range` tells it."""
        self._box.setRange(xRange=keys, yRange=queries, padding=0)

    def point_at(self, cell: Cell | None) -> None:
        """As if the mouse was over a cell, for maps that lie beside each other."""
        self._hover(cell)

    def visible_range(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """First and last query in view, first and last key in view."""
        (left, right), (upper, lower) = self._box.viewRange()
        return (upper, lower), (left, right)

    # --- the image: pooled with a maximum while a pixel stands for more than one token

    def _factor(self) -> int:
        (_, _), (left, right) = self.visible_range()
        pixels = max(1.0, self.view.width() * self.devicePixelRatio())
        factor = 1
        while (right - left) / factor > pixels:
            factor *= 2
        return factor

    def _show_shades(self) -> None:
        factor = self._factor()
        if not self._levels or factor == self._shown:
            return
        level = factor.bit_length() - 1
        while len(self._levels) <= level:
            self._levels.append(pool_shades(self._levels[-1], signed=self._is_signed))
        self._shown = factor
        shades = self._levels[level]
        self._image.setImage(shades, autoLevels=False, levels=(0, 255))
        rows, columns = shades.shape
        self._image.setRect(QRectF(0, 0, columns * factor, rows * factor))

    # --- geometry

    def _lay_out(self) -> None:
        """The map as large as fits, its cells square or nearly so, the rulers and the colour bar around it."""
        gap = theme.em(self, 0.5)
        left, roof = self._rows.breadth(), self._columns.breadth()
        bar = self._bar.sizeHint().width()
        rows, columns = max(1, len(self._rows._labels)), max(1, len(self._columns._labels))
        room_x = max(1, self.width() - left - gap - bar)
        over = self._rows.overhang()
        room_y = max(1, self.height() - roof - over)
        across, down = room_x / columns, room_y / rows
        across, down = min(across, down * _LONGEST), min(down, across * _LONGEST)
        width, height = max(1, round(across * columns)), max(1, round(down * rows))
        x = (self.width() - left - width - gap - bar) // 2
        self._rows.setGeometry(x, roof - over, left, height + 2 * over)
        self._columns.setGeometry(x + left - over, 0, width + 2 * over, roof)
        self.view.setGeometry(x + left, roof, width, height)
        self._bar.setGeometry(x + left + width + gap, roof, bar, height)
        self._show_shades()

    def sizeHint(self) -> QSize:
        return QSize(theme.em(self, 28), theme.em(self, 26))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.em(self, 12), theme.em(self, 10))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._lay_out()

    def _on_range_changed(self) -> None:
        (upper, lower), (left, right) = self.visible_range()
        self._rows.set_range(upper, lower)
        self._columns.set_range(left, right)
        self._show_shades()
        self.range_changed.emit()

    # --- the cell

    def _cell_at(self, position: QPointF) -> Cell | None:
        if self._weights is None or not self._box.sceneBoundingRect().contains(position):
            return None
        point = self._box.mapSceneToView(position)
        query, key = int(point.y()), int(point.x())
        rows, columns = self._weights.shape
        return (query, key) if 0 <= query < rows and 0 <= key < columns else None

    def _on_mouse_clicked(self, event: Any) -> None:
        self.setFocus(Qt.FocusReason.MouseFocusReason)
        if event.double():
            self.show_all()
        elif event.button() == Qt.MouseButton.LeftButton:
            self.keep(self._cell_at(event.scenePos()))

    def _hover(self, cell: Cell | None) -> None:
        if cell != self._hovered:
            self._hovered = cell
            self._mark()
            self.cell_changed.emit(self.cell)

    def keep(self, cell: Cell | None) -> None:
        """Mark a cell until another one is, and show it; None marks none."""
        self.mark_cell(cell)
        self.cell_kept.emit(cell)

    def mark_cell(self, cell: Cell | None) -> None:
        """As :meth:`keep`, without the signal :attr:`cell_kept`."""
        self._kept = cell
        if cell is not None:
            query, key = cell
            (upper, lower), (left, right) = self.visible_range()
            dx = min(0, key - left) + max(0, key + 1 - right)
            dy = min(0, query - upper) + max(0, query + 1 - lower)
            if dx or dy:
                self._box.translateBy(x=dx, y=dy)
        self._mark()
        self.cell_changed.emit(self.cell)

    def _on_row_clicked(self, query: int) -> None:
        """A token that looks: what it looks at most."""
        if self._weights is not None:
            self.keep((query, int(self._weights[query].argmax())))

    def _on_column_clicked(self, key: int) -> None:
        """A token that is looked at: by whom most."""
        if self._weights is not None:
            self.keep((int(self._weights[:, key].argmax()), key))

    def _mark(self) -> None:
        cell = self.cell
        self._rows.mark(cell[0] if cell else None)
        self._columns.mark(cell[1] if cell else None)
        self._outline.setVisible(cell is not None)
        if cell is not None:
            self._outline.setRect(QRectF(cell[1], cell[0], 1, 1))

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        # not pyqtgraph's signal, which drops moves that follow each other fast, so also the last one
        if isinstance(event, QMouseEvent) and event.type() == QEvent.Type.MouseMove:
            self._hover(self._cell_at(self.view.mapToScene(event.position().toPoint())))
        elif event.type() == QEvent.Type.Leave:
            self._hover(None)
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        moves = {
            Qt.Key.Key_Left: (0, -1),
            Qt.Key.Key_Right: (0, 1),
            Qt.Key.Key_Up: (-1, 0),
            Qt.Key.Key_Down: (1, 0),
        }
        if self._weights is None:
            super().keyPressEvent(event)
        elif event.key() in moves:
            self._step(*moves[Qt.Key(event.key())])
        elif event.key() in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self._zoom(0.7)
        elif event.key() == Qt.Key.Key_Minus:
            self._zoom(1 / 0.7)
        elif event.key() in (Qt.Key.Key_0, Qt.Key.Key_Home):
            self.show_all()
        elif event.key() == Qt.Key.Key_Escape and self._kept is not None:
            self.keep(None)
        else:
            super().keyPressEvent(event)

    def _step(self, rows: int, columns: int) -> None:
        """Move the kept cell."""
        assert self._weights is not None
        self._hovered = None
        height, width = self._weights.shape
        query, key = self._kept or (0, 0)
        if self._kept is not None:
            query, key = min(max(query + rows, 0), height - 1), min(max(key + columns, 0), width - 1)
        self.keep((query, key))

    def _zoom(self, factor: float) -> None:
        centre = None
        if self._kept is not None:
            centre = self._pg.Point(self._kept[1] + 0.5, self._kept[0] + 0.5)
        self._box.scaleBy((factor, factor), center=centre)

    # --- looks

    def _restyle(self) -> None:
        palette = self.palette()
        self.view.setBackground(palette.color(QPalette.ColorRole.Base))
        self._box.setBorder(self._pg.mkPen(palette.color(QPalette.ColorRole.Mid)))
        self._outline.setPen(self._pg.mkPen(theme.warning(palette), width=max(2, theme.em(self, 0.13))))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if not hasattr(self, "_outline"):
            return
        if event.type() == QEvent.Type.PaletteChange:
            self._restyle()
        elif event.type() == QEvent.Type.FontChange:
            self._lay_out()

    def shutdown(self) -> None:
        """Take the scene apart while Qt is whole."""
        self.view.viewport().removeEventFilter(self)  # close() destroys it, and Python must not be asked about that
        self.view.close()
