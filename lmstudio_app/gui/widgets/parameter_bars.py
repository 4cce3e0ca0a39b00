"""Where the parameters of a model are: one bar for each kind of part."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QHelpEvent, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import compact_number_text, number_text

ROW, TALLEST_ROW = 1.75, 5.5  # height of a bar's row, in text lines
EXPLAINED_ROW = 2.9  # from this height on the row has room for a sentence
TITLE = 1.7


def _widest(metrics: QFontMetricsF, texts: Sequence[str]) -> float:
    return max(metrics.horizontalAdvance(text) for text in texts)


class ParameterBars(QWidget):
    """``parts`` are (part, parameters) as :class:`~lmstudio_app.models.card.ModelCard` has them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._parts: tuple[tuple[str, int], ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.MinimumExpanding)
        self.setAccessibleName(self.tr("Where the parameters are"))

    def set_parts(self, parts: Sequence[tuple[str, int]]) -> None:
        self._parts = tuple(sorted(parts, key=lambda part: -part[1]))
        sentences = (f"{self._names()[part][0]}: {number_text(count)}" for part, count in self._parts)
        self.setAccessibleDescription("; ".join(sentences))
        self.updateGeometry()
        self.update()

    def _names(self) -> dict[str, tuple[str, str]]:
        return {
            "embedding": (self.tr("Embedding"), self.tr("The table that turns tokens into vectors")),
            "attention": (self.tr("Attention"), self.tr("What decides which token looks at which")),
            "feed-forward": (self.tr("Feed-forward"), self.tr("What works on every token by itself")),
            "norm": (self.tr("Norms"), self.tr("What keeps the numbers in a steady range")),
            "pooler": (self.tr("Pooler"), self.tr("What sums a whole text up in one vector")),
            "head": (self.tr("Head"), self.tr("The last layers, made for a task")),
            "other": (self.tr("Other"), self.tr("Everything else")),
        }

    def _line(self) -> float:
        return QFontMetricsF(self.font()).height()

    def _row_height(self) -> float:
        free = (self.height() - self._line() * TITLE) / max(len(self._parts), 1)
        return min(max(free, self._line() * ROW), self._line() * TALLEST_ROW)

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 36), round(self._line() * (TITLE + ROW * max(len(self._parts), 1))))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.characters(self, 28), self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._parts:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette, line = self.palette(), self._line()
        metrics = QFontMetricsF(self.font())
        painter.setFont(theme.heading_font(self, 1.0))
        painter.setPen(palette.color(QPalette.ColorRole.Text))
        left_centre = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QRectF(0, 0, self.width(), line * 1.3), left_centre, self.tr("Where the parameters are"))
        painter.setFont(self.font())
        names = self._names()
        caption = max(metrics.horizontalAdvance(names[part][0]) for part, _ in self._parts) + line * 0.7
        total = sum(count for _, count in self._parts)
        texts = [self._number_text(count, total, short=False) for _, count in self._parts]
        if self.width() - caption - _widest(metrics, texts) < line * 6:
            texts = [self._number_text(count, total, short=True) for _, count in self._parts]
        numbers = _widest(metrics, texts) + line * 0.7
        room = max(self.width() - caption - numbers, line)
        height = self._row_height()
        colour = theme.chart_colours(palette).series[0]
        small = QFont(self.font())
        small.setPointSizeF(small.pointSizeF() * 0.88)
        for number, (part, count) in enumerate(self._parts):
            row = QRectF(0, line * TITLE + number * height, self.width(), height)
            painter.setPen(theme.muted(palette))
            if height >= line * EXPLAINED_ROW:
                row.setHeight(line * 1.4)
                below = QRectF(0, row.bottom(), self.width(), line * 1.2)
                painter.setFont(small)
                tip = QFontMetricsF(small).elidedText(names[part][1], Qt.TextElideMode.ElideRight, below.width())
                painter.drawText(below, left_centre, tip)
                painter.setFont(self.font())
            painter.drawText(row, left_centre, names[part][0])
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(palette.color(QPalette.ColorRole.Midlight))
            bar = QRectF(caption, row.center().y() - line * 0.3, room, line * 0.6)
            painter.drawRoundedRect(bar, line * 0.15, line * 0.15)
            painter.setBrush(colour)
            filled = QRectF(bar.left(), bar.top(), max(room * count / total, 2.0), bar.height())
            painter.drawRoundedRect(filled, line * 0.15, line * 0.15)
            painter.setPen(palette.color(QPalette.ColorRole.Text))
            area = QRectF(bar.right() + line * 0.5, row.top(), numbers, row.height())
            painter.drawText(area, left_centre, texts[number])

    def _number_text(self, count: int, total: int, *, short: bool) -> str:
        share = f"{100 * count / total:.0f}" if count * 100 >= total else "<1"
        if short:
            return self.tr("{share} %").format(share=share)
        return self.tr("{count}  {share} %").format(count=compact_number_text(count), share=share)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            number = int((QPointF(event.pos()).y() - self._line() * TITLE) // self._row_height())
            if 0 <= number < len(self._parts):
                part, count = self._parts[number]
                name, tip = self._names()[part]
                text = self.tr("{name}: {count} parameters\n{tip}").format(name=name, count=number_text(count), tip=tip)
                QToolTip.showText(event.globalPos(), text, self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)
