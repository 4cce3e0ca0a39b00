"""Labels of one's own: a line for them, and the sentence that they are put into."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLabel, QLineEdit, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.settings import Settings
from lmstudio_app.tasks.zero_shot import (
    ENTAILMENT,
    LIKELIHOOD,
    SIMILARITY,
    TEMPLATE,
    ZeroShotOptions,
    split_labels,
)

_LONGEST = 5000  # characters


class OwnLabels(QWidget):
    changed = Signal()

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        caption = QLabel(self.tr("&Labels to choose from, with commas between them"), self)
        self.labels = QLineEdit(self)
        caption.setBuddy(self.labels)
        self.labels.setAccessibleName(self.tr("Labels"))
        self.labels.setToolTip(self.tr("Two or more words of your own; the model was never trained for them"))
        self.labels.setPlaceholderText(self.tr("sports, politics, cooking"))
        self.labels.setMaxLength(_LONGEST)
        self.labels.setText(str(settings.get("zero_shot.labels", self.tr("sports, politics, cooking, science"))))
        self.options = Disclosure(self.tr("Options"), self.tr("The sentence that each label is put into"), self)
        self.template = QLineEdit(self.options.body)
        self.template.setAccessibleName(self.tr("Sentence"))
        self.template.setToolTip(self.tr("What would be true of a text with the label; {} is where the label goes"))
        self.template.setPlaceholderText(TEMPLATE)
        self.template.setText(str(settings.get("zero_shot.template", TEMPLATE)))
        sentence = QLabel(self.tr("&Sentence, with {} where the label goes"), self.options.body)
        sentence.setBuddy(self.template)
        folded = QVBoxLayout(self.options.body)
        folded.setContentsMargins(0, 0, 0, 0)
        folded.setSpacing(theme.em(self, 0.2))
        folded.addWidget(sentence)
        folded.addWidget(self.template)
        folded.addWidget(
            Hint(self.tr("The model is asked how well the text and this sentence fit each other."), self.options.body)
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.2))
        layout.addWidget(caption)
        layout.addWidget(self.labels)
        layout.addWidget(self.options)
        self.labels.textChanged.connect(self._on_changed)
        self.template.textChanged.connect(self._on_changed)

    def config(self) -> ZeroShotOptions:
        """Raises :class:`lmstudio_app.errors.UserError` for a sentence without a place for the label."""
        return ZeroShotOptions(labels=self.labels.text(), template=self.template.text().strip() or TEMPLATE)

    @property
    def names(self) -> tuple[str, ...]:
        return split_labels(self.labels.text())

    def method_text(self, method: str | None) -> str:
        """How the model judges, and how far that can be trusted."""
        return {
            ENTAILMENT: self.tr(
                "By inference: does the text say that the sentence with the label is true? It was trained to tell, so "
                "this is the most reliable of the ways."
            ),
            LIKELIHOOD: self.tr(
                "By likelihood: how probable is the label as the end of the sentence, compared with a text that says "
                "nothing? Good for clear topics; a small model is often wrong about tone, and other words change the "
                "result."
            ),
            SIMILARITY: self.tr(
                "By similarity: how near is the text to the sentence with the label in meaning? Good for topics, poor "
                "for opinions and negations. The percentages compare the labels; they do not say how often it is right."
            ),
        }.get(method or "", "")

    def _on_changed(self) -> None:
        self._settings.set("zero_shot.labels", self.labels.text())
        self._settings.set("zero_shot.template", self.template.text())
        self.changed.emit()
