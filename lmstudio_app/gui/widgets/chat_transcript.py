"""The messages of a conversation below each other: only those in sight are widgets.

Heights of the others are estimated until they have been in sight. What the reader looks at stays where it is; the end
is followed only while the reader is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QFocusEvent, QKeyEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QAbstractScrollArea, QFrame, QToolButton, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.chat_actions import ACTIONS
from lmstudio_app.gui.widgets.chat_body import CodeColours
from lmstudio_app.gui.widgets.chat_message import MessageView
from lmstudio_app.gui.widgets.chat_turn import Turn

WIDEST = 104  # characters of a line: longer ones are hard to read
_AHEAD = 0.5  # screens above and below that are kept ready


class Transcript(QAbstractScrollArea):
    action = Signal(object, str)
    edited = Signal(object, str)
    branch_chosen = Signal(object, int)
    token_chosen = Signal(object, int, object)
    link_clicked = Signal(str)

    def __init__(
        self, colours: CodeColours | None = None, parent: QWidget | None = None, actions: Sequence[str] = ACTIONS
    ) -> None:
        """``actions`` are offered with every message, where they mean something."""
        super().__init__(parent)
        self._actions = actions
        self._colours = colours
        self._turns: list[Turn] = []
        self._heights: list[int] = []
        self._measured: list[bool] = []
        self._views: dict[int, MessageView] = {}
        self._width = 0
        self._usual = (1, 80)  # height of a line in pixels, and characters in one: for estimates
        self._sure = False
        self._at_end = True
        self._anchor = (0, 0)  # the first message in sight, and how much of it is above
        self._arranging = False
        self._by_keys = False
        self.setAccessibleName(self.tr("Conversation"))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.viewport().setAutoFillBackground(False)
        self.verticalScrollBar().valueChanged.connect(self._on_scrolled)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._arrange)
        self.end_button = QToolButton(self)
        self.end_button.setText(self.tr("↓ To the end"))
        self.end_button.setAccessibleName(self.tr("To the end"))
        self.end_button.setToolTip(self.tr("Go to the newest message and follow it (End)"))
        self.end_button.clicked.connect(self.follow)
        self.end_button.hide()

    # --- what others use

    @property
    def turns(self) -> list[Turn]:
        return list(self._turns)

    @property
    def at_end(self) -> bool:
        return self._at_end

    def set_turns(self, turns: Sequence[Turn], *, follow: bool = True) -> None:
        """Show these messages; ``follow``: from their end, else as far as possible where the reader was."""
        old = {turn.key: (index, turn) for index, turn in enumerate(self._turns)}
        width = self._width or theme.characters(self, 80)
        self._usual = (theme.em(self, 1.2), max(20, width // max(1, theme.characters(self, 1))))
        views: dict[int, MessageView] = {}
        heights, measured = [], []
        for index, turn in enumerate(turns):
            before = old.get(turn.key)
            view = self._views.pop(before[0], None) if before is not None else None
            if view is not None:
                view.set_turn(turn)
                views[index] = view
            same = before is not None and before[1].text == turn.text and self._measured[before[0]]
            heights.append(self._heights[before[0]] if same and before is not None else self._estimate(turn))
            measured.append(False)
        for view in self._views.values():
            _let_go(view)
        self._turns, self._heights, self._measured, self._views = list(turns), heights, measured, views
        if follow:
            self._at_end = True
        self._arrange()

    def update_turn(self, turn: Turn) -> None:
        """Show what has become of a message; it is looked for from the end."""
        index = next((n for n in range(len(self._turns) - 1, -1, -1) if self._turns[n].key == turn.key), None)
        if index is None:
            return
        self._turns[index] = turn
        self._measured[index] = False
        if (view := self._views.get(index)) is not None:
            view.set_turn(turn)
        self._arrange()

    def view_of(self, key: Any) -> MessageView | None:
        """The widget of a message that is in sight."""
        return next((view for view in self._views.values() if view.turn.key == key), None)

    def show_message(self, key: Any) -> MessageView | None:
        """Bring a message into sight, at the top."""
        index = next((n for n, turn in enumerate(self._turns) if turn.key == key), None)
        if index is None:
            return None
        self._at_end, self._anchor = False, (index, 0)
        self._arrange()
        return self._views.get(index)

    def set_sure(self, sure: bool) -> None:
        """Tint tokens by their probability."""
        self._sure = sure
        for view in self._views.values():
            view.set_sure(sure)
        self._measured = [False] * len(self._turns)
        self._arrange()

    def follow(self) -> None:
        """Go to the end and stay there."""
        self._at_end = True
        self._arrange()

    # --- where everything stands

    def _column(self) -> tuple[int, int]:
        """Left edge and width of the messages."""
        pad = theme.em(self, 0.4)
        room = max(1, self.viewport().width() - 2 * pad)
        width = min(room, theme.characters(self, WIDEST))
        return pad + (room - width) // 2, width

    def _estimate(self, turn: Turn) -> int:
        line, width = self._usual
        rows = sum(1 + len(part) // width for part in turn.text.split("\n"))
        return (rows + 3) * line

    def _arrange(self) -> None:
        if self._arranging:
            return
        self._arranging = True
        try:
            self._place()
        finally:
            self._arranging = False
        self.viewport().update()

    def _place(self) -> None:
        self._later.stop()
        left, width = self._column()
        if width != self._width:
            self._width = width
            self._measured = [False] * len(self._turns)
        height = self.viewport().height()
        gap = theme.em(self, 0.35)
        count = len(self._turns)
        ahead = int(height * _AHEAD)
        # what is in sight has to be measured before it is known what is in sight
        if self._at_end:
            first, shown = count, 0
            while first > 0 and shown < height + ahead:
                first -= 1
                shown += self._measure(first, width) + gap
            last = count
        else:
            index, above = self._anchor
            index = max(0, min(index, count - 1))
            first, shown = index, -above
            last = index
            while last < count and shown < height + ahead:
                shown += self._measure(last, width) + gap
                last += 1
            shown = above
            while first > 0 and shown < ahead:
                first -= 1
                shown += self._measure(first, width) + gap
        tops = list(accumulate(self._heights, lambda top, size: top + size + gap, initial=gap))
        total = tops[-1]
        bar = self.verticalScrollBar()
        highest = max(0, total - height)
        follows = self._at_end or not count
        value = highest if follows else max(0, min(tops[index] + above, highest))
        bar.setRange(0, highest)
        bar.setPageStep(height)
        bar.setSingleStep(theme.em(self, 2))
        bar.setValue(value)
        for number, view in list(self._views.items()):
            if not first <= number < last and not view.isAncestorOf(self.focusWidget() or self) and not view.hasFocus():
                _let_go(self._views.pop(number))
        for number, view in self._views.items():
            view.show_always(number >= count - 2)
            view.setGeometry(left, tops[number] - value, width, self._heights[number])
            if view.isHidden():
                view.show()
        self._place_button(highest > value + theme.em(self, 2))

    def _measure(self, index: int, width: int) -> int:
        view = self._views.get(index)
        if view is None:
            view = self._views[index] = self._make(self._turns[index])
            self._measured[index] = False
        if not self._measured[index]:
            self._heights[index] = view.arrange(width)
            self._measured[index] = True
        return self._heights[index]

    def _make(self, turn: Turn) -> MessageView:
        view = MessageView(self.viewport(), turn, self._colours, sure=self._sure, actions=self._actions)
        view.action.connect(self.action)
        view.edited.connect(self.edited)
        view.branch_chosen.connect(self.branch_chosen)
        view.token_chosen.connect(self.token_chosen)
        view.link_clicked.connect(self.link_clicked)
        view.resized.connect(lambda: self._on_resized(view))
        return view

    def _on_resized(self, view: MessageView) -> None:
        for number, item in self._views.items():
            if item is view:
                self._measured[number] = False
        self._later.start(0)

    def _place_button(self, away: bool) -> None:
        self.end_button.setVisible(away)
        if away:
            size = self.end_button.sizeHint()
            area = self.viewport().geometry()
            pad = theme.em(self, 0.5)
            self.end_button.setGeometry(
                area.center().x() - size.width() // 2, area.bottom() - size.height() - pad, size.width(), size.height()
            )
            self.end_button.raise_()

    def _on_scrolled(self, value: int) -> None:
        if self._arranging:
            return
        bar = self.verticalScrollBar()
        self._at_end = value >= bar.maximum() - 2
        gap = theme.em(self, 0.35)
        top = gap
        for index, size in enumerate(self._heights):
            if top + size + gap > value or index == len(self._heights) - 1:
                self._anchor = (index, value - top)
                break
            top += size + gap
        self._arrange()

    # --- what Qt tells

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._arrange()

    def scrollContentsBy(self, dx: int, dy: int) -> None:
        """The messages are placed in :meth:`_arrange`."""

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.PaletteChange) and hasattr(self, "_later"):
            self._measured = [False] * len(self._turns)
            self._later.start(20)  # after the messages have got their new font

    def keyPressEvent(self, event: QKeyEvent) -> None:
        bar = self.verticalScrollBar()
        key = event.key()
        if key == Qt.Key.Key_Home:
            bar.setValue(0)
        elif key == Qt.Key.Key_End:
            self.follow()
        elif key in (Qt.Key.Key_PageUp, Qt.Key.Key_PageDown):
            step = bar.pageStep() - theme.em(self, 2)
            bar.setValue(bar.value() + (step if key == Qt.Key.Key_PageDown else -step))
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down):
            bar.setValue(bar.value() + (bar.singleStep() if key == Qt.Key.Key_Down else -bar.singleStep()))
        else:
            super().keyPressEvent(event)

    def focusNextPrevChild(self, forward: bool) -> bool:
        done = super().focusNextPrevChild(forward)
        focused = self.focusWidget()
        if done and focused is not None:
            self._bring_into_sight(focused)
        return done

    def _bring_into_sight(self, widget: QWidget) -> None:
        view: QWidget | None = widget
        while view is not None and not isinstance(view, MessageView):
            view = view.parentWidget()
        if view is None:
            return
        top, bottom = view.y(), view.y() + view.height()
        bar = self.verticalScrollBar()
        if top < 0 or bottom - top > self.viewport().height():
            bar.setValue(bar.value() + top)
        elif bottom > self.viewport().height():
            bar.setValue(bar.value() + bottom - self.viewport().height())

    def focusInEvent(self, event: QFocusEvent) -> None:
        super().focusInEvent(event)
        self._by_keys = event.reason() in (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason)
        self.viewport().update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if self.hasFocus() and self._by_keys:
            painter = QPainter(self.viewport())
            painter.setPen(self.palette().accent().color())
            painter.drawRect(self.viewport().rect().adjusted(0, 0, -1, -1))


def _let_go(view: MessageView) -> None:
    view.hide()
    view.deleteLater()
