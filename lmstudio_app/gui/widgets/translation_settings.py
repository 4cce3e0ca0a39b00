"""Below the texts of the Translation page: examples, settings, what was translated before."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.forms import DataclassForm
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.sample_list import SampleList
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.gui.widgets.try_history import QuestionHistory
from lmstudio_app.settings import Settings
from lmstudio_app.tasks.translators import TranslationManner

_KEY = "translation.options"


class TranslationSettings(QTabWidget):
    """``inputs_chosen`` comes with the inputs of an example or of an earlier translation."""

    inputs_chosen = Signal(object)

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setDocumentMode(True)
        self.setAccessibleName(self.tr("Examples, earlier texts and settings"))
        self.samples = SampleList(self)
        self.samples.chosen.connect(self.inputs_chosen)
        self.history = QuestionHistory(settings, lambda name: name, self, key="translation.history")
        self.history.setAccessibleName(self.tr("Translated before"))
        self.history.setToolTip(self.tr("Click a text to translate it again"))
        self.history.show_for(("translation",))
        self.history.asked.connect(lambda _, inputs: self.inputs_chosen.emit(inputs))
        self.form = DataclassForm({"options": TranslationManner}, parent=self)
        remembered = settings.get(_KEY, {})
        self.form.set_values(remembered if isinstance(remembered, dict) else {})
        self.form.changed.connect(lambda: settings.set(_KEY, self.form.values()))
        reset = make_button(self.tr("As it was"), self.tr("Set everything back to what usually works"), self)
        reset.clicked.connect(self.form.reset)
        hint = Hint(
            self.tr(
                "A model writes token by token (pieces of words). With several beams it follows several beginnings at "
                "once and takes the best whole; with sampling it draws, so that each translation differs."
            ),
            self,
        )
        top = QHBoxLayout()
        top.addWidget(hint, 1)
        top.addWidget(reset, 0, Qt.AlignmentFlag.AlignTop)
        form = QVBoxLayout()
        form.addLayout(top)
        form.addWidget(self.form)
        self.addTab(self._page(self.samples), self.tr("Examples"))
        self.addTab(self.history, self.tr("Translated before"))
        self.addTab(self._page(form), self.tr("Settings"))
        for index, tip in enumerate(
            (
                self.tr("Texts to begin with"),
                self.tr("Texts that you have translated"),
                self.tr("How the model writes its translations"),
            )
        ):
            self.setTabToolTip(index, tip)

    def _page(self, content: Any) -> QWidget:
        inside = QWidget(self)
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(0, theme.em(self, 0.4), theme.em(self, 0.4), 0)
        if isinstance(content, QWidget):
            layout.addWidget(content)
        else:
            layout.addLayout(content)
        layout.addStretch(1)
        scroll = QScrollArea(self)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        scroll.viewport().setAutoFillBackground(False)
        inside.setAutoFillBackground(False)  # setWidget switched it on
        return scroll
