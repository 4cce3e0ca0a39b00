"""The two sides of a translation, and which words of them belong together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.splitters import keep_sizes
from lmstudio_app.gui.translation_queries import Draft, PairQuestion, align_pair
from lmstudio_app.gui.widgets.translation_text import TranslationText, WordMark
from lmstudio_app.settings import Settings

if TYPE_CHECKING:
    from lmstudio_app.tasks.alignment import Alignment
    from lmstudio_app.tasks.translators import TranslateOptions

_SENTENCE = 0.05  # strength of the tint below a whole sentence
_WORD = 1.0  # of the word that is pointed at
_LEAST = 0.04  # weight below which nothing is shown
_PAUSE = 60  # milliseconds that the mouse rests before the model is asked


class TranslationPairs(QWidget):
    """Pointing at a word of one side marks the words of the other that it goes with.

    ``sentence_chosen`` comes with the number of the sentence that was clicked. The model is asked for a sentence's
    words when it is first pointed at, unless :meth:`set_asking` says no.
    """

    sentence_chosen = Signal(int)

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._draft: Draft | None = None
        self._loaded: Any = None
        self._options: Callable[[], TranslateOptions] | None = None
        self._asking = False
        self._known: dict[tuple[int, str], Alignment | None] = {}
        self._handle: JobHandle | None = None
        self._pointed = (False, -1)  # in the source?, character
        self._chosen = -1
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE)
        self._timer.timeout.connect(self._ask)
        self._build(services.settings)

    def _build(self, settings: Settings) -> None:
        self.source = TranslationText(
            self.tr("Text"), self.tr("The text to translate. Ctrl+Enter translates it."), self, editable=True
        )
        self.source.setPlaceholderText(self.tr("Type or paste the text to translate, as long as you like."))
        self.target = TranslationText(
            self.tr("Translation"),
            self.tr("Point at a word to see where it comes from; click a sentence for other translations."),
            self,
            editable=False,
        )
        self.target.setPlaceholderText(self.tr("The translation comes here, sentence by sentence."))
        self.source.pointed_at.connect(lambda place: self._on_pointed(True, place))
        self.target.pointed_at.connect(lambda place: self._on_pointed(False, place))
        self.target.chosen.connect(self._on_clicked)
        self.source.textChanged.connect(self._mark)
        splitter = QSplitter(Qt.Orientation.Horizontal, self)
        splitter.setChildrenCollapsible(False)
        splitter.setHandleWidth(theme.em(self, 0.5))
        splitter.addWidget(self.source)
        splitter.addWidget(self.target)
        keep_sizes(splitter, settings, "translation.splitter", (1000, 1000))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(splitter)

    # --- what others use

    def begin(self, draft: Draft, loaded: Any, options: Callable[[], TranslateOptions]) -> None:
        """A new translation, of which nothing may be there yet; ``options`` are those it is made with."""
        self.forget()
        self._draft, self._loaded, self._options = draft, loaded, options
        self.refresh()

    def refresh(self) -> None:
        """The draft has changed."""
        if self._draft is not None:
            self.target.show_text(self._draft.joined_text if self._draft.done else "")
            self._mark()

    def set_asking(self, asking: bool) -> None:
        """May the model be asked for words now?"""
        self._asking = asking

    def choose(self, number: int) -> None:
        """Show a sentence as the chosen one; -1: none."""
        self._chosen = number
        self._mark()

    def forget(self) -> None:
        """Nothing is translated."""
        self._timer.stop()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._draft = None
        self._known = {}
        self._chosen = -1
        self.target.show_text("")
        self.source.set_marks([])

    @property
    def is_current(self) -> bool:
        """Is the translation one of the text that is there?"""
        return self._draft is not None and self.source.toPlainText() == self._draft.plan.text

    # --- pointing

    def _on_clicked(self, place: int) -> None:
        if self._draft is not None:
            number = self._draft.number_at(place, self._draft.spans)
            if number >= 0 and self._draft.piece(number):
                self.sentence_chosen.emit(number)

    def _on_pointed(self, in_source: bool, place: int) -> None:
        self._pointed = (in_source, place)
        self._mark()
        number = self._number()
        if number >= 0 and self._key(number) not in self._known and self._asking:
            self._timer.start()

    def _number(self) -> int:
        """The sentence that is pointed at."""
        in_source, place = self._pointed
        if self._draft is None or not self.is_current or place < 0:
            return -1
        return self._draft.number_at(place, self._draft.plan.spans if in_source else self._draft.spans)

    def _key(self, number: int) -> tuple[int, str]:
        return number, self._draft.piece(number) if self._draft is not None else ""

    def _ask(self) -> None:
        number = self._number()
        if self._draft is None or self._options is None or number < 0 or self._handle is not None or not self._asking:
            return
        key = self._key(number)
        if not key[1] or key in self._known:
            return
        source = re.sub(r"\s", " ", self._draft.source(number))  # of the same length, so that places are the same
        question = PairQuestion(self._loaded, source, key[1], self._options())
        self._handle = handle = self._services.query_runner.start(align_pair, question, quiet=True)
        handle.succeeded.connect(lambda found: self._on_aligned(handle, key, found))
        handle.failed.connect(lambda _: self._on_aligned(handle, key, None))  # the translation stands without it
        handle.finished.connect(lambda: self._on_finished(handle))

    def _on_aligned(self, handle: JobHandle, key: tuple[int, str], found: Alignment | None) -> None:
        if handle is self._handle:
            self._known[key] = found
            self._mark()

    def _on_finished(self, handle: JobHandle) -> None:
        if handle is self._handle:
            self._handle = None
            if (number := self._number()) >= 0 and self._key(number) not in self._known:
                self._ask()  # the mouse has gone on

    # --- marking

    def _mark(self) -> None:
        draft = self._draft
        if draft is None or not self.is_current:
            self.source.set_marks([])
            self.target.set_marks([])
            return
        sources: list[WordMark] = []
        targets: list[WordMark] = []
        for number in {self._chosen, self._number()} - {-1}:
            if draft.piece(number):
                sources.append(WordMark(*draft.plan.spans[number], _SENTENCE))
                targets.append(WordMark(*draft.spans[number], _SENTENCE))
        number = self._number()
        alignment = self._known.get(self._key(number)) if number >= 0 else None
        if alignment is not None:
            in_source, place = self._pointed
            words = word_marks(alignment, in_source, place - self._begins(in_source)[number])
            own, others = (sources, targets) if in_source else (targets, sources)
            for marks, found, side in ((own, words["own"], in_source), (others, words["others"], not in_source)):
                begin = self._begins(side)[number]
                marks += [WordMark(mark.start + begin, mark.end + begin, mark.strength) for mark in found]
        self.source.set_marks(sources)
        self.target.set_marks(targets)

    def _begins(self, in_source: bool) -> list[int]:
        assert self._draft is not None
        return [begin for begin, _ in (self._draft.plan.spans if in_source else self._draft.spans)]


def word_marks(alignment: Alignment, in_source: bool, place: int) -> Mapping[str, list[WordMark]]:
    """The word at a place of one side (``own``), and those of the other that it goes with (``others``)."""
    own, other = (alignment.source, alignment.target) if in_source else (alignment.target, alignment.source)
    word = next((index for index, (begin, end) in enumerate(own) if begin <= place < end), -1)
    if word < 0:
        return {"own": [], "others": []}
    weights = [row[word] for row in alignment.weights] if in_source else list(alignment.weights[word])
    others = [WordMark(*span, weight) for span, weight in zip(other, weights, strict=True) if weight >= _LEAST]
    return {"own": [WordMark(*own[word], _WORD)], "others": others}
