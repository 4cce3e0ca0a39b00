"""Other translations of a sentence, to choose from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import Heading, Hint
from lmstudio_app.gui.widgets.try_candidates import share_text

if TYPE_CHECKING:
    from lmstudio_app.tasks.writing import Hypothesis


class _List(QListWidget):
    chosen = Signal(QListWidgetItem)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        item = self.currentItem()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and item is not None:
            self.chosen.emit(item)
            return
        super().keyPressEvent(event)


class AlternativesCard(QFrame):
    """``chosen`` comes with the text and its probability; ``inspect_requested`` asks to look into the model."""

    chosen = Signal(str, float)
    inspect_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._aligns = False
        title = Heading(self.tr("Other translations of a sentence"), self, scale=1.0)
        self.inspect_button = make_button(
            self.tr("Look inside"),
            self.tr("Show on the Attention page which words of this sentence look at which"),
            self,
        )
        self.inspect_button.clicked.connect(self.inspect_requested)
        self.sentence = ElidedLabel(self)
        self.sentence.setForegroundRole(self.sentence.palette().ColorRole.PlaceholderText)
        self.list = _List(self)
        self.list.setAccessibleName(title.text())
        self.list.setToolTip(self.tr("Click one to put it into the translation"))
        self.list.setAlternatingRowColors(True)
        self.list.setWordWrap(True)
        self.list.setSpacing(theme.em(self, 0.12))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.itemClicked.connect(self._on_chosen)
        self.list.chosen.connect(self._on_chosen)
        self.hint = Hint("", self)
        self.blank = QLabel(self)
        self.blank.setWordWrap(True)
        self.blank.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.blank.setForegroundRole(self.blank.palette().ColorRole.PlaceholderText)
        header = QHBoxLayout()
        header.addWidget(title, 1)
        header.addWidget(self.inspect_button)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.8)
        layout.setContentsMargins(pad, theme.em(self, 0.6), pad, theme.em(self, 0.6))
        layout.setSpacing(theme.em(self, 0.35))
        layout.addLayout(header)
        layout.addWidget(self.sentence)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.blank, 1)
        layout.addWidget(self.hint)
        self.clear()

    def set_aligns(self, aligns: bool) -> None:
        """Can the model show which words belong together?"""
        self._aligns = aligns
        if self.list.isHidden() and self.sentence.isHidden():
            self.clear()

    def clear(self) -> None:
        click = self.tr("Click a sentence of the translation to see what else the model would write.")
        point = self.tr(
            "Point at a word of either text to see which words of the other it belongs to: the stronger the tint, the "
            "more the model looked at them."
        )
        self._show_blank(f"{click}\n\n{point}" if self._aligns else click)
        self.sentence.hide()
        self.inspect_button.setEnabled(False)

    def show_searching(self, source: str) -> None:
        """A sentence was chosen; the model is asked."""
        self._show_blank(self.tr("Looking for other ways to say it…"))
        self.sentence.setText(" ".join(source.split()))
        self.sentence.show()
        self.inspect_button.setEnabled(True)

    def show_problem(self, text: str) -> None:
        self._show_blank(text)

    def show_alternatives(self, found: Sequence[Hypothesis], current: str) -> None:
        self.list.clear()
        for item in found:
            if not item.text:
                continue
            is_known = not math.isnan(item.probability)
            text = f"{share_text(item.probability)}   {item.text}" if is_known else item.text
            line = QListWidgetItem(text)
            line.setData(Qt.ItemDataRole.UserRole, (item.text, item.probability))
            line.setToolTip(item.text[:2000])
            self.list.addItem(line)
            if item.text == current:
                self.list.setCurrentItem(line)
        some_known = any(not math.isnan(item.probability) for item in found)
        self.hint.setText(
            self.tr(
                "The share says how probable the model finds one token (piece of a word) of this translation, on "
                "average."
            )
            if some_known
            else self.tr("The model draws other translations at random. It does not say how probable they are.")
        )
        self.blank.hide()
        self.list.show()
        self.hint.show()

    def _show_blank(self, text: str) -> None:
        self.list.clear()
        self.list.hide()
        self.hint.hide()
        self.blank.setText(text)
        self.blank.show()

    def _on_chosen(self, item: QListWidgetItem) -> None:
        text, probability = item.data(Qt.ItemDataRole.UserRole)
        self.list.setCurrentItem(item)
        self.chosen.emit(text, probability)
