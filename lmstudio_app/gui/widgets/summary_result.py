"""The right half of the Summarise page: the summary as it grows, what supports it, and the summaries of the parts."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.summary_queries import SummaryAnswer
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.scaled_label import FontScale, Heading, Hint
from lmstudio_app.gui.widgets.summary_text import DOUBTFUL, STRONG, SentenceText, SpanMark
from lmstudio_app.tasks.summarizing import Draft
from lmstudio_app.tasks.summary_lengths import count_words
from lmstudio_app.tasks.summary_support import Support, Supported


class SummaryResult(QFrame):
    pointed = Signal(int)  # the sentence under the pointer, or -1
    chosen = Signal(int)
    part_chosen = Signal(int, int)  # characters of the text
    meaning_changed = Signal(bool)

    def __init__(self, parent: QWidget | None = None, *, by_meaning: bool = True) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._support: Support | None = None
        self._build(by_meaning)
        self.clear()

    # --- what others use

    def clear(self) -> None:
        """Nothing is there."""
        self._support = None
        self._done: set[tuple[int, int]] = set()  # round and number of the parts that are read
        self.text.clear()
        self.text.set_sentences("", [])
        self.compression.clear()
        self.notice.set_text("")
        self.detail.setText(self._explanation())
        self.parts.clear()
        self._show_parts(0)
        self.progress.hide()
        self.stage.hide()

    def begin(self) -> None:
        """A summary is being written."""
        self.clear()
        self.progress.setRange(0, 0)
        self.progress.show()

    def show_progress(self, done: float, total: float | None) -> None:
        """Parts that are read, of how many; a text that is read at once shows only that something happens."""
        if total is not None and total > 1:
            self.progress.setRange(0, round(total))
            self.progress.setValue(round(done))

    def show_draft(self, draft: Draft) -> None:
        """What the model has written so far."""
        if draft.is_last:
            self.text.show_text(draft.text)
            if draft.round:
                self.stage.setText(self.tr("Summarising the summaries of the parts"))
            return
        if draft.round == 0:
            self._show_part(draft)
        template = (
            self.tr("Reading {count} parts, {done} done")
            if draft.round == 0
            else self.tr("Summarising their summaries in {count} parts, {done} done")
        )
        if not self._done:
            self.folded.set_open(True)  # there is nothing else to see for a while
        if draft.done:
            self._done.add((draft.round, draft.index))
        done = sum(place[0] == draft.round for place in self._done)
        self.stage.setText(template.format(count=number_text(draft.count), done=number_text(done)))
        self.stage.show()

    def end(self) -> None:
        """Nothing is written any more, whatever came of it."""
        self.progress.hide()
        self.stage.hide()

    def show_answer(self, answer: SummaryAnswer) -> None:
        summary = answer.summary
        self.text.show_text(summary.text)
        first = [part for part in summary.parts if part.round == 0]
        self.parts.clear()
        for index, part in enumerate(first):
            self._show_part(Draft(0, 0, index, len(first), part.start, part.end, part.summary, True, False))
        self._show_parts(len(first))
        words = count_words(summary.text)
        if summary.text:
            share = number_text(100 * words / max(1, summary.words))
            self.compression.setText(
                self.tr("From {before} to {after} words ({share} %)").format(
                    before=number_text(summary.words), after=number_text(words), share=share
                )
            )
        self.show_support(answer, answer.support)

    def show_support(self, answer: SummaryAnswer, support: Support) -> None:
        """What supports each sentence; those that nothing supports are underlined."""
        self._support = support
        spans = [(sentence.start, sentence.end) for sentence in support.sentences]
        self.text.set_sentences(answer.summary.text, spans)
        self.mark(-1)
        self.notice.set_text(self._warning(answer, support))

    @property
    def support(self) -> Support | None:
        return self._support

    def mark(self, *indexes: int) -> None:
        """Make sentences stand out, beside those without support; -1 is none."""
        sentences = self._support.sentences if self._support else ()
        marks = [SpanMark(index, DOUBTFUL) for index, item in enumerate(sentences) if not item.supported]
        chosen = [index for index in indexes if 0 <= index < len(sentences)]
        self.text.set_marks([*(SpanMark(index, STRONG) for index in chosen), *marks])
        self.detail.setText(self._about(sentences[chosen[0]]) if chosen else self._explanation())

    def set_method_note(self, text: str) -> None:
        """Why it was not done by meaning."""
        self.meaning_note.setText(text)
        self.meaning_note.setVisible(bool(text))

    # --- building

    def _build(self, by_meaning: bool) -> None:
        self.compression = QLabel(self)
        self.compression.setForegroundRole(self.compression.palette().ColorRole.PlaceholderText)
        self.compression.setToolTip(self.tr("How much shorter the summary is than the text"))
        header = QHBoxLayout()
        header.addWidget(Heading(self.tr("Summary"), self, scale=1.1), 1)
        header.addWidget(self.compression)
        self.progress = QProgressBar(self)
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(theme.em(self, 0.6))
        self.progress.setAccessibleName(self.tr("Progress"))
        self.progress.setToolTip(self.tr("How many parts are done"))
        self.stage = QLabel(self)
        self.stage.setForegroundRole(self.stage.palette().ColorRole.PlaceholderText)
        self.notice = Notice(self)
        self.text = SentenceText(
            self.tr("Summary"),
            self.tr("Point at a sentence to see what supports it in the text; click to keep it marked"),
            self,
        )
        self.text.setReadOnly(True)
        FontScale(self.text, 1.1)
        self.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.text.setPlaceholderText(self.tr("The summary comes here."))
        self.text.setMinimumHeight(theme.em(self, 7))
        self.text.pointed.connect(self.pointed)
        self.text.chosen.connect(self.chosen)
        self.detail = Hint("", self)
        self.meaning = QCheckBox(self.tr("Find sources by meaning"), self)
        self.meaning.setAccessibleName(self.meaning.text())
        self.meaning.setToolTip(
            self.tr("Compare sentences by the starter encoder, which also finds what is said in other words")
        )
        self.meaning.setChecked(by_meaning)
        self.meaning.toggled.connect(self.meaning_changed)
        self.meaning_note = Hint("", self)
        self.meaning_note.hide()
        self.folded = Disclosure(self.tr("Summaries of the parts"), self.tr("What the summary was made of"), self)
        self.parts = QListWidget(self.folded.body)
        self.parts.setAccessibleName(self.tr("Summaries of the parts"))
        self.parts.setToolTip(self.tr("Click one to see its part of the text"))
        self.parts.setWordWrap(True)
        self.parts.setSpacing(theme.em(self, 0.12))
        self.parts.setAlternatingRowColors(True)
        self.parts.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.parts.setMinimumHeight(theme.em(self, 9))
        self.parts.currentItemChanged.connect(lambda item, _: self._on_part(item))
        self.parts.itemClicked.connect(self._on_part)
        inside = QVBoxLayout(self.folded.body)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.parts)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.8)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(header)
        layout.addWidget(self.progress)
        layout.addWidget(self.stage)
        layout.addWidget(self.notice)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.detail)
        layout.addWidget(self.meaning)
        layout.addWidget(self.meaning_note)
        layout.addWidget(self.folded)

    # --- parts

    def _show_parts(self, count: int) -> None:
        self.folded.setVisible(count > 0)
        self.folded.button.setText(self.tr("Summaries of the {count} parts").format(count=number_text(count)))

    def _show_part(self, draft: Draft) -> None:
        while self.parts.count() < draft.count:
            self.parts.addItem(QListWidgetItem())
        self._show_parts(draft.count)
        item = self.parts.item(draft.index)
        text = " ".join(draft.text.split()) or "…"
        item.setText(self.tr("{number}. {text}").format(number=number_text(draft.index + 1), text=text))
        item.setToolTip(text[:2000])
        item.setData(Qt.ItemDataRole.UserRole, (draft.start, draft.end))

    def _on_part(self, item: QListWidgetItem | None) -> None:
        place = item.data(Qt.ItemDataRole.UserRole) if item is not None else None
        if place is not None:
            self.part_chosen.emit(*place)

    # --- words

    def _explanation(self) -> str:
        if self._support is None:
            return self.tr("A small model may leave out what matters, and may invent things: check what it says.")
        if self._support.method == "meaning":
            return self.tr("Point at a sentence to see its sources. They were found by meaning, with an encoder.")
        return self.tr("Point at a sentence to see its sources. They were found by the words they share with it.")

    def _about(self, sentence: Supported) -> str:
        if sentence.unknown:
            return self.tr("Not in the text: {words}. It may be made up.").format(words=", ".join(sentence.unknown))
        share = number_text(100 * sentence.score)
        if not sentence.supported:
            return self.tr("No sentence of the text supports this enough ({share} %). It may be made up.").format(
                share=share
            )
        if len(sentence.sources) == 1:
            return self.tr("One sentence of the text supports this ({share} %).").format(share=share)
        return self.tr("{count} sentences of the text support this ({share} %).").format(
            count=number_text(len(sentence.sources)), share=share
        )

    def _warning(self, answer: SummaryAnswer, support: Support) -> str:
        summary = answer.summary
        if not summary.complete:
            return self.tr("Stopped: this is what there was by then.")
        if summary.is_text:
            return self.tr("The text is no longer than its summary would be, so it stays as it is.")
        if not summary.text:
            return self.tr("The model wrote nothing. Try another length, or another model.")
        if summary.joined:
            return self.tr("The model could not make the summaries of the parts shorter; they stand one after another.")
        if support.unsupported:
            return self.tr(
                "{count} of {total} sentences have no support in the text (underlined). Check them: the model may have "
                "made them up."
            ).format(count=number_text(support.unsupported), total=number_text(len(support.sentences)))
        return ""
