"""What attention is, in plain words, for someone who sees it for the first time."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.disclosure import Disclosure


class AttentionExplained(Disclosure):
    """A few paragraphs that fold away."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("", "", parent)
        title = self.tr("What am I looking at?")
        tip = self.tr("Attention explained in a few sentences")
        self.button.setText(title)
        self.button.setAccessibleName(title)
        self.button.setToolTip(tip)
        self.button.setAccessibleDescription(tip)
        paragraphs = (
            self.tr(
                "Each row is a token that looks (the <i>query</i>), each column one it can look at (the <i>key</i>). "
                "The stronger the colour, the more the row takes from that column. A row sums to 1."
            ),
            self.tr(
                "weights = softmax( Q K<sup>T</sup> / √d<sub>k</sub> ): the query of a token is compared with the key "
                "of every other, and softmax turns the scores into shares. d<sub>k</sub> is the length of a key. The "
                "view <b>Formula</b> shows it with the numbers of the chosen head."
            ),
            self.tr(
                "Every layer has several heads, and each learned its own way of looking: at the neighbour, at the same "
                "word elsewhere, at punctuation. A head that looks at [CLS] or [SEP] is often simply resting."
            ),
            self.tr(
                "Attention shows where information can flow. By itself it does not explain an answer: others can "
                "lead to the same one (Jain and Wallace 2019; Wiegreffe and Pinter 2019)."
            ),
        )
        gap = theme.em(self, 0.4)
        html = "".join(f"<p style='margin:0 0 {gap}px 0'>{paragraph}</p>" for paragraph in paragraphs)
        self.text = QLabel(html, self.body)
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.setAccessibleName(title)
        self.set_content(self.text)

    def set_content(self, widget: QWidget) -> None:
        from PySide6.QtWidgets import QVBoxLayout

        layout = QVBoxLayout(self.body)
        side = theme.em(self, 0.5)
        layout.setContentsMargins(side, 0, side, 0)
        layout.addWidget(widget)
