"""Compare: two texts, two models, or a model before and after its training, head by head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.attention.compare_input import TEXTS, TRAINED, CompareInput
from lmstudio_app.gui.attention.compare_queries import Comparable, find_comparable
from lmstudio_app.gui.attention.compare_view import CompareView
from lmstudio_app.gui.attention.compare_work import CompareWork, Plan
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.inspection.comparison import Comparison


class ComparePage(QWidget):
    """Builds heat maps, so build it when pyqtgraph is imported."""

    step_requested = Signal(str)  # name of the page to go to

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._model: Any = None
        self._choices: Comparable | None = None
        self._looking: JobHandle | None = None
        self._wanted_run: Path | None = None
        self._shown: Plan | None = None
        self.work = CompareWork(services, self)
        self.input = CompareInput(services.settings, self)
        self.notice = Notice(self)
        self.view = CompareView(services, self)
        self.empty = EmptyState(self)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.empty)
        self._stack.addWidget(self.view)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(self.input)
        layout.addWidget(self.notice)
        layout.addWidget(self._stack, 1)
        self.input.asked.connect(self.compare)
        self.input.cancelled.connect(self.cancel)
        self.input.mode_changed.connect(lambda _: self._show_state())
        self.work.told.connect(self.input.state.setText)
        self.work.warned.connect(self.notice.set_text)
        self.work.succeeded.connect(self._on_compared)
        self.work.failed.connect(self._on_failed)
        self.work.ended.connect(lambda: self.input.set_busy(False))
        self.view.failed.connect(self._on_failed)
        services.shelf.let_go.connect(self._on_let_go)
        self.input.set_model(None)
        self._show_state()

    # --- what others use

    def set_model(self, loaded: Any) -> None:
        """The model that is loaded, which reads two texts and is the first of two models."""
        if loaded is self._model:
            return
        self._model = loaded
        if self.input.mode != TRAINED:
            self.cancel()
        if self._shown is not None and self._shown.mode != TRAINED:
            self._shown = None
            self.view.clear()
        self.input.set_model(loaded)
        self._show_state()

    def show_run(self, folder: Path) -> None:
        """Compare what this training has begun with and what has become of it."""
        self._wanted_run = folder
        self.input.segments.choose(TRAINED)
        if self.isVisible():
            self._look()

    def compare(self) -> None:
        """Do what the fields say."""
        if not self.input.is_ready:
            return
        self.notice.set_text("")
        self.input.set_busy(True)
        self.work.start(self.input.plan())

    def cancel(self) -> None:
        self.work.cancel()
        self.input.set_busy(False)

    def shutdown(self) -> None:
        self._looking = None
        self.cancel()
        self.view.shutdown()

    # --- what there is to compare

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._look()

    def _look(self) -> None:
        """Folders are read, so not in the window's thread."""
        self._looking = handle = self._services.query_runner.start(find_comparable, None, quiet=True)
        handle.succeeded.connect(lambda found: self._on_found(handle, found))
        handle.failed.connect(lambda error: handle is self._looking and self._on_failed(error))

    def _on_found(self, handle: JobHandle, found: Comparable) -> None:
        if handle is not self._looking:
            return
        self._choices = found
        self.input.set_choices(found)
        wanted, self._wanted_run = self._wanted_run, None
        if wanted is not None and self.input.choose_training(str(wanted)):
            self.compare()
        self._show_state()

    # --- what comes of it

    def _on_compared(self, plan: Plan, comparison: Comparison) -> None:
        self._shown = plan
        self.view.show_comparison(plan, comparison)
        self._show_state()

    def _on_failed(self, error: UserError) -> None:
        dialogs.show_error(self, error)

    def _on_let_go(self, loaded: Any) -> None:
        """Others need its memory."""
        if not self.isVisible() and self.view.uses(loaded):
            self._shown = None
            self.view.clear()
            self._show_state()

    # --- what is shown

    def _show_state(self) -> None:
        """The result of this mode, or the sentence that says what to do next."""
        mode = self.input.mode
        if self._shown is not None and self._shown.mode == mode:
            self._stack.setCurrentWidget(self.view)
            return
        self._stack.setCurrentWidget(self.empty)
        self.empty.clear_buttons()
        if mode == TRAINED:
            self._show_trained()
        elif self._model is None:
            self.empty.set_texts(
                self.tr("Load a model first"),
                self.tr("Then see which of its heads look elsewhere when a word changes, or in another model."),
            )
            self.empty.offer(
                self.tr("Choose a model"),
                self.tr("Go to the Model page"),
                lambda: self.step_requested.emit("model"),
            )
        elif mode == TEXTS:
            self.empty.set_texts(
                self.tr("Type two texts that differ in a few words"),
                self.tr("You will see which heads notice the difference, and what they look at instead. For example:"),
            )
            for text, other in self._examples():
                title = self.tr("{text}  ↔  {other}").format(text=text, other=other)
                self.empty.offer(title, self.tr("Compare these two"), lambda pair=(text, other): self._try_texts(*pair))
        else:
            self.empty.set_texts(
                self.tr("Choose a second model and a text"),
                self.tr(
                    "You will see which heads look elsewhere in the second model. Clearest are a model and what was "
                    "made of it by training. A text to try:"
                ),
            )
            self._offer_texts()

    def _show_trained(self) -> None:
        if self._choices is not None and not self._choices.trained:
            self.empty.set_texts(
                self.tr("Nothing has been trained here yet"),
                self.tr("After a training you can see here which heads have learned to look elsewhere."),
            )
            self.empty.offer(
                self.tr("Go to Train"), self.tr("Start a training"), lambda: self.step_requested.emit("train")
            )
            return
        self.empty.set_texts(
            self.tr("Choose a training and a text"),
            self.tr("You will see which heads have learned to look elsewhere, and at what. A text to try:"),
        )
        self._offer_texts()

    def _offer_texts(self) -> None:
        for text in self._texts():
            self.empty.offer(text, self.tr("Compare with this text"), lambda text=text: self._try_texts(text))

    def _try_texts(self, text: str, other: str | None = None) -> None:
        self.input.set_texts(text, other)
        if self.input.is_ready:
            self.compare()
        else:
            self.input.model.setFocus()  # what is missing yet

    def _examples(self) -> tuple[tuple[str, str], ...]:
        cross = self.tr("The animal did not cross the street because it was too {word}.")
        pour = self.tr("She poured water from the bottle into the cup until it was {word}.")
        return (
            (cross.format(word=self.tr("tired")), cross.format(word=self.tr("wide"))),
            (pour.format(word=self.tr("full")), pour.format(word=self.tr("empty"))),
        )

    def _texts(self) -> tuple[str, ...]:
        return (
            self.tr("The acting was not bad, but the story never came to life."),
            self.tr("The food was great, the service was not."),
        )
