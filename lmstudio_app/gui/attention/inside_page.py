"""Look inside: one text, every head at a glance, and one of them in the view that is chosen."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QSplitter, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Status
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.attention.attention_input import AttentionInput
from lmstudio_app.gui.attention.attention_queries import find_languages
from lmstudio_app.gui.attention.head_overview import HeadOverview
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.plotting import import_pyqtgraph, is_pyqtgraph_imported
from lmstudio_app.gui.splitters import keep_sizes
from lmstudio_app.gui.text import status_text
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.inspection.kinds import kinds_of
from lmstudio_app.inspection.reading import Reading, ReadingRequest, read_text


class InsidePage(QWidget):
    step_requested = Signal(str)  # name of the page to go to

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._studio = studio
        self._services = studio.services
        self._settings = studio.services.settings
        self._model: Any = None
        self._handle: JobHandle | None = None
        self._import: JobHandle | None = None
        self._asking: JobHandle | None = None  # which languages the model has
        self._is_waiting = False  # for that, to show a text
        self.panel: Any = None  # a ViewPanel, once pyqtgraph is there
        self.input = AttentionInput(self._settings, self)
        self.input.asked.connect(self.show_attention)
        self.input.cancelled.connect(self.cancel)
        self._notice = ElidedLabel(self)
        self._notice.hide()
        self.empty = EmptyState(self)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.empty)
        self._stack.addWidget(self._build_studio())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.6))
        layout.addWidget(self.input)
        layout.addWidget(self._notice)
        layout.addWidget(self._stack, 1)
        studio.failed.connect(self._on_failed)
        self._update_state()

    def _build_studio(self) -> QSplitter:
        self.overview = HeadOverview(self._studio)
        self.overview.activated.connect(self._on_activated)
        self.overview.explained.set_open(bool(self._settings.get("attention.explained", True)))
        self.overview.explained.toggled.connect(lambda is_open: self._settings.set("attention.explained", is_open))
        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(theme.em(self, 0.5))
        self.splitter.addWidget(self.overview)
        self._holder = QWidget(self.splitter)  # the views come here, when pyqtgraph is imported
        QVBoxLayout(self._holder).setContentsMargins(0, 0, 0, 0)
        self.splitter.addWidget(self._holder)
        self.splitter.setStretchFactor(0, 2)
        self.splitter.setStretchFactor(1, 3)
        keep_sizes(self.splitter, self._settings, "attention.splitter", (2000, 3000))
        return self.splitter

    # --- what others use

    def set_model(self, loaded: Any) -> None:
        """Look into another model; a text that was shown is shown again for it."""
        had_reading = self._studio.reading is not None
        self.cancel()
        self._model = loaded
        self._studio.set_reading(None)
        kinds = kinds_of(loaded.model) if loaded is not None else ()
        self.input.set_kinds(kinds)
        self.input.set_chat(bool(getattr(getattr(loaded, "tokenizer", None), "chat_template", None)))
        self.input.set_languages(None)
        self._update_state()
        self._asking, self._is_waiting = None, had_reading
        if len(kinds) > 1:
            self._ask_languages(loaded)
        elif had_reading and loaded is not None and self.input.has_text:
            self.show_attention()

    def _ask_languages(self, loaded: Any) -> None:
        """Its tokenizer may know hundreds, so that is no work for the window's thread."""
        self._asking = handle = self._services.query_runner.start(find_languages, loaded, quiet=True)
        handle.succeeded.connect(lambda offer: handle is self._asking and self.input.set_languages(offer))
        handle.failed.connect(lambda error: handle is self._asking and self._on_failed(error))
        handle.finished.connect(lambda: self._on_asked(handle))

    def _on_asked(self, handle: JobHandle) -> None:
        if self._asking is handle:
            self._asking = None
            if self._is_waiting and self.input.has_text:
                self.show_attention()

    def show_text(self, text: str, pair: str | None = None) -> None:
        """Put a text into the field and show its attention; without a model, wait for one."""
        self.input.set_texts(text, pair)
        self.show_attention()

    def show_attention(self) -> None:
        """Read the attention of the text in the fields; a reading that still runs is dropped."""
        if self._asking is not None:  # which languages it has decides how it is asked
            self._is_waiting = True
            return
        attention = self.input.request()
        if self._model is None or not self.input.has_text:
            self._update_state()
            self.input.text.setFocus()
            return
        self.cancel()
        self._handle = handle = self._services.inspection_runner.start(
            read_text, ReadingRequest(self._model, attention), title=self.tr("Reading the attention"), quiet=True
        )
        self._notice.clear()
        handle.event.connect(lambda events: self._on_events(handle, events))
        handle.succeeded.connect(lambda reading: self._on_read(handle, reading))
        handle.failed.connect(lambda error: handle is self._handle and self._on_failed(error))
        handle.finished.connect(lambda: self._on_finished(handle))
        self.input.show_button.set_busy(True)

    @property
    def is_reading(self) -> bool:
        return self._handle is not None

    def cancel(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()
        self.input.show_button.set_busy(False)

    def shutdown(self) -> None:
        self._import = self._asking = None
        self.cancel()
        if self.panel is not None:
            self.panel.shutdown()

    # --- the heavy part, when it is first shown

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self.panel is not None or self._import is not None:
            return
        if is_pyqtgraph_imported():
            self._build_panel()
            return
        self._import = handle = self._services.query_runner.start(import_pyqtgraph, None, quiet=True)
        handle.succeeded.connect(lambda _: self._build_panel() if handle is self._import else None)

    def _build_panel(self) -> None:
        from lmstudio_app.gui.attention.view_panel import ViewPanel

        if self.panel is None:
            self.panel = ViewPanel(self._studio, self._holder)
            self._holder.layout().addWidget(self.panel)

    # --- reading

    def _on_events(self, handle: JobHandle, events: list[Event]) -> None:
        for event in events:
            if handle is self._handle and isinstance(event, Status) and event.warning:
                self._warn(status_text(event))

    def _on_read(self, handle: JobHandle, reading: Reading) -> None:
        if handle is self._handle:
            self._studio.set_reading(reading)
            self._update_state()

    def _on_failed(self, error: UserError) -> None:
        dialogs.show_error(self, error)

    def _on_finished(self, handle: JobHandle) -> None:
        if handle is self._handle:
            self._handle = None
            self.input.show_button.set_busy(False)

    # --- showing

    def _update_state(self) -> None:
        """The studio, or the sentence that says what to do next."""
        has_reading = self._studio.reading is not None
        self.input.show_button.set_ready(self._model is not None)
        self._notice.setVisible(bool(self._notice.text()) and has_reading)
        if has_reading:
            self._stack.setCurrentWidget(self.splitter)
            return
        self._stack.setCurrentWidget(self.empty)
        self.empty.clear_buttons()
        if self._model is None:
            self.empty.set_texts(
                self.tr("Load a model first"),
                self.tr(
                    "Then type a sentence here, and see which of its words look at which, in every layer and head."
                ),
            )
            button = self.empty.add_button(self.tr("Choose a model"), self.tr("Go to the Model page"), primary=True)
            button.clicked.connect(lambda: self.step_requested.emit("model"))
            return
        self.empty.set_texts(
            self.tr("Type a sentence, and press Enter"),
            self.tr("You will see which of its words look at which, in every layer and head. Or take an example:"),
        )
        for example in self._examples():
            button = self.empty.add_button(example, self.tr("Show the attention of this sentence"))
            button.clicked.connect(lambda _=False, example=example: self.show_text(example))

    def _examples(self) -> tuple[str, ...]:
        return (
            self.tr("The animal did not cross the street because it was too tired."),
            self.tr("The acting was not bad, but the story never came to life."),
            self.tr("She poured water from the bottle into the cup until it was full."),
        )

    def _on_activated(self) -> None:
        """A thumbnail was opened: show its map."""
        if self.panel is not None:
            self.panel.show_view("map")
            self.panel.view("map").heatmap.setFocus()

    def _warn(self, text: str) -> None:
        self._notice.setText(text)
        palette = self._notice.palette()
        palette.setColor(palette.ColorRole.WindowText, theme.warning(self.palette()))
        self._notice.setPalette(palette)
        self._notice.setVisible(bool(text))
