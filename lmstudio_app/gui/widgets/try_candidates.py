"""Candidates for a place in a text as bars, one a row; a click or Enter takes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import QEvent, QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetricsF, QKeyEvent, QPainter, QPalette
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text

_Index = QModelIndex | QPersistentModelIndex
_PROBABILITY = Qt.ItemDataRole.UserRole
_CHOSEN = Qt.ItemDataRole.UserRole + 1


def share_text(probability: float) -> str:
    """A probability in percent, with more digits for the improbable."""
    if 0 < probability < 0.0001:
        return f"< {number_text(0.01, 2)} %"
    return f"{number_text(100 * probability, 1 if probability >= 0.01 or not probability else 2)} %"


class _BarDelegate(QStyledItemDelegate):
    """Token, bar and share. The longest bar fills its track: so the small ones of an unsure model can be compared."""

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        return QSize(theme.characters(self.parent(), 30), theme.em(self.parent(), 1.75))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        view: CandidateList = self.parent()
        palette = view.palette()
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(option.rect)
        gap = theme.em(view, 0.5)
        accent, base = palette.color(QPalette.ColorRole.Highlight), palette.color(QPalette.ColorRole.Base)
        enabled = bool(index.flags() & Qt.ItemFlag.ItemIsEnabled)
        hovered = bool(option.state & QStyle.StateFlag.State_MouseOver) and enabled
        focused = bool(option.state & QStyle.StateFlag.State_HasFocus)
        chosen = bool(index.data(_CHOSEN))
        if hovered or focused or chosen:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.blend(palette.color(QPalette.ColorRole.Accent), base, 0.18 if chosen else 0.1))
            painter.drawRoundedRect(area, gap / 2, gap / 2)
        if focused:
            painter.setPen(palette.color(QPalette.ColorRole.Accent))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(area.adjusted(0.5, 0.5, -0.5, -0.5), gap / 2, gap / 2)
        font = QFont(view.font())
        font.setWeight(QFont.Weight.DemiBold if chosen or index.row() == 0 else QFont.Weight.Normal)
        painter.setFont(font)
        names = view.name_width()
        numbers = QFontMetricsF(view.font()).horizontalAdvance("100.00 %") + gap
        ink = palette.color(QPalette.ColorRole.Text) if enabled else theme.muted(palette)
        painter.setPen(ink)
        centred = Qt.AlignmentFlag.AlignVCenter
        name = painter.fontMetrics().elidedText(index.data(), Qt.TextElideMode.ElideRight, round(names))
        painter.drawText(
            QRectF(area.left() + gap, area.top(), names, area.height()),
            int(Qt.AlignmentFlag.AlignRight | centred),
            name,
        )
        left = area.left() + names + 2 * gap
        track = max(1.0, area.right() - gap - numbers - left)
        thickness = area.height() * 0.4
        bar = QRectF(left, area.center().y() - thickness / 2, track, thickness)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(palette.color(QPalette.ColorRole.Midlight))
        painter.drawRoundedRect(bar, thickness / 2, thickness / 2)
        probability = float(index.data(_PROBABILITY))
        bar.setWidth(max(thickness, track * probability / max(view.largest, 1e-12)))
        painter.setBrush(accent if chosen or index.row() == 0 else theme.blend(accent, base, 0.5))
        painter.drawRoundedRect(bar, thickness / 2, thickness / 2)
        painter.setPen(ink)
        painter.setFont(view.font())
        number = QRectF(area.right() - gap - numbers, area.top(), numbers, area.height())
        painter.drawText(number, int(Qt.AlignmentFlag.AlignRight | centred), share_text(probability))
        painter.restore()


class CandidateList(QListWidget):
    """Rows are the candidates in the order given, the most probable first."""

    chosen = Signal(int)  # the row

    def __init__(self, title: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.largest = 0.0
        self._name_width = 0.0
        self.setAccessibleName(title)
        self.setToolTip(tip)
        self.setItemDelegate(_BarDelegate(self))
        self.setFrameShape(QListWidget.Shape.NoFrame)
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSelectionMode(QListWidget.SelectionMode.NoSelection)
        self.setUniformItemSizes(True)
        self.setMinimumHeight(theme.em(self, 4))
        self.itemClicked.connect(self._take)

    def set_candidates(
        self,
        candidates: Sequence[Any],
        label: Callable[[str], str],
        disabled: Sequence[bool] = (),
        tip: str = "",
    ) -> None:
        """``candidates`` have a token and a probability; ``disabled`` ones cannot be taken and say ``tip``."""
        self.clear()
        self.largest = max((item.probability for item in candidates), default=0.0)
        for row, candidate in enumerate(candidates):
            item = QListWidgetItem(label(candidate.token))
            item.setData(_PROBABILITY, candidate.probability)
            item.setData(
                Qt.ItemDataRole.AccessibleTextRole, f"{label(candidate.token)}, {share_text(candidate.probability)}"
            )
            if row < len(disabled) and disabled[row]:
                item.setFlags(Qt.ItemFlag.NoItemFlags)
                item.setToolTip(tip)
            self.addItem(item)
        self.scrollToTop()
        self._fit()

    def _fit(self) -> None:
        """As wide a column as the tokens need; no higher than the rows, so that what stands below is near."""
        bold = QFont(self.font())
        bold.setWeight(QFont.Weight.DemiBold)
        metrics = QFontMetricsF(bold)
        widths = [metrics.horizontalAdvance(self.item(row).text()) for row in range(self.count())]
        self._name_width = max(widths, default=0.0)
        rows = self.count() * self.sizeHintForRow(0) if self.count() else 0
        self.setMaximumHeight(max(self.minimumHeight(), rows + 2 * self.frameWidth()))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_name_width"):
            self._fit()

    def set_chosen(self, row: int) -> None:
        """Mark the row that is in the text now; -1: none."""
        for index in range(self.count()):
            self.item(index).setData(_CHOSEN, index == row)

    @property
    def rows(self) -> list[tuple[str, float]]:
        """Label and probability, from top to bottom."""
        return [(self.item(row).text(), float(self.item(row).data(_PROBABILITY))) for row in range(self.count())]

    def name_width(self) -> float:
        return min(self._name_width + 2, self.viewport().width() * 0.4)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            if (item := self.currentItem()) is not None:
                self._take(item)
            return
        super().keyPressEvent(event)

    def _take(self, item: QListWidgetItem) -> None:
        if item.flags() & Qt.ItemFlag.ItemIsEnabled:
            self.chosen.emit(self.row(item))
