"""What a model says, shown by the type of the output.

A view has ``begin(inputs)``, called when a question is asked, ``show_reply(inputs, reply)``, ``clear()``,
``copied_text()``, and a signal ``again(inputs, into_fields)`` for views that go on asking.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QFont, QTextCursor
from PySide6.QtWidgets import QFrame, QLabel, QPlainTextEdit, QScrollArea, QTextBrowser, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.try_queries import Reply
from lmstudio_app.gui.try_texts import label_title
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.marked_text import Mark, MarkedText
from lmstudio_app.gui.widgets.scaled_label import FontScale, Hint
from lmstudio_app.gui.widgets.score_bars import ScoreBars
from lmstudio_app.gui.widgets.try_candidates import share_text
from lmstudio_app.gui.widgets.try_gaps import GapsView
from lmstudio_app.gui.widgets.try_next import NextTokenView
from lmstudio_app.tasks import Prediction
from lmstudio_app.tasks.fill_mask import FILL_MASK
from lmstudio_app.tasks.outputs import Answer, Candidates, Label, Text


def make_view(prediction: Prediction, parent: QWidget | None = None) -> Any:
    """The view for what ``prediction`` yields; a type that none is made for is shown as its row of a file."""
    if prediction.output is Label:
        return LabelView(prediction.name, parent)
    if prediction.output is Candidates:
        return GapsView(parent) if prediction.name == FILL_MASK.name else NextTokenView(parent)
    if prediction.output is Answer:
        return AnswerView(parent)
    if prediction.output is Text:
        is_chat = any(column.type == "messages" for column in prediction.inputs)
        return ConversationView(parent) if is_chat else TextView(parent)
    return RowView(parent)


def _fill(widget: QWidget) -> QVBoxLayout:
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(theme.em(widget, 0.6))
    return layout


class LabelView(QWidget):
    """The label in large letters, and the probability of each."""

    again = Signal(object, bool)

    def __init__(self, prediction: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._prediction = prediction
        self.verdict = ElidedLabel(self)
        FontScale(self.verdict, 1.7, QFont.Weight.DemiBold)
        self.bars = ScoreBars()
        self.scroll = QScrollArea(self)
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setWidget(self.bars)
        self.scroll.viewport().setAutoFillBackground(False)
        self.bars.setAutoFillBackground(False)  # setWidget switched it on
        layout = _fill(self)
        layout.addWidget(self.verdict)
        layout.addWidget(self.scroll, 1)

    def clear(self) -> None:
        self.verdict.clear()
        self.bars.set_scores({})

    def begin(self, inputs: Mapping[str, Any]) -> None:
        """The last answer stays until the next one comes."""

    def show_reply(self, inputs: Mapping[str, Any], reply: Reply) -> None:
        label: Label = reply.output
        self.verdict.setText(label_title(self._prediction, label.label))
        self.bars.set_scores({label_title(self._prediction, name): score for name, score in label.scores.items()})

    def copied_text(self) -> str:
        return "\n".join([self.verdict.text(), *(f"{name}\t{share_text(score)}" for name, score in self.bars.rows)])


class TextView(QPlainTextEdit):
    """Text that the model wrote."""

    again = Signal(object, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setAccessibleName(self.tr("Answer"))
        self.setToolTip(self.tr("What the model wrote"))
        self.setTabChangesFocus(True)
        FontScale(self, 1.1)

    def begin(self, inputs: Mapping[str, Any]) -> None:
        """The last answer stays until the next one comes."""

    def show_reply(self, inputs: Mapping[str, Any], reply: Reply) -> None:
        self.setPlainText(reply.output.text)
        self.setPlaceholderText(self.tr("The model wrote nothing: it ended the text at once."))

    def clear(self) -> None:
        self.setPlaceholderText("")
        super().clear()

    def copied_text(self) -> str:
        return self.toPlainText()


class RowView(TextView):
    """Any output, as a line of a file would have it."""

    def show_reply(self, inputs: Mapping[str, Any], reply: Reply) -> None:
        self.setPlainText(json.dumps(reply.output.to_row(), ensure_ascii=False, indent=1))


class AnswerView(QWidget):
    """The answer, how sure the model is, and the text with the answer marked in it."""

    again = Signal(object, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.answer = QLabel(self)
        self.answer.setWordWrap(True)
        self.answer.setTextFormat(Qt.TextFormat.PlainText)
        self.answer.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.answer.setToolTip(self.tr("The part of the text that answers best"))
        FontScale(self.answer, 1.4, QFont.Weight.DemiBold)
        self.score = Hint("", self)
        self.score.setToolTip(self.tr("The probability of this part among all parts of the text"))
        self.context = MarkedText(self.tr("The text with the answer marked"), self.tr("Where the answer stands"), self)
        layout = _fill(self)
        layout.addWidget(self.answer)
        layout.addWidget(self.score)
        layout.addWidget(self.context, 1)
        self.clear()

    def clear(self) -> None:
        self.answer.clear()
        self.score.clear()
        self.context.clear()
        self.context.hide()

    def begin(self, inputs: Mapping[str, Any]) -> None:
        """The last answer stays until the next one comes."""

    def show_reply(self, inputs: Mapping[str, Any], reply: Reply) -> None:
        found: Answer = reply.output
        self.answer.setText(found.answer or self.tr("No answer in this text"))
        self.answer.setAccessibleName(self.answer.text())
        self.score.setText(self.tr("Score {share}").format(share=share_text(found.score)))
        self.context.show()
        self.context.show_text(str(inputs["context"]), [Mark(found.start, found.end)])

    def copied_text(self) -> str:
        return self.answer.text()

    @property
    def marked(self) -> str:
        """The part of the text that is marked."""
        return self.context.marked


class ConversationView(QTextBrowser):
    """The turns of a conversation, the newest at the bottom."""

    again = Signal(object, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._turns: list[tuple[str, str]] = []
        self.setAccessibleName(self.tr("Conversation"))
        self.setToolTip(self.tr("What was said so far"))
        self.setTabChangesFocus(True)

    @property
    def turns(self) -> list[tuple[str, str]]:
        """Role and text of what is shown."""
        return list(self._turns)

    def show_turns(self, messages: Sequence[Mapping[str, str]]) -> None:
        self._turns = [(message["role"], message["content"]) for message in messages]
        self._write()

    def begin(self, inputs: Mapping[str, Any]) -> None:
        self.show_turns([*inputs["messages"], {"role": "assistant", "content": "…"}])

    def show_reply(self, inputs: Mapping[str, Any], reply: Reply) -> None:
        text = reply.output.text or self.tr("(nothing: the model ended its turn at once)")
        self.show_turns([*inputs["messages"], {"role": "assistant", "content": text}])

    def clear(self) -> None:
        self._turns = []
        super().clear()

    def copied_text(self) -> str:
        """The last answer."""
        return next((text for role, text in reversed(self._turns) if role == "assistant"), "")

    def _write(self) -> None:
        names = {"user": self.tr("You"), "assistant": self.tr("Model"), "system": self.tr("System prompt")}
        palette = self.palette()
        accent, base = palette.accent().color(), palette.base().color()
        pad = theme.em(self, 0.4)
        rows = []
        for role, text in self._turns:
            tint = theme.blend(accent, base, 0.14).name() if role == "user" else palette.alternateBase().color().name()
            body = html.escape(text).replace("\n", "<br>")
            rows.append(
                f'<table width="100%" cellspacing="0" cellpadding="{pad}" style="margin-bottom: {pad}px;"><tr>'
                f'<td bgcolor="{tint}"><span style="color: {theme.muted(palette).name()}; font-weight: 600;">'
                f"{html.escape(names.get(role, role))}</span><br>{body}</td></tr></table>"
            )
        self.setHtml("".join(rows))
        self.moveCursor(QTextCursor.MoveOperation.End)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and hasattr(self, "_turns"):
            QTimer.singleShot(0, self, self._write)
