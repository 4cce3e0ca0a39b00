"""The Data page: choose what a model learns from, see it, mend it. Whatever can be used is used at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication, QShowEvent
from PySide6.QtWidgets import QFileDialog, QWidget

from lmstudio_app.data.catalog import bundled_data_sets, first_for
from lmstudio_app.data.columns import EXAMPLE_TYPES, ColumnSpec, needed_columns
from lmstudio_app.data.problems import Problem
from lmstudio_app.data.sources import FILE_PATTERNS, ReadOptions
from lmstudio_app.data.splits import DataConfig, DataSelection
from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.data_jobs import DataJobs
from lmstudio_app.gui.data_problems import as_problem, for_preview
from lmstudio_app.gui.data_queries import (
    CheckRequest,
    LengthRequest,
    OpenedData,
    OpenRequest,
    TextColumn,
    list_rejected,
)
from lmstudio_app.gui.data_sources import plain_source, source_files, source_title
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.widgets.data_panel import DataPanel
from lmstudio_app.gui.widgets.data_view import DataView
from lmstudio_app.gui.widgets.panes import fill_with_panes
from lmstudio_app.gui.widgets.rejected_dialog import RejectedDialog
from lmstudio_app.gui.widgets.task_chooser import task_text
from lmstudio_app.tasks import TASKS, find_task

if TYPE_CHECKING:
    from lmstudio_app.data.reports import DataReport

REMEMBERED = 10  # files that are kept in the list
DELAY = 150  # milliseconds a changed setting rests before the data is checked again


class DataTab(QWidget):
    data_chosen = Signal(object)  # DataSelection, or None when what is shown cannot be used
    step_requested = Signal(str)  # name of the page to go to

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._tokenizer: Any = None
        self._opened: OpenedData | None = None
        self._options: dict[str, Any] = {}  # how the opened source is read
        self._asked: tuple[Any, dict[str, Any]] | None = None  # the source that is open or being read, and how
        self._report: DataReport | None = None
        self._selection: DataSelection | None = None
        self._jobs = DataJobs(services, self)
        self._wanted: DataConfig | None = None  # what is to be chosen of the source that is being read
        self._shown_before = False
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(DELAY)
        self._rest.timeout.connect(self._check)
        self.panel = DataPanel(TASKS, self)
        self.view = DataView(self._settings, self)
        self._splitter = fill_with_panes(self, self.panel, self.view)
        self.setAcceptDrops(True)
        self._restore()
        self._connect()

    def _restore(self) -> None:
        settings = self._settings
        self._splitter.setSizes(
            settings.get("data.splitter", [theme.characters(self, 48), theme.characters(self, 130)])
        )
        self.panel.form.reading.set_open(bool(settings.get("data.reading_open", False)))
        self.panel.form.set_split(
            float(settings.get("data.eval_fraction", 0.1)),
            deduplicate=bool(settings.get("data.deduplicate", False)),
            limit=int(settings.get("data.limit", 0)),
        )
        self.panel.form.set_evaluation(settings.get("data.eval"))
        self.panel.set_task(self.task)
        self._refresh_sources()

    def _connect(self) -> None:
        panel, form, view, jobs = self.panel, self.panel.form, self.view, self._jobs
        jobs.progressed.connect(panel.set_progress)
        jobs.opened.connect(self._on_opened)
        jobs.open_failed.connect(self._on_open_failed)
        jobs.open_finished.connect(self._on_open_finished)
        jobs.checked.connect(self._on_checked)
        jobs.check_failed.connect(self._on_check_failed)
        jobs.measured.connect(lambda lengths, in_tokens: view.show_lengths(lengths, tokens=in_tokens))
        self._splitter.splitterMoved.connect(lambda: self._settings.set("data.splitter", self._splitter.sizes()))
        panel.source_chosen.connect(self._on_source_chosen)
        panel.source_removed.connect(self._on_source_removed)
        panel.chooser.task_chosen.connect(self.set_task)
        panel.files_requested.connect(self._on_files_requested)
        panel.aligned_requested.connect(self._on_aligned_requested)
        panel.cancel_requested.connect(self.cancel)
        form.columns_changed.connect(self._on_columns_changed)
        form.split_changed.connect(self._on_split_changed)
        form.reading_changed.connect(self._on_reading_changed)
        form.eval_file_requested.connect(self._on_eval_file_requested)
        form.reading.toggled.connect(lambda is_open: self._settings.set("data.reading_open", is_open))
        view.fix_requested.connect(self._on_fix_requested)
        view.line_requested.connect(self._on_line_requested)
        view.files_requested.connect(self._on_files_requested)
        view.continue_requested.connect(lambda: self.step_requested.emit("train"))

    # --- what the window calls

    @property
    def selection(self) -> DataSelection | None:
        """What a training would use now."""
        return self._selection

    @property
    def opened(self) -> OpenedData | None:
        return self._opened

    @property
    def report(self) -> DataReport | None:
        return self._report

    def set_model(self, loaded: Any) -> None:
        """Lengths are counted with this model's tokenizer from now on."""
        self._tokenizer = loaded.tokenizer if loaded is not None else None
        if self._opened is not None:
            self._measure()

    def open_source(self, source: str | Path | Sequence[str | Path] | Mapping[str, str | Path]) -> None:
        """Read a bundled data set, a file, several files that make up one, or two aligned files."""
        self._open(plain_source(source), {})

    @property
    def task(self) -> str:
        """The name of the task that the data is looked at for."""
        name = self._settings.get("data.task", TASKS[0].name)
        return name if any(task.name == name for task in TASKS) else TASKS[0].name

    def set_task(self, name: str) -> None:
        """What the model should learn. The columns are guessed anew; bundled data of another task gives way."""
        if name == self.task:
            return
        self._settings.set("data.task", find_task(name).name)
        self.panel.set_task(name)
        self._choose(None)
        self._rest.stop()
        if self._asked is None:
            self._refresh_sources()
            return
        source, options = self._asked
        bundled = bundled_data_sets().get(source) if isinstance(source, str) else None
        if bundled is not None and not bundled.suits(name) and bundled_data_sets()[first_for(name)].suits(name):
            source, options = first_for(name), {}
        self._open(source, options)

    def open_config(self, task: str, config: DataConfig) -> None:
        """Choose data as the ``data`` section of a recipe has it, for ``task``."""
        self._settings.set("data.task", find_task(task).name)
        self.panel.set_task(task)
        self._choose(None)
        self._open(plain_source(config.train), dict(config.options), dict(config.columns))
        self._wanted = config

    def cancel(self) -> None:
        self._jobs.cancel_reading()

    def shutdown(self) -> None:
        self._rest.stop()
        self._jobs.shutdown()
        self.view.shutdown()

    # --- sources

    def _refresh_sources(self) -> None:
        recent = [plain_source(source) for source in self._settings.get("data.recent", [])]
        current = self._opened.request.source if self._opened is not None else None
        self.panel.set_sources(recent, current)

    def _remember(self, source: Any) -> None:
        if isinstance(source, str) and source in bundled_data_sets():
            return
        others = [other for other in self._settings.get("data.recent", []) if other != source]
        if source not in self._settings.get("data.recent", []):
            self._settings.set("data.recent", [source, *others][:REMEMBERED])

    def _on_source_chosen(self, source: Any) -> None:
        if self._opened is None or source != self._opened.request.source or self._jobs.is_reading:
            self._open(source, {})

    def _on_source_removed(self, source: Any) -> None:
        self._settings.set("data.recent", [s for s in self._settings.get("data.recent", []) if s != source])
        self._refresh_sources()

    def _file_dialog(self, title: str) -> tuple[str, str, str]:
        patterns = " ".join(FILE_PATTERNS)
        filters = self.tr("Data files ({patterns});;All files (*)").format(patterns=patterns)
        return title, self._settings.get("data.folder", ""), filters

    def _on_files_requested(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, *self._file_dialog(self.tr("Open data files")))
        if names:
            self._settings.set("data.folder", str(Path(names[0]).parent))
            self.open_source(names[0] if len(names) == 1 else names)

    def _on_aligned_requested(self) -> None:
        self._ask_aligned(self.open_source)

    def _ask_aligned(self, then: Callable[[dict[str, str]], None]) -> None:
        from lmstudio_app.gui.widgets.aligned_dialog import AlignedDialog

        def chosen(files: dict[str, str]) -> None:
            self._settings.set("data.folder", str(Path(files["source"]).parent))
            then(files)

        dialog = AlignedDialog(self._settings.get("data.folder", ""), self)
        dialog.files_chosen.connect(chosen)
        dialog.open()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._shown_before:
            self._shown_before = True
            QTimer.singleShot(0, self, self._open_remembered)

    def _open_remembered(self) -> None:
        """What was used last time, or, the first time, the first bundled set for the task; unless something was asked
        for.
        """
        if self._jobs.is_reading or self._opened is not None:
            return
        source = plain_source(self._settings.get("data.source") or first_for(self.task))
        options = self._settings.get("data.options", {})
        if not all(path.is_file() for path in source_files(source)):
            source, options = first_for(self.task), {}
        self._open(source, options, columns=self._settings.get("data.columns", {}))

    # --- reading

    def _open(self, source: Any, options: dict[str, Any], columns: dict[str, str] | None = None) -> None:
        self._wanted = None
        self._remember(source)
        self._asked = source, options
        self.panel.set_sources([plain_source(item) for item in self._settings.get("data.recent", [])], source)
        title = self.tr("Reading {name}").format(name=source_title(source))
        self._jobs.open(OpenRequest(source, options, self.task), title, columns or {})
        self.panel.set_busy(title)

    def _on_opened(self, opened: OpenedData, columns: dict[str, str]) -> None:
        previous = self._opened
        self._opened = opened
        self._options = dict(opened.request.options)
        if previous is not None and previous.request.source != opened.request.source:
            self.panel.form.set_evaluation(None)
        elif previous is not None and previous.request.task == opened.request.task and self._wanted is None:
            columns = self.panel.form.columns()  # the same file read in another way
        mapping = dict(opened.mapping)
        specs = find_task(self.task).columns
        inputs = {spec.name for spec in specs}
        if columns and columns.keys() <= inputs and all(column in opened.types for column in columns.values()):
            needed = {spec.name for spec in needed_columns(specs, columns)}
            mapping = {name: column for name, column in mapping.items() if name in needed} | columns
        self.panel.form.set_columns(specs, list(opened.types), mapping)
        self.panel.form.set_reading(self._options, opened.table.facts)
        self.view.show_table(opened.table, opened.types, self._uses(), source_title(opened.request.source))
        if self._wanted is not None:
            config, self._wanted = self._wanted, None
            self.panel.form.set_evaluation(None if config.eval is None else plain_source(config.eval))
            self.panel.form.set_split(config.eval_fraction, deduplicate=config.deduplicate, limit=config.limit)
        self._save_choice()
        self._report = None
        self.view.show_problems(opened.table.problems)
        self._check()
        self._measure()

    def _on_open_failed(self, source: Any, error: UserError) -> None:
        """What was open before stays; the failed file leaves the list unless it can be read another way."""
        failure = as_problem(error)
        known = tuple(p for p in self.view.problems if p.kind != "failed")
        self.view.show_problems((failure, *known))
        if self._opened is None or source != self._opened.request.source:
            recent = [item for item in self._settings.get("data.recent", []) if item != source]
            self._settings.set("data.recent", recent)
        if self._opened is None:
            self._asked = None
        else:
            self.panel.form.set_reading(self._options, self._opened.table.facts)

    def _on_open_finished(self) -> None:
        if self._opened is not None:  # after a cancel, too
            self._asked = self._opened.request.source, self._options
        self.panel.set_busy("")
        self._refresh_sources()

    # --- what the user changes

    def _uses(self) -> dict[str, ColumnSpec]:
        columns = self.panel.form.columns()
        return {columns[spec.name]: spec for spec in find_task(self.task).columns if spec.name in columns}

    def _save_choice(self) -> None:
        form = self.panel.form
        assert self._opened is not None
        self._settings.set("data.source", self._opened.request.source)
        self._settings.set("data.options", self._options)
        self._settings.set("data.columns", form.columns())
        self._settings.set("data.eval", form.evaluation)
        self._settings.set("data.eval_fraction", form.eval_fraction)
        self._settings.set("data.deduplicate", form.deduplicate.isChecked())
        self._settings.set("data.limit", form.limit.value())

    def _on_columns_changed(self) -> None:
        if self._opened is not None:
            self.view.set_uses(self._uses())
            self._save_choice()
            self._rest.start()
            self._measure()

    def _on_split_changed(self) -> None:
        if self._opened is not None:
            self._save_choice()
            self._rest.start()

    def _on_reading_changed(self) -> None:
        if self._opened is not None:
            self._open(self._opened.request.source, self.panel.form.reading_options())

    def _on_eval_file_requested(self) -> None:
        if self._opened is not None and isinstance(self._opened.request.source, Mapping):
            self._ask_aligned(self.set_evaluation)
            return
        name, _ = QFileDialog.getOpenFileName(self, *self._file_dialog(self.tr("Open evaluation data")))
        if name:
            self._settings.set("data.folder", str(Path(name).parent))
            self.set_evaluation(name)

    def set_evaluation(self, source: str | Path | Mapping[str, str | Path] | None) -> None:
        """Evaluate on a file of its own (or two aligned ones), or (None) on a part of the data."""
        self.panel.form.set_evaluation(None if source is None else plain_source(source))
        self._on_split_changed()

    # --- checking

    def _config(self) -> DataConfig:
        assert self._opened is not None
        form, columns = self.panel.form, self.panel.form.columns()
        unused = {name: "" for name in self._opened.mapping if name not in columns}  # else it would be guessed
        return DataConfig(
            train=self._opened.request.source,
            eval=form.evaluation,
            columns=columns | unused,
            eval_fraction=form.eval_fraction,
            limit=form.limit.value(),
            deduplicate=form.deduplicate.isChecked(),
            options=self._options,
        )

    def _check(self) -> None:
        if self._opened is None:
            return
        self._rest.stop()
        self._jobs.check(self._config(), self.task)

    def _on_checked(self, request: CheckRequest, report: DataReport) -> None:
        if self._opened is None or request.task != self.task:
            return
        self._report = report
        self.view.show_report(report)
        self.view.show_problems(for_preview(report.problems, self._opened.table))
        usable = all(problem.severity != "error" for problem in report.problems)
        title = source_title(self._opened.request.source)
        self._choose(DataSelection(request.config, request.task, title) if usable else None)

    def _on_check_failed(self, request: CheckRequest, error: UserError) -> None:
        if self._opened is None or request.task != self.task:
            return
        self._report = None
        self.view.show_report(None)
        self.view.show_problems((as_problem(error), *self._opened.table.problems))
        self._choose(None)

    def _choose(self, selection: DataSelection | None) -> None:
        if selection != self._selection:
            self._selection = selection
            self.view.set_usable(selection is not None)
            self.data_chosen.emit(selection)

    def _measure(self) -> None:
        assert self._opened is not None
        texts = [
            TextColumn(task_text(spec.title), column, spec.type == "messages")
            for column, spec in self._uses().items()
            if spec.type in EXAMPLE_TYPES
        ]
        if not texts:
            self.view.show_lengths((), tokens=False)
        else:
            self._jobs.measure(LengthRequest(self._opened.table, tuple(texts), self._tokenizer))

    # --- mending

    def _on_fix_requested(self, fix: str) -> None:
        name = fix.partition("=")[0]
        if name == "details":
            failure = next((p for p in self.view.problems if p.kind == "failed"), None)
            QGuiApplication.clipboard().setText(failure.parameters.get("details", "") if failure else "")
        elif name == "deduplicate":
            self.panel.form.deduplicate.setChecked(True)
        elif name == "rejected" and self._opened is not None:
            table = self._opened.table
            handle = self._services.query_runner.start(list_rejected, table, title=self.tr("Listing rows"))
            handle.succeeded.connect(
                lambda rows: RejectedDialog(rows, table.rejected, table.rejected_files, self).show()
            )
        elif self._opened is not None:
            options = ReadOptions.from_dict(self._options).with_fix(fix)
            self._open(self._opened.request.source, options.to_dict())

    def _on_line_requested(self, problem: Problem) -> None:
        if self._opened is None or problem.row is None:
            return
        file = problem.parameters.get("file")
        part = next((p for p in self._opened.table.parts if file is None or p.path.name == file), None)
        row = part.row(problem.row) if part is not None else None
        if part is not None and row is not None:
            self.view.preview.show_row(part.first + row)

    # --- dropping files

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if _dropped_files(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        files = _dropped_files(event)
        if files:
            event.acceptProposedAction()
            self.open_source(files[0] if len(files) == 1 else files)


def _dropped_files(event: QDragEnterEvent | QDropEvent) -> list[str]:
    """Local files (folders are models, which the window opens)."""
    paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
    return [str(path) for path in paths] if paths and all(path.is_file() for path in paths) else []
