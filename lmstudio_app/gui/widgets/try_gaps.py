"""A text with its gaps filled in: each gap is a chip, and the candidates of the chosen one stand below as bars."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QEvent, QTimer, QUrl, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QTextBrowser, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.try_queries import Reply
from lmstudio_app.gui.widgets.scaled_label import FontScale, Hint
from lmstudio_app.gui.widgets.try_candidates import CandidateList, share_text
from lmstudio_app.tasks.fill_mask import fill_gap, split_gaps


@dataclass
class _Gap:
    candidates: tuple[Any, ...]
    word: str | None = None  # what a person has put there; None: still a gap


class GapsView(QWidget):
    """Taking a candidate fills its gap; where other gaps are left, the model is asked anew about those."""

    again = Signal(object, bool)  # inputs to ask about next; whether they belong into the fields

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._parts: list[str] = []
        self._gaps: list[_Gap] = []
        self._mask = ""
        self._chosen = 0
        self._awaited = ""
        self.sentence = QTextBrowser(self)
        FontScale(self.sentence, 1.15)
        self.sentence.setOpenLinks(False)
        self.sentence.setAccessibleName(self.tr("The text, filled in"))
        self.sentence.setToolTip(self.tr("Click a word in a box to see what else may stand there"))
        self.sentence.document().documentLayout().documentSizeChanged.connect(self._fit_sentence)
        self.sentence.anchorClicked.connect(self._on_anchor)
        self.caption = QLabel(self)
        self.caption.setWordWrap(True)
        self.bars = CandidateList(self.tr("Candidates"), self.tr("Click a word to put it into the gap"), self)
        self.bars.chosen.connect(self._on_taken)
        self.others = Hint("", self)
        self.empty_button = QPushButton(self.tr("Empty this gap again"), self)
        self.empty_button.setAccessibleName(self.empty_button.text())
        self.empty_button.setToolTip(self.tr("Take the word out and let the model guess it again"))
        self.empty_button.clicked.connect(self._on_emptied)
        row = QHBoxLayout()
        row.addWidget(self.others, 1)
        row.addWidget(self.empty_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(self.sentence)
        layout.addWidget(self.caption)
        layout.addWidget(self.bars, 4)
        layout.addLayout(row)
        layout.addStretch(0)
        self.clear()

    def clear(self) -> None:
        self._parts, self._gaps, self._awaited, self._chosen = [], [], "", 0
        self._refresh()

    def begin(self, inputs: Mapping[str, Any]) -> None:
        """Nothing to show before the answer is there."""

    def show_reply(self, inputs: Mapping[str, Any], reply: Reply) -> None:
        places = list(reply.output.places)
        open_gaps = [gap for gap in self._gaps if gap.word is None]
        # a word that is a gap itself makes another text of it
        if self._awaited and inputs["text"] == self._awaited and len(open_gaps) == len(places):
            for gap, place in zip(open_gaps, places, strict=True):
                gap.candidates = place
        else:
            self._mask = reply.mask
            self._parts = split_gaps(inputs["text"], self._mask)
            self._gaps = [_Gap(place) for place in places]
            self._chosen = 0
        self._awaited = ""
        self._refresh()

    def copied_text(self) -> str:
        """The text with the words that were put in, and the most probable ones elsewhere."""
        return self._joined(lambda gap: gap.word if gap.word is not None else gap.candidates[0].token)

    @property
    def words(self) -> list[str | None]:
        """What was put into each gap."""
        return [gap.word for gap in self._gaps]

    # --- inside

    def _joined(self, word: Any) -> str:
        text = self._parts[0] if self._parts else ""
        for gap, part in zip(self._gaps, self._parts[1:], strict=True):
            token = word(gap)
            text = (text + self._mask if token is None else fill_gap(text, token)) + part
        return text

    def _on_anchor(self, url: QUrl) -> None:
        self._chosen = int(url.fragment())
        self._refresh()

    def _on_taken(self, row: int) -> None:
        gap = self._gaps[self._chosen]
        gap.word = gap.candidates[row].token
        self._ask_about_the_rest()

    def _on_emptied(self) -> None:
        self._gaps[self._chosen].word = None
        self._ask_about_the_rest()

    def _ask_about_the_rest(self) -> None:
        self._refresh()
        if any(gap.word is None for gap in self._gaps):
            self._awaited = self._joined(lambda gap: gap.word)
            self.again.emit({"text": self._awaited}, False)
        else:
            self._awaited = ""

    def _refresh(self) -> None:
        has_gap = self._chosen < len(self._gaps)
        for widget in (self.sentence, self.caption, self.bars, self.others):
            widget.setVisible(has_gap)
        self.empty_button.setVisible(has_gap and self._gaps[self._chosen].word is not None)
        if not has_gap:
            return
        self._write_sentence()
        gap = self._gaps[self._chosen]
        if len(self._gaps) > 1:
            self.caption.setText(
                self.tr("What may stand in gap {number} of {count}:").format(
                    number=self._chosen + 1, count=len(self._gaps)
                )
            )
        else:
            self.caption.setText(self.tr("What may stand in the gap:"))
        self.bars.set_candidates(
            gap.candidates,
            lambda token: token.strip(),
            [candidate.token == self._mask for candidate in gap.candidates],
            self.tr("The mask itself is no word"),
        )
        tokens = [candidate.token for candidate in gap.candidates]
        self.bars.set_chosen(tokens.index(gap.word) if gap.word in tokens else -1)
        rest = max(0.0, 1 - sum(candidate.probability for candidate in gap.candidates))
        self.others.setText(self.tr("All other words together: {share}").format(share=share_text(rest)))

    def _write_sentence(self) -> None:
        palette = self.palette()
        base, text = palette.color(QPalette.ColorRole.Base), palette.color(QPalette.ColorRole.Text)
        accent = palette.color(QPalette.ColorRole.Accent)
        pieces = [_escaped(self._parts[0])]
        for number, (gap, part) in enumerate(zip(self._gaps, self._parts[1:], strict=True)):
            guess = gap.word if gap.word is not None else gap.candidates[0].token
            if guess.startswith("##"):
                pieces[-1] = pieces[-1].rstrip(" ")
            tint = theme.blend(accent, base, 0.38 if number == self._chosen else 0.16).name()
            style = f"background-color: {tint}; color: {text.name()}; text-decoration: none;"
            style += " font-weight: 600;" if gap.word is not None else " font-style: italic;"
            word = html.escape(guess.removeprefix("##").strip())
            pieces.append(f'<a href="#{number}" style="{style}">&nbsp;{word}&nbsp;</a>{_escaped(part)}')
        self.sentence.setHtml(f'<div style="line-height: 150%;">{"".join(pieces)}</div>')

    def _fit_sentence(self) -> None:
        """As high as the text, as far as there is room for the rest."""
        wanted = round(self.sentence.document().size().height()) + 2 * self.sentence.frameWidth()
        self.sentence.setFixedHeight(min(max(wanted, theme.em(self, 2.5)), theme.em(self, 9)))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and hasattr(self, "empty_button"):
            QTimer.singleShot(0, self, self._refresh)


def _escaped(text: str) -> str:
    return html.escape(text).replace("\n", "<br>").replace("  ", "&nbsp; ")
