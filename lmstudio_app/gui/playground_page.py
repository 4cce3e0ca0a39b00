"""The frame of a page to use a model on: choose one that suits, load it when it is needed, say what is missing.

Such a page has a model of its own, so that one can chat while the Model page holds what is to be trained next.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.events import Status
from lmstudio_app.gui import theme
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.suitable_queries import Choice, find_choices
from lmstudio_app.gui.text import error_texts, model_title, status_text
from lmstudio_app.gui.try_texts import prediction_title
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.gui.widgets.model_picker import ModelPicker
from lmstudio_app.tasks import find_prediction

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel


class PlaygroundPage(QWidget):
    """``model_changed`` comes with the ``LoadedModel`` that the page asks from now on, or None while there is none.

    What was chosen last for this prediction is chosen again, and is loaded when the page is first shown.
    """

    model_changed = Signal(object)
    step_requested = Signal(str)  # name of the page to go to
    starter_requested = Signal()  # bring the starter models here

    def __init__(self, services: Services, prediction: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._prediction = prediction
        self._loaded: LoadedModel | None = None
        self._reference = ""
        self._then: Callable[[], object] | None = None
        self._choices: list[Choice] | None = None
        self._looking: JobHandle | None = None
        self._loading: JobHandle | None = None
        self._body: QWidget | None = None
        self._build()
        services.shelf.let_go.connect(self._on_let_go)

    # --- what others use

    @property
    def loaded(self) -> LoadedModel | None:
        """The model that is asked."""
        return self._loaded

    @property
    def reference(self) -> str:
        """What is chosen, loaded or not."""
        return self._reference

    @property
    def prediction(self) -> str:
        return self._prediction

    def set_body(self, body: QWidget) -> None:
        """What stands below the picker."""
        self._body = body
        self._stack.addWidget(body)
        self._show_state()

    def set_prediction(self, prediction: str) -> None:
        """Offer models for something else from now on."""
        if prediction != self._prediction:
            self._prediction = prediction
            self._choices, self._reference = None, ""
            self._set_loaded(None)
            self._cancel_loading()
            self.refresh()

    def set_model(self, loaded: LoadedModel | None) -> None:
        """The model that was loaded on the Model page: taken when it is made for this page, or when there is none."""
        from lmstudio_app.playground.suitable import is_made_for, suits  # not on the way to the first window

        prediction = find_prediction(self._prediction)
        if loaded is None or not suits(loaded.card, prediction):
            return
        self._services.shelf.put(loaded)
        if is_made_for(loaded.card, prediction) or not self._reference:
            self.use_model(loaded.reference)

    def use_model(self, reference: str, then: Callable[[], object] | None = None) -> None:
        """Choose a model and load it; ``then`` is called when it is there."""
        self._services.settings.set(f"{self._prediction}.model", reference)
        self._cancel_loading()
        self._reference, self._then = reference, then
        self.picker.choose(reference)
        self.picker.set_problem("")
        self._loading = handle = self._services.shelf.take(reference)
        handle.event.connect(lambda events: self._on_events(handle, events))
        handle.succeeded.connect(lambda loaded: self._on_loaded(handle, loaded))
        handle.failed.connect(lambda error: self._on_failed(handle, error))
        handle.finished.connect(lambda: self._on_load_finished(handle))
        self.picker.set_loading(self.tr("Loading…"))
        self._show_state()

    def refresh(self) -> None:
        """Look again which models there are. Folders are read, so not in the window's thread."""
        self._looking = handle = self._services.query_runner.start(find_choices, self._prediction, quiet=True)
        handle.succeeded.connect(lambda choices: self._on_choices(handle, choices))
        handle.failed.connect(lambda error: self._on_look_failed(handle, error))

    def shutdown(self) -> None:
        self._looking = None
        self._cancel_loading()
        self._loaded = None

    # --- building

    def _build(self) -> None:
        self.picker = ModelPicker(self)
        self.picker.chosen.connect(self.use_model)
        self.picker.others_requested.connect(lambda: self.step_requested.emit("model"))
        self.empty = EmptyState(self)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.empty)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(self.picker)
        layout.addWidget(self._stack, 1)
        self._show_state()

    def _show_state(self) -> None:
        """The body as soon as there is any model to choose; else what to do."""
        nothing = self._choices is not None and not self._choices and not self._reference
        self.picker.setVisible(not nothing)
        if not nothing and self._body is not None:
            self._stack.setCurrentWidget(self._body)
            return
        self._stack.setCurrentWidget(self.empty)
        self.empty.clear_buttons()
        if not nothing:
            self.empty.set_texts("", "")
            return
        self.empty.set_texts(
            self.tr("No model on this computer can do this yet"),
            self.tr(
                "For “{task}” a model is needed that has learned it. The starter models have; you can also find one on "
                "the hub, or train your own."
            ).format(task=prediction_title(find_prediction(self._prediction))),
        )
        self.empty.offer(
            self.tr("Get the starter models"),
            self.tr("Small models for every page; they are downloaded once"),
            self.starter_requested.emit,
        )
        self._add_step("model", self.tr("Choose a model"), self.tr("Go to the Model page"))
        self._add_step("train", self.tr("Train one"), self.tr("Go to the Train page"))

    def _add_step(self, step: str, text: str, tip: str) -> None:
        self.empty.offer(text, tip, lambda: self.step_requested.emit(step))

    # --- which models there are

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()

    def _on_choices(self, handle: JobHandle, choices: list[Choice]) -> None:
        if handle is not self._looking:
            return
        self._choices = choices
        self.picker.set_choices(choices)
        known = [choice.reference for choice in choices]
        if self._reference and (self._reference in known or self._loading is not None or self._loaded is not None):
            self.picker.choose(self._reference)
            if self._loaded is None and self._loading is None and not self.picker.has_problem:
                self.use_model(self._reference)
        elif known:
            remembered = self._services.settings.get(f"{self._prediction}.model", "")
            self.use_model(remembered if remembered in known else known[0])
        else:
            self._reference = ""
        self._show_state()

    def _on_look_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._looking:
            self.picker.set_problem(" ".join(text for text in error_texts(error) if text))

    # --- loading

    def _cancel_loading(self) -> None:
        handle, self._loading, self._then = self._loading, None, None
        if handle is not None:
            handle.cancel()

    def _on_events(self, handle: JobHandle, events: list[Any]) -> None:
        status = next((event for event in reversed(events) if isinstance(event, Status)), None)
        if handle is self._loading and status is not None:
            self.picker.set_loading(status_text(status))

    def _on_loaded(self, handle: JobHandle, loaded: LoadedModel) -> None:
        if handle is not self._loading:
            return
        then = self._then
        self._loading = self._then = None
        self.picker.set_loaded(loaded)
        self._set_loaded(loaded)
        if then is not None:
            then()

    def _on_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._loading:
            self._set_loaded(None)
            self.picker.set_problem(" ".join(text for text in error_texts(error) if text))

    def _on_load_finished(self, handle: JobHandle) -> None:
        if handle is self._loading:
            self._loading = self._then = None
            self.picker.set_loading("")

    def _set_loaded(self, loaded: LoadedModel | None) -> None:
        if loaded is not self._loaded:
            self._loaded = loaded
            self.model_changed.emit(loaded)

    def _on_let_go(self, loaded: LoadedModel) -> None:
        """Others need its memory. It comes again when this page is looked at."""
        if loaded is self._loaded and not self.isVisible():
            self._set_loaded(None)
            self.picker.set_loaded(None)

    def title(self) -> str:
        """What the model is called."""
        return model_title(self._loaded) if self._loaded is not None else Path(self._reference).name
