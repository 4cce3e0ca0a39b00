"""A text set in its tokens, special ones too, wrapped as a text is, each on a tint of its own."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QFontMetricsF,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QFrame, QScrollArea, QSizePolicy, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.scaled_label import FontScale
from lmstudio_app.inspection.tokens import Tokens

_SPACES = "▁Ġ"  # how tokenizers write the space before a word
_NEWLINES = "⏎Ċ"
_LINE, _BOX, _SPACE = 1.6, 1.25, 0.3  # in heights of the font


class TextFlow(QWidget):
    """Only the lines in view are painted, so that a text of thousands of tokens scrolls."""

    clicked = Signal(int)
    pointed = Signal(object)  # token or None: under the mouse
    measured = Signal()  # it may need another height

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._words: list[str] = []
        self._gaps: list[bool] = []  # whether there is room before a token
        self._breaks: list[bool] = []  # whether it begins a line
        self._special: Sequence[bool] = ()
        self._tints: list[QColor | None] = []
        self._faded: range = range(0)
        self._marked: int | None = None
        self._boxes: list[QRectF] = []
        self._bottoms: list[float] = []
        self._laid_out: tuple[int, float] = (-1, 0.0)
        self._hovered: int | None = None
        self._pad = 0.0
        FontScale(self, 1.1)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName(name)

    def set_tokens(self, tokens: Tokens) -> None:
        self._special = tokens.special
        self._gaps = [_has_gap(tokens, index) for index in range(len(tokens))]
        self._breaks = [_begins_line(tokens, index) for index in range(len(tokens))]
        self._words = [
            label if gap else label.removeprefix("##") for label, gap in zip(tokens.labels, self._gaps, strict=True)
        ]
        self._tints = [None] * len(tokens)
        self._marked = self._hovered = None
        self._faded = range(0)
        self._laid_out = (-1, 0.0)
        self.setAccessibleDescription(" ".join(tokens.labels[:200]))
        self.updateGeometry()
        self.update()
        self.measured.emit()

    def set_tints(self, tints: Sequence[QColor | None], marked: int | None, faded: range = range(0)) -> None:
        """A colour behind each token; one of them outlined, and some in muted letters: what cannot be looked at."""
        self._tints, self._marked, self._faded = list(tints), marked, faded
        self.update()

    @property
    def marked(self) -> int | None:
        return self._marked

    def tint(self, index: int) -> QColor | None:
        return self._tints[index]

    @property
    def count(self) -> int:
        return len(self._words)

    # --- geometry

    def box(self, index: int) -> QRectF:
        self._lay_out(self.width())
        return self._boxes[index]

    def token_at(self, position: QPointF) -> int | None:
        self._lay_out(self.width())
        index = bisect_left(self._bottoms, position.y())
        while index < len(self._boxes) and self._boxes[index].top() <= position.y():
            if self._boxes[index].contains(position):
                return index
            index += 1
        return None

    def _lay_out(self, width: int) -> None:
        metrics = QFontMetricsF(self.font())
        line = metrics.height()
        if self._laid_out == (width, line):
            return
        self._laid_out = (width, line)
        pad = self._pad = line * 0.12
        ends = [*self._gaps[1:], True][: len(self._gaps)]  # whether a word ends with this token
        advances = {word: metrics.horizontalAdvance(word) for word in set(self._words)}
        self._boxes = []
        x = y = pad
        for word, gap, end, begins in zip(self._words, self._gaps, ends, self._breaks, strict=True):
            room = min(advances[word] + pad * (gap + end), max(1.0, width - 2 * pad))
            if gap and x > pad:
                x += line * _SPACE - pad
            if x > pad and (begins or x + room > width):
                x, y = pad, y + line * _LINE
            self._boxes.append(QRectF(x, y, room, line * _BOX))
            x += room
        self._bottoms = [box.bottom() for box in self._boxes]

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        self._lay_out(width)
        return round((self._bottoms[-1] if self._bottoms else 0) + theme.em(self, 0.4))

    def sizeHint(self) -> QSize:
        width = max(self.width(), theme.characters(self, 30))
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 12), theme.em(self, 2))

    # --- drawing

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._lay_out(self.width())
        palette, radius = self.palette(), theme.em(self, 0.15)
        text, muted = palette.color(QPalette.ColorRole.Text), theme.muted(palette)
        pen = QPen(palette.color(QPalette.ColorRole.Accent), max(2, theme.em(self, 0.12)))
        area = QRectF(event.rect())
        index = bisect_left(self._bottoms, area.top())
        flags = int(Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine)
        while index < len(self._boxes) and self._boxes[index].top() <= area.bottom():
            box, tint = self._boxes[index], self._tints[index]
            if tint is not None:
                painter.fillRect(box, tint)
            if index in (self._marked, self._hovered):
                painter.setPen(pen if index == self._marked else muted)
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawRoundedRect(box.adjusted(1, 1, -1, -1), radius, radius)
            is_quiet = (self._special[index] and tint is None) or index in self._faded
            painter.setPen(muted if is_quiet else text)
            painter.drawText(box.adjusted(self._pad if self._gaps[index] else 0, 0, 0, 0), flags, self._words[index])
            index += 1

    # --- mouse and keys

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._point(self.token_at(event.position()))

    def leaveEvent(self, event: QEvent) -> None:
        self._point(None)

    def _point(self, index: int | None) -> None:
        if index != self._hovered:
            self._hovered = index
            self.update()
            self.pointed.emit(index)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        index = self.token_at(event.position())
        if index is not None and event.button() == Qt.MouseButton.LeftButton:
            self.clicked.emit(index)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1, Qt.Key.Key_Up: 0, Qt.Key.Key_Down: 0}
        if not self._words or event.key() not in (*steps, Qt.Key.Key_Home, Qt.Key.Key_End):
            super().keyPressEvent(event)
            return
        current = self._marked if self._marked is not None else 0
        if event.key() == Qt.Key.Key_Home:
            current = 0
        elif event.key() == Qt.Key.Key_End:
            current = self.count - 1
        elif event.key() in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            current = self._beside(current, 1 if event.key() == Qt.Key.Key_Down else -1)
        else:
            current = min(max(current + steps[Qt.Key(event.key())], 0), self.count - 1)
        self.clicked.emit(current)

    def _beside(self, index: int, lines: int) -> int:
        """The token of the line above or below that is nearest to this one."""
        box = self.box(index)
        y = box.center().y() + lines * self._laid_out[1] * _LINE
        same = [at for at, other in enumerate(self._boxes) if other.top() <= y <= other.bottom()]
        return min(same, key=lambda at: abs(self._boxes[at].center().x() - box.center().x()), default=index)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_pad"):
            self.updateGeometry()
            self.measured.emit()


class FlowArea(QScrollArea):
    """A :class:`TextFlow` that scrolls when there is no room for all of it, and is no taller than it."""

    def __init__(self, flow: TextFlow, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.flow = flow
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(flow)
        self.viewport().setAutoFillBackground(False)
        flow.setAutoFillBackground(False)  # setWidget switched it on

        flow.measured.connect(self._fit)

    def _fit(self) -> None:
        needed = self.flow.heightForWidth(self.width())
        self.setMaximumHeight(max(self.flow.minimumSizeHint().height(), needed))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 30), self.maximumHeight())

    def show_token(self, index: int) -> None:
        centre = self.flow.box(index).center().toPoint()
        self.ensureVisible(centre.x(), centre.y(), 0, theme.em(self, 2))


def _has_gap(tokens: Tokens, index: int) -> bool:
    """Is there white space before this token, or an end of the text?"""
    if index == 0 or tokens.special[index] or tokens.special[index - 1]:
        return True
    if tokens.tokens[index][:1] in _SPACES and tokens.tokens[index]:
        return True
    if tokens.segments[index] != tokens.segments[index - 1]:
        return True
    before, after = tokens.spans[index - 1], tokens.spans[index]
    if before is not None and after is not None:
        return after[0] > before[1]
    return not tokens.tokens[index].startswith("##")


def _begins_line(tokens: Tokens, index: int) -> bool:
    if index == 0:
        return False
    if any(mark in tokens.labels[index - 1] for mark in _NEWLINES):
        return True
    segment = tokens.segments[index]
    earlier = [other for other in tokens.segments[max(0, index - 3) : index] if other is not None]
    return segment is not None and bool(earlier) and earlier[-1] != segment
