"""The left side of the Data page: where the data comes from, and how it is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from lmstudio_app.data.catalog import bundled_data_sets
from lmstudio_app.events import Progress
from lmstudio_app.files import format_bytes
from lmstudio_app.gui import theme
from lmstudio_app.gui.text import number_text, progress_text
from lmstudio_app.gui.widgets.data_form import DataForm
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.model_list import ModelList, ModelRow
from lmstudio_app.gui.widgets.scaled_label import Heading


class DataPanel(QWidget):
    """Knows nothing of jobs: it says what was asked for and shows what it is told."""

    source_chosen = Signal(object)
    source_removed = Signal(object)
    files_requested = Signal()
    cancel_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        heading = Heading(self.tr("Choose data"), self)
        self.open_button = QPushButton(self.tr("Open files…"), self)
        tip = self.tr("CSV, TSV, JSON, JSON Lines, Parquet or text, each also gzipped. You can also drop files here.")
        self.open_button.setToolTip(tip)
        self.open_button.setAccessibleName(self.tr("Open data files"))
        self.open_button.setAccessibleDescription(tip)
        self.open_button.clicked.connect(self.files_requested)
        self.list = ModelList(self)
        self.list.setAccessibleName(self.tr("Data sets"))
        self.list.setToolTip(self.tr("Choose a data set; Delete takes a file off the list"))
        self.list.drop_hint = self.tr("Drop data files here")
        self.list.set_guide(
            [
                (
                    self.tr("What should the data look like?"),
                    self.tr(
                        "A table with one example a row: a column with the text, and one with its label, which is "
                        "what the model is to say."
                    ),
                ),
                (
                    self.tr("For example"),
                    self.tr("text, label\nA great film, positive\nTwo lost hours, negative"),
                ),
                (
                    self.tr("How much of it?"),
                    self.tr(
                        "Some hundred rows begin to teach, some thousand do well. A part is kept for the evaluation: "
                        "the model never learns from it, so it tells how good the model is."
                    ),
                ),
            ]
        )
        self.list.chosen.connect(lambda key: self.source_chosen.emit(json.loads(key)))
        self.list.removed.connect(lambda key: self.source_removed.emit(json.loads(key)))
        self.form = DataForm(self)
        top = QHBoxLayout()
        top.addWidget(heading, 1)
        top.addWidget(self.open_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(top)
        layout.addWidget(self.list, 1)
        layout.addWidget(self._build_progress())
        layout.addWidget(self.form)

    def minimumSizeHint(self) -> QSize:
        return super().minimumSizeHint().expandedTo(QSize(theme.characters(self, 42), 0))

    def _build_progress(self) -> QWidget:
        self.progress = QWidget(self)
        self.sentence = ElidedLabel(self.progress)
        self.amount = QLabel(self.progress)
        self.amount.setForegroundRole(self.amount.palette().ColorRole.PlaceholderText)
        self.bar = QProgressBar(self.progress)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(theme.em(self, 0.5))
        self.bar.setAccessibleName(self.tr("Progress"))
        self.bar.setToolTip(self.tr("How much of the file is read"))
        self.cancel_button = QPushButton(self.tr("Cancel"), self.progress)
        self.cancel_button.setToolTip(self.tr("Stop reading; the data that was open before stays"))
        self.cancel_button.setAccessibleName(self.tr("Cancel reading"))
        self.cancel_button.clicked.connect(self.cancel_requested)
        line = QHBoxLayout()
        line.addWidget(self.sentence, 1)
        line.addWidget(self.cancel_button)
        layout = QVBoxLayout(self.progress)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.2))
        layout.addLayout(line)
        layout.addWidget(self.bar)
        layout.addWidget(self.amount)
        self.progress.hide()
        return self.progress

    # --- what it is told

    def set_sources(self, recent: Sequence[Any], current: Any) -> None:
        """The bundled sets and the files of before; ``current`` is selected without saying so."""
        rows = [ModelRow(self.tr("Bundled data"))]
        for entry in bundled_data_sets().values():
            detail = self.tr("{rows} rows · {license}").format(rows=number_text(entry.rows), license=entry.license)
            tip = self.tr("{description}\n{attribution}").format(
                description=entry.description, attribution=entry.attribution
            )
            state = self.tr("In use") if entry.name == current else ""
            rows.append(ModelRow(self.title_of(entry.name), json.dumps(entry.name), detail, "loaded", state, tip))
        if recent:
            rows.append(ModelRow(self.tr("Your files")))
            rows += [self._file_row(source, current) for source in recent]
        self.list.blockSignals(True)
        self.list.set_rows(rows)
        self.list.select(json.dumps(current))
        self.list.blockSignals(False)

    def _file_row(self, source: Any, current: Any) -> ModelRow:
        paths = [Path(name) for name in ([source] if isinstance(source, str) else source)]
        tip = self.tr("{files}\nDelete takes it off the list; the file stays.").format(files="\n".join(map(str, paths)))
        key = json.dumps(source)
        if not all(path.is_file() for path in paths):
            return ModelRow(self.title_of(source), key, str(paths[0]), "missing", self.tr("Not found"), tip, True)
        size = format_bytes(sum(path.stat().st_size for path in paths))
        detail = self.tr("{size} · {folder}").format(size=size, folder=paths[0].parent)
        state = self.tr("In use") if source == current else ""
        return ModelRow(self.title_of(source), key, detail, "loaded", state, tip, True)

    def title_of(self, source: Any) -> str:
        """What a person calls it."""
        if isinstance(source, str):
            entry = bundled_data_sets().get(source)
            return entry.title if entry is not None else Path(source).name
        names = [Path(name).name for name in source]
        return self.tr("{first} and {count} more").format(first=names[0], count=len(names) - 1)

    def set_busy(self, sentence: str) -> None:
        """``""``: nothing is being read."""
        self.progress.setVisible(bool(sentence))
        if sentence:
            self.sentence.setText(sentence)
            self.amount.clear()
            self.bar.setRange(0, 0)

    def set_progress(self, progress: Progress) -> None:
        self.amount.setText(progress_text(progress))
        if progress.total:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * progress.done / progress.total))
