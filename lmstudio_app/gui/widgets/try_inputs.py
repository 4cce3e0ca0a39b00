"""The fields for one question: a text box an input; for a conversation, the line to say next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QTextCursor
from PySide6.QtWidgets import QLabel, QPlainTextEdit, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.try_texts import field_texts
from lmstudio_app.tasks import Prediction

_SHORT = ("question", "messages")  # inputs of a line or two


class InputFields(QWidget):
    """Row in, row out: :meth:`inputs` and :meth:`set_inputs` speak of one row of the prediction."""

    submitted = Signal()  # Ctrl+Enter
    changed = Signal()

    def __init__(self, prediction: Prediction, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._prediction = prediction
        self._turns: list[dict[str, str]] = []
        self.edits: dict[str, QPlainTextEdit] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.3))
        for column in prediction.inputs:
            title, placeholder = field_texts(prediction.name, column)
            label = QLabel(title, self)
            edit = QPlainTextEdit(self)
            edit.setPlaceholderText(placeholder)
            edit.setAccessibleName(title)
            edit.setToolTip(self.tr("{title} (Ctrl+Enter asks)").format(title=placeholder))
            edit.setTabChangesFocus(True)
            lines = 2.8 if column.name in _SHORT or (not column.required and column.type == "text") else 5
            edit.setMinimumHeight(theme.em(self, lines))
            edit.setMaximumHeight(theme.em(self, lines * 2.2))
            edit.installEventFilter(self)
            edit.textChanged.connect(self.changed)
            label.setBuddy(edit)
            layout.addWidget(label)
            layout.addWidget(edit)
            self.edits[column.name] = edit

    @property
    def is_conversation(self) -> bool:
        return any(column.type == "messages" for column in self._prediction.inputs)

    @property
    def turns(self) -> list[dict[str, str]]:
        """What was said before the line that is being typed."""
        return list(self._turns)

    def inputs(self) -> dict[str, Any]:
        """The row to ask about. Raises :class:`UserError` when an input is missing."""
        row: dict[str, Any] = {}
        for column in self._prediction.inputs:
            text = self.edits[column.name].toPlainText()
            is_chat = column.type == "messages"
            if not text.strip() and (column.required or is_chat) and self._prediction.name != "next_token":
                raise UserError(
                    "The field “{field}” is empty.", "Type something, or take one of the examples.",
                    field=field_texts(self._prediction.name, column)[0],
                )  # fmt: skip
            if is_chat:
                row[column.name] = [*self._turns, {"role": "user", "content": text.strip()}]
            elif text.strip() or column.required:
                row[column.name] = text
        return row

    def set_inputs(self, row: Mapping[str, Any]) -> None:
        """Show a row; inputs that it lacks are emptied. Of a conversation the last line can be changed."""
        for column in self._prediction.inputs:
            value = row.get(column.name, "")
            if column.type == "messages":
                self._turns = [dict(message) for message in list(value)[:-1]]
                value = value[-1]["content"] if value else ""
            edit = self.edits[column.name]
            edit.setPlainText(str(value))
            edit.moveCursor(QTextCursor.MoveOperation.End)

    def accept_answer(self, row: Mapping[str, Any], answer: str) -> None:
        """Go on with the conversation behind an answer; a line that was typed meanwhile stays."""
        messages = list(row["messages"])
        self._turns = [*messages, {"role": "assistant", "content": answer}]
        edit = self.edits["messages"]
        if edit.toPlainText().strip() == messages[-1]["content"]:
            edit.clear()

    def start_over(self) -> None:
        """Begin a new conversation."""
        self._turns = []
        for edit in self.edits.values():
            edit.clear()

    def insert(self, text: str) -> None:
        """Put ``text`` where the cursor stands, in place of what is selected, with spaces around it."""
        edit = next(iter(self.edits.values()))
        cursor = edit.textCursor()
        content = edit.toPlainText()
        before = content[: cursor.selectionStart()][-1:]
        after = content[cursor.selectionEnd() :][:1]
        space = " " if before.isascii() and before.strip() else ""
        cursor.insertText(space + text + (" " if after.isascii() and after.isalnum() else ""))
        edit.setTextCursor(cursor)
        edit.setFocus()

    def focus_first(self) -> None:
        next(iter(self.edits.values())).setFocus()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
            if is_enter and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
                self.submitted.emit()
                return True
        return super().eventFilter(watched, event)
