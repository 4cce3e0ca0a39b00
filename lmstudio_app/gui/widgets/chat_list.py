"""The conversations that were had, the newest first and by day, with a search through everything that was said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from PySide6.QtCore import QDate, QEvent, QModelIndex, QPersistentModelIndex, QPoint, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QFont, QFontMetricsF, QKeyEvent, QPainter, QPalette
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.scaled_label import Hint

_Index = QModelIndex | QPersistentModelIndex
_ENTRY = Qt.ItemDataRole.UserRole
_PAUSE = 200  # milliseconds of no typing after which is searched


@dataclass(frozen=True)
class Listed:
    """A conversation in the list. ``changed``: seconds since the epoch; ``found``: the place that a search found,
    and ``message`` the message that it is in."""

    key: Any
    title: str
    changed: float
    found: str = ""
    message: Any = None


def highlighted(text: str, words: Sequence[str]) -> list[tuple[str, bool]]:
    """The text in pieces, and which of them are what was searched for."""
    wanted = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True) if word)
    if not wanted:
        return [(text, False)]
    pieces = re.split(f"({wanted})", text, flags=re.IGNORECASE)
    return [(piece, bool(number % 2)) for number, piece in enumerate(pieces) if piece]


class _Rows(QStyledItemDelegate):
    """Headings of days; and conversations, with the place that was found below the title."""

    def _view(self) -> ConversationList:
        return self.parent()  # type: ignore[return-value]

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        entry = index.data(_ENTRY)
        view = self._view()
        if entry is None:
            return QSize(0, theme.em(view, 1.7))
        return QSize(0, theme.em(view, 2.9 if entry.found else 1.8))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        view, entry = self._view(), index.data(_ENTRY)
        palette, area = view.palette(), QRectF(option.rect)
        gap = theme.em(view, 0.5)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        small = QFont(view.font())
        small.setPointSizeF(small.pointSizeF() * 0.85)
        if entry is None:
            small.setWeight(QFont.Weight.DemiBold)
            painter.setFont(small)
            painter.setPen(theme.muted(palette))
            place = area.adjusted(gap, 0, -gap, -gap / 4)
            painter.drawText(place, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignBottom), index.data())
            painter.restore()
            return
        base = palette.color(QPalette.ColorRole.Base)
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        hovered = bool(option.state & QStyle.StateFlag.State_MouseOver)
        if chosen or hovered:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.blend(palette.color(QPalette.ColorRole.Accent), base, 0.2 if chosen else 0.08))
            painter.drawRoundedRect(area.adjusted(0, 1, 0, -1), gap / 2, gap / 2)
        if option.state & QStyle.StateFlag.State_HasFocus and view.hasFocus():
            painter.setPen(palette.color(QPalette.ColorRole.Accent))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(area.adjusted(0.5, 1.5, -0.5, -1.5), gap / 2, gap / 2)
        lines = [(view.font(), palette.color(QPalette.ColorRole.Text), entry.title)]
        if entry.found:
            lines.append((small, theme.muted(palette), entry.found))
        top = area.top() + (area.height() - sum(QFontMetricsF(font).height() for font, _, _ in lines)) / 2
        for font, ink, text in lines:
            height = QFontMetricsF(font).height()
            self._line(painter, font, ink, text, QRectF(area.left() + gap, top, area.width() - 2 * gap, height))
            top += height
        painter.restore()

    def _line(self, painter: QPainter, font: QFont, ink: Any, text: str, area: QRectF) -> None:
        """One line, shortened at its end, with what was searched for on a tint."""
        metrics = QFontMetricsF(font)
        painter.setFont(font)
        view = self._view()
        shown = metrics.elidedText(" ".join(text.split()), Qt.TextElideMode.ElideRight, area.width())
        mark = theme.blend(theme.warning(view.palette()), view.palette().base().color(), 0.3)
        place = area.left()
        for piece, is_found in highlighted(shown, view.words):
            width = metrics.horizontalAdvance(piece)
            if is_found:
                painter.fillRect(QRectF(place, area.top(), width, area.height()), mark)
            painter.setPen(ink)
            painter.drawText(
                QRectF(place, area.top(), width + 2, area.height()), int(Qt.AlignmentFlag.AlignLeft), piece
            )
            place += width

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: _Index) -> QWidget:
        editor = QLineEdit(parent)
        editor.setAccessibleName(self._view().tr("New title"))
        return editor

    def setEditorData(self, editor: QWidget, index: _Index) -> None:
        assert isinstance(editor, QLineEdit)
        editor.setText(index.data(_ENTRY).title)
        editor.selectAll()

    def setModelData(self, editor: QWidget, model: Any, index: _Index) -> None:
        assert isinstance(editor, QLineEdit)
        title = " ".join(editor.text().split())
        entry = index.data(_ENTRY)
        if title and title != entry.title:
            self._view().renamed.emit(entry.key, title)


class ConversationList(QListWidget):
    chosen = Signal(object, object)  # its key, and the message that a search found in it
    renamed = Signal(object, str)
    delete_requested = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.words: list[str] = []
        self.setAccessibleName(self.tr("Conversations"))
        self.setToolTip(self.tr("Enter opens a conversation, F2 renames it, Delete deletes it"))
        self.setItemDelegate(_Rows(self))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setMouseTracking(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QListWidget.ScrollMode.ScrollPerPixel)
        self.setEditTriggers(QListWidget.EditTrigger.EditKeyPressed)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_menu)
        self.itemClicked.connect(self._open)
        self.viewport().setAutoFillBackground(False)

    def show_entries(self, entries: Sequence[Listed], current: Any, today: date) -> None:
        self.clear()
        heading = ""
        for entry in entries:
            when = self._heading(date.fromtimestamp(entry.changed), today)
            if when != heading:
                heading = when
                item = QListWidgetItem(when)
                item.setFlags(Qt.ItemFlag.NoItemFlags)
                self.addItem(item)
            item = QListWidgetItem(entry.title)
            item.setData(_ENTRY, entry)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEditable)
            moment = datetime.fromtimestamp(entry.changed).strftime("%Y-%m-%d %H:%M")
            item.setToolTip(f"{entry.title}\n{moment}")
            self.addItem(item)
        self.set_current(current)

    def set_current(self, key: Any) -> None:
        for row in range(self.count()):
            entry = self.item(row).data(_ENTRY)
            if entry is not None and entry.key == key:
                self.setCurrentRow(row)
                return
        self.setCurrentRow(-1)
        self.clearSelection()

    @property
    def entries(self) -> list[Listed]:
        found = [self.item(row).data(_ENTRY) for row in range(self.count())]
        return [entry for entry in found if entry is not None]

    def rename(self, key: Any) -> None:
        """Let its title be written anew in its place."""
        self.set_current(key)
        if (item := self.currentItem()) is not None:
            self.editItem(item)

    def _heading(self, day: date, today: date) -> str:
        age = (today - day).days
        if age <= 0:
            return self.tr("Today")
        if age == 1:
            return self.tr("Yesterday")
        if age < 7:
            return self.tr("The last seven days")
        return self.locale().toString(QDate(day.year, day.month, day.day), "MMMM yyyy")

    def _open(self, item: QListWidgetItem) -> None:
        if (entry := item.data(_ENTRY)) is not None:
            self.chosen.emit(entry.key, entry.message)

    def _on_menu(self, place: QPoint) -> None:
        item = self.itemAt(place)
        entry = item.data(_ENTRY) if item is not None else None
        if entry is None:
            return
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.addAction(self.tr("Rename")).triggered.connect(lambda: self.rename(entry.key))
        menu.addAction(self.tr("Delete")).triggered.connect(lambda: self.delete_requested.emit(entry.key))
        menu.popup(self.viewport().mapToGlobal(place))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        item = self.currentItem()
        entry = item.data(_ENTRY) if item is not None else None
        if entry is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.chosen.emit(entry.key, entry.message)
        elif entry is not None and event.key() == Qt.Key.Key_Delete:
            self.delete_requested.emit(entry.key)
        else:
            super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self.scheduleDelayedItemsLayout()


class ConversationsPanel(QWidget):
    """The list with its search and the button for a new conversation."""

    search_changed = Signal(str)
    new_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.new_button = QPushButton(self.tr("New conversation"), self)
        self.new_button.setAccessibleName(self.tr("New conversation"))
        self.new_button.setToolTip(self.tr("Begin a new conversation; this one stays in the list (Ctrl+L)"))
        self.new_button.clicked.connect(self.new_requested)
        self.search = QLineEdit(self)
        self.search.setPlaceholderText(self.tr("Search"))
        self.search.setClearButtonEnabled(True)
        self.search.setAccessibleName(self.tr("Search the conversations"))
        self.search.setToolTip(self.tr("Words that were said in a conversation, or that stand in its title"))
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE)
        self._timer.timeout.connect(lambda: self.search_changed.emit(self.search.text().strip()))
        self.search.textChanged.connect(lambda: self._timer.start())
        self.list = ConversationList(self)
        self.blank = Hint("", self)
        self.blank.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignHCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addWidget(self.new_button)
        layout.addWidget(self.search)
        layout.addWidget(self.blank)
        layout.addWidget(self.list, 1)
        self.show_entries([], None, date.today())

    def show_entries(self, entries: Sequence[Listed], current: Any, today: date) -> None:
        """``entries`` are those that the search has found, or all; the newest first."""
        self.list.words = self.search.text().split()
        self.list.show_entries(entries, current, today)
        if self.search.text().strip():
            self.blank.setText(self.tr("Nothing found"))
        else:
            self.blank.setText(self.tr("Your conversations stay here, on this computer only."))
        self.blank.setVisible(not entries)

    def shutdown(self) -> None:
        self._timer.stop()


class UndoBar(QFrame):
    """Says what was deleted, and takes it back while it is there."""

    undo_requested = Signal()
    closed = Signal()

    STAYS = 8000  # milliseconds

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.label = Hint("", self)
        self.label.setTextFormat(Qt.TextFormat.PlainText)
        self.button = QPushButton(self.tr("Undo"), self)
        self.button.setAccessibleName(self.tr("Undo"))
        self.button.setToolTip(self.tr("Bring back what was deleted"))
        self.button.clicked.connect(self._on_undo)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(self.STAYS)
        self._timer.timeout.connect(self.close_bar)
        pad = theme.em(self, 0.4)
        row = QHBoxLayout(self)
        row.setContentsMargins(pad, pad // 2, pad // 2, pad // 2)
        row.addWidget(self.label, 1)
        row.addWidget(self.button)
        self.hide()

    def offer(self, text: str) -> None:
        self.label.setText(text)
        self.setAccessibleName(text)
        self._timer.start()
        self.show()

    def close_bar(self) -> None:
        """What was deleted stays deleted."""
        self._timer.stop()
        if not self.isHidden():
            self.hide()
            self.closed.emit()

    def _on_undo(self) -> None:
        self._timer.stop()
        self.hide()
        self.undo_requested.emit()
