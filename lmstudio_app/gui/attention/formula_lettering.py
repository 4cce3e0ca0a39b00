"""The titles and signs between the matrices of a formula."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QCoreApplication, QRect, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPalette
from PySide6.QtWidgets import QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.formula_terms import Sign, Term

_SMALL, _LARGE = 0.85, 1.12  # of the font, for captions and for signs
_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine)


class Lettering:
    """Measures and paints in the font and the palette that ``widget`` has at that moment."""

    def __init__(self, widget: QWidget) -> None:
        self._widget = widget

    def _font(self, scale: float, *, bold: bool = False) -> QFont:
        font = QFont(self._widget.font())
        font.setPointSizeF(font.pointSizeF() * scale)
        if bold:
            font.setWeight(QFont.Weight.DemiBold)
        return font

    def _title_height(self) -> int:
        return theme.em(self._widget, 1.3)

    def roof(self, terms: Sequence[Term] = (), width: int = 0) -> int:
        """Title and caption above a matrix: the captions of these terms, or two lines of them."""
        metrics = QFontMetricsF(self._font(_SMALL))
        is_low = bool(terms) and all(metrics.horizontalAdvance(term.caption) <= width for term in terms)
        return self._title_height() + round((1.1 if is_low else 2.1) * metrics.height())

    def sign_width(self, sign: Sign) -> int:
        metrics = QFontMetricsF(self._font(_LARGE, bold=True))
        widest = max(metrics.horizontalAdvance(sign.text), metrics.horizontalAdvance(sign.below))
        return round(widest) + theme.em(self._widget, 0.9)

    def paint_sign(self, painter: QPainter, area: QRect, sign: Sign) -> None:
        painter.setFont(self._font(_LARGE, bold=True))
        painter.setPen(self._widget.palette().color(QPalette.ColorRole.Text))
        words = f"{sign.text}\n{sign.below}" if sign.below else sign.text
        painter.drawText(area, int(Qt.AlignmentFlag.AlignCenter), words)

    def paint_title(self, painter: QPainter, area: QRect, term: Term, shape: tuple[int, int]) -> None:
        """Symbol, name and, where there is room, size; below it the caption."""
        bold = self._font(1.0, bold=True)
        painter.setFont(bold)
        painter.setPen(self._widget.palette().color(QPalette.ColorRole.Text))
        line = QRect(area.left(), area.top(), area.width(), self._title_height())
        painter.drawText(line, _LEFT, term.symbol)
        line.setLeft(line.left() + round(QFontMetricsF(bold).horizontalAdvance(f"{term.symbol} ")))
        painter.setFont(self._widget.font())
        title = QCoreApplication.translate("Formula", "{title}, {rows} × {columns}").format(
            title=term.title, rows=shape[0], columns=shape[1]
        )
        metrics = painter.fontMetrics()
        if metrics.horizontalAdvance(title) > line.width():
            title = metrics.elidedText(term.title, Qt.TextElideMode.ElideRight, line.width())
        painter.drawText(line, _LEFT, title)
        painter.setFont(self._font(_SMALL))
        painter.setPen(theme.muted(self._widget.palette()))
        below = area.adjusted(0, self._title_height(), 0, 0)
        painter.drawText(below, int(Qt.AlignmentFlag.AlignLeft | Qt.TextFlag.TextWordWrap), term.caption)
