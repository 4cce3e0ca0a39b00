"""The middle of the Chat page: the conversation, what went wrong, what can be taken back, and the next message."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.try_queries import Sample
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.chat_body import CodeColours
from lmstudio_app.gui.widgets.chat_input import ChatInput
from lmstudio_app.gui.widgets.chat_list import UndoBar
from lmstudio_app.gui.widgets.chat_transcript import Transcript
from lmstudio_app.gui.widgets.chat_turn import Turn
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.sample_list import SampleList
from lmstudio_app.gui.widgets.scaled_label import Heading


class ConversationPane(QFrame):
    sure_changed = Signal(bool)
    copy_requested = Signal()
    export_requested = Signal()
    sample_chosen = Signal(str)
    retry_requested = Signal()  # of what the notice says

    def __init__(self, colours: CodeColours, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.title = ElidedLabel(self)
        self.sure_box = QCheckBox(self.tr("Show how sure it was"), self)
        self.sure_box.setAccessibleName(self.tr("Show how sure it was"))
        self.sure_box.setToolTip(
            self.tr(
                "Tint each token by its probability: the stronger the tint, the less sure the model was. Point at one "
                "to see what else might have stood there, and click that to have the reply written on from it."
            )
        )
        self.sure_box.toggled.connect(self._on_sure)
        self.copy_button = make_button(self.tr("Copy all"), self.tr("Copy the whole conversation as Markdown"), self)
        self.copy_button.clicked.connect(self.copy_requested)
        self.export_button = make_button(
            self.tr("Save as…"), self.tr("Write the conversation to a file: Markdown, or JSON Lines for training"), self
        )
        self.export_button.clicked.connect(self.export_requested)
        self.transcript = Transcript(colours, self)
        self.samples = SampleList(self)
        self.samples.chosen.connect(lambda inputs: self.sample_chosen.emit(str(inputs["messages"][-1]["content"])))
        self.blank = self._build_blank()
        self.stack = QStackedWidget(self)
        self.stack.addWidget(self.blank)
        self.stack.addWidget(self.transcript)
        self.notice = Notice(self)
        self.retry_button = make_button(self.tr("Try again"), self.tr("Do once more what did not work"), self)
        self.retry_button.clicked.connect(self.retry_requested)
        self.undo = UndoBar(self)
        self.input = ChatInput(self)
        header = QHBoxLayout()
        header.setSpacing(theme.em(self, 0.4))
        header.addWidget(self.title, 1)
        for widget in (self.sure_box, self.copy_button, self.export_button):
            header.addWidget(widget)
        problem = QHBoxLayout()
        problem.addWidget(self.notice, 1)
        problem.addWidget(self.retry_button, 0, Qt.AlignmentFlag.AlignVCenter)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.6)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.45))
        layout.addLayout(header)
        layout.addWidget(self.stack, 1)
        layout.addLayout(problem)
        layout.addWidget(self.undo)
        layout.addWidget(self.input)
        self.show_problem("")
        self.show_turns([])

    def _build_blank(self) -> QWidget:
        blank = QWidget(self)
        heading = Heading(self.tr("What would you like to talk about?"), blank)
        heading.setAlignment(Qt.AlignmentFlag.AlignCenter)
        words = QLabel(
            self.tr("The model runs on this computer. What you write stays here, too."),
            blank,
        )
        words.setWordWrap(True)
        words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        words.setForegroundRole(words.palette().ColorRole.PlaceholderText)
        column = QVBoxLayout()
        column.setSpacing(theme.em(self, 0.6))
        column.addStretch(2)
        column.addWidget(heading)
        column.addWidget(words)
        column.addSpacing(theme.em(self, 0.6))
        column.addWidget(self.samples)
        column.addStretch(3)
        row = QHBoxLayout(blank)
        row.addStretch(1)
        row.addLayout(column, 4)
        row.addStretch(1)
        return blank

    # --- what others use

    def set_samples(self, samples: Sequence[Sample]) -> None:
        self.samples.set_samples(samples)

    def show_turns(self, turns: Sequence[Turn], *, follow: bool = True) -> None:
        self.transcript.set_turns(turns, follow=follow)
        self.stack.setCurrentWidget(self.transcript if turns else self.blank)
        for widget in (self.copy_button, self.export_button):
            widget.setEnabled(bool(turns))

    def set_title(self, title: str) -> None:
        self.title.setText(title or self.tr("New conversation"))

    def show_problem(self, text: str, *, can_retry: bool = False) -> None:
        self.notice.set_text(text)
        self.retry_button.setVisible(bool(text) and can_retry)

    def _on_sure(self, sure: bool) -> None:
        self.transcript.set_sure(sure)
        self.sure_changed.emit(sure)
