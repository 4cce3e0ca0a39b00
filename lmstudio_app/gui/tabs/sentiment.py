"""The Sentiment page: is a text positive, negative or neutral, or which of your own labels fits it?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.playground_page import PlaygroundPage
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.widgets.file_judge import FileJudge
from lmstudio_app.gui.widgets.mode_bar import TextOrFile
from lmstudio_app.gui.widgets.segments import Segments
from lmstudio_app.gui.widgets.text_judge import TextJudge
from lmstudio_app.tasks.sentiment import JUDGE
from lmstudio_app.tasks.zero_shot import ZERO_SHOT

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

MODES = (JUDGE.name, ZERO_SHOT.name)


class SentimentTab(QWidget):
    inspect_requested = Signal(str)  # a text
    step_requested = Signal(str)  # name of the page to go to
    starter_requested = Signal()

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = services.settings
        mode = self._settings.get("sentiment.mode", MODES[0])
        self._build(services, mode if mode in MODES else MODES[0])

    # --- what others use

    def set_model(self, loaded: LoadedModel | None) -> None:
        """The model of the Model page; taken when it suits what is asked here."""
        self.page.set_model(loaded)

    def use_model(self, reference: str) -> None:
        """Judge with this model, which was trained for it."""
        self.set_mode(JUDGE.name)
        self.page.use_model(reference)

    def set_mode(self, mode: str) -> None:
        """``sentiment``, or ``zero_shot``: labels of one's own."""
        self.modes.choose(mode)

    @property
    def mode(self) -> str:
        return self.one.mode

    def show_view(self, name: str) -> None:
        """``one`` text, or ``many``: a file."""
        if name == "one":
            self.ways.show_text()
        else:
            self.ways.show_file()

    def open_file(self, path: Path) -> None:
        self.ways.show_file()
        self.many.open_file(path)

    def shutdown(self) -> None:
        self.one.shutdown()
        self.many.shutdown()
        self.page.shutdown()

    # --- building

    def _build(self, services: Services, mode: str) -> None:
        self.page = PlaygroundPage(services, mode, self)
        self.one = TextJudge(services)
        self.many = FileJudge(services.batch_runner, self._settings)
        self.ways = TextOrFile(
            self.one,
            self.many,
            (self.tr("Type a text and see what the model makes of it"), self.tr("Label every row of a file")),
            self,
        )
        self.page.set_body(self.ways)
        self.modes = Segments(
            self.tr("What is judged"),
            (
                (MODES[0], self.tr("Positive or negative"), self.tr("Judge the feeling in a text")),
                (MODES[1], self.tr("My own labels"), self.tr("Sort texts by labels that no model was trained for")),
            ),
            self,
        )
        header = QHBoxLayout()
        header.addWidget(self.modes)
        header.addStretch(1)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.9)
        layout.setContentsMargins(pad, pad, pad, theme.em(self, 0.6))
        layout.setSpacing(theme.em(self, 0.6))
        layout.addLayout(header)
        layout.addWidget(self.page, 1)
        self.modes.choose(mode)
        self._apply_mode(mode)
        self.many.set_band(self.one.pane.band)
        self._connect()

    def _connect(self) -> None:
        self.modes.chosen.connect(self._on_mode)
        self.page.model_changed.connect(self.one.set_model)
        self.page.model_changed.connect(self.many.set_model)
        self.page.step_requested.connect(self.step_requested)
        self.page.starter_requested.connect(self.starter_requested)
        self.one.inspect_requested.connect(self.inspect_requested)
        self.one.pane.band_changed.connect(self.many.set_band)
        self.many.band_changed.connect(self.one.pane.slider.set_band)
        self.one.own_labels.changed.connect(self._on_labels_changed)
        self.many.text_chosen.connect(self._on_text_chosen)

    # --- modes

    def _apply_mode(self, mode: str) -> None:
        self.one.set_mode(mode)
        if mode == JUDGE.name:
            self.many.set_prediction(JUDGE, JUDGE.options)
        else:
            self.many.set_prediction(ZERO_SHOT, self.one.own_labels.config)

    def _on_mode(self, mode: str) -> None:
        self._settings.set("sentiment.mode", mode)
        self._apply_mode(mode)
        self.page.set_prediction(mode)

    def _on_labels_changed(self) -> None:
        if self.mode == ZERO_SHOT.name and self.many.predictions is not None:
            self.many.set_prediction(
                ZERO_SHOT, self.one.own_labels.config
            )  # the old labels' rows are no answer any more

    def _on_text_chosen(self, text: str) -> None:
        self.ways.show_text()
        self.one.set_text(text)
