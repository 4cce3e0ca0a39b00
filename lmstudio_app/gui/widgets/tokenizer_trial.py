"""Tries the vocabulary of a new model: learns it from the chosen data and shows how it cuts the texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.figures import FigureRow
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.gui.widgets.token_strip import TokenStrip

if TYPE_CHECKING:
    from lmstudio_app.models.tokenizer_report import TokenizerReport

_SPECIAL = frozenset(("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "<s>", "</s>", "<pad>", "<unk>"))
_STRIPS = 4


class TokenizerTrial(QWidget):
    requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._report: TokenizerReport | None = None
        self.button = QPushButton(self.tr("Try the vocabulary"), self)
        self.button.setAccessibleName(self.button.text())
        self.button.clicked.connect(self.requested)
        self._message = Hint("", self)
        self._card = QFrame(self)
        self._card.setProperty("card", True)
        pad = theme.em(self, 0.5)
        inside = QVBoxLayout(self._card)
        inside.setContentsMargins(pad, pad, pad, pad)
        inside.setSpacing(pad)
        self.figures = FigureRow(
            [
                ("size", self.tr("Pieces"), self.tr("How many pieces the vocabulary has come to")),
                (
                    "coverage",
                    self.tr("Words it can read"),
                    self.tr("The share of the evaluation texts' words that hold no unknown character"),
                ),
                (
                    "fineness",
                    self.tr("Pieces a word"),
                    self.tr("1 is every word whole; beyond 2 texts become long, and training slow"),
                ),
            ],
            self._card,
        )
        self.figures.setProperty("card", False)
        inside.addWidget(self.figures)
        self._fewer = Hint("", self._card)
        self._unknown = Hint("", self._card)
        inside.addWidget(self._fewer)
        inside.addWidget(self._unknown)
        self._strips = QVBoxLayout()
        self._strips.setSpacing(pad)
        inside.addLayout(self._strips)
        row = QHBoxLayout()
        row.addWidget(self.button)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, theme.em(self, 0.4))
        layout.setSpacing(theme.em(self, 0.3))
        layout.addLayout(row)
        layout.addWidget(self._message)
        layout.addWidget(self._card)
        self._card.hide()
        self._message.hide()
        self.set_ready(False)

    def set_ready(self, ready: bool, *, busy: bool = False) -> None:
        """Without data there is nothing to learn from; one trial at a time."""
        self.button.setEnabled(ready and not busy)
        self.button.setText(self.tr("Learning…") if busy else self.tr("Try the vocabulary"))
        self.button.setToolTip(
            self.tr("Learn it from the training texts now and see how it cuts them; the training then uses it")
            if ready
            else self.tr("Choose data first: the vocabulary is learned from its texts")
        )

    @property
    def report(self) -> TokenizerReport | None:
        return self._report

    @property
    def strips(self) -> list[TokenStrip]:
        return self._card.findChildren(TokenStrip)

    def clear(self) -> None:
        """What was tried is no longer what the form says."""
        self._report = None
        self._card.hide()
        self._message.hide()

    def show_message(self, text: str) -> None:
        self.clear()
        self._message.setText(text)
        self._message.setVisible(bool(text))

    def show_report(self, report: TokenizerReport, wanted: int | None = None) -> None:
        """``wanted`` pieces were asked for; short texts may hold fewer."""
        self.clear()
        self._report = report
        self.figures.set_values(
            {
                "size": number_text(report.vocabulary),
                "coverage": f"{100 * report.coverage:.1f} %",
                "fineness": f"{report.tokens_per_word:.2f}",
            }
        )
        words = ", ".join(report.unknown_words[:8])
        self._unknown.setText(self.tr("Words it cannot read: {words}").format(words=words))
        self._unknown.setVisible(bool(words))
        self._fewer.setText(
            self.tr("The texts hold no more than these pieces, so the model becomes smaller than counted above.")
        )
        self._fewer.setVisible(wanted is not None and report.vocabulary < wanted)
        while (item := self._strips.takeAt(0)) is not None:
            item.widget().deleteLater()
        caption = QLabel(self.tr("Texts that it has not learned from, in its pieces:"), self._card)
        caption.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        caption.setWordWrap(True)
        self._strips.addWidget(caption)
        for text, tokens in report.samples[:_STRIPS]:
            strip = TokenStrip(tokens, _SPECIAL, self._card)
            strip.setToolTip(text)
            self._strips.addWidget(strip)
        self._card.show()
