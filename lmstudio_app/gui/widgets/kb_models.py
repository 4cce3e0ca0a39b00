"""Which models answer: one that marks the answer in the text, and one that writes it; either may be missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.suitable_queries import Choice, find_choices
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

READER, WRITER = "question_answering", "chat"  # predictions that the models are made for


class AnswerModels(QWidget):
    """Two choices in one line. The reader is loaded as soon as the page is seen; the other one when it is asked.

    The first that suits is chosen, until a person chooses another one, or none.
    """

    reader_changed = Signal(object)  # LoadedModel or None
    writer_changed = Signal(str)  # reference, empty: none
    step_requested = Signal(str)

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._reader: LoadedModel | None = None
        self._loading: JobHandle | None = None
        self._looking: list[JobHandle] = []
        self._wanted = {name: self._settings.get(f"knowledge.{name}") for name in (READER, WRITER)}
        services.shelf.let_go.connect(self._on_let_go)
        self._build()

    def _build(self) -> None:
        tips = {
            READER: self.tr(
                "The reader: a question answering model that marks the answer in the passages. Without one, the "
                "sentence nearest to the question is shown."
            ),
            WRITER: self.tr(
                "A chat model that answers in its own words from the passages. Without one, only what stands in the "
                "text is shown."
            ),
        }
        titles = {READER: self.tr("&Marks the answer"), WRITER: self.tr("&Writes an answer")}
        nobody = {READER: self.tr("Nobody: the nearest sentence"), WRITER: self.tr("Nobody")}
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.5))
        self.combos: dict[str, QuietCombo] = {}
        for name in (READER, WRITER):
            label = QLabel(titles[name], self)
            combo = QuietCombo(titles[name].replace("&", ""), tips[name], self)
            combo.setMinimumContentsLength(22)
            combo.addItem(nobody[name], "")
            combo.activated.connect(lambda index, name=name: self._on_chosen(name, self.combos[name].itemData(index)))
            label.setBuddy(combo)
            label.setToolTip(tips[name])
            self.combos[name] = combo
            row.addWidget(label)
            row.addWidget(combo)
        self.state = ElidedLabel(self)
        self.state.setForegroundRole(self.state.palette().ColorRole.PlaceholderText)
        self.others_button = make_button(
            self.tr("Other models…"), self.tr("Go to the Model page, where models are found and downloaded"), self
        )
        self.others_button.clicked.connect(lambda: self.step_requested.emit("model"))
        self.notice = Notice(self)
        row.addWidget(self.state, 1)
        row.addWidget(self.others_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.notice)

    # --- what others use

    @property
    def reader(self) -> LoadedModel | None:
        """None also while it is being loaded."""
        return self._reader

    @property
    def writer(self) -> str:
        """The reference of the chat model; empty: none."""
        return str(self.combos[WRITER].currentData() or "")

    def title(self, name: str) -> str:
        """What the chosen model is called."""
        return self.combos[name].currentText()

    def use(self, name: str, reference: str) -> None:
        """Choose a model, as a person would; empty: none."""
        self._show(name, reference)
        self._on_chosen(name, reference)

    def take_model(self, loaded: LoadedModel | None) -> None:
        """One that is in memory already: offered, where it suits."""
        if loaded is not None and loaded.head in ("question-answering", "causal-lm"):
            self._services.shelf.put(loaded)
            if self.isVisible():
                self.refresh()

    def refresh(self) -> None:
        """Look again which models there are. Folders are read, so not in the window's thread."""
        self._looking = []
        for name in (READER, WRITER):
            handle = self._services.query_runner.start(find_choices, name, quiet=True)
            self._looking.append(handle)
            handle.succeeded.connect(lambda choices, name=name, handle=handle: self._on_choices(handle, name, choices))

    def shutdown(self) -> None:
        self._looking = []
        if self._loading is not None:
            handle, self._loading = self._loading, None
            handle.cancel()
        self._reader = None

    # --- within

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()

    def _show(self, name: str, reference: str) -> None:
        combo = self.combos[name]
        if combo.findData(reference) < 0:
            combo.addItem(Path(reference).name, reference)
        combo.choose(reference)

    def _on_choices(self, handle: JobHandle, name: str, choices: list[Choice]) -> None:
        if handle not in self._looking:
            return
        self._looking.remove(handle)
        combo = self.combos[name]
        chosen = str(combo.currentData() or "")
        while combo.count() > 1:
            combo.removeItem(1)
        for choice in choices:
            combo.addItem(choice.title, choice.reference)
            combo.setItemData(combo.count() - 1, choice.detail, Qt.ItemDataRole.ToolTipRole)
        known = [choice.reference for choice in choices]
        wanted = self._wanted[name]
        if wanted is None:  # nobody has chosen yet
            wanted = chosen if chosen in known else (known or [""])[0]
        elif wanted not in ("", *known):
            wanted = ""
        combo.choose(wanted)
        if name == READER:
            if wanted != (self._reader.reference if self._reader is not None else "") or (wanted and not self._reader):
                self._load(wanted)
        elif wanted != chosen:
            self.writer_changed.emit(wanted)

    def _on_chosen(self, name: str, reference: str) -> None:
        self._wanted[name] = reference
        self._settings.set(f"knowledge.{name}", reference)
        if name == READER:
            self._load(reference)
        else:
            self.writer_changed.emit(reference)

    def _load(self, reference: str) -> None:
        if self._loading is not None:
            handle, self._loading = self._loading, None
            handle.cancel()
        self.notice.set_text("")
        self.state.clear()
        if not reference:
            self._set_reader(None)
            return
        self._loading = handle = self._services.shelf.take(reference)
        self.state.setText(self.tr("Loading {name}…").format(name=self.title(READER)))
        handle.succeeded.connect(lambda loaded: self._on_loaded(handle, loaded))
        handle.failed.connect(lambda error: self._on_failed(handle, error))

    def _on_loaded(self, handle: JobHandle, loaded: LoadedModel) -> None:
        if handle is self._loading:
            self._loading = None
            self.state.clear()
            self._set_reader(loaded)

    def _on_failed(self, handle: JobHandle, error: UserError) -> None:
        if handle is self._loading:
            self._loading = None
            self.state.clear()
            self._set_reader(None)
            self.combos[READER].choose("")
            self.notice.set_text(" ".join(text for text in error_texts(error) if text))

    def _set_reader(self, loaded: LoadedModel | None) -> None:
        if loaded is not self._reader:
            self._reader = loaded
            self.reader_changed.emit(loaded)

    def _on_let_go(self, loaded: LoadedModel) -> None:
        """Others need its memory. It comes again when this page is looked at."""
        if loaded is self._reader and not self.isVisible():
            self._set_reader(None)
