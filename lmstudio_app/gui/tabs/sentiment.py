"""The Sentiment page: try a classifier on a sentence of your own, or on a whole file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.predictions import recent_classifiers
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import model_title
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.gui.widgets.file_judge import FileJudge
from lmstudio_app.gui.widgets.text_judge import TextJudge

RECENT = 3  # trained models that are offered


class SentimentTab(QWidget):
    load_requested = Signal(str)  # a model's folder or reference
    inspect_requested = Signal(str)  # a text
    step_requested = Signal(str)  # name of the page to go to

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._model: Any = None
        self._recent: list[tuple[str, Path]] = []
        self._looking: JobHandle | None = None
        self._build()
        self._update_state()

    # --- what others use

    def set_model(self, loaded: Any) -> None:
        """Use another model; one without classes shows what to do instead."""
        self._model = loaded
        usable = loaded if self._is_classifier(loaded) else None
        self.one.set_model(usable)
        self.many.set_model(usable)
        self._update_state()
        if usable is None:
            self._look_for_trained()

    def open_file(self, path: Path) -> None:
        self.many.open_file(path)

    def shutdown(self) -> None:
        self._looking = None
        self.one.shutdown()
        self.many.shutdown()

    # --- building

    def _build(self) -> None:
        self._model_line = ElidedLabel(self)
        self._model_line.setForegroundRole(self._model_line.palette().ColorRole.PlaceholderText)
        self.other_button = QPushButton(self.tr("Use another model"), self)
        self.other_button.setAccessibleName(self.tr("Use another model"))
        self.other_button.setToolTip(self.tr("Go to the Model page"))
        self.other_button.clicked.connect(lambda: self.step_requested.emit("model"))
        header = QHBoxLayout()
        header.addWidget(self._model_line, 1)
        header.addWidget(self.other_button)
        self.one = TextJudge(self._services.query_runner, self._settings)
        # a file takes long, and a sentence typed meanwhile must not wait for it
        self.many = FileJudge(self._services.model_runner, self._settings)
        self.one.inspect_requested.connect(self.inspect_requested)
        self.many.text_chosen.connect(self.one.set_text)
        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(theme.em(self, 0.5))
        self.splitter.addWidget(self.one)
        self.splitter.addWidget(self.many)
        self.splitter.setStretchFactor(0, 1)
        self.splitter.setStretchFactor(1, 1)
        sizes = self._settings.get("sentiment.splitter", [])
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(size, int) and size > 0 for size in sizes):
            self.splitter.setSizes(sizes)
        else:
            self.splitter.setSizes([1000, 1000])
        self.splitter.splitterMoved.connect(lambda: self._settings.set("sentiment.splitter", self.splitter.sizes()))
        work = QWidget(self)
        column = QVBoxLayout(work)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.em(self, 0.6))
        column.addLayout(header)
        column.addWidget(self.splitter, 1)
        self.empty = EmptyState(self)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.empty)
        self._stack.addWidget(work)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.9)
        layout.setContentsMargins(pad, pad, pad, theme.em(self, 0.6))
        layout.addWidget(self._stack)

    # --- state

    @staticmethod
    def _is_classifier(loaded: Any) -> bool:
        return loaded is not None and loaded.head == "sequence-classification" and len(loaded.labels) > 0

    def _update_state(self) -> None:
        if self._is_classifier(self._model):
            self._stack.setCurrentIndex(1)
            name = model_title(self._model)
            self._model_line.setText(
                self.tr("Model: {name}. Classes: {labels}").format(name=name, labels=", ".join(self._model.labels))
            )
            return
        self._stack.setCurrentWidget(self.empty)
        self.empty.clear_buttons()
        if self._model is None:
            self.empty.set_texts(
                self.tr("Load a trained model first"),
                self.tr("This page shows what a classifier makes of your own sentences, and of whole files."),
            )
        else:
            self.empty.set_texts(
                self.tr("This model has not learned any classes yet"),
                self.tr("{name} reads text, but gives no labels. Train it on labelled examples first.").format(
                    name=model_title(self._model)
                ),
            )
        for name, folder in self._recent:
            text = self.tr("Load {name}").format(name=name)
            self.empty.offer(text, self.tr("A model you trained"), partial(self.load_requested.emit, str(folder)))
        if self._model is not None:
            self._add_step("train", self.tr("Train this model"), self.tr("Go to the Train page"))
        self._add_step("model", self.tr("Choose a model"), self.tr("Go to the Model page"))

    def _add_step(self, step: str, text: str, tip: str) -> None:
        self.empty.offer(text, tip, lambda: self.step_requested.emit(step))

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._is_classifier(self._model):
            self._look_for_trained()

    def _look_for_trained(self) -> None:
        """Offer the models that were trained here. Folders are read, so not in the window's thread."""
        handle = self._services.query_runner.start(recent_classifiers, RECENT, quiet=True)
        self._looking = handle
        handle.succeeded.connect(lambda recent: self._on_recent(handle, recent))

    def _on_recent(self, handle: JobHandle, recent: list[tuple[str, Path]]) -> None:
        if handle is self._looking and recent != self._recent:
            self._recent = recent
            self._update_state()
