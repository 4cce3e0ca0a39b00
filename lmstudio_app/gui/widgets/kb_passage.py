"""A passage in its document: the text around it, scrolled to it, with the answer marked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices, QFont
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.gui.kb_queries import DocumentPart, DocumentRequest, read_document_text
from lmstudio_app.gui.text import error_texts, number_text
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.kb_texts import place_text
from lmstudio_app.gui.widgets.marked_text import Mark, MarkedText
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import FontScale, Hint

if TYPE_CHECKING:
    from lmstudio_app.knowledge.answers import Source, Span


class PassageView(QWidget):
    back_requested = Signal()

    def __init__(self, runner: JobRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._runner = runner
        self._handle: JobHandle | None = None
        self._source: Source | None = None
        self._span: Span | None = None
        self.back_button = make_button(self.tr("Back to the answer"), self.tr("Close this text (Alt+Left)"), self)
        self.back_button.setShortcut("Alt+Left")
        self.back_button.clicked.connect(self.back_requested)
        self.title = ElidedLabel(self)
        FontScale(self.title, weight=QFont.Weight.DemiBold)
        self.open_button = make_button(
            self.tr("Open the file"), self.tr("Open it with the program that this system has for such files"), self
        )
        self.open_button.clicked.connect(self._on_open)
        self.notice = Notice(self)
        self.hint = Hint("", self)
        self.text = MarkedText(
            self.tr("Text of the document"), self.tr("The passage is tinted, and the answer marked in it"), self
        )
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.5))
        row.addWidget(self.back_button)
        row.addWidget(self.title, 1)
        row.addWidget(self.open_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(row)
        layout.addWidget(self.notice)
        layout.addWidget(self.hint)
        layout.addWidget(self.text, 1)

    def show_source(self, folder: Path, source: Source, span: Span | None) -> None:
        """Read the text from the knowledge base in ``folder``: the file itself may have changed or gone."""
        self._source, self._span = source, span
        self.title.setText(place_text(source))
        self.notice.set_text("")
        self.hint.setText("")
        self.hint.hide()
        self.text.clear()
        request = DocumentRequest(folder, source.file, source.start, source.end)
        self._handle = handle = self._runner.start(read_document_text, request, quiet=True)
        handle.succeeded.connect(lambda part: self._on_text(handle, part))
        handle.failed.connect(lambda error: self._on_failed(handle, error))
        self.back_button.setFocus()

    def shutdown(self) -> None:
        self._handle = None

    def _on_text(self, handle: JobHandle, part: DocumentPart) -> None:
        source = self._source
        if handle is not self._handle or source is None:
            return
        places = [(source.start, source.end, False)]
        if self._span is not None:
            places.append((self._span.start, self._span.end, True))
        self.text.show_text(
            part.text, [Mark(start - part.start, end - part.start, strong) for start, end, strong in places]
        )
        if len(part.text) < part.total:
            self.hint.setText(
                self.tr("Characters {start} to {end} of {total}").format(
                    start=number_text(part.start), end=number_text(part.start + len(part.text)),
                    total=number_text(part.total),
                )
            )  # fmt: skip
            self.hint.show()

    def _on_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._handle:
            self.notice.set_text(" ".join(text for text in error_texts(error) if text))

    def _on_open(self) -> None:
        if self._source is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(self._source.file))
