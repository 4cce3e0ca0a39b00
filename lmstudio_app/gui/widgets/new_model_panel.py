"""The form of a model that begins with random weights: its shape, its size, and the vocabulary it will learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.gui import theme
from lmstudio_app.gui.choice_titles import ARCHITECTURE_CHOICES
from lmstudio_app.gui.forms import DataclassForm
from lmstudio_app.gui.text import error_texts, number_text
from lmstudio_app.gui.widgets.scaled_label import Heading, Hint
from lmstudio_app.gui.widgets.tokenizer_trial import TokenizerTrial
from lmstudio_app.models.architectures import ArchitectureConfig

BYTES = 4  # of a float32


class NewModelPanel(QWidget):
    changed = Signal()

    def __init__(self, families: Sequence[str], recommended: Mapping[str, Any], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.form = DataclassForm(
            {"architecture": ArchitectureConfig},
            ARCHITECTURE_CHOICES,
            self,
            titles={"architecture": self.tr("New model"), "architecture.tokenizer": self.tr("Its vocabulary")},
            choices={"architecture.family": tuple(families)},
            recommended=recommended,
        )
        size = QWidget(self)
        rows = QVBoxLayout(size)
        rows.setContentsMargins(0, 0, 0, theme.em(self, 0.5))
        rows.setSpacing(theme.em(self, 0.1))
        self.count = Heading("", size, scale=1.1)
        self.count.setWordWrap(True)
        self._memory = Hint("", size)
        rows.addWidget(self.count)
        rows.addWidget(self._memory)
        self.form.add_below("architecture", size)
        self.trial = TokenizerTrial(self)
        self.form.add_below("architecture.tokenizer", self.trial)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.form)
        self.form.changed.connect(self._on_changed)
        self._tried = self._vocabulary()
        self.show_size(None)

    def _vocabulary(self) -> dict[str, Any]:
        """What the vocabulary depends on."""
        names = ("architecture.family", "architecture.max_length")
        return {n: v for n, v in self.form.values().items() if n in names or n.startswith("architecture.tokenizer.")}

    def _on_changed(self) -> None:
        if (now := self._vocabulary()) != self._tried:
            self._tried = now
            self.trial.clear()
        self.changed.emit()

    def config(self) -> ArchitectureConfig:
        """Raises :class:`UserError` when the fields do not go together."""
        config: ArchitectureConfig = self.form.config("architecture")
        return config

    @property
    def problem(self) -> UserError | None:
        """What is wrong with the fields as they are."""
        try:
            self.config()
        except UserError as error:
            return error
        return None

    def show_size(self, parameters: int | None, trained: int | None = None) -> None:
        """``trained`` of the parameters have a gradient. None: not known yet."""
        problem = self.problem
        if problem is not None:
            message, remedy = error_texts(problem)
            self.count.setText(message)
            self._memory.setText(remedy)
        elif parameters is None:
            self.count.setText(self.tr("Counting its parameters…"))
            self._memory.setText(" ")
        else:
            self.count.setText(self.tr("{count} parameters").format(count=number_text(parameters)))
            learning = parameters if trained is None else trained
            self._memory.setText(
                self.tr(
                    "{weights} of weights. While training {memory}: weights, gradients and the two averages that AdamW "
                    "keeps of these, {bytes} bytes a number; what a batch needs comes on top."
                ).format(
                    weights=format_bytes(BYTES * parameters),
                    memory=format_bytes(BYTES * (parameters + 3 * learning)),
                    bytes=BYTES,
                )
            )
