"""Both answers of a knowledge base: the place in the text, the chat model's words, and the passages they are from."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QFont, QPalette
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.gui.widgets.kb_sources import ProbabilityBar, SourceCards
from lmstudio_app.gui.widgets.kb_texts import confidence_text, likelihood_text, percent_text, score_explanation
from lmstudio_app.gui.widgets.scaled_label import FontScale, Heading, Hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmstudio_app.knowledge.answers import KnowledgeAnswer, Source
    from lmstudio_app.knowledge.asking import BothAnswers

_AROUND = 240  # characters of a very long sentence that are shown on either side of the span


class AnswerPanel(QScrollArea):
    source_chosen = Signal(object, object)  # Source, Span or None
    anyway_requested = Signal()  # answer although it is improbable

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._marked: KnowledgeAnswer | None = None
        self._written: KnowledgeAnswer | None = None
        self._stream = ""
        self._is_writing = False
        self._sources: Sequence[Source] = ()
        self._parts = ("", "", "")  # of the sentence: before the answer, the answer, behind it
        self._build()
        self.clear()

    def _build(self) -> None:
        self.missing = QFrame(self)
        self.missing_title = Heading("", self.missing, scale=1.3)
        self.missing_title.setWordWrap(True)
        self.missing_text = QLabel(self.missing)
        self.missing_text.setWordWrap(True)
        self.anyway_button = make_button(
            self.tr("Answer anyway"), self.tr("Answer from the nearest passages, however improbable it is"), self
        )
        self.anyway_button.clicked.connect(self.anyway_requested)
        column = QVBoxLayout(self.missing)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.missing_title)
        column.addWidget(self.missing_text)
        column.addWidget(self.anyway_button, 0, Qt.AlignmentFlag.AlignLeft)

        self.marked = QWidget(self)
        self.marked_caption = _caption(self.marked)
        self.answer = _text(self.marked)
        self.answer.setToolTip(self.tr("What stands in the text, word for word"))
        FontScale(self.answer, 1.35, QFont.Weight.DemiBold)
        self.sentence = _text(self.marked)
        self.sentence.setTextFormat(Qt.TextFormat.RichText)
        self.sentence.setToolTip(self.tr("The sentence that the answer stands in"))
        self.bar = ProbabilityBar(self.marked)
        self.confidence = Hint("", self.marked)
        sure = QHBoxLayout()
        sure.setSpacing(theme.em(self, 0.5))
        sure.addWidget(self.bar, 0, Qt.AlignmentFlag.AlignVCenter)
        sure.addWidget(self.confidence, 1)
        column = QVBoxLayout(self.marked)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.em(self, 0.3))
        for widget in (self.marked_caption, self.answer, self.sentence):
            column.addWidget(widget)
        column.addLayout(sure)

        self.written = QFrame(self)
        self.written_caption = _caption(self.written)
        self.text = _text(self.written)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setToolTip(self.tr("What the chat model wrote; a number leads to the source that says the same"))
        self.text.linkActivated.connect(self._on_link)
        FontScale(self.text, 1.1)
        self.written_hint = Hint("", self.written)
        column = QVBoxLayout(self.written)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.em(self, 0.3))
        for widget in (self.written_caption, self.text, self.written_hint):
            column.addWidget(widget)

        self.sources_caption = _caption(self)
        self.cards = SourceCards(self)
        self.cards.chosen.connect(self._on_source)
        self.explained = Disclosure(
            self.tr("What do these numbers mean?"), self.tr("How passages are found and how sure an answer is"), self
        )
        explanation = Hint(score_explanation(), self.explained.body)
        inside = QVBoxLayout(self.explained.body)
        inside.setContentsMargins(theme.em(self, 1), 0, 0, 0)
        inside.addWidget(explanation)

        body = QWidget(self)
        layout = QVBoxLayout(body)
        layout.setContentsMargins(0, 0, theme.em(self, 0.6), 0)
        layout.setSpacing(theme.em(self, 0.9))
        for widget in (self.missing, self.marked, self.written, self.sources_caption, self.cards, self.explained):
            layout.addWidget(widget)
        layout.setSpacing(theme.em(self, 0.7))
        layout.addStretch(1)
        self.setWidget(body)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.viewport().setAutoFillBackground(False)
        body.setAutoFillBackground(False)  # setWidget switched it on
        self.setAccessibleName(self.tr("Answer"))

    # --- as it comes

    def clear(self) -> None:
        self._marked = self._written = None
        self._stream = ""
        self._is_writing = False
        self._sources = ()
        for widget in (self.missing, self.marked, self.written, self.sources_caption, self.cards, self.explained):
            widget.hide()

    def show_passages(self, passages: Sequence[Source]) -> None:
        """The nearest passages, before anybody has answered."""
        self.clear()
        self._show_sources(passages, self.tr("Passages that were found"))
        self.verticalScrollBar().setValue(0)

    def show_marked(self, marked: KnowledgeAnswer, probability: float, reader: str) -> None:
        """What stands in the text; ``reader`` is the model that marked it, empty: the nearest sentence."""
        self._marked = marked
        self.missing.setVisible(not marked.is_found)
        self.marked.setVisible(marked.is_found)
        if not marked.is_found:
            self._show_missing(probability)
            return
        if marked.kind == "extracted":
            self.marked_caption.setText(self.tr("In the text, marked by {reader}").format(reader=reader))
        else:
            self.marked_caption.setText(self.tr("The sentence nearest to the question"))
        answer = " ".join(marked.answer.split())
        self.answer.setText(answer)
        self.answer.setAccessibleName(answer)
        self.bar.set_value(marked.score, self.tr("How sure the answer is"))
        self.confidence.setText(confidence_text(marked))
        self._show_sentence()
        self._show_sources(marked.sources, self.tr("Sources"))

    def begin_writing(self, model: str) -> None:
        self._stream, self._written = "", None
        self._is_writing = True
        self.written_caption.setText(self.tr("In the words of {model}").format(model=model))
        self.written_hint.setText("")
        self.written.show()
        self._show_text()

    def add_text(self, text: str) -> None:
        self._stream += text
        self._show_text()

    def end(self, both: BothAnswers | None) -> None:
        """The last word; None: nothing more has come."""
        self._is_writing = False
        self._written = both.written if both is not None else None
        if both is not None and both.written is None:
            self.written.setVisible(bool(self._stream))
        self._show_text()
        if not self.written.isVisibleTo(self) or both is None:
            return
        if both.was_stopped:
            self.written_hint.setText(self.tr("Stopped before the end."))
        elif both.written is not None and not both.written.is_found:
            self.written_hint.setText(self.tr("The chat model finds no answer in these passages."))
        elif both.written is not None and any(not citation.sources for citation in both.written.citations):
            self.written_hint.setText(
                self.tr(
                    "Numbers name the sources that say the same. What is grey and underlined stands in none of them: "
                    "a chat model may make things up."
                )
            )
        elif both.written is not None:
            self.written_hint.setText(self.tr("Numbers name the sources that say the same."))

    @property
    def written_text(self) -> str:
        """What the chat model has written so far."""
        return self._written.answer if self._written is not None and self._written.is_found else self._stream.strip()

    @property
    def highlighted(self) -> str:
        """The words that are highlighted in the sentence."""
        return self._parts[1] if self._marked is not None and self._marked.is_found else ""

    # --- within

    def _show_missing(self, probability: float) -> None:
        self.missing_title.setText(self.tr("Not in the knowledge base"))
        if self._sources:
            text = self.tr(
                "The probability that the passages below hold the answer is {percent} ({word}). "
                "They are the nearest ones."
            )
        else:
            text = self.tr("There are no passages in it.")
        self.missing_text.setText(text.format(percent=percent_text(probability), word=likelihood_text(probability)))
        self.missing.setAccessibleName(f"{self.missing_title.text()}. {self.missing_text.text()}")
        self.anyway_button.setVisible(bool(self._sources))
        self._show_sources(self._sources, self.tr("The nearest passages"))

    def _show_sources(self, sources: Sequence[Source], caption: str) -> None:
        self._sources = tuple(sources)
        self.cards.set_sources(self._sources)
        self.sources_caption.setText(caption)
        for widget in (self.cards, self.sources_caption, self.explained):
            widget.setVisible(bool(self._sources))

    def _show_sentence(self) -> None:
        self._parts = before, span, after = _sentence_parts(self._marked)
        colour = theme.blend(self.palette().accent().color(), self.palette().base().color(), 0.35).name()
        self.sentence.setText(
            f"{_escape(before)}<span style='background-color: {colour}; font-weight: 600;'>{_escape(span)}</span>"
            f"{_escape(after)}"
        )
        self.sentence.setAccessibleName(f"{before}{span}{after}")
        self.sentence.setVisible(bool(before.strip() or after.strip()))

    def _show_text(self) -> None:
        written = self._written
        if written is None or not written.is_found:
            text = self._stream.strip()
            self.text.setText(_escape(text) + (" ▍" if self._is_writing else ""))
            self.text.setAccessibleName(text)
            return
        link = self.palette().color(QPalette.ColorRole.Link).name()
        parts, at = [], 0
        for citation in written.citations:
            parts.append(_escape(written.answer[at : citation.start]))
            body = _escape(written.answer[citation.start : citation.end])
            if not citation.sources:
                grey = theme.muted(self.palette()).name()
                body = f"<span style='text-decoration: underline; color: {grey};'>{body}</span>"
            parts.append(body)
            parts += [
                f" <a href='{number}' style='color: {link}; text-decoration: none;'>[{number}]</a>"
                for number in citation.sources
            ]
            at = citation.end
        parts.append(_escape(written.answer[at:]))
        self.text.setText("".join(parts))
        self.text.setAccessibleName(written.answer)

    def _on_link(self, link: str) -> None:
        number = int(link) - 1
        if 0 <= number < len(self._sources):
            self._on_source(self._sources[number])

    def _on_source(self, source: Source) -> None:
        span = self._marked.span if self._marked is not None else None
        is_in = span is not None and span.file == source.file and source.start <= span.start and span.end <= source.end
        self.source_chosen.emit(source, span if is_in else None)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "cards"):
            QTimer.singleShot(0, self, self._recolour)

    def _recolour(self) -> None:
        if self._marked is not None and self._marked.is_found:
            self._show_sentence()
        self._show_text()


def _sentence_parts(marked: KnowledgeAnswer | None) -> tuple[str, str, str]:
    """What stands before the span in its sentence, the span, and what stands behind it."""
    from lmstudio_app.knowledge.marking import passage_sentences

    if marked is None or marked.span is None:
        return "", "", ""
    source = marked.sources[0]
    start, end = marked.span.start - source.start, marked.span.end - source.start
    around = [(b, e) for b, e in passage_sentences(source.text) if b < end and e > start]
    begin = min((b for b, _ in around), default=start)
    stop = max((e for _, e in around), default=end)
    begin, stop = max(min(begin, start), start - _AROUND), min(max(stop, end), end + _AROUND)
    before, span, after = (
        " ".join(part.split()) for part in (source.text[begin:start], source.text[start:end], source.text[end:stop])
    )
    if before and source.text[start - 1].isspace():
        before += " "
    if after and source.text[end].isspace():
        after = " " + after
    return before, span, after


def _escape(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


def _caption(parent: QWidget) -> QLabel:
    label = QLabel(parent)
    label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
    FontScale(label, 0.92, QFont.Weight.DemiBold)
    return label


def _text(parent: QWidget) -> QLabel:
    label = QLabel(parent)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(
        Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.LinksAccessibleByMouse
        | Qt.TextInteractionFlag.LinksAccessibleByKeyboard
    )  # fmt: skip
    return label
