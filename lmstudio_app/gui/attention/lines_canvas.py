"""Tokens that look on the left, those looked at on the right, and lines between them; only what is in view is drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from PySide6.QtCore import QEvent, QLineF, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFontMetricsF,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QWheelEvent,
)
from PySide6.QtWidgets import QScrollBar, QSizePolicy, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.lines_choice import HeadShares, LayerShares, Lines, strongest_lines
from lmstudio_app.gui.attention.shown_head import KEYS, QUERIES, End

MOST_LINES = 250  # as many as are drawn in less than a frame
_FEW_LINES = 80  # these may be thick
_OPACITIES = 12
_ROW, _WIDEST_LABEL, _WIDEST_GAP = 1.35, 20, 26  # in lines, characters, lines


class LinesCanvas(QWidget):
    """Two columns, each with a scroll bar of its own that the owner lays out."""

    pointed = Signal(object)  # End or None: under the mouse
    chosen = Signal(object)  # End or None: by a click or a key
    drawn = Signal(int, int)  # lines that are drawn, of how many

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._labels: tuple[Sequence[str], Sequence[str]] = ((), ())
        self._special: tuple[Sequence[bool], Sequence[bool]] = ((), ())
        self._shares: HeadShares | LayerShares | None = None
        self._colours: list[QColor] = []
        self._heads: list[int] = []
        self._is_relative = True
        self._widths = (0.0, 0.0)
        self.hovered: End | None = None
        self.kept: End | None = None
        self._lines: Lines | None = None
        self.bars = (QScrollBar(Qt.Orientation.Vertical, self), QScrollBar(Qt.Orientation.Vertical, self))
        names = (self.tr("Scroll the tokens that look"), self.tr("Scroll the tokens looked at"))
        for bar, name in zip(self.bars, names, strict=True):
            bar.setAccessibleName(name)
            bar.setToolTip(name)
            bar.valueChanged.connect(self._stale)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(self.tr("Lines from the tokens that look to those looked at"))

    # --- content

    def set_tokens(
        self, queries: Sequence[str], keys: Sequence[str], special: tuple[Sequence[bool], Sequence[bool]]
    ) -> None:
        self._labels, self._special = (queries, keys), special
        self.hovered = self.kept = None
        self._measure()
        self._fit_bars()
        for bar in self.bars:
            bar.setValue(0)
        self._stale()

    def set_shares(
        self, shares: HeadShares | LayerShares, colours: list[QColor], heads: list[int], *, relative: bool = True
    ) -> None:
        """A colour for every head of ``shares``; ``heads`` are those whose lines are drawn.

        ``relative``: the strongest line of those that are drawn has the full colour, however faint it is.
        """
        self._shares, self._colours, self._heads, self._is_relative = shares, colours, heads, relative
        self._stale()

    def set_colours(self, colours: list[QColor]) -> None:
        self._colours = colours
        self.update()

    def keep(self, end: End | None) -> None:
        """Draw the lines of one token only, until another one is kept; None: of all in view."""
        self.kept = end
        self.hovered = None
        if end is not None:
            self._show(*end)
            self._show_other(end)
        self._stale()

    @property
    def active(self) -> End | None:
        return self.hovered if self.hovered is not None else self.kept

    def shares_of(self, end: End) -> list[float]:
        """How strongly each token of the other side is tied to this one, all heads that are shown together."""
        if self._shares is None or not self._heads:
            return []
        side, index = end
        if side == QUERIES:
            picked = self._shares.rows(index, index + 1)[self._heads, 0]
        else:
            picked = self._shares.column(index)[self._heads, :, 0]
        strongest: list[float] = picked.max(axis=0).tolist()
        return strongest

    # --- geometry

    def row_height(self) -> int:
        return theme.em(self, _ROW)

    def _measure(self) -> None:
        metrics = QFontMetricsF(self.font())
        widest = theme.characters(self, _WIDEST_LABEL)
        self._widths = tuple(  # type: ignore[assignment]
            min(max((metrics.horizontalAdvance(label) for label in set(labels)), default=0.0), widest)
            + theme.em(self, 0.8)
            for labels in self._labels
        )

    def _columns(self) -> tuple[QRectF, QRectF]:
        """The two columns of labels; the lines run between them."""
        gap = min(max(theme.em(self, 4), self.width() - sum(self._widths)), theme.em(self, _WIDEST_GAP))
        left = max(0.0, (self.width() - sum(self._widths) - gap) / 2)
        first = QRectF(left, 0, self._widths[0], self.height())
        return first, QRectF(first.right() + gap, 0, self._widths[1], self.height())

    def _fit_bars(self) -> None:
        for bar, labels in zip(self.bars, self._labels, strict=True):
            content = len(labels) * self.row_height()
            bar.setRange(0, max(0, content - self.height()))
            bar.setPageStep(max(1, self.height()))
            bar.setSingleStep(self.row_height())
            bar.setVisible(content > self.height())

    def visible(self, side: int) -> range:
        """The tokens of a side that are in view."""
        row, top = self.row_height(), self.bars[side].value()
        count = len(self._labels[side])
        return range(min(top // row, count), min(count, -(-(top + self.height()) // row)))

    def centre(self, side: int, index: int) -> float:
        """The height of a token's middle in the widget, also outside of it."""
        return (index + 0.5) * self.row_height() - self.bars[side].value()

    def end_at(self, position: QPointF) -> End | None:
        for side, column in enumerate(self._columns()):
            if column.contains(position):
                index = int((position.y() + self.bars[side].value()) // self.row_height())
                return (side, index) if index < len(self._labels[side]) else None
        return None

    def _show(self, side: int, index: int) -> None:
        """Scroll to a token that is out of view."""
        row = self.row_height()
        if not 0 <= index * row - self.bars[side].value() <= self.height() - row:
            self.bars[side].setValue(index * row - self.height() // 2)

    def _show_other(self, end: End) -> None:
        """Scroll the other side to the strongest line's end, when no strong one is in view."""
        shares = self.shares_of(end)
        if shares:
            strongest = max(shares)
            seen = self.visible(1 - end[0])
            if not any(shares[index] >= strongest / 2 for index in seen):
                self._show(1 - end[0], shares.index(strongest))

    # --- drawing

    def _stale(self) -> None:
        self._lines = None
        self.update()

    def lines(self) -> Lines:
        """Those that are drawn now."""
        if self._lines is None:
            self._lines = self._choose()
            self.drawn.emit(len(self._lines.shares), self._lines.total)
        return self._lines

    def _opacity(self, lines: Lines) -> float:
        """What a share is multiplied with."""
        return 1 / max(lines.shares[0], 1e-6) if self._is_relative and lines.shares else 1.0

    def _choose(self) -> Lines:
        if self._shares is None:
            return Lines([], [], [], [], 0)
        active = self.active
        if active is not None and active[0] == KEYS:
            return strongest_lines(self._shares.column(active[1]), 0, active[1], self._heads, MOST_LINES)
        seen = self.visible(QUERIES) if active is None else range(active[1], active[1] + 1)
        return strongest_lines(self._shares.rows(seen.start, seen.stop), seen.start, 0, self._heads, MOST_LINES)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        columns, lines = self._columns(), self.lines()
        if self.active is not None:
            self._paint_tints(painter, columns, lines)
        self._paint_lines(painter, columns, lines)
        for side, column in enumerate(columns):
            self._paint_labels(painter, side, column)

    def _paint_lines(self, painter: QPainter, columns: tuple[QRectF, QRectF], lines: Lines) -> None:
        batches: dict[tuple[int, int], list[QLineF]] = defaultdict(list)
        left, right = columns[0].right(), columns[1].left()
        bottom, factor = self.height(), self._opacity(lines) * _OPACITIES
        for head, query, key, share in zip(lines.heads, lines.queries, lines.keys, lines.shares, strict=True):
            start, end = self.centre(QUERIES, query), self.centre(KEYS, key)
            if (start >= 0 or end >= 0) and (start <= bottom or end <= bottom):
                batches[(round(min(share * factor, _OPACITIES)), head)].append(QLineF(left, start, right, end))
        is_few = len(lines.shares) <= _FEW_LINES
        for (opacity, head), batch in sorted(batches.items()):
            colour = QColor(self._colours[head])
            colour.setAlphaF(max(0.06, opacity / _OPACITIES))
            painter.setPen(QPen(colour, max(1.0, theme.em(self, 0.12)) if is_few else 1))
            painter.drawLines(batch)

    def _paint_tints(self, painter: QPainter, columns: tuple[QRectF, QRectF], lines: Lines) -> None:
        """Behind the other side's labels: the colour of the line, or a stripe of each head's."""
        assert self.active is not None
        side = 1 - self.active[0]
        row, column = self.row_height(), columns[side]
        factor = self._opacity(lines)
        stripes = self._heads if isinstance(self._shares, LayerShares) else []
        width = column.width() / max(1, len(stripes))
        places = {head: number * width for number, head in enumerate(stripes)}
        painter.setPen(Qt.PenStyle.NoPen)
        for head, query, key, share in zip(lines.heads, lines.queries, lines.keys, lines.shares, strict=True):
            middle = self.centre(side, key if side == KEYS else query)
            if -row < middle < self.height() + row:
                colour = QColor(self._colours[head])
                colour.setAlphaF(0.5 * min(share * factor, 1.0))
                painter.fillRect(
                    QRectF(column.left() + places.get(head, 0.0), middle - row / 2 + 1, width, row - 2), colour
                )

    def _paint_labels(self, painter: QPainter, side: int, column: QRectF) -> None:
        palette, row = self.palette(), self.row_height()
        pad = theme.em(self, 0.3)
        flags = Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine
        flags |= Qt.AlignmentFlag.AlignRight if side == QUERIES else Qt.AlignmentFlag.AlignLeft
        text, muted = palette.color(QPalette.ColorRole.Text), theme.muted(palette)
        metrics = painter.fontMetrics()
        for index in self.visible(side):
            middle = self.centre(side, index)
            area = QRectF(column.left(), middle - row / 2, column.width(), row)
            if self.active == (side, index):
                painter.setPen(QPen(palette.color(QPalette.ColorRole.Accent), max(1, theme.em(self, 0.1))))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawRoundedRect(area.adjusted(1, 1, -1, -1), pad / 2, pad / 2)
            painter.setPen(muted if self._special[side][index] and self.active is None else text)  # tints need contrast
            label = metrics.elidedText(
                self._labels[side][index], Qt.TextElideMode.ElideRight, int(area.width() - 2 * pad)
            )
            painter.drawText(area.adjusted(pad, 0, -pad, 0), int(flags), label)

    # --- mouse and keys

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._point(self.end_at(event.position()))

    def leaveEvent(self, event: QEvent) -> None:
        self._point(None)

    def _point(self, end: End | None) -> None:
        if end != self.hovered:
            self.hovered = end
            self._stale()
            self.pointed.emit(end)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            end = self.end_at(event.position())
            self.choose(None if end == self.kept else end)

    def choose(self, end: End | None) -> None:
        self.keep(end)
        self.chosen.emit(end)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Over a column that column scrolls, between them both do."""
        first, second = self._columns()
        x = event.position().x()
        sides = [QUERIES] if x <= first.right() else [KEYS] if x >= second.left() else [QUERIES, KEYS]
        pixels = event.pixelDelta().y() or event.angleDelta().y() / 120 * 3 * self.row_height()
        for side in sides:
            self.bars[side].setValue(self.bars[side].value() - round(pixels))
        self._point(self.end_at(event.position()))
        event.accept()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        key, kept = event.key(), self.kept
        steps = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1, Qt.Key.Key_PageUp: -10, Qt.Key.Key_PageDown: 10}
        if not self._labels[QUERIES]:
            super().keyPressEvent(event)
        elif key in steps:
            side, index = kept or (QUERIES, -steps[Qt.Key(key)])
            self.choose((side, min(max(index + steps[Qt.Key(key)], 0), len(self._labels[side]) - 1)))
        elif key in (Qt.Key.Key_Left, Qt.Key.Key_Right) and kept is not None:
            side = QUERIES if key == Qt.Key.Key_Left else KEYS
            if side != kept[0]:
                shares = self.shares_of(kept)
                self.choose((side, shares.index(max(shares)) if shares else 0))
        elif key == Qt.Key.Key_Escape and kept is not None:
            self.choose(None)
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: QEvent) -> None:
        self._fit_bars()
        self._stale()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "bars"):
            self._measure()
            self._fit_bars()
            self._stale()

    def sizeHint(self) -> QSize:
        return QSize(theme.em(self, 28), theme.em(self, 26))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.em(self, 14), theme.em(self, 10))
