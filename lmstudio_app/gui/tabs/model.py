"""The Model page: choose a model and load it, find others on the hub, and see what they take up on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QHideEvent, QShowEvent
from PySide6.QtWidgets import QFileDialog, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Progress, Status
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.downloads import DONE, PAUSED, WAITING
from lmstudio_app.gui.hub_queries import ShownCode, read_own_code
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.model_queries import DeviceChoice, describe_model, find_devices
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import status_text
from lmstudio_app.gui.widgets.model_chooser import ModelChooser
from lmstudio_app.gui.widgets.model_code import ModelCodeDialog
from lmstudio_app.gui.widgets.model_pages import ModelPages
from lmstudio_app.gui.widgets.model_rows import ModelRows, dropped_model
from lmstudio_app.gui.widgets.model_view import ModelView
from lmstudio_app.libraries import is_loaded
from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.models.conversion import GGUF
from lmstudio_app.models.loading import LoadedModel, LoadRequest, fetch_and_load
from lmstudio_app.models.references import is_hub_id, is_present
from lmstudio_app.models.remote_code import allow_code, forbid_code

if TYPE_CHECKING:
    from lmstudio_app.models.card import ModelCard

DEVICES_INTERVAL = 300  # milliseconds between two looks whether torch, which knows the devices, is imported


class ModelTab(QWidget):
    model_loaded = Signal(object)  # LoadedModel
    busy_changed = Signal(bool)
    step_requested = Signal(str)  # name of the page to go to

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._loaded: LoadedModel | None = None
        self._handle: JobHandle | None = None
        self._loading = ""  # the reference that is being loaded, or brought here for that
        self._query: JobHandle | None = None
        self._code_query: JobHandle | None = None
        self._device_query: JobHandle | None = None
        self._device_timer = QTimer(self)
        self._device_timer.setInterval(DEVICES_INTERVAL)
        self._device_timer.timeout.connect(self._ask_devices)
        self.chooser = ModelChooser(self)
        self.view = ModelView(self)
        self._rows = ModelRows(self._settings, self)
        self._downloads = services.downloads
        self.pages = ModelPages(services, self.chooser, self.view, self)
        self._splitter = self.pages.splitter
        self.setAcceptDrops(True)
        self._restore()
        self._connect()

    def _restore(self) -> None:
        self._splitter.setSizes(
            self._settings.get("model.splitter", [theme.characters(self, 52), theme.characters(self, 120)])
        )
        self.chooser.set_options("auto", self._settings.get("model.precision", "auto"))
        self.refresh()
        reference = self._settings.get("model.reference", "")
        if not self.chooser.list.select(reference):
            self.chooser.list.select(next(iter(load_catalog())))
        self._on_chosen(self.reference)

    def _connect(self) -> None:
        chooser = self.chooser
        self._splitter.splitterMoved.connect(lambda: self._settings.set("model.splitter", self._splitter.sizes()))
        chooser.list.chosen.connect(self._on_chosen)
        chooser.list.activated_reference.connect(lambda reference: self.load())
        chooser.list.removed.connect(self._on_removed)
        chooser.hub_id_entered.connect(self._on_hub_id)
        chooser.folder_requested.connect(lambda: self._open_dialog(is_file=False))
        chooser.file_requested.connect(lambda: self._open_dialog(is_file=True))
        chooser.load_requested.connect(self.load)
        chooser.cancel_requested.connect(self.cancel)
        chooser.device_changed.connect(lambda name: self._settings.set("model.device", name))
        chooser.precision_changed.connect(lambda name: self._settings.set("model.precision", name))
        self.view.loaded_requested.connect(self._on_loaded_requested)
        self.view.download_requested.connect(self.load)
        self.view.continue_requested.connect(lambda: self.step_requested.emit("data"))
        self.view.code_requested.connect(self._on_code_requested)
        self.pages.load_requested.connect(self.load_reference)
        self.pages.disk_changed.connect(self.refresh)
        self._downloads.changed.connect(self._on_download_changed)
        self._downloads.removed.connect(self._on_download_removed)
        self._downloads.succeeded.connect(lambda _: self.refresh())

    # --- what the window uses

    @property
    def reference(self) -> str:
        """The model that is selected in the list."""
        return self.chooser.list.reference

    @property
    def loaded(self) -> LoadedModel | None:
        return self._loaded

    @property
    def busy(self) -> bool:
        return bool(self._loading)

    def open_reference(self, reference: str) -> None:
        """Select a model: a catalogue name, a hub id, a folder or a GGUF file, added to the list if it is new there."""
        path = Path(reference).expanduser()
        if reference not in load_catalog() and path.exists():
            reference = str(path if path.is_dir() or path.suffix == GGUF else path.parent)
        if not self.chooser.list.select(reference):
            self._rows.remember(reference)
            self.refresh()
            self.chooser.list.select(reference)

    def load_reference(self, reference: str) -> None:
        """Go to the first of the pages, select a model there and load it."""
        self.pages.go_to("choose")
        self.open_reference(reference)
        self.load()

    def load(self) -> None:
        """Load the selected model; one that is not on this computer is downloaded first."""
        reference = self.reference
        if not reference or self._handle is not None or reference == self._loading:
            return
        was_busy, self._loading = self.busy, reference  # a download that was waited for goes on by itself
        title = self.tr("Loading {name}").format(name=self._title(reference))
        self.chooser.set_busy(True, downloading=self._is_away(reference))
        self.chooser.set_status(title)
        if self._is_away(reference):
            self._downloads.add(reference, title=self._title(reference))
        elif not self._start_loading(reference, title):
            return
        self._update_action()
        if not was_busy:
            self.busy_changed.emit(True)

    def _start_loading(self, reference: str, title: str) -> bool:
        """False when it cannot even be begun, which was said then."""
        try:
            device = self._settings.get("model.device", "auto") if not self._devices_known else self.chooser.device
            request = LoadRequest(reference, device=device, precision=self.chooser.precision)
        except UserError as error:  # a settings file of another version
            dialogs.show_error(self, error)
            self._end_loading()
            return False
        self._handle = handle = self._services.model_runner.start(fetch_and_load, request, title=title)
        handle.event.connect(self._on_events)
        handle.succeeded.connect(self._on_loaded)
        handle.failed.connect(self._on_failed)
        handle.cancelled.connect(self._on_cancelled)
        handle.finished.connect(self._end_loading)
        return True

    def cancel(self) -> None:
        if self._handle is not None:
            self.chooser.cancel_button.setEnabled(False)
            self.chooser.set_status(self.tr("Stopping…"))
            self._handle.cancel()
        elif self._loading:
            self._downloads.pause(self._loading)

    def shutdown(self) -> None:
        self._device_timer.stop()
        self._loading = ""
        self.pages.shutdown()
        for handle in (self._handle, self._query, self._code_query, self._device_query):
            if handle is not None:
                handle.cancel()
        self._query = self._code_query = None  # what they bring is no longer wanted

    # --- a download that is waited for

    def _on_download_changed(self, reference: str) -> None:
        download = self._downloads.find(reference)
        if download is None or reference != self._loading or self._handle is not None:
            return
        if download.state == WAITING:
            self.chooser.set_status(self.tr("Waits for another download"))
        elif download.status is not None:
            self.chooser.set_status(status_text(download.status))
        if download.progress is not None:
            self.chooser.set_progress(download.progress)
        if download.state == DONE:
            self.chooser.set_busy(True)
            self._start_loading(reference, self.tr("Loading {name}").format(name=self._title(reference)))
        elif download.state == PAUSED:
            self._on_cancelled()
            self._end_loading()
        elif download.error is not None:
            self._on_failed(download.error)
            self._end_loading()

    def _on_download_removed(self, reference: str) -> None:
        if reference == self._loading and self._handle is None:
            self._on_cancelled()
            self._end_loading()

    # --- the list

    def refresh(self) -> None:
        """Look again at what is on this computer."""
        self.chooser.list.set_rows(self._rows.make(self._loaded.reference if self._loaded is not None else ""))
        self.pages.refresh()
        self._update_action()

    def _title(self, reference: str) -> str:
        return next((row.title for row in self.chooser.list.rows if row.reference == reference), reference)

    def _on_removed(self, reference: str) -> None:
        self._rows.forget(reference)
        self.refresh()
        if not self.reference:
            self.chooser.list.select(next(iter(load_catalog())))

    def _on_hub_id(self, text: str) -> None:
        if not is_hub_id(text):
            error = UserError(
                "{text} is no hub id.", "A hub id is organisation/name, as the model's page shows it.", text=text
            )
            dialogs.show_error(self, error)
            return
        self.chooser.hub_edit.clear()
        self.open_reference(text)

    def _open_dialog(self, *, is_file: bool) -> None:
        start = self._settings.get("model.folder", "")
        if is_file:
            title, kinds = self.tr("Open a GGUF file"), self.tr("GGUF files (*.gguf)")
            chosen = QFileDialog.getOpenFileName(self, title, start, kinds)[0]
        else:
            chosen = QFileDialog.getExistingDirectory(self, self.tr("Open a model folder"), start)
        if chosen:
            self._settings.set("model.folder", str(Path(chosen).parent))
            self.open_reference(chosen)

    # --- what is shown of the selected model

    def _on_chosen(self, reference: str) -> None:
        if not reference:
            return
        self._settings.set("model.reference", reference)
        self._update_action()
        self.view.set_code(None)
        if self._loaded is not None and self._loaded.reference == reference:
            self._show_card(self._loaded.card)
            return
        entry = load_catalog().get(reference)
        if not is_present(reference) and (entry is not None or is_hub_id(reference)):
            self.view.show_download(reference, entry)
            return
        if self._query is not None:
            self._query.cancel()
        self._query = handle = self._services.query_runner.start(describe_model, reference, quiet=True)
        handle.succeeded.connect(lambda card: self._on_described(handle, reference, card))
        handle.failed.connect(lambda error: self._on_not_described(reference, error))

    def _on_described(self, handle: JobHandle, reference: str, card: ModelCard) -> None:
        if handle is self._query and reference == self.reference:
            self._show_card(card)

    def _show_card(self, card: ModelCard) -> None:
        self.view.show_card(card)
        self._code_query = handle = self._services.query_runner.start(read_own_code, card.folder, quiet=True)
        handle.succeeded.connect(lambda shown: self._on_code(card, shown))
        handle.failed.connect(lambda error: self._on_not_described(card.reference, error))

    def _on_code(self, card: ModelCard, shown: ShownCode | None) -> None:
        if card.reference == self.reference:
            self.view.set_code(shown)

    def _on_code_requested(self, shown: ShownCode) -> None:
        reference = self.reference
        self.code_dialog = ModelCodeDialog(self._title(reference), shown, self.window())
        self.code_dialog.decided.connect(lambda allowed: self._on_code_decided(reference, shown, allowed))
        self.code_dialog.open()

    def _on_code_decided(self, reference: str, shown: ShownCode, allowed: bool) -> None:
        if allowed:
            allow_code(shown.code, reference)
        else:
            forbid_code(shown.code)
        self._on_chosen(self.reference)

    def _on_not_described(self, reference: str, error: UserError) -> None:
        if reference == self.reference:
            self.view.show_problem(self._title(reference), error)

    def _on_loaded_requested(self) -> None:
        if self._loaded is not None:
            self.open_reference(self._loaded.reference)

    def _is_away(self, reference: str) -> bool:
        return bool(reference) and not is_present(reference) and (reference in load_catalog() or is_hub_id(reference))

    def _update_action(self) -> None:
        reference = self.reference
        is_loaded = self._loaded is not None and self._loaded.reference == reference
        free = self._handle is None and reference != self._loading  # another one may be downloading
        if not free:
            text, tip = self.tr("Loading…"), self.tr("A model is being loaded; cancel it to load another one")
        elif self._is_away(reference):
            text, tip = self.tr("Download and load"), self.tr("Bring the model to this computer and load it")
        elif is_loaded:
            text, tip = self.tr("Load again"), self.tr("Load it once more, with the device and precision chosen above")
        else:
            text, tip = self.tr("Load"), self.tr("Read the model into memory")
        self.chooser.set_action(text, tip, enabled=bool(reference) and free, primary=not is_loaded)
        self.view.set_download_enabled(free)

    # --- loading

    @property
    def _devices_known(self) -> bool:
        return self.chooser.device_box.count() > 1

    def _on_events(self, events: list[Event]) -> None:
        last = {type(event): event for event in events}
        if isinstance(status := last.get(Status), Status):
            self.chooser.set_status(status_text(status))
        if isinstance(progress := last.get(Progress), Progress):
            self.chooser.set_progress(progress)

    def _on_loaded(self, loaded: Any) -> None:
        self._loaded = loaded
        self._rows.remember_title(loaded)
        self.view.set_loaded(loaded, "")
        if loaded.reference == self.reference:
            self._show_card(loaded.card)
        self.model_loaded.emit(loaded)

    def _on_failed(self, error: UserError) -> None:
        self.view.set_loaded(
            self._loaded, self.tr("{name} could not be loaded.").format(name=self._title(self._loading))
        )

    def _on_cancelled(self) -> None:
        self.view.set_loaded(
            self._loaded, self.tr("The loading of {name} was cancelled.").format(name=self._title(self._loading))
        )

    def _end_loading(self) -> None:
        self._handle, self._loading = None, ""
        self.chooser.set_busy(False)
        self.refresh()
        self.busy_changed.emit(False)

    # --- devices, once torch can tell them

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._devices_known:
            self._device_timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._device_timer.stop()

    def _ask_devices(self) -> None:
        """Fill the device chooser as soon as torch is there, and never import it just for that."""
        if self._device_query is None and is_loaded("models"):
            self._device_timer.stop()
            self._device_query = self._services.query_runner.start(find_devices, None, quiet=True)
            self._device_query.succeeded.connect(self._on_devices)
            self._device_query.finished.connect(self._on_devices_asked)

    def _on_devices(self, devices: list[DeviceChoice]) -> None:
        self.chooser.set_devices(devices, self._settings.get("model.device", "auto"))

    def _on_devices_asked(self) -> None:
        self._device_query = None

    # --- dropping a folder

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_model(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = dropped_model(event)
        if path:
            event.acceptProposedAction()
            self.load_reference(path)
