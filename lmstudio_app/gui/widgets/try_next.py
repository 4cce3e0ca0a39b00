"""How a text may go on: the distribution of the next token as bars; a click writes it, and the model is asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.try_queries import Reply
from lmstudio_app.gui.try_texts import token_label
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.gui.widgets.try_candidates import CandidateList, share_text


class NextTokenView(QWidget):
    again = Signal(object, bool)  # inputs to ask about next; whether they belong into the fields

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._reply: Reply | None = None
        self._text = ""
        self._awaited: str | None = None
        self._before: list[str] = []  # the texts that a click has gone on from
        self.bars = CandidateList(
            self.tr("Candidates"), self.tr("Click a token to write it behind the text (␣ is a space)"), self
        )
        self.bars.chosen.connect(self._on_taken)
        self.others = Hint("", self)
        self.undo_button = QPushButton(self.tr("Undo"), self)
        self.undo_button.setAccessibleName(self.tr("Take the last token back"))
        self.undo_button.setToolTip(self.tr("Take the last token back that a click has written"))
        self.undo_button.clicked.connect(self._on_undo)
        row = QHBoxLayout()
        row.addWidget(self.others, 1)
        row.addWidget(self.undo_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(self.bars, 1)
        layout.addLayout(row)
        layout.addStretch(0)
        self.clear()

    def clear(self) -> None:
        self._reply, self._text, self._awaited = None, "", None
        self._before.clear()
        self.bars.clear()
        self.others.clear()
        for widget in (self.bars, self.others, self.undo_button):
            widget.hide()

    def begin(self, inputs: Mapping[str, Any]) -> None:
        """A text that comes from elsewhere than from a click has nothing to take back."""
        if inputs["text"] != self._awaited:
            self._before.clear()

    def show_reply(self, inputs: Mapping[str, Any], reply: Reply) -> None:
        self._reply, self._text, self._awaited = reply, inputs["text"], None
        place = reply.output.places[0]
        self.bars.set_candidates(
            place,
            token_label,
            [text is None for text in reply.continued],
            self.tr("No text: this token ends or divides texts, or is a part of a character"),
        )
        rest = max(0.0, 1 - sum(candidate.probability for candidate in place))
        self.others.setText(self.tr("All other tokens together: {share}").format(share=share_text(rest)))
        for widget in (self.bars, self.others, self.undo_button):
            widget.show()
        self.undo_button.setEnabled(bool(self._before))

    def copied_text(self) -> str:
        """The text so far."""
        return self._text

    def _on_taken(self, row: int) -> None:
        text = self._reply.continued[row] if self._reply is not None and self._awaited is None else None
        if text is not None:
            self._before.append(self._text)
            self._go_to(text)

    def _on_undo(self) -> None:
        if self._before:
            self._go_to(self._before.pop())

    def _go_to(self, text: str) -> None:
        self._awaited = text
        self.undo_button.setEnabled(bool(self._before))
        self.again.emit({"text": text}, True)
