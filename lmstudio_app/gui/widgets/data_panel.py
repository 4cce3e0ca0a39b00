"""The left side of the Data page: where the data comes from, and how it is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from lmstudio_app.data.catalog import BundledDataSet, bundled_data_sets, suited_to
from lmstudio_app.events import Progress
from lmstudio_app.files import format_bytes
from lmstudio_app.gui import theme
from lmstudio_app.gui.data_sources import source_files, source_title
from lmstudio_app.gui.text import number_text, progress_text
from lmstudio_app.gui.widgets.data_form import DataForm
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.model_list import ModelList, ModelRow
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.gui.widgets.task_chooser import TaskChooser, task_text

if TYPE_CHECKING:
    from lmstudio_app.tasks import Task


class DataPanel(QWidget):
    """Knows nothing of jobs: it says what was asked for and shows what it is told."""

    source_chosen = Signal(object)
    source_removed = Signal(object)
    files_requested = Signal()
    aligned_requested = Signal()
    cancel_requested = Signal()

    def __init__(self, tasks: Sequence[Task], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._task = tasks[0]
        self._tasks = {task.name: task for task in tasks}
        self.chooser = TaskChooser(tasks, self)
        heading = Heading(self.tr("Choose data"), self)
        self.open_button = QPushButton(self.tr("Open files…"), self)
        tip = self.tr("CSV, TSV, JSON, JSON Lines, Parquet or text, each also gzipped. You can also drop files here.")
        self.open_button.setToolTip(tip)
        self.open_button.setAccessibleName(self.tr("Open data files"))
        self.open_button.setAccessibleDescription(tip)
        self.open_button.clicked.connect(self.files_requested)
        self.aligned_button = QPushButton(self.tr("Open two aligned text files…"), self)
        tip = self.tr("Two text files of equally many lines: line 1 of one belongs to line 1 of the other, and so on")
        self.aligned_button.setToolTip(tip)
        self.aligned_button.setAccessibleName(self.tr("Open two aligned text files"))
        self.aligned_button.setAccessibleDescription(tip)
        self.aligned_button.clicked.connect(self.aligned_requested)
        self.list = ModelList(self)
        self.list.setAccessibleName(self.tr("Data sets"))
        self.list.setToolTip(self.tr("Choose a data set; Delete takes a file off the list"))
        self.list.drop_hint = self.tr("Drop data files here")
        self.list.chosen.connect(lambda key: self.source_chosen.emit(json.loads(key)))
        self.list.removed.connect(lambda key: self.source_removed.emit(json.loads(key)))
        self.form = DataForm(self)
        top = QHBoxLayout()
        top.addWidget(heading, 1)
        top.addWidget(self.open_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addWidget(self.chooser)
        layout.addLayout(top)
        layout.addWidget(self.aligned_button)
        layout.addWidget(self.list, 1)
        layout.addWidget(self._build_progress())
        layout.addWidget(self.form)
        self.set_task(self._task.name)

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

    def set_task(self, name: str) -> None:
        """Show a task without saying so; the sources are told anew by :meth:`set_sources`."""
        self._task = self._tasks[name]
        self.chooser.set_task(name)
        inputs = {spec.name for spec in self._task.columns}
        self.aligned_button.setVisible({"source", "target"} <= inputs)
        self.list.set_guide(self._guide())

    def _guide(self) -> list[tuple[str, str]]:
        types = {spec.type for spec in self._task.columns}
        how_much = self.tr(
            "Some hundred rows begin to teach, some thousand do well. A part is kept for the evaluation: "
            "the model never learns from it, so it tells how good the model is."
        )
        if "document" in types:
            form = self.tr("Plain text, a sentence or a paragraph a line, with a blank line between two documents.")
            example = self.tr("Once there was a king.\nHe had a daughter.")
            how_much = self.tr(
                "As much as there is: a language is learned from millions of words. Whole documents are kept for the "
                "evaluation: the model never learns from them."
            )
        elif "messages" in types:
            form = self.tr(
                "One chat a row: a column with its messages, or one with what is asked and one with the answer."
            )
            example = self.tr("prompt, response\nName a colour, Blue\nSay hello, Hello!")
        elif "answers" in types:
            form = self.tr("A SQuAD file, or a table with the question, the text that answers it, and the answers.")
            example = self.tr("question, context, answers\nWho sat?, The cat sat., The cat")
        elif "label" in types:
            form = self.tr(
                "A table with one example a row: a column with the text, and one with its label, which is "
                "what the model is to say."
            )
            example = self.tr("text, label\nA great film, positive\nTwo lost hours, negative")
        else:
            titles = [task_text(spec.title) for spec in self._task.columns if spec.required]
            form = self.tr("A table with one example a row, and a column for each of: {columns}.").format(
                columns=", ".join(titles)
            )
            example = ", ".join(spec.name for spec in self._task.columns if spec.required)
        return [
            (self.tr("What should the data look like?"), form),
            (self.tr("For example"), example),
            (self.tr("How much of it?"), how_much),
        ]

    def set_sources(self, recent: Sequence[Any], current: Any) -> None:
        """The bundled sets, those made for the task first, and the files of before; ``current`` is selected without
        saying so.
        """
        suited = suited_to(self._task.name)
        others = [entry for entry in bundled_data_sets().values() if entry not in suited]
        rows = []
        if suited:
            rows.append(ModelRow(self.tr("Bundled data")))
            rows += [self._bundled_row(entry, current) for entry in suited]
        if recent:
            rows.append(ModelRow(self.tr("Your files")))
            rows += [self._file_row(source, current) for source in recent]
        if others:
            rows.append(ModelRow(self.tr("Bundled data for other tasks")))
            rows += [self._bundled_row(entry, current) for entry in others]
        self.list.blockSignals(True)
        self.list.set_rows(rows)
        self.list.select(json.dumps(current))
        if self.list.currentIndex().row() <= 1:
            self.list.scrollToTop()  # with its heading
        self.list.blockSignals(False)

    def _bundled_row(self, entry: BundledDataSet, current: Any) -> ModelRow:
        parts = {"rows": number_text(entry.rows), "license": entry.license}
        detail = self.tr("{rows} rows · {license}").format(**parts)
        if not entry.suits(self._task.name) and entry.task in self._tasks:
            title = task_text(self._tasks[entry.task].title)
            detail = self.tr("{task} · {rows} rows · {license}").format(task=title, **parts)
        tip = self.tr("{description}\n{attribution}").format(
            description=entry.description, attribution=entry.attribution
        )
        state = self.tr("In use") if entry.name == current else ""
        return ModelRow(entry.title, json.dumps(entry.name), detail, "loaded", state, tip)

    def _file_row(self, source: Any, current: Any) -> ModelRow:
        paths = source_files(source)
        tip = self.tr("{files}\nDelete takes it off the list; the file stays.").format(files="\n".join(map(str, paths)))
        key, title = json.dumps(source), source_title(source)
        if not all(path.is_file() for path in paths):
            return ModelRow(title, key, str(paths[0]), "missing", self.tr("Not found"), tip, True)
        state = self.tr("In use") if source == current else ""
        if not paths:  # several bundled data sets
            return ModelRow(title, key, "", "loaded", state, tip, True)
        size = format_bytes(sum(path.stat().st_size for path in paths))
        detail = self.tr("{size} · {folder}").format(size=size, folder=paths[0].parent)
        return ModelRow(title, key, detail, "loaded", state, tip, True)

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
