"""A text whose words are tinted by what they say for or against a label."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QColor, QHelpEvent, QPalette, QTextCharFormat
from PySide6.QtWidgets import QLabel, QPlainTextEdit, QToolTip, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.text_places import make_mark, utf16_units
from lmstudio_app.gui.widgets.scaled_label import Hint

if TYPE_CHECKING:
    from lmstudio_app.inspection.saliency import Saliency, WordScore

_STRONGEST = 0.5  # of the colour on the paper: the text keeps a contrast of 4.5 to 1 on it
_FAINTEST = 0.06  # of the strongest word's share: less is not tinted
_FULL = 0.5  # log-odds: a text whose strongest word says less than this is tinted faintly
_FOR, _AGAINST = 0, 1  # blue and orange of the palette's colours, which everybody can tell apart


class WordTints(QWidget):
    """Words that speak for the label are blue, those that speak against it orange and underlined."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._saliency: Saliency | None = None
        self._label = ""
        self._text = ""
        self._places: list[tuple[int, int, WordScore]] = []
        self.legend = QLabel(self)
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setWordWrap(True)
        self.view = QPlainTextEdit(self)
        self.view.setReadOnly(True)
        self.view.setTabChangesFocus(True)
        self.view.setAccessibleName(self.tr("Words that made the difference"))
        self.view.setToolTip(self.tr("Point at a word to see its share"))
        self.view.setMinimumHeight(theme.em(self, 3.4))
        self.view.viewport().installEventFilter(self)
        self.note = Hint("", self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.35))
        layout.addWidget(self.legend)
        layout.addWidget(self.view, 1000)
        layout.addWidget(self.note)
        layout.addStretch(1)  # for what the text does not need
        self.view.document().documentLayout().documentSizeChanged.connect(self._fit)
        self.clear()

    def _fit(self) -> None:
        """No taller than the text, which wraps otherwise in a box of another width."""
        lines = self.view.document().size().height()  # of a plain text edit: in lines
        frame = 2 * self.view.frameWidth() + 2 * round(self.view.document().documentMargin())
        height = round(lines * self.view.fontMetrics().lineSpacing()) + frame
        self.view.setMaximumHeight(max(self.view.minimumHeight(), height))

    @property
    def saliency(self) -> Saliency | None:
        return self._saliency

    def show_words(self, text: str, label: str, saliency: Saliency) -> None:
        """``label`` is what people call the label that was asked about."""
        self._saliency, self._label, self._text = saliency, label, text
        self._places = [
            (utf16_units(text[: word.start]), utf16_units(text[: word.end]), word) for word in saliency.words
        ]
        self.view.setPlainText(text)
        strongest = sorted(saliency.words, key=lambda word: -abs(word.score))[:5]
        self.view.setAccessibleDescription(", ".join(self.tip_of(word) for word in strongest))
        self.note.setText(
            self.tr(
                "With every word hidden the model gives “{label}” {before} %; the words take it to {after} %."
            ).format(label=label, before=_percent(saliency.baseline), after=_percent(saliency.log_odds))
        )
        if saliency.read < len(text):
            self.note.setText(
                self.tr("{note} The end of the text was too much for the model.").format(note=self.note.text())
            )
        self.note.setToolTip(
            self.tr(
                "By integrated gradients. A word's share is a number of log-odds, log p / (1 − p): 0 stands for 50 %, "
                "+2.2 for 90 %, −2.2 for 10 %. Together the shares make {change}."
            ).format(change=_signed(saliency.log_odds - saliency.baseline))
        )
        self._tint()

    def show_state(self, text: str) -> None:
        """Say something in place of the words."""
        self.clear()
        self.view.setPlaceholderText(text)

    def clear(self) -> None:
        self._saliency, self._label, self._places = None, "", []
        self.view.clear()
        self.view.setExtraSelections([])
        self.view.setPlaceholderText("")
        self.view.setAccessibleDescription("")
        self.note.clear()
        self.legend.clear()
        self._fit()

    def tip_of(self, word: WordScore) -> str:
        if word.score >= 0:
            return self.tr("“{word}”: {score}, speaks for “{label}”").format(
                word=word.text, score=_signed(word.score), label=self._label
            )
        return self.tr("“{word}”: {score}, speaks against “{label}”").format(
            word=word.text, score=_signed(word.score), label=self._label
        )

    def tint_of(self, word: WordScore) -> QColor | None:
        """The colour behind a word; None for one that says next to nothing."""
        assert self._saliency is not None
        strongest = max(abs(other.score) for other in self._saliency.words)
        share = abs(word.score) / max(strongest, _FULL)
        if not strongest or abs(word.score) < _FAINTEST * strongest:
            return None
        return self._colour(_FOR if word.score > 0 else _AGAINST, share)

    def _colour(self, side: int, share: float) -> QColor:
        colours = theme.chart_colours(self.palette())
        return theme.blend(colours.series[side], self.palette().color(QPalette.ColorRole.Base), _STRONGEST * share)

    def _tint(self) -> None:
        selections = []
        for start, end, word in self._places:
            tint = self.tint_of(word)
            if tint is None:
                continue
            style = QTextCharFormat()
            style.setBackground(tint)
            if word.score < 0:
                style.setUnderlineStyle(QTextCharFormat.UnderlineStyle.DashUnderline)
            selections.append(make_mark(self.view.document(), start, end, style))
        self.view.setExtraSelections(selections)
        if self._saliency is not None:
            swatch = '<span style="background-color: {colour};{style}">&nbsp;{text}&nbsp;</span>'
            parts = (
                (_FOR, "", self.tr("for “{label}”")),
                (_AGAINST, " text-decoration: underline;", self.tr("against “{label}”")),
            )
            self.legend.setText(
                " &nbsp; ".join(
                    swatch.format(
                        colour=self._colour(side, 0.8).name(),
                        style=style,
                        text=html.escape(text.format(label=self._label)),
                    )
                    for side, style, text in parts
                )
            )

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "note"):
            QTimer.singleShot(0, self, self._tint)

    def word_at(self, position: int) -> WordScore | None:
        """The word at a place of the view's text."""
        return next((word for start, end, word in self._places if start <= position < end), None)

    def eventFilter(self, watched: object, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip and self._places:
            cursor = self.view.cursorForPosition(event.pos())
            place = cursor.position()
            if self.view.cursorRect(cursor).left() > event.pos().x():  # the nearest gap lies behind the character
                place -= 1
            word = self.word_at(place)
            if word is None:
                QToolTip.hideText()
            else:
                QToolTip.showText(event.globalPos(), self.tip_of(word), self.view)
            return True
        return super().eventFilter(watched, event)  # type: ignore[arg-type]


def _percent(log_odds: float) -> str:
    return number_text(100 / (1 + math.exp(-max(-700.0, min(700.0, log_odds)))))


def _signed(value: float) -> str:
    text = number_text(abs(value), 2)
    return f"+{text}" if value >= 0 else f"−{text}"
