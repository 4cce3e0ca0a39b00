"""Where the thumbnails of an overview are: as a table of layers and heads, or one behind the other in some order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from PySide6.QtCore import QPoint, QRect, QSize, Qt

Place = tuple[int, int]  # row (a layer's place), column (a head's place)


class Places(Protocol):
    """``size`` is a thumbnail's, ``needed`` the least that the widget must have."""

    size: QSize
    needed: QSize

    def rect(self, place: Place) -> QRect:
        """In pixels of the widget; empty for one that is not shown."""
        ...

    def at(self, position: QPoint) -> Place | None: ...

    def within(self, area: QRect) -> Sequence[Place]:
        """The thumbnails that may be seen in an area."""
        ...

    def moved(self, place: Place, key: Qt.Key, *, far: bool) -> Place | None:
        """Where a key leads (``far``: with Ctrl); None for a key that moves nothing."""
        ...


class TablePlaces:
    """Layers down and heads across, beside and below their names."""

    def __init__(self, shape: Place, corner: QPoint, size: QSize, gap: int, least_width: int) -> None:
        self.size = size
        self._rows, self._columns = shape
        self._corner = corner
        self._step = QSize(size.width() + gap, size.height() + gap)
        self.needed = QSize(
            corner.x() + self._columns * (least_width + gap), corner.y() + self._rows * self._step.height() + gap
        )

    def rect(self, place: Place) -> QRect:
        row, column = place
        return QRect(self._corner + QPoint(column * self._step.width(), row * self._step.height()), self.size)

    def at(self, position: QPoint) -> Place | None:
        inside = position - self._corner
        if inside.x() < 0 or inside.y() < 0:
            return None
        column, row = inside.x() // self._step.width(), inside.y() // self._step.height()
        return (row, column) if row < self._rows and column < self._columns else None

    def within(self, area: QRect) -> Sequence[Place]:
        first = max(0, (area.top() - self._corner.y()) // self._step.height())
        last = min(self._rows - 1, (area.bottom() - self._corner.y()) // self._step.height())
        return [(row, column) for row in range(first, last + 1) for column in range(self._columns)]

    def moved(self, place: Place, key: Qt.Key, *, far: bool) -> Place | None:
        row, column = place
        last = (self._rows - 1, self._columns - 1)
        keys = {
            Qt.Key.Key_Left: (row, column - 1),
            Qt.Key.Key_Right: (row, column + 1),
            Qt.Key.Key_Up: (row - 1, column),
            Qt.Key.Key_Down: (row + 1, column),
            Qt.Key.Key_Home: (0 if far else row, 0),
            Qt.Key.Key_End: (last[0] if far else row, last[1]),
            Qt.Key.Key_PageUp: (0, column),
            Qt.Key.Key_PageDown: (last[0], column),
        }
        if key not in keys:
            return None
        return tuple(min(max(wanted, 0), end) for wanted, end in zip(keys[key], last, strict=True))  # type: ignore[return-value]


class RunningPlaces:
    """One behind the other like words, each below its name."""

    def __init__(self, order: Sequence[Place], per_line: int, head: int, size: QSize, gap: int) -> None:
        self.size = size
        self._order = order
        self._index = {place: index for index, place in enumerate(order)}
        self._per_line = per_line
        self._head = head
        self._step = QSize(size.width() + gap, head + size.height() + gap)
        lines = -(-len(order) // per_line)
        self.needed = QSize(0, lines * self._step.height() + gap)

    def rect(self, place: Place) -> QRect:
        if place not in self._index:
            return QRect()
        line, column = divmod(self._index[place], self._per_line)
        return QRect(QPoint(column * self._step.width(), self._head + line * self._step.height()), self.size)

    def name_rect(self, place: Place) -> QRect:
        rect = self.rect(place)
        return QRect(rect.left(), rect.top() - self._head, rect.width(), self._head)

    def at(self, position: QPoint) -> Place | None:
        column, line = position.x() // self._step.width(), position.y() // self._step.height()
        index = line * self._per_line + column
        inside = position.x() >= 0 and position.y() >= 0 and column < self._per_line and index < len(self._order)
        return self._order[index] if inside else None

    def within(self, area: QRect) -> Sequence[Place]:
        first = max(0, area.top() // self._step.height())
        last = area.bottom() // self._step.height()
        return self._order[first * self._per_line : (last + 1) * self._per_line]

    def moved(self, place: Place, key: Qt.Key, *, far: bool) -> Place | None:
        steps = {
            Qt.Key.Key_Left: -1,
            Qt.Key.Key_Right: 1,
            Qt.Key.Key_Up: -self._per_line,
            Qt.Key.Key_Down: self._per_line,
        }
        if not self._order or (key not in steps and key not in _ENDS):
            return None
        if key in _ENDS:
            return self._order[_ENDS[key]]
        if place not in self._index:  # the chosen head is not among them
            return self._order[0]
        index = self._index[place] + steps[key]
        if abs(steps[key]) > 1 and not 0 <= index < len(self._order):
            return place
        return self._order[min(max(index, 0), len(self._order) - 1)]


_ENDS = {Qt.Key.Key_Home: 0, Qt.Key.Key_PageUp: 0, Qt.Key.Key_End: -1, Qt.Key.Key_PageDown: -1}
