"""The architecture card: what a model is, in figures, facts and a drawing, each term explained for a newcomer."""

from __future__ import annotations

import re

from PySide6.QtCore import QSize, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QPalette, QResizeEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.files import format_bytes
from lmstudio_app.gui import theme
from lmstudio_app.gui.text import compact_number_text, number_text
from lmstudio_app.gui.widgets.architecture_diagram import ArchitectureDiagram
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.figures import Figure
from lmstudio_app.gui.widgets.parameter_bars import ParameterBars
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.models.card import ModelCard

COLUMNS = 4  # figures in a row


def _breakable(name: str) -> str:
    """A class name that may be broken into two lines between its words (by zero-width spaces)."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "\u200b", name)


class ArchitectureCard(QWidget):
    """Shows one :class:`ModelCard`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.card: ModelCard | None = None
        self.figures: dict[str, Figure] = {}
        self.facts: dict[str, QLabel] = {}
        self.diagram = ArchitectureDiagram(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.6))
        layout.addWidget(self._build_figures())
        self._lower = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._lower.setSpacing(theme.em(self, 0.6))
        self._panels = (
            self._framed(self.tr("How a text passes through it"), self.diagram),
            self._framed(self.tr("About this model"), self._build_facts()),
        )
        for panel in self._panels:
            self._lower.addWidget(panel, 1)
        layout.addLayout(self._lower, 1)

    def minimumSizeHint(self) -> QSize:
        """As narrow as the panels are one below the other."""
        width = max(panel.minimumSizeHint().width() for panel in self._panels)
        return QSize(width, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Side by side where there is room for both, otherwise one below the other."""
        super().resizeEvent(event)
        needed = sum(panel.minimumSizeHint().width() for panel in self._panels) + self._lower.spacing()
        wide = event.size().width() >= needed
        self._lower.setDirection(QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom)

    def _build_figures(self) -> QFrame:
        specs = (
            (
                "layers",
                self.tr("Layers"),
                self.tr("How many times the text is worked on, one layer after another. More layers can learn more."),
            ),
            (
                "heads",
                self.tr("Heads a layer"),
                self.tr(
                    "Each head looks at the other words in its own way. In some models several heads share their keys "
                    "and values; then their number is given too."
                ),
            ),
            (
                "hidden_size",
                self.tr("Hidden size"),
                self.tr("How many numbers (the vector) stand for one token inside the model."),
            ),
            (
                "vocabulary",
                self.tr("Vocabulary"),
                self.tr("How many pieces of words (tokens) the model knows. Every text is cut into these."),
            ),
            (
                "parameters",
                self.tr("Parameters"),
                self.tr("The numbers that training changes. The whole knowledge of the model is in them."),
            ),
            (
                "max_length",
                self.tr("Longest text"),
                self.tr("How many tokens the model can read at once; a longer text is cut off."),
            ),
            (
                "memory_float32",
                self.tr("Memory, float32"),
                self.tr(
                    "What the parameters take in memory at full precision, 4 bytes each. A training needs about four "
                    "times as much."
                ),
            ),
            (
                "memory_bf16",
                self.tr("Memory, bf16"),
                self.tr("What they take in bfloat16, 2 bytes each: half the memory, a little less exact."),
            ),
        )
        frame = QFrame(self)
        frame.setProperty("card", True)
        grid = QGridLayout(frame)
        pad = theme.em(self, 0.6)
        grid.setContentsMargins(pad * 2, pad, pad * 2, pad)
        grid.setHorizontalSpacing(theme.em(self, 1))
        grid.setVerticalSpacing(theme.em(self, 0.5))
        for number, (key, caption, tip) in enumerate(specs):
            figure = Figure(caption, tip, frame, characters=9)
            self.figures[key] = figure
            grid.addWidget(figure, number // COLUMNS, number % COLUMNS)
            grid.setColumnStretch(number % COLUMNS, 1)
        return frame

    def _framed(self, title: str, widget: QWidget) -> QFrame:
        frame = QFrame(self)
        frame.setProperty("card", True)
        heading = Heading(title, frame, scale=1.0)
        layout = QVBoxLayout(frame)
        pad = theme.em(self, 0.6)
        layout.setContentsMargins(pad * 2, pad, pad * 2, pad * 2)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(heading)
        layout.addWidget(widget, 1)
        return frame

    def _build_facts(self) -> QWidget:
        specs = (
            (
                "architecture",
                self.tr("Architecture"),
                self.tr("The name of the model's class in the library transformers"),
            ),
            (
                "head",
                self.tr("Made for"),
                self.tr(
                    "What the last layer (the head) does. A model without a head learns a task by getting a new one."
                ),
            ),
            ("labels", self.tr("Labels"), self.tr("The answers that a classifying model chooses from")),
            (
                "license",
                self.tr("Licence"),
                self.tr("What you may do with the model. Unknown means: look it up where the model comes from."),
            ),
            ("source", self.tr("Source"), self.tr("Where the files came from")),
            (
                "stored",
                self.tr("Stored as"),
                self.tr("The type of number in the weight file: F32 is float32, BF16 bfloat16, F16 float16"),
            ),
        )
        widget = QWidget(self)
        grid = QGridLayout(widget)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.em(self, 0.8))
        grid.setVerticalSpacing(theme.em(self, 0.45))
        grid.setColumnStretch(1, 1)
        for row, (key, caption, tip) in enumerate(specs):
            grid.addWidget(self._caption(caption, tip, widget), row, 0, Qt.AlignmentFlag.AlignTop)
            value = QLabel(widget)
            value.setWordWrap(True)
            value.setTextFormat(Qt.TextFormat.PlainText)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            value.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            value.setToolTip(tip)
            self.facts[key] = value
            grid.addWidget(value, row, 1)
        folder_tip = self.tr("Where the model's files are")
        row = len(specs)
        grid.addWidget(self._caption(self.tr("Folder"), folder_tip, widget), row, 0, Qt.AlignmentFlag.AlignTop)
        self.folder = ElidedLabel(widget, mode=Qt.TextElideMode.ElideMiddle)
        self.open_button = QToolButton(widget)
        self.open_button.setText(self.tr("Show"))
        self.open_button.setAccessibleName(self.tr("Show the model's folder"))
        self.open_button.setToolTip(self.tr("Open the folder in the file manager"))
        self.open_button.clicked.connect(self._on_open)
        line = QHBoxLayout()
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.folder, 1)
        line.addWidget(self.open_button)
        grid.addLayout(line, row, 1)
        self.parts = ParameterBars(widget)
        grid.setRowMinimumHeight(row + 1, theme.em(self, 0.6))
        grid.addWidget(self.parts, row + 2, 0, 1, 2)
        grid.setRowStretch(row + 2, 1)
        return widget

    def _caption(self, text: str, tip: str, parent: QWidget) -> QLabel:
        label = QLabel(text, parent)
        label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        label.setToolTip(tip)
        return label

    def set_card(self, card: ModelCard) -> None:
        self.card = card
        heads = number_text(card.heads) if card.heads else ""
        if card.key_value_heads not in (0, card.heads):
            heads = self.tr("{heads} ({shared} for keys)").format(heads=heads, shared=number_text(card.key_value_heads))
        values = {
            "layers": number_text(card.layers) if card.layers else "",
            "heads": heads,
            "hidden_size": number_text(card.hidden_size) if card.hidden_size else "",
            "vocabulary": number_text(card.vocabulary) if card.vocabulary else "",
            "parameters": compact_number_text(card.parameters),
            "max_length": self.tr("{count} tokens").format(count=number_text(card.max_length))
            if card.max_length
            else "",
            "memory_float32": format_bytes(card.memory_float32),
            "memory_bf16": format_bytes(card.memory_bf16),
        }
        for key, text in values.items():
            self.figures[key].set_value(text)
        facts = {
            "architecture": self.tr("{name} (family {family})").format(
                name=_breakable(card.architecture) or self.tr("not stated"),
                family=card.model_type or self.tr("unknown"),
            ),
            "head": self._head_text(card.head),
            "labels": ", ".join(card.labels) or self.tr("none"),
            "license": card.license or self.tr("unknown"),
            "source": self._source_text(card),
            "stored": card.stored_type or self.tr("unknown"),
        }
        for key, text in facts.items():
            self.facts[key].setText(text)
        self.folder.setText(str(card.folder))
        self.diagram.set_card(card)
        self.parts.set_parts(card.parts)

    def _head_text(self, head: str) -> str:
        names = {
            "base": self.tr("nothing yet: an encoder without a head"),
            "sequence-classification": self.tr("classifying texts"),
            "token-classification": self.tr("classifying every token"),
            "question-answering": self.tr("finding answers in a text"),
            "multiple-choice": self.tr("choosing among answers"),
            "masked-lm": self.tr("guessing hidden tokens"),
            "pretraining": self.tr("guessing hidden tokens (pretraining)"),
            "causal-lm": self.tr("writing the next token"),
            "seq2seq-lm": self.tr("turning one text into another"),
        }
        return names.get(head, head)

    def _source_text(self, card: ModelCard) -> str:
        kind, _, rest = card.source.partition(" ")
        match kind:
            case "wheel":
                return self.tr("Python package {name}").format(name=rest)
            case "hub":
                return self.tr("Hugging Face hub, {name}").format(name=rest)
            case "training":
                return self.tr("trained here")
        return card.source or self.tr("a folder on this computer")

    def _on_open(self) -> None:
        if self.card is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.card.folder)))
