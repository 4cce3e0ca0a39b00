"""The left half of the Summarise page: the text, how it will be read, and how long the summary is to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QMimeData, Qt, Signal
from PySide6.QtWidgets import QFileDialog, QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.forms import DataclassForm
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.try_queries import Sample
from lmstudio_app.gui.widgets.answer_bar import AnswerBar
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.sample_list import SampleList
from lmstudio_app.gui.widgets.scaled_label import Heading, Hint
from lmstudio_app.gui.widgets.summary_text import SentenceText
from lmstudio_app.gui.widgets.try_history import QuestionHistory
from lmstudio_app.knowledge.documents import KINDS, PATTERNS
from lmstudio_app.settings import Settings
from lmstudio_app.tasks.summarizing import ReadingPlan
from lmstudio_app.tasks.summary_writers import SummaryOptions

PREDICTION = "summarization"
LONGEST = 20_000  # characters of a text that the settings keep


@dataclass(frozen=True)
class _FineOptions(SummaryOptions):
    """What is folded away: all options but the length, which has a box of its own."""

    length: str = "medium"


class SourceText(SentenceText):
    """A file that is dropped is opened, not named."""

    file_dropped = Signal(object)  # Path

    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        return _file_of(source) is not None or super().canInsertFromMimeData(source)

    def insertFromMimeData(self, source: QMimeData) -> None:
        path = _file_of(source)
        if path is not None:
            self.file_dropped.emit(path)
        else:
            super().insertFromMimeData(source)


def _file_of(source: QMimeData) -> Path | None:
    urls = source.urls()
    if len(urls) != 1 or not urls[0].isLocalFile():
        return None
    path = Path(urls[0].toLocalFile())
    return path if path.suffix.lower() in KINDS else None


class SummarySource(QFrame):
    changed = Signal()  # the text or the options
    file_chosen = Signal(object)  # Path
    ask_requested = Signal()

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._settings = settings
        self._build()
        self.edit.setPlainText(str(settings.get("summarization.text", "")))
        self.edit.textChanged.connect(self._on_typed)
        self._show_clear()

    # --- what others use

    def text(self) -> str:
        return self.edit.toPlainText()

    def set_text(self, text: str) -> None:
        self.edit.setPlainText(text)

    def options(self) -> SummaryOptions:
        """As they are chosen. Raises :class:`UserError` where they do not go together."""
        fine = self.form.config("options")
        values = {item.name: getattr(fine, item.name) for item in dataclasses.fields(SummaryOptions)}
        return SummaryOptions(**{**values, "length": str(self.length.currentData())})

    def set_samples(self, samples: Sequence[Sample]) -> None:
        self.samples.set_samples(samples)

    def show_plan(self, plan: ReadingPlan | None) -> None:
        """How the text will be read; None: it is not known yet."""
        if plan is None:
            self.plan.clear()
            return
        size = self.tr("{words} words, {tokens} tokens (pieces of words). ").format(
            words=number_text(plan.words), tokens=number_text(plan.tokens)
        )
        if plan.is_text:
            self.plan.setText(size + self.tr("That is no longer than its summary would be: it stays as it is."))
        elif len(plan.parts) <= 1:
            self.plan.setText(size + self.tr("The model reads it at once."))
        else:
            self.plan.setText(
                size
                + self.tr(
                    "The model is given {window} tokens at once: it will be read in {count} parts, whose summaries are "
                    "summarised."
                ).format(window=number_text(plan.window), count=number_text(len(plan.parts)))
            )

    def show_problem(self, text: str) -> None:
        self.notice.set_text(text)

    # --- building

    def _build(self) -> None:
        self.open_button = make_button(
            self.tr("Open a file…"), self.tr("Text, Markdown, web page, PDF or Word; you can also drop one"), self
        )
        self.open_button.clicked.connect(self._on_open)
        self.clear_button = make_button(self.tr("Clear"), self.tr("Empty the field"), self)
        self.clear_button.clicked.connect(self.edit_clear)
        header = QHBoxLayout()
        header.addWidget(Heading(self.tr("Text"), self, scale=1.1), 1)
        header.addWidget(self.open_button)
        header.addWidget(self.clear_button)
        self.edit = SourceText(
            self.tr("Text"),
            self.tr("The text to summarise. After a summary, point at a marked sentence to see what came of it."),
            self,
        )
        self.edit.setPlaceholderText(self.tr("Type or paste a text, or drop a file here."))
        self.edit.setMinimumHeight(theme.em(self, 6))
        self.edit.file_dropped.connect(self.file_chosen)
        self.plan = Hint("", self)
        self.notice = Notice(self)
        self.length = QuietCombo(self.tr("Length"), self.tr("How long the summary is to be"), self)
        for name, title, tip in (
            ("short", self.tr("Short"), self.tr("A sentence or two, 30 words at most")),
            ("medium", self.tr("Medium"), self.tr("A fifth of the text, 40 to 80 words")),
            ("long", self.tr("Long"), self.tr("A third of the text, 200 words at most")),
        ):
            self.length.addItem(title, name)
            self.length.setItemData(self.length.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        kept = self._settings.get("summarization.length", "medium")
        self.length.choose(kept if self.length.findData(kept) >= 0 else "medium")
        self.length.activated.connect(lambda _: self._on_options())
        label = QLabel(self.tr("Length"), self)
        label.setBuddy(self.length)
        choices = QHBoxLayout()
        choices.addWidget(label)
        choices.addWidget(self.length)
        choices.addStretch(1)
        self.samples = SampleList(self)
        self.samples.chosen.connect(self._on_chosen)
        self.fine = Disclosure(self.tr("Options"), self.tr("How the summary is written, for experts"), self)
        self.form = DataclassForm({"options": _FineOptions}, parent=self.fine.body)
        values = self._settings.get("summarization.options", {})
        self.form.set_values(values if isinstance(values, dict) else {})
        self.form.changed.connect(self._on_options)
        scroll = QScrollArea(self.fine.body)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(self.form)
        scroll.viewport().setAutoFillBackground(False)
        self.form.setAutoFillBackground(False)  # setWidget switched it on
        scroll.setMinimumHeight(theme.em(self, 11))
        inside = QVBoxLayout(self.fine.body)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(scroll)
        self.before = Disclosure(
            self.tr("Summarised before"), self.tr("The last texts; a click summarises one again"), self
        )
        self.history = QuestionHistory(self._settings, lambda name: name, self.before.body, key="summarization.history")
        self.history.setAccessibleName(self.tr("Summarised before"))
        self.history.setToolTip(self.tr("Click a text to summarise it again"))
        self.history.show_for((PREDICTION,))
        self.history.asked.connect(lambda _, inputs: self._on_chosen(inputs))
        self.history.setMinimumHeight(theme.em(self, 7))
        past = QVBoxLayout(self.before.body)
        past.setContentsMargins(0, 0, 0, 0)
        past.addWidget(self.history)
        self._bar_place = QVBoxLayout()
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.8)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(header)
        layout.addWidget(self.edit, 1)
        layout.addWidget(self.plan)
        layout.addWidget(self.notice)
        layout.addLayout(choices)
        layout.addLayout(self._bar_place)
        layout.addWidget(self.samples)
        layout.addWidget(self.fine)
        layout.addWidget(self.before)

    def add_bar(self, bar: AnswerBar) -> None:
        """The buttons stand below the text."""
        self._bar_place.addWidget(bar)

    def edit_clear(self) -> None:
        self.edit.clear()
        self.edit.setFocus()

    # --- what happens

    def _on_typed(self) -> None:
        self._settings.set("summarization.text", self.text()[:LONGEST])
        self.show_plan(None)
        self._show_clear()
        self.changed.emit()

    def _show_clear(self) -> None:
        self.clear_button.setEnabled(not self.edit.document().isEmpty())

    def _on_options(self) -> None:
        self._settings.set("summarization.length", self.length.currentData())
        self._settings.set("summarization.options", self.form.values())
        self.changed.emit()

    def _on_chosen(self, inputs: Any) -> None:
        self.set_text(str(inputs["text"]))
        self.ask_requested.emit()

    def _on_open(self) -> None:
        dialog = QFileDialog(self, self.tr("Open a text"), str(self._settings.get("summarization.folder", "")))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilter(self.tr("Texts ({patterns})").format(patterns=" ".join(PATTERNS)))
        dialog.fileSelected.connect(self._on_file)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_file(self, name: str) -> None:
        self._settings.set("summarization.folder", str(Path(name).parent))
        self.file_chosen.emit(Path(name))
