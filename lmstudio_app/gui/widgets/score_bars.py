"""Probabilities as bars, one a class, the likeliest one in full colour."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QEvent, QRectF, QSize, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QSizePolicy, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text

KEEP_ORDER = 6  # up to so many classes stay in the model's order, so that bars do not jump while one types


class ScoreBars(QWidget):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: list[tuple[str, float]] = []
        self._best = ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(self.tr("Probabilities"))
        self.setToolTip(self.tr("How sure the model is of each class; together they make 100 %"))

    def set_scores(self, scores: Mapping[str, float]) -> None:
        """Probability by class name, in the model's order."""
        rows = list(scores.items())
        if len(rows) > KEEP_ORDER:
            rows.sort(key=lambda row: -row[1])
        changed = len(rows) != len(self._rows)
        self._rows = rows
        self._best = max(scores, key=lambda name: scores[name]) if scores else ""
        self.setAccessibleDescription(", ".join(f"{name} {self._percent(value)}" for name, value in rows))
        if changed:
            self.setMinimumHeight(self.sizeHint().height())
            self.updateGeometry()
        self.update()

    @property
    def rows(self) -> list[tuple[str, float]]:
        """Class name and probability, as shown from top to bottom."""
        return list(self._rows)

    @staticmethod
    def _percent(value: float) -> str:
        return f"{number_text(100 * value, 1)} %"

    def _row_height(self) -> int:
        return theme.em(self, 1.9)

    def sizeHint(self) -> QSize:
        return QSize(theme.characters(self, 40), len(self._rows) * self._row_height())

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.setMinimumHeight(self.sizeHint().height())

    def _bold(self) -> QFont:
        bold = QFont(self.font())
        bold.setWeight(QFont.Weight.DemiBold)
        return bold

    def track(self) -> tuple[float, float]:
        """Where 0 % lies, and how long 100 % is, in pixels."""
        metrics, gap = QFontMetricsF(self._bold()), theme.em(self, 0.6)
        names = max((metrics.horizontalAdvance(name) for name, _ in self._rows), default=0.0)
        left = min(names + 2, self.width() * 0.35) + gap
        right = metrics.horizontalAdvance("100.0 %") + gap
        return left, max(1.0, self.width() - left - right)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        bold, gap = self._bold(), theme.em(self, 0.6)
        left, track = self.track()
        height = self._row_height()
        accent, base = palette.color(QPalette.ColorRole.Highlight), palette.color(QPalette.ColorRole.Base)
        for index, (name, value) in enumerate(self._rows):
            top = index * height
            if top > event.rect().bottom() or top + height < event.rect().top():
                continue
            is_best = name == self._best
            painter.setFont(bold if is_best else self.font())
            painter.setPen(palette.color(QPalette.ColorRole.Text))
            label = painter.fontMetrics().elidedText(name, Qt.TextElideMode.ElideRight, round(left - gap))
            centred = Qt.AlignmentFlag.AlignVCenter
            painter.drawText(QRectF(0, top, left - gap, height), int(Qt.AlignmentFlag.AlignRight | centred), label)
            thickness = height * 0.42
            bar = QRectF(left, top + (height - thickness) / 2, track, thickness)
            radius = thickness / 2
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(palette.color(QPalette.ColorRole.Midlight))
            painter.drawRoundedRect(bar, radius, radius)
            if value > 0.002:
                bar.setWidth(max(thickness, track * value))
                painter.setBrush(accent if is_best else theme.blend(accent, base, 0.45))
                painter.drawRoundedRect(bar, radius, radius)
            painter.setPen(palette.color(QPalette.ColorRole.Text))
            number = QRectF(left + track, top, self.width() - left - track, height)
            painter.drawText(number, int(Qt.AlignmentFlag.AlignRight | centred), self._percent(value))
