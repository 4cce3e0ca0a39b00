"""A text cut into the pieces of a vocabulary, each on a tint of its own, wrapped like a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetricsF, QHelpEvent, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from lmstudio_app.gui import theme

_TINTS = (0, 2, 3, 1)  # of the palette's categorical colours; neighbours differ, also without colour vision
_TINT = 0.24
_SPACES = "▁Ġ"  # how tokenizers write the space before a word


class TokenStrip(QWidget):
    """``tokens`` as the tokenizer names them. A screen reader hears the pieces one by one."""

    def __init__(
        self, tokens: Sequence[str], special: frozenset[str] = frozenset(), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._tokens = tuple(tokens)
        self._special = special
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setAccessibleName(self.tr("Text in {count} pieces").format(count=len(self._tokens)))
        self.setAccessibleDescription(", ".join(self._shown(token) for token in self._tokens))
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    @property
    def tokens(self) -> tuple[str, ...]:
        return self._tokens

    def _shown(self, token: str) -> str:
        """The piece without the tokenizer's mark for a space, which is shown as room before it."""
        return token.lstrip(_SPACES) or "␣"

    def _boxes(self, width: float) -> Iterator[tuple[int, QRectF]]:
        metrics = QFontMetricsF(self.font())
        line, pad = metrics.height() * 1.35, metrics.averageCharWidth() * 0.35
        x = y = 0.0
        for number, token in enumerate(self._tokens):
            is_inner = token.startswith("##") or (number > 0 and not self._begins_word(number))
            room = min(metrics.horizontalAdvance(self._shown(token)) + 2 * pad, width)
            x += pad * (0.4 if is_inner else 2.2) if x else 0.0
            if x + room > width and x:
                x, y = 0.0, y + line
            yield number, QRectF(x, y, room, line * 0.86)
            x += room

    def _begins_word(self, number: int) -> bool:
        """Tokenizers that mark spaces mark every beginning; those that mark continuations mark these."""
        marks_spaces = any(token[:1] in _SPACES for token in self._tokens if token)
        return not marks_spaces or self._tokens[number][:1] in _SPACES or self._tokens[number] in self._special

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return round(max((box.bottom() for _, box in self._boxes(max(width, 1))), default=0.0) + 1)

    def sizeHint(self) -> QSize:
        width = theme.characters(self, 40)
        return QSize(width, self.heightForWidth(width))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 12), theme.em(self, 1.2))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        colours = theme.chart_colours(palette)
        radius = theme.em(self, 0.15)
        for number, box in self._boxes(self.width()):
            token = self._tokens[number]
            is_special = token in self._special
            tint = palette.color(QPalette.ColorRole.Midlight)
            if not is_special:
                tint = theme.blend(colours.series[_TINTS[number % len(_TINTS)]], colours.background, _TINT)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(tint)
            painter.drawRoundedRect(box, radius, radius)
            painter.setPen(theme.muted(palette) if is_special else palette.color(QPalette.ColorRole.Text))
            text = QFontMetricsF(self.font()).elidedText(self._shown(token), Qt.TextElideMode.ElideRight, box.width())
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextSingleLine, text)

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            at = QPointF(event.pos())
            found = next((number for number, box in self._boxes(self.width()) if box.contains(at)), None)
            if found is None:
                QToolTip.hideText()
            else:
                tip = self.tr("Piece {number} of {count}: {token}")
                tip = tip.format(number=found + 1, count=len(self._tokens), token=self._tokens[found])
                QToolTip.showText(event.globalPos(), tip, self)
            return True
        return super().event(event)
