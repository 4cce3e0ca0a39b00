"""One message of the transcript: who says it, what, how it ended, and what can be done with it."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QEvent, QObject, QRect, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QFocusEvent, QFont, QKeyEvent, QKeySequence, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QApplication, QHBoxLayout, QPlainTextEdit, QPushButton, QToolButton, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.chat_actions import ACTIONS, BranchSwitch, MessageActions
from lmstudio_app.gui.widgets.chat_body import CodeColours, MessageBody
from lmstudio_app.gui.widgets.chat_tokens import TokenText
from lmstudio_app.gui.widgets.chat_turn import CUT, FAILED, STOPPED, WRITING, Turn, speed_text, state_text
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import Hint, ScaledLabel

_PATIENCE = 700  # milliseconds without a token after which is said what takes so long


class MessageView(QWidget):
    """A question stands in a bubble on the right, a reply over the whole width.

    :meth:`arrange` places everything for a width and says how high it is. ``action`` carries the message's key and one
    of :data:`lmstudio_app.gui.widgets.chat_actions.ACTIONS`, or ``retry``.
    """

    action = Signal(object, str)
    edited = Signal(object, str)  # key, the new text
    branch_chosen = Signal(object, int)  # key, number of the sibling from 1
    token_chosen = Signal(object, int, object)  # key, number of the token, candidate
    link_clicked = Signal(str)
    resized = Signal()  # it needs another height

    def __init__(
        self,
        parent: QWidget,
        turn: Turn,
        colours: CodeColours | None,
        *,
        sure: bool = False,
        actions: Sequence[str] = ACTIONS,
    ) -> None:
        super().__init__(parent)
        self._offered = actions
        self.turn = turn
        self._sure = sure
        self._colours = colours
        self._bubble = QRectF()
        self._row = QRect()
        self.editor: QPlainTextEdit | None = None
        self.tokens: TokenText | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.name = ScaledLabel("", self, scale=0.9, weight=QFont.Weight.DemiBold)
        self.name.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.body = MessageBody(self, colours, plain=turn.role == "user")
        self.body.link_clicked.connect(self.link_clicked)
        self.body.restyled.connect(self.resized)
        self.notice = Notice(self)
        self.foot = Hint("", self)
        self._actions: MessageActions | None = None
        self._branches: BranchSwitch | None = None
        self._retry: QPushButton | None = None
        self._always = False
        self._by_keys = False
        self._waits = False  # for the first token of a reply
        self._show(turn)

    # --- what it is made of

    # --- what it shows

    def set_turn(self, turn: Turn) -> None:
        """Show what has become of the message."""
        self._show(turn)

    def set_sure(self, sure: bool) -> None:
        """Tint each token by how sure the model was of it."""
        if sure != self._sure:
            self._sure = sure
            self._show(self.turn)

    def _show(self, turn: Turn) -> None:
        self.turn = turn
        names = {"user": self.tr("You"), "system": self.tr("System prompt")}
        self.name.setText(names.get(turn.role, turn.model or self.tr("Model")))
        tinted = self._sure and bool(turn.pieces) and turn.is_reply
        if tinted and self.tokens is None:
            self.tokens = TokenText(self)
            self.tokens.token_chosen.connect(
                lambda index, candidate: self.token_chosen.emit(self.turn.key, index, candidate)
            )
        if tinted and self.tokens is not None:
            self.tokens.set_pieces(turn.pieces)
        elif self.tokens is not None:
            self.tokens.hide()
            self.tokens.deleteLater()
            self.tokens = None
        if not tinted:
            waiting = turn.state == WRITING and not turn.text
            if waiting and not self._waits:
                QTimer.singleShot(_PATIENCE, self, self._on_long_wait)
            self._waits = waiting
            self.body.set_text("…" if waiting else turn.text)
        self.body.setVisible(not tinted and self.editor is None)
        if self.tokens is not None:
            self.tokens.show()
        self.notice.set_text(turn.problem if turn.state == FAILED else "")
        if turn.state == FAILED and self._retry is None and "again" in self._offered:
            self._retry = _push(self.tr("Try again"), self.tr("Ask the model for this reply once more"), self)
            self._retry.clicked.connect(lambda: self.action.emit(self.turn.key, "retry"))
        if self._retry is not None:
            self._retry.setVisible(turn.state == FAILED)
        at_rest = turn.state != WRITING
        if turn.branch[1] > 1 and self._branches is None:
            self._branches = BranchSwitch(self)
            self._branches.chosen.connect(lambda number: self.branch_chosen.emit(self.turn.key, number))
        if self._branches is not None:
            self._branches.show_branch(*turn.branch)
            self._branches.setVisible(turn.branch[1] > 1 and at_rest)
        self._show_actions()
        notes = [state_text(turn), speed_text(turn) if at_rest else ""]
        if turn.left_out:
            notes.append(self.tr("No longer seen by the model"))
        if at_rest and turn.is_reply and not turn.text and turn.state != FAILED:
            notes.insert(0, self.tr("Nothing: the model ended its turn at once"))
        self.foot.setText(" · ".join(note for note in notes if note))
        self.foot.setVisible(bool(self.foot.text()))
        self.setAccessibleName(f"{self.name.text()}: {turn.text[:200]}")

    def _on_long_wait(self) -> None:
        """A long conversation has to be read before the first token comes."""
        if self._waits:
            self.body.set_text(self.tr("Reading the conversation…"))
            self.resized.emit()

    # --- what can be done with it

    @property
    def actions_shown(self) -> bool:
        return self._actions is not None and not self._actions.isHidden()

    def show_always(self, always: bool) -> None:
        """Are the actions there also while neither the pointer nor the keyboard is?"""
        if always != self._always:
            self._always = always
            self._show_actions()

    def button(self, name: str) -> QToolButton:
        """The button of one of :data:`ACTIONS`."""
        return self._made_actions().buttons[name]

    @property
    def branches(self) -> BranchSwitch | None:
        return self._branches

    @property
    def retry_button(self) -> QPushButton | None:
        return self._retry

    def _made_actions(self) -> MessageActions:
        if self._actions is None:
            self._actions = MessageActions(self)
            self._actions.chosen.connect(lambda name: self.action.emit(self.turn.key, name))
        return self._actions

    def _show_actions(self) -> None:
        """They come with the pointer or the keyboard: on every message they would be a crowd."""
        focus = QApplication.focusWidget()
        near = self._always or self.underMouse() or (focus is not None and self.isAncestorOf(focus))
        wanted = near and self.turn.state != WRITING and self.editor is None
        if wanted:
            turn = self.turn
            shown = {
                "copy": bool(turn.text),
                "edit": turn.role == "user",
                "again": turn.is_reply and turn.state != FAILED,
                "continue": turn.is_reply and turn.state in (STOPPED, CUT) and bool(turn.text),
                "delete": True,
            }
            self._made_actions().offer([name for name in self._offered if shown[name]])
            self._place_actions()
        if self._actions is not None:
            self._actions.setVisible(wanted)

    def enterEvent(self, event: QEvent) -> None:
        self._show_actions()

    def leaveEvent(self, event: QEvent) -> None:
        self._show_actions()

    # --- where it stands

    def arrange(self, width: int) -> int:
        pad, gap = theme.em(self, 0.6), theme.em(self, 0.2)
        is_question = self.turn.role == "user"
        inside = width - 2 * pad
        left = 0
        if is_question and self.editor is None:
            wanted = max(self.body.natural_width(), self.name.sizeHint().width())
            inside = max(theme.characters(self, 12), min(wanted, int(width * 0.8) - 2 * pad))
            left = width - inside - 2 * pad
        top = pad // 2 if is_question else 0
        name_height = self.name.sizeHint().height()
        self.name.setGeometry(left + pad, top, inside, name_height)
        top += name_height + gap
        for widget, height in self._main(inside):
            widget.setGeometry(left + pad, top, inside, height)
            top += height + gap
        if is_question:
            self._bubble = QRectF(left, 0, inside + 2 * pad, top + pad // 2)
            top += pad // 2 + gap
        if self.notice.text():
            height = self.notice.heightForWidth(inside)
            self.notice.setGeometry(left + pad, top, inside, height)
            top += height + gap
        return self._arrange_row(top, width) + pad

    def _main(self, width: int) -> list[tuple[QWidget, int]]:
        if self.editor is not None:
            lines = self.editor.document().size().height()  # in lines, since it is a plain text
            height = int(min(lines, 12) * self.editor.fontMetrics().lineSpacing()) + theme.em(self, 0.8)
            return [
                (self.editor, max(height, theme.em(self, 3.6))),
                (self._edit_bar, self._edit_bar.sizeHint().height()),
            ]
        if self.tokens is not None:
            return [(self.tokens, self.tokens.height_for(width))]
        return [(self.body, self.body.arrange(width))]

    def _arrange_row(self, top: int, width: int) -> int:
        """Branches, actions and notes below a message. The room of the actions is kept while they are not shown."""
        pad, gap = theme.em(self, 0.6), theme.em(self, 0.25)
        height = theme.em(self, 1.7)
        self._row = QRectF(pad, top, width - 2 * pad, height).toRect()
        left = pad
        for widget in (self._retry, self._branches):
            if widget is not None and not widget.isHidden():
                size = widget.sizeHint()
                place = left if self.turn.role != "user" else width - pad - size.width()
                widget.setGeometry(place, top + (height - size.height()) // 2, size.width(), size.height())
                if self.turn.role == "user":
                    self._row.setRight(place - gap)
                else:
                    left += size.width() + gap
        self._row.setLeft(left)
        if not self.foot.isHidden():
            wanted = self.foot.fontMetrics().horizontalAdvance(self.foot.text()) + theme.em(self, 0.2)
            if self._row.width() - wanted > theme.characters(self, 46):
                self.foot.setGeometry(width - pad - wanted, top, wanted, height)
            else:  # below, and in as many lines as it takes
                lines = self.foot.heightForWidth(width - 2 * pad)
                self.foot.setGeometry(pad, top + height, width - 2 * pad, lines)
                height += lines
        self._place_actions()
        return top + height

    def _place_actions(self) -> None:
        if self._actions is not None:
            size = self._actions.sizeHint()
            is_question = self.turn.role == "user"
            left = self._row.right() - size.width() if is_question else self._row.left() - theme.em(self, 0.3)
            top = self._row.top() + (self._row.height() - size.height()) // 2
            self._actions.setGeometry(max(0, left), top, size.width(), size.height())

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette, radius = self.palette(), theme.em(self, 0.5)
        if self.turn.role == "user" and self.editor is None:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.blend(palette.accent().color(), palette.base().color(), 0.14))
            painter.drawRoundedRect(self._bubble, radius, radius)
        if self.hasFocus() and self._by_keys:
            painter.setPen(palette.accent().color())
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), radius, radius)

    def focusInEvent(self, event: QFocusEvent) -> None:
        self._by_keys = event.reason() in (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason)
        self._show_actions()
        self.update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        QTimer.singleShot(0, self, self._show_actions)  # the keyboard may have gone on to one of them
        self.update()

    # --- asking differently

    def start_editing(self) -> None:
        """Let the question be written anew in its place."""
        if self.editor is not None:
            return
        self.editor = QPlainTextEdit(self.turn.text, self)
        self.editor.setAccessibleName(self.tr("The question, to be changed"))
        self.editor.setToolTip(self.tr("Enter asks again, Shift+Enter begins a line, Esc leaves it as it was"))
        self.editor.setTabChangesFocus(True)
        self.editor.installEventFilter(self)
        self.editor.textChanged.connect(self.resized)
        self._edit_bar = _EditBar(self)
        self._edit_bar.send_button.clicked.connect(self._on_edited)
        self._edit_bar.cancel_button.clicked.connect(self.stop_editing)
        self.editor.show()
        self._edit_bar.show()
        self._show(self.turn)
        self.resized.emit()
        self.editor.setFocus()
        self.editor.moveCursor(self.editor.textCursor().MoveOperation.End)

    def stop_editing(self) -> None:
        if self.editor is None:
            return
        editor, self.editor = self.editor, None
        for widget in (editor, self._edit_bar):
            widget.hide()
            widget.deleteLater()
        self._show(self.turn)
        self.resized.emit()
        self.setFocus()

    def _on_edited(self) -> None:
        text = self.editor.toPlainText().strip() if self.editor is not None else ""
        if text:
            self.stop_editing()
            self.edited.emit(self.turn.key, text)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.editor and event.type() == QEvent.Type.KeyPress:
            assert isinstance(event, QKeyEvent)
            if event.key() == Qt.Key.Key_Escape:
                self.stop_editing()
                return True
            plain = not event.modifiers() & Qt.KeyboardModifier.ShiftModifier
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and plain:
                self._on_edited()
                return True
        return bool(super().eventFilter(watched, event))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            QApplication.clipboard().setText(self.body.selected_text() or self.turn.text)
            return
        super().keyPressEvent(event)


def _push(text: str, tip: str, parent: QWidget) -> QPushButton:
    button = QPushButton(text, parent)
    button.setAccessibleName(text)
    button.setToolTip(tip)
    return button


class _EditBar(QWidget):
    """The two ways out of changing a question."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.send_button = _push(
            self.tr("Ask again"), self.tr("Ask the changed question in a branch of its own (Enter)"), self
        )
        self.send_button.setProperty("primary", True)
        self.cancel_button = _push(self.tr("Leave it"), self.tr("Keep the question as it was (Esc)"), self)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addStretch(1)
        row.addWidget(self.cancel_button)
        row.addWidget(self.send_button)
