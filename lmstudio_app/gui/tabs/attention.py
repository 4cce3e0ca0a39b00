"""The Attention page: which token looks at which, in one text, in two compared, and while a model learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.inside_page import InsidePage
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.plotting import import_pyqtgraph, is_pyqtgraph_imported
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.widgets.mode_bar import ModeBar

INSIDE, COMPARE, LEARNING = 0, 1, 2


class AttentionTab(QWidget):
    step_requested = Signal(str)  # name of the page to go to

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._import: JobHandle | None = None
        self.studio = AttentionStudio(services, self)
        self.bar = ModeBar(
            self.tr("What to look at"),
            (
                (self.tr("Look inside"), self.tr("One text: where each of its tokens looks")),
                (self.tr("Compare"), self.tr("Two texts, two models, or one before and after its training")),
                (self.tr("While it learns"), self.tr("A sentence that was watched during a training, step by step")),
            ),
            self,
        )
        self.inside = InsidePage(self.studio, self)
        self.inside.step_requested.connect(self.step_requested)
        self.compare: Any = None  # a ComparePage, built when it is first shown
        self.replay: Any = None  # a ReplayPage, as well
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.inside)
        self._comparing, self._learning = QWidget(self), QWidget(self)
        for holder in (self._comparing, self._learning):
            QVBoxLayout(holder).setContentsMargins(0, 0, 0, 0)
            self._stack.addWidget(holder)
        self._model: Any = None
        self.bar.currentChanged.connect(self._on_mode_chosen)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.9)
        layout.setContentsMargins(pad, theme.em(self, 0.5), pad, theme.em(self, 0.6))
        layout.setSpacing(theme.em(self, 0.6))
        layout.addWidget(self.bar)
        layout.addWidget(self._stack, 1)
        self._wanted_run: Path | None = None  # to be played
        self._compared_run: Path | None = None

    def set_model(self, loaded: Any) -> None:
        """Look into another model; a text that was shown is shown again for it."""
        self._model = loaded
        self.inside.set_model(loaded)
        if self.compare is not None:
            self.compare.set_model(loaded)

    def show_text(self, text: str, pair: str | None = None) -> None:
        """Put a text into the field and show its attention; without a model, wait for one."""
        self.bar.setCurrentIndex(INSIDE)
        self.inside.show_text(text, pair)

    def show_run(self, folder: Path) -> None:
        """Play what was recorded while this run trained."""
        self._wanted_run = folder
        self.bar.setCurrentIndex(LEARNING)
        self._show_page()

    def compare_run(self, folder: Path) -> None:
        """Compare what this run began with and what has become of it, with the text that was looked at last."""
        self._compared_run = folder
        self.bar.setCurrentIndex(COMPARE)
        self._show_page()

    def shutdown(self) -> None:
        self._import = None
        self.inside.shutdown()
        self.studio.shutdown()
        for page in (self.compare, self.replay):
            if page is not None:
                page.shutdown()

    def _on_mode_chosen(self, mode: int) -> None:
        self._stack.setCurrentIndex(mode)
        self._show_page()

    def _show_page(self) -> None:
        """The charts of the other pages need pyqtgraph, which is imported beside the window."""
        mode = self._stack.currentIndex()
        if mode == INSIDE:
            return
        if not is_pyqtgraph_imported():
            if self._import is None:
                self._import = handle = self._services.query_runner.start(import_pyqtgraph, None, quiet=True)
                handle.succeeded.connect(lambda _: self._show_page() if handle is self._import else None)
            return
        if mode == COMPARE:
            self._show_compare()
        else:
            self._show_replay()

    def _show_compare(self) -> None:
        if self.compare is None:
            from lmstudio_app.gui.attention.compare_page import ComparePage

            self.compare = ComparePage(self._services, self._comparing)
            self.compare.step_requested.connect(self.step_requested)
            self.compare.set_model(self._model)
            self._comparing.layout().addWidget(self.compare)
        if self._compared_run is not None:
            folder, self._compared_run = self._compared_run, None
            self.compare.show_run(folder)

    def _show_replay(self) -> None:
        if self.replay is None:
            from lmstudio_app.gui.attention.replay_page import ReplayPage

            self.replay = ReplayPage(self._services, self._learning)
            self.replay.step_requested.connect(self.step_requested)
            self.replay.compare_requested.connect(self.compare_run)
            self._learning.layout().addWidget(self.replay)
        if self._wanted_run is not None:
            folder, self._wanted_run = self._wanted_run, None
            self.replay.show_run(folder)
