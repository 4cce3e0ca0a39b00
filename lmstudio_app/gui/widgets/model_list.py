"""The models one can choose: two lines each, under headings, with their state at the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import (
    QAbstractListModel,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import (
    QContextMenuEvent,
    QFont,
    QFontMetricsF,
    QKeyEvent,
    QKeySequence,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QListView,
    QMenu,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from lmstudio_app.gui import theme

Index = QModelIndex | QPersistentModelIndex
_ROW = Qt.ItemDataRole.UserRole


@dataclass(frozen=True)
class ModelRow:
    """A model, or a heading when ``reference`` is empty. ``state``: ``loaded``, ``here``, ``away`` or ``missing``."""

    title: str
    reference: str = ""
    detail: str = ""
    state: str = "here"
    state_text: str = ""
    tip: str = ""
    removable: bool = False


class _Rows(QAbstractListModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.rows: tuple[ModelRow, ...] = ()

    def set_rows(self, rows: Sequence[ModelRow]) -> None:
        self.beginResetModel()
        self.rows = tuple(rows)
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self.rows)

    def flags(self, index: Index) -> Qt.ItemFlag:
        if not index.isValid() or not self.rows[index.row()].reference:
            return Qt.ItemFlag.NoItemFlags
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        row = self.rows[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return row.title
            case Qt.ItemDataRole.ToolTipRole:
                return row.tip or None
            case Qt.ItemDataRole.AccessibleTextRole:
                return ", ".join(part for part in (row.title, row.detail, row.state_text) if part)
        return row if role == _ROW else None


class _Delegate(QStyledItemDelegate):
    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        row: ModelRow = index.data(_ROW)
        line = QFontMetricsF(option.font).height()
        return QSize(0, round(line * (2.9 if row.reference else 1.9)))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        row: ModelRow = index.data(_ROW)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line = QFontMetricsF(option.font).height()
        area = QRectF(option.rect).adjusted(line * 0.3, line * 0.1, -line * 0.3, -line * 0.1)
        if row.reference:
            self._paint_model(painter, option, row, area, line)
        else:
            self._paint_heading(painter, option, row, area)
        painter.restore()

    def _paint_heading(self, painter: QPainter, option: QStyleOptionViewItem, row: ModelRow, area: QRectF) -> None:
        painter.setFont(small_font(option.font, bold=True))
        painter.setPen(theme.muted(option.palette))
        painter.drawText(area, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignBottom, row.title)

    def _paint_model(
        self, painter: QPainter, option: QStyleOptionViewItem, row: ModelRow, area: QRectF, line: float
    ) -> None:
        palette = option.palette
        selected = paint_row_background(painter, option, area, line)
        inside = area.adjusted(line * 0.6, line * 0.25, -line * 0.5, -line * 0.25)
        title_font = QFont(option.font)
        title_font.setWeight(QFont.Weight.DemiBold if row.state == "loaded" or selected else QFont.Weight.Medium)
        small = small_font(option.font)
        state_width = QFontMetricsF(small).horizontalAdvance(row.state_text) + line * 0.2
        upper = QRectF(inside.left(), inside.top(), inside.width(), inside.height() / 2)
        lower = QRectF(inside.left(), upper.bottom(), inside.width(), inside.height() / 2)
        painter.setFont(title_font)
        painter.setPen(palette.color(QPalette.ColorRole.Text))
        title_width = inside.width() - state_width - line * 0.5
        title = QFontMetricsF(title_font).elidedText(row.title, Qt.TextElideMode.ElideMiddle, title_width)
        painter.drawText(upper, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, title)
        painter.setFont(small)
        painter.setPen(self._state_colour(row.state, palette))
        painter.drawText(upper, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, row.state_text)
        painter.setPen(theme.muted(palette))
        detail = QFontMetricsF(small).elidedText(row.detail, Qt.TextElideMode.ElideMiddle, inside.width())
        painter.drawText(lower, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, detail)

    @staticmethod
    def _state_colour(state: str, palette: QPalette):
        match state:
            case "loaded":
                return palette.color(QPalette.ColorRole.Link)
            case "here":
                return theme.success(palette)
            case "missing":
                return theme.danger(palette)
        return theme.muted(palette)


def paint_row_background(painter: QPainter, option: QStyleOptionViewItem, area: QRectF, line: float) -> bool:
    """Tint and mark the row that is selected, and tint the one below the mouse; returns whether it is selected."""
    selected = bool(option.state & QStyle.StateFlag.State_Selected)
    hovered = bool(option.state & QStyle.StateFlag.State_MouseOver)
    base, accent = option.palette.color(QPalette.ColorRole.Base), option.palette.color(QPalette.ColorRole.Highlight)
    if selected or hovered:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.blend(accent, base, 0.16 if selected else 0.07))
        painter.drawRoundedRect(area, line * 0.3, line * 0.3)
    if selected:
        painter.setBrush(accent)
        painter.drawRoundedRect(QRectF(area.left(), area.top(), line * 0.2, area.height()), 2, 2)
    if selected and option.state & QStyle.StateFlag.State_HasFocus:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(accent)
        painter.drawRoundedRect(area, line * 0.3, line * 0.3)
    return selected


def small_font(font: QFont, *, bold: bool = False) -> QFont:
    small = QFont(font)
    small.setPointSizeF(font.pointSizeF() * 0.88)
    if bold:
        small.setWeight(QFont.Weight.DemiBold)
    return small


class ModelList(QListView):
    """Emits the reference of the row that is selected, activated (Enter, double click), or removed (Delete)."""

    chosen = Signal(str)
    activated_reference = Signal(str)
    removed = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.drop_hint = self.tr("Drop a model's folder or a GGUF file here")
        self._guide: tuple[tuple[str, str], ...] = ()
        self._rows = _Rows(self)
        self.setModel(self._rows)
        self.setItemDelegate(_Delegate(self))
        self.setMouseTracking(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setAccessibleName(self.tr("Models"))
        self.setToolTip(self.tr("Choose a model; Enter loads it"))
        self.selectionModel().currentChanged.connect(self._on_current_changed)
        self.activated.connect(lambda index: self.activated_reference.emit(index.data(_ROW).reference))

    def set_guide(self, guide: Sequence[tuple[str, str]]) -> None:
        """Titles and sentences for the room below the rows; they are shown as long as all of them fit."""
        self._guide = tuple(guide)
        self.setAccessibleDescription("\n".join(f"{title}: {text}" for title, text in guide))
        self.viewport().update()

    @property
    def rows(self) -> tuple[ModelRow, ...]:
        return self._rows.rows

    @property
    def reference(self) -> str:
        """The selected model, or ``""``."""
        row = self.currentIndex().data(_ROW)
        return row.reference if row is not None else ""

    def set_rows(self, rows: Sequence[ModelRow]) -> None:
        """Show other rows; the selection stays on its model as long as that is among them."""
        if tuple(rows) == self.rows:
            return
        reference = self.reference
        self.selectionModel().blockSignals(True)
        self._rows.set_rows(rows)
        self.selectionModel().blockSignals(False)
        self.select(reference)

    def select(self, reference: str) -> bool:
        """Select a model; False when it is not in the list."""
        for number, row in enumerate(self.rows):
            if row.reference and row.reference == reference:
                index = self._rows.index(number)
                self.selectionModel().setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
                self.scrollTo(index)
                return True
        return False

    def _on_current_changed(self, current: QModelIndex) -> None:
        row = current.data(_ROW)
        if row is not None and row.reference:
            self.chosen.emit(row.reference)

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        line = QFontMetricsF(self.font()).height()
        used = self.visualRect(self._rows.index(len(self.rows) - 1)).bottom() if self.rows else 0
        free = QRectF(self.viewport().rect()).adjusted(line * 0.8, used + line * 0.8, -line * 0.8, -line * 0.8)
        if free.height() < line * 4:
            return
        painter = QPainter(self.viewport())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(free.left(), free.top(), free.width(), line * 4)
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Mid), 1, Qt.PenStyle.DashLine))
        painter.drawRoundedRect(box, line * 0.4, line * 0.4)
        painter.setPen(theme.muted(self.palette()))
        flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
        painter.drawText(box.adjusted(line, 0, -line, 0), int(flags), self.drop_hint)
        self._paint_guide(painter, free.adjusted(0, box.height() + line, 0, 0), line)

    def _paint_guide(self, painter: QPainter, area: QRectF, line: float) -> None:
        """In the list's font or in a smaller one, or not at all: nothing is cut off."""
        wrapped = int(Qt.AlignmentFlag.AlignLeft | Qt.TextFlag.TextWordWrap)
        title_font = QFont(self.font())
        title_font.setWeight(QFont.Weight.DemiBold)
        colours = (self.palette().color(QPalette.ColorRole.Text), theme.muted(self.palette()))
        for text_font, gap in ((self.font(), 1.2), (self.font(), 0.8), (small_font(self.font()), 0.6)):
            placed, top = [], area.top()
            for paragraph in self._guide:
                for words, font, after in zip(paragraph, (title_font, text_font), (0.2, gap), strict=True):
                    room = QRectF(area.left(), top, area.width(), 1e6)
                    height = QFontMetricsF(font).boundingRect(room, wrapped, words).height()
                    placed.append((words, font, QRectF(area.left(), top, area.width(), height)))
                    top += height + line * after
            if top - line * gap <= area.bottom():
                for number, (words, font, place) in enumerate(placed):
                    painter.setFont(font)
                    painter.setPen(colours[number % 2])
                    painter.drawText(place, wrapped, words)
                return

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """What the Delete key does, for those who look for it with the mouse (or with the menu key)."""
        by_keyboard = event.reason() == QContextMenuEvent.Reason.Keyboard
        index = self.currentIndex() if by_keyboard else self.indexAt(event.pos())
        row = index.data(_ROW) if index.isValid() else None
        if row is None or not row.removable:
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        action = menu.addAction(self.tr("Take off the list"))
        action.setShortcut(QKeySequence(Qt.Key.Key_Delete))
        action.triggered.connect(lambda: self.removed.emit(row.reference))
        place = self.viewport().mapToGlobal(self.visualRect(index).center()) if by_keyboard else event.globalPos()
        menu.popup(place)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        row = self.currentIndex().data(_ROW)
        if event.key() == Qt.Key.Key_Delete and row is not None and row.removable:
            self.removed.emit(row.reference)
            return
        super().keyPressEvent(event)
