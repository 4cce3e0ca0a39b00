"""The window: a rail of steps, one page a step, and the wires between them.

Tabs know nothing of each other: their signals come up to here, and calls go down from here. A tab's module is
imported when its page is first shown, so the window is there before any library of a tab is.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QSize, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QKeySequence
from PySide6.QtWidgets import QApplication, QFrame, QHBoxLayout, QMainWindow, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.job_runner import JobHandle, JobRunner
from lmstudio_app.gui.menus import WindowMenus
from lmstudio_app.gui.pages import INDEX, PAGES, Page, group_title, page_texts, page_that_asks
from lmstudio_app.gui.plotting import import_pyqtgraph
from lmstudio_app.gui.run_queries import find_running
from lmstudio_app.gui.run_texts import dated_title
from lmstudio_app.gui.runs_wiring import RunsWiring
from lmstudio_app.gui.services import make_services
from lmstudio_app.gui.text import model_title
from lmstudio_app.gui.widgets.attached_bar import AttachedBar
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.job_strip import JobStrip
from lmstudio_app.gui.widgets.navigation import NavigationRail
from lmstudio_app.gui.window_settings import WindowSettings
from lmstudio_app.libraries import load_libraries, load_modules

STOP_TIMEOUT = 5.0  # seconds a job has to end when the window closes


class MainWindow(QMainWindow):
    """Owns the runners, the loaded model, the chosen data and the tabs."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("lmstudio-app"))
        self.setAcceptDrops(True)
        self.background_runner = JobRunner(self, "background")
        self.settings = WindowSettings(self.background_runner, parent=self)
        self.look = theme.Theme(QApplication.instance(), self.settings, self)
        self.services = make_services(self.settings, self)
        self._model: Any = None
        self._data: Any = None
        self._tabs: dict[str, Any] = {}
        self._after_load: Callable[[], None] | None = None
        self._runs_wiring = RunsWiring(self)
        self._closing = False
        self._closed = False
        self._close_timer = QTimer(self)
        self._close_timer.setInterval(50)
        self._close_timer.timeout.connect(self._try_to_close)
        self._close_deadline = 0.0
        self._build_pages()
        self.menus = WindowMenus(self, [(page.name, *page_texts(page.name)[:2], page.shortcut) for page in PAGES])
        self._build_status_bar()
        for runner in self._runners():
            runner.job_failed.connect(self._on_job_failed)
        self.services.training_runner.busy_changed.connect(self._update_steps)
        self.services.training_runner.busy_changed.connect(lambda _: self.running_bar.set_text(""))
        self._update_steps()
        self._restore()

    # --- what others use

    def tab(self, name: str) -> Any:
        """The tab of that name, built now if it was not yet."""
        if name not in self._tabs:
            page = PAGES[INDEX[name]]
            tab = getattr(importlib.import_module(page.module), page.class_name)(self.services)
            self._tabs[name] = tab
            self._holders[INDEX[name]].layout().addWidget(tab)
            self._connect_tab(name, tab)
        return self._tabs[name]

    def show_tab(self, name: str) -> Any:
        """Go to a step; returns its tab."""
        self.rail.set_current(INDEX[name])
        return self._tabs[name]

    @property
    def current_tab(self) -> str:
        return PAGES[self.rail.current()].name

    @property
    def model(self) -> Any:
        """The ``LoadedModel``, or None."""
        return self._model

    @property
    def data(self) -> Any:
        """The ``DataSelection``, or None."""
        return self._data

    def open_model(self, reference: str, then: str | None = None) -> None:
        """Load a model in the Model tab; when it is there, go on to the tab named ``then``."""
        tab = self.tab("model")
        self._after_load = (lambda: self.show_tab(then)) if then else None
        if then is None:
            self.show_tab("model")
        tab.open_reference(reference)
        tab.load()

    def open_data(self, source: str) -> None:
        self.show_tab("data").open_source(source)

    def warm_up(self) -> None:
        """Import the heavy libraries beside the window, before the first job needs them."""
        pages = [page.module for page in PAGES]
        self.background_runner.start(import_pyqtgraph, None, quiet=True)
        self.background_runner.start(load_modules, [*pages, "lmstudio_app.gui.widgets.run_view"], quiet=True)
        self.background_runner.start(load_libraries, None, quiet=True)
        self.offer_running()

    def offer_running(self) -> None:
        """Offer to watch a training that runs already: the command line's, or one that outlived an earlier window."""
        handle = self.services.query_runner.start(find_running, None, quiet=True)
        handle.succeeded.connect(self._on_running_found)

    def _on_running_found(self, run: Any) -> None:
        if run is not None and not self.services.training_runner.busy and not self._closed:
            self._offered = run
            self.running_bar.set_text(self.tr("A training is running: {name}").format(name=dated_title(run)))

    def _on_running_chosen(self, choice: str) -> None:
        self.running_bar.set_text("")
        if choice == "show":
            self._runs_wiring.watch(self._offered)

    # --- building

    def _build_pages(self) -> None:
        self.rail = NavigationRail([_step(page) for page in PAGES], self)
        self._stack = QStackedWidget(self)
        self._holders: list[QWidget] = []
        for _ in PAGES:
            holder = QWidget(self._stack)
            layout = QVBoxLayout(holder)
            layout.setContentsMargins(0, 0, 0, 0)
            self._holders.append(holder)
            self._stack.addWidget(holder)
        line = QFrame(self)
        line.setFrameShape(QFrame.Shape.VLine)
        line.setFrameShadow(QFrame.Shadow.Plain)
        line.setForegroundRole(line.palette().ColorRole.Mid)
        centre = QWidget(self)
        layout = QHBoxLayout(centre)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.rail)
        layout.addWidget(line)
        self.running_bar = AttachedBar(
            [
                ("show", self.tr("Show it"), self.tr("Watch it live on the Train page, and pause or stop it there")),
                ("leave", self.tr("Not now"), self.tr("It goes on; the Runs page shows it at any time")),
            ],
            self,
            margin=0.7,
        )
        self.running_bar.chosen.connect(self._on_running_chosen)
        pages = QVBoxLayout()
        pages.setSpacing(0)
        pages.addWidget(self.running_bar)
        pages.addWidget(self._stack, 1)
        layout.addLayout(pages, 1)
        self.setCentralWidget(centre)
        self.rail.current_changed.connect(self._on_step_changed)

    def _connect_tab(self, name: str, tab: Any) -> None:
        if name == "model":
            tab.model_loaded.connect(self._on_model_loaded)
            tab.busy_changed.connect(self._on_model_busy_changed)
        elif name == "data":
            tab.data_chosen.connect(self._on_data_chosen)
        elif name == "train":
            tab.try_requested.connect(self._on_try_trained)
            tab.inspect_requested.connect(self._on_inspect_trained)
            tab.attention_requested.connect(lambda folder: self.show_tab("attention").show_run(folder))
            tab.run_finished.connect(self._update_steps)
            tab.summary_changed.connect(self._update_steps)
            self._runs_wiring.connect_train(tab)
        elif name == "runs":
            tab.summary_changed.connect(self._update_steps)
            tab.try_requested.connect(self._on_try_trained)
            tab.inspect_requested.connect(self._on_inspect_trained)
            self._runs_wiring.connect_runs(tab)
        elif name == "try":
            tab.load_requested.connect(lambda reference: self.open_model(reference, then="try"))
        elif PAGES[INDEX[name]].asks:
            tab.starter_requested.connect(self._on_starters_wanted)
            if hasattr(tab, "inspect_requested"):
                tab.inspect_requested.connect(lambda text: self._on_inspect_asked(tab, text))
        tab.step_requested.connect(self.show_tab)
        if self._model is not None and name != "model":
            tab.set_model(self._model)
        if self._data is not None and name == "train":
            tab.set_data(self._data)

    def _build_status_bar(self) -> None:
        bar = self.statusBar()
        bar.setSizeGripEnabled(False)
        gap = theme.em(self, 0.7)
        bar.setContentsMargins(gap, 0, gap, 0)
        services = self.services
        for runner in (
            services.training_runner,
            services.batch_runner,
            services.downloads.runner,
            services.model_runner,
            services.query_runner,
        ):
            bar.addWidget(JobStrip(runner, self), 2)
        self._model_label = ElidedLabel(self, mode=Qt.TextElideMode.ElideMiddle)
        self._data_label = ElidedLabel(self, mode=Qt.TextElideMode.ElideMiddle)
        for label in (self._model_label, self._data_label):
            label.setAlignment(Qt.AlignmentFlag.AlignRight)
            label.setForegroundRole(label.palette().ColorRole.PlaceholderText)
            bar.addPermanentWidget(label)
        self._fit_status_bar()
        # queued: an application's style sheet, which is set after the font, gives back the font from before
        self.look.changed.connect(self._fit_status_bar, Qt.ConnectionType.QueuedConnection)

    def _fit_status_bar(self) -> None:
        """Room that does not depend on the words, so that new ones cost no layout of the window."""
        for label in (self._model_label, self._data_label):
            label.setContentsMargins(theme.em(self, 1), 0, 0, 0)
            label.setFixedWidth(theme.characters(self, 46))

    # --- what the tabs and the runners say

    def _runners(self) -> tuple[JobRunner, ...]:
        return (*self.services.runners(), self.background_runner)

    def _on_step_changed(self, index: int) -> None:
        self.tab(PAGES[index].name)
        self._stack.setCurrentIndex(index)
        self.settings.set("window.tab", PAGES[index].name)

    def _on_model_loaded(self, model: Any) -> None:
        self._model = model
        self.services.shelf.put(model)
        for name, tab in self._tabs.items():
            if name != "model":
                tab.set_model(model)
        self._update_steps()
        after, self._after_load = self._after_load, None
        if after is not None:
            after()

    def _on_model_busy_changed(self, busy: bool) -> None:
        if not busy:
            self._after_load = None  # the load failed or was cancelled

    def _on_data_chosen(self, selection: Any) -> None:
        self._data = selection
        if "train" in self._tabs:
            self._tabs["train"].set_data(selection)
        self._update_steps()

    def _on_try_trained(self, folder: str, prediction: str) -> None:
        """Load a trained model and go where the prediction of that name can be asked."""
        page = page_that_asks(prediction)
        self.open_model(folder, then=page.name if page is not None else "try")
        if page is not None:
            self._after_load = lambda: self.show_tab(page.name).use_model(folder)
        else:
            self._after_load = lambda: self.show_tab("try").choose(prediction)

    def _on_inspect_asked(self, tab: Any, text: str) -> None:
        """Look inside the model of that page."""
        attention = self.show_tab("attention")
        if tab.page.loaded is not None:
            attention.set_model(tab.page.loaded)
        attention.show_text(text)

    def _on_starters_wanted(self) -> None:
        """The Model page shows how the download goes."""
        self.show_tab("model")
        self.services.downloads.add_starters()

    def _on_inspect_trained(self, folder: str, text: str) -> None:
        self.open_model(folder, then="attention")
        self._after_load = lambda: self.show_tab("attention").show_text(text)

    def _on_job_failed(self, handle: JobHandle, error: UserError) -> None:
        if not handle.quiet:
            dialogs.show_error(self, error)

    def _update_steps(self) -> None:
        """What each step has, or what it waits for, on the rail and in the status bar."""
        model = model_title(self._model)
        data = self._data.title if self._data is not None else ""
        train = self._tabs.get("train")
        summary = train.summary() if train is not None else ""
        if self.services.training_runner.busy:
            training = summary or self.tr("Learning…")
        elif train is not None:  # a new model needs none that is loaded
            training = train.lack() or summary or self.tr("Ready to start")
        elif not model and not data:
            training = page_texts("train")[2]
        elif not model:
            training = self.tr("Needs a model")
        elif not data:
            training = self.tr("Needs data")
        else:
            training = summary or self.tr("Ready to start")
        trained = bool(summary) and training == summary and not self.services.training_runner.busy
        needs_model = "" if model else self.tr("Needs a model")
        runs = self._tabs["runs"].summary() if "runs" in self._tabs else ""
        for name, detail, done in (
            ("model", model or page_texts("model")[2], bool(model)),
            ("data", data or page_texts("data")[2], bool(data)),
            ("train", training, trained),
            ("runs", runs or page_texts("runs")[2], False),
            ("try", needs_model or page_texts("try")[2], False),
            ("attention", needs_model or page_texts("attention")[2], False),
            *((page.name, page_texts(page.name)[2], False) for page in PAGES if page.asks),
        ):
            self.rail.set_state(INDEX[name], detail, done=done)
        self._model_label.setText(self.tr("Model: {name}").format(name=model) if model else self.tr("No model loaded"))
        self._data_label.setText(self.tr("Data: {name}").format(name=data) if data else self.tr("No data chosen"))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = next((url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()), "")
        if path:
            event.acceptProposedAction()
            if Path(path).is_dir() or path.lower().endswith(".gguf"):
                self.open_model(path)
            else:
                self.open_data(path)

    # --- remembering and closing

    def sizeHint(self) -> QSize:
        return QSize(1280, 800)

    def _restore(self) -> None:
        geometry = self.settings.get("window.geometry", "")
        if not geometry or not self.restoreGeometry(QByteArray.fromHex(str(geometry).encode())):
            self.resize(self.sizeHint())
        name = self.settings.get("window.tab", "model")
        self.show_tab(name if name in INDEX else "model")

    def _current_jobs(self) -> list[JobHandle | None]:
        return [runner.current for runner in self.services.runners()]

    def _running_jobs(self) -> list[JobHandle]:
        """Those the user knows of; the others are quiet questions of the pages, which may end with them."""
        handles = self._current_jobs()
        known = [handle for handle in handles if handle is not None and not handle.quiet]
        return [handle for handle in known if not handle.outlives_window]

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._closed:
            event.accept()
            return
        if self._running_jobs() and not self._closing:
            event.ignore()
            self._ask_to_close()
            return
        if self._closing and self._running_jobs() and time.monotonic() < self._close_deadline:
            event.ignore()
            return
        outliving = any(handle is not None and handle.outlives_window for handle in self._current_jobs())
        self._shut_down()
        if outliving:
            self.farewell = dialogs.show_farewell()
        event.accept()

    def _ask_to_close(self) -> None:
        training = self.services.training_runner.busy
        self.close_question = dialogs.ask(
            self,
            title=self.tr("Quit lmstudio-app"),
            question=self.tr("A training is running.") if training else self.tr("A job is running."),
            explanation=(
                self.tr("If you stop it now, you can resume it later from the Train page.")
                if training
                else self.tr("If you quit now, it is cancelled; nothing is left half done.")
            ),
            yes=self.tr("Stop and quit"),
            no=self.tr("Keep running"),
            on_yes=self._stop_and_close,
        )

    def _stop_and_close(self) -> None:
        self._closing = True
        self._close_deadline = time.monotonic() + STOP_TIMEOUT
        for runner in self._runners():
            runner.cancel_all()
        self.setEnabled(False)
        self.statusBar().showMessage(self.tr("Stopping…"))
        self._close_timer.start()

    def _try_to_close(self) -> None:
        if not self._running_jobs() or time.monotonic() >= self._close_deadline:
            self._close_timer.stop()
            self.close()

    def _shut_down(self) -> None:
        self._closed = True
        self._close_timer.stop()
        self.settings.set("window.geometry", bytes(self.saveGeometry().toHex().data()).decode())
        self.hide()  # a library that is being imported cannot be interrupted; nobody needs to watch
        for tab in self._tabs.values():
            tab.shutdown()
        deadline = self._close_deadline or time.monotonic() + STOP_TIMEOUT
        for runner in self._runners():
            runner.shutdown(max(0.2, deadline - time.monotonic()))
        self.settings.flush()
        self._model = self._data = None


def _step(page: Page) -> tuple[str, str, str, str]:
    title, tip, _ = page_texts(page.name)
    shortcut = QKeySequence(page.shortcut).toString(QKeySequence.SequenceFormat.NativeText)
    return group_title(page.group), page.sign, title, f"{tip} ({shortcut})"
