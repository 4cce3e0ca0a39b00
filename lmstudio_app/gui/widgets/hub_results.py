"""The models that a search has found: three lines each, with what fits this machine at the right."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPalette
from PySide6.QtWidgets import QAbstractItemView, QListView, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from lmstudio_app.gui import hub_texts, theme
from lmstudio_app.gui.hub_queries import Hit
from lmstudio_app.gui.widgets.model_list import paint_row_background, small_font

Index = QModelIndex | QPersistentModelIndex
_HIT = Qt.ItemDataRole.UserRole


class _Hits(QAbstractListModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.hits: list[Hit] = []

    def set_hits(self, hits: Sequence[Hit]) -> None:
        self.beginResetModel()
        self.hits = list(hits)
        self.endResetModel()

    def append(self, hits: Sequence[Hit]) -> None:
        if hits:
            self.beginInsertRows(QModelIndex(), len(self.hits), len(self.hits) + len(hits) - 1)
            self.hits += hits
            self.endInsertRows()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self.hits)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        hit = self.hits[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return hit.result.repo_id
            case Qt.ItemDataRole.ToolTipRole:
                verdict = hub_texts.verdict_text(hit.verdict)
                return f"{hit.result.repo_id}\n{verdict}: {hub_texts.verdict_reason(hit)}"
            case Qt.ItemDataRole.AccessibleTextRole:
                parts = (
                    hit.result.repo_id,
                    hub_texts.verdict_text(hit.verdict),
                    hub_texts.what_text(hit),
                    hub_texts.how_text(hit),
                )
                return ", ".join(parts)
        return hit if role == _HIT else None


class _Delegate(QStyledItemDelegate):
    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(0, round(QFontMetricsF(option.font).height() * 3.7))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        hit: Hit = index.data(_HIT)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line = QFontMetricsF(option.font).height()
        area = QRectF(option.rect).adjusted(line * 0.3, line * 0.1, -line * 0.3, -line * 0.1)
        paint_row_background(painter, option, area, line)
        inside = area.adjusted(line * 0.6, line * 0.2, -line * 0.5, -line * 0.2)
        height = inside.height() / 3
        rows = [QRectF(inside.left(), inside.top() + number * height, inside.width(), height) for number in range(3)]
        small = small_font(option.font)
        access = hub_texts.access_text(hit.result)
        badge = self._paint_badge(painter, hit, rows[0], small, option.palette)
        bold = QFont(option.font)
        bold.setWeight(QFont.Weight.DemiBold)
        painter.setFont(bold)
        painter.setPen(option.palette.color(QPalette.ColorRole.Text))
        self._paint_text(painter, hit.result.repo_id, rows[0].adjusted(0, 0, -badge, 0), bold)
        painter.setFont(small)
        painter.setPen(theme.muted(option.palette))
        here = self.tr("on this computer") if hit.present else ""
        right = " · ".join(part for part in (access, here) if part)
        width = QFontMetricsF(small).horizontalAdvance(right) + (line * 0.5 if right else 0)
        self._paint_text(painter, hub_texts.what_text(hit), rows[1], small)
        self._paint_text(painter, hub_texts.how_text(hit), rows[2].adjusted(0, 0, -width, 0), small)
        painter.setPen(option.palette.color(QPalette.ColorRole.Link))
        painter.drawText(rows[2], Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, right)
        painter.restore()

    @staticmethod
    def _paint_text(painter: QPainter, text: str, area: QRectF, font: QFont) -> None:
        shown = QFontMetricsF(font).elidedText(text, Qt.TextElideMode.ElideRight, area.width())
        painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)

    @staticmethod
    def _paint_badge(painter: QPainter, hit: Hit, row: QRectF, font: QFont, palette: QPalette) -> float:
        """The verdict in a pill at the right end of ``row``; returns the width that it takes."""
        text = hub_texts.verdict_text(hit.verdict)
        metrics = QFontMetricsF(font)
        width = metrics.horizontalAdvance(text) + metrics.height()
        pill = QRectF(row.right() - width, row.center().y() - metrics.height() * 0.6, width, metrics.height() * 1.2)
        colour = hub_texts.verdict_colour(hit.verdict, palette)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.blend(colour, palette.color(QPalette.ColorRole.Base), 0.12))
        painter.drawRoundedRect(pill, pill.height() / 2, pill.height() / 2)
        painter.setFont(font)
        painter.setPen(colour)
        painter.drawText(pill, Qt.AlignmentFlag.AlignCenter, text)
        return width + metrics.height() * 0.5


class HubResultsList(QListView):
    """Says which one is looked at, and which one is activated (Enter, double click)."""

    chosen = Signal(object)  # Hit
    activated_hit = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hits = _Hits(self)
        self.setModel(self._hits)
        self.setItemDelegate(_Delegate(self))
        self.setMouseTracking(True)
        self.setUniformItemSizes(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setAccessibleName(self.tr("Models that were found"))
        self.setToolTip(self.tr("Choose a model to see its card and its files; Enter downloads it"))
        self.selectionModel().currentChanged.connect(self._on_current_changed)
        self.activated.connect(lambda index: self.activated_hit.emit(index.data(_HIT)))

    @property
    def hits(self) -> list[Hit]:
        return list(self._hits.hits)

    @property
    def current(self) -> Hit | None:
        return self.currentIndex().data(_HIT)

    def set_hits(self, hits: Sequence[Hit]) -> None:
        self._hits.set_hits(hits)
        self.scrollToTop()

    def append(self, hits: Sequence[Hit]) -> None:
        self._hits.append(hits)

    def choose(self, row: int) -> None:
        self.setCurrentIndex(self._hits.index(row))

    def _on_current_changed(self, current: QModelIndex) -> None:
        hit = current.data(_HIT)
        if hit is not None:
            self.chosen.emit(hit)
