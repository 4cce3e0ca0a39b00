"""The Translation page: a text or a whole file from one language into another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.playground_page import PlaygroundPage
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.widgets.file_batch import FileBatch
from lmstudio_app.gui.widgets.mode_bar import TextOrFile
from lmstudio_app.gui.widgets.translation_body import TranslationBody
from lmstudio_app.gui.widgets.translation_languages import LanguageBar

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel


class TranslationTab(QWidget):
    step_requested = Signal(str)  # name of the page to go to
    starter_requested = Signal()
    inspect_requested = Signal(str)  # a text

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.page = PlaygroundPage(services, "translation", self)
        self.languages = LanguageBar(services.settings, self)
        self.body = TranslationBody(services, self.languages, self)
        self.batch = FileBatch(services, "translation", self)
        self.batch.set_options(self.body.options)
        self.ways = TextOrFile(
            self.body,
            self.batch,
            (
                self.tr("Translate a text, of any length, and look at each sentence"),
                self.tr("Translate every row of a file, with the settings of “One text”"),
            ),
            self,
        )
        column = QWidget(self)
        inside = QVBoxLayout(column)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(theme.em(self, 0.5))
        inside.addWidget(self.languages)
        inside.addWidget(self.ways, 1)
        self.page.set_body(column)
        self.page.model_changed.connect(self._on_model)
        self.page.step_requested.connect(self.step_requested)
        self.page.starter_requested.connect(self.starter_requested)
        self.body.inspect_requested.connect(self.inspect_requested)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.9)
        layout.setContentsMargins(pad, pad, pad, theme.em(self, 0.6))
        layout.addWidget(self.page)

    def set_model(self, loaded: LoadedModel | None) -> None:
        """The model of the Model page."""
        self.page.set_model(loaded)

    def use_model(self, reference: str) -> None:
        self.page.use_model(reference)

    def shutdown(self) -> None:
        self.body.shutdown()
        self.batch.shutdown()
        self.page.shutdown()

    def _on_model(self, loaded: LoadedModel | None) -> None:
        self.body.set_model(loaded)
        self.batch.set_model(loaded)
