"""The Model page: choose a model on the left, see what it is on the right, load it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QHideEvent, QShowEvent
from PySide6.QtWidgets import QFileDialog, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Progress, Status
from lmstudio_app.files import format_bytes
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.model_queries import DeviceChoice, describe_model, find_devices
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import status_text
from lmstudio_app.gui.widgets.model_chooser import ModelChooser
from lmstudio_app.gui.widgets.model_list import ModelRow
from lmstudio_app.gui.widgets.model_view import ModelView
from lmstudio_app.gui.widgets.panes import fill_with_panes
from lmstudio_app.libraries import is_loaded
from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.models.installed import list_models
from lmstudio_app.models.loading import LoadedModel, LoadRequest, fetch_and_load
from lmstudio_app.models.references import is_hub_id, is_present

if TYPE_CHECKING:
    from lmstudio_app.models.card import ModelCard

REMEMBERED = 12  # folders and hub ids that are kept in the list
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
        self._loading = ""  # the reference that is being loaded
        self._query: JobHandle | None = None
        self._device_query: JobHandle | None = None
        self._device_timer = QTimer(self)
        self._device_timer.setInterval(DEVICES_INTERVAL)
        self._device_timer.timeout.connect(self._ask_devices)
        self.chooser = ModelChooser(self)
        self.view = ModelView(self)
        self._splitter = fill_with_panes(self, self.chooser, self.view)
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
        chooser.folder_requested.connect(self._on_folder_requested)
        chooser.load_requested.connect(self.load)
        chooser.cancel_requested.connect(self.cancel)
        chooser.device_changed.connect(lambda name: self._settings.set("model.device", name))
        chooser.precision_changed.connect(lambda name: self._settings.set("model.precision", name))
        self.view.loaded_requested.connect(self._on_loaded_requested)
        self.view.download_requested.connect(self.load)
        self.view.continue_requested.connect(lambda: self.step_requested.emit("data"))

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
        return self._handle is not None

    def open_reference(self, reference: str) -> None:
        """Select a model: a catalogue name, a hub id or a folder, which is added to the list if it is new there."""
        path = Path(reference).expanduser()
        if reference not in load_catalog() and path.exists():
            reference = str(path if path.is_dir() else path.parent)
        if not self.chooser.list.select(reference):
            self._remember(reference)
            self.refresh()
            self.chooser.list.select(reference)

    def load(self) -> None:
        """Load the selected model; one that is not on this computer is downloaded first."""
        reference = self.reference
        if not reference or self.busy:
            return
        try:
            device = self._settings.get("model.device", "auto") if not self._devices_known else self.chooser.device
            request = LoadRequest(reference, device=device, precision=self.chooser.precision)
        except UserError as error:  # a settings file of another version
            dialogs.show_error(self, error)
            return
        self._loading = reference
        title = self.tr("Loading {name}").format(name=self._title(reference))
        self._handle = handle = self._services.model_runner.start(fetch_and_load, request, title=title)
        handle.event.connect(self._on_events)
        handle.succeeded.connect(self._on_loaded)
        handle.failed.connect(self._on_failed)
        handle.cancelled.connect(self._on_cancelled)
        handle.finished.connect(self._on_finished)
        self.chooser.set_busy(True)
        self.chooser.set_status(title)
        self._update_action()
        self.busy_changed.emit(True)

    def cancel(self) -> None:
        if self._handle is not None:
            self.chooser.cancel_button.setEnabled(False)
            self.chooser.set_status(self.tr("Stopping…"))
            self._handle.cancel()

    def shutdown(self) -> None:
        self._device_timer.stop()
        for handle in (self._handle, self._query, self._device_query):
            if handle is not None:
                handle.cancel()

    # --- the list

    def refresh(self) -> None:
        """Look again at what is on this computer."""
        installed = list_models()
        known = {model.reference for model in installed}
        rows = [ModelRow(self.tr("Starter models"))]
        rows += [
            self._row(model.reference, model.title, model.size, model.license, model.present, model.description)
            for model in installed
            if model.starter
        ]
        others = [model for model in installed if not model.starter]
        remembered = [ref for ref in self._settings.get("model.recent", []) if ref not in known]
        hub_ids = [ref for ref in remembered if is_hub_id(ref) and not Path(ref).is_dir()]
        folders = [ref for ref in remembered if ref not in hub_ids]
        if others or hub_ids:
            rows.append(ModelRow(self.tr("From the hub")))
            rows += [self._row(m.reference, m.title, m.size, m.license, m.present, "") for m in others]
            rows += [self._hub_row(reference) for reference in hub_ids]
        if folders:
            rows.append(ModelRow(self.tr("Folders")))
            rows += [self._folder_row(reference) for reference in folders]
        self.chooser.list.set_rows(rows)

    def _row(self, ref: str, title: str, size: int, license_name: str, present: bool, tip: str) -> ModelRow:
        detail = self.tr("{size} · {license}").format(
            size=format_bytes(size), license=license_name or self.tr("licence unknown")
        )
        if self._loaded is not None and self._loaded.reference == ref:
            return ModelRow(title, ref, detail, "loaded", self.tr("Loaded"), tip)
        if present:
            return ModelRow(title, ref, detail, "here", self.tr("On this computer"), tip)
        return ModelRow(title, ref, detail, "away", self.tr("To download"), tip)

    def _hub_row(self, reference: str) -> ModelRow:
        tip = self.tr("Not downloaded yet. Delete takes it off the list.")
        return ModelRow(
            reference.split("/")[-1], reference, reference, "away", self.tr("To download"), tip, removable=True
        )

    def _folder_row(self, reference: str) -> ModelRow:
        tip = self.tr("{folder}\nDelete takes it off the list; the files stay.").format(folder=reference)
        path = Path(reference)
        name = self._settings.get("model.titles", {}).get(reference)  # what it was called when it was last loaded
        if not name:
            name = f"{path.parent.name}/{path.name}" if path.name == "final" else path.name
        if self._loaded is not None and self._loaded.reference == reference:
            return ModelRow(name, reference, reference, "loaded", self.tr("Loaded"), tip, removable=True)
        if is_present(reference):
            return ModelRow(name, reference, reference, "here", self.tr("On this computer"), tip, removable=True)
        return ModelRow(name, reference, reference, "missing", self.tr("Not found"), tip, removable=True)

    def _title(self, reference: str) -> str:
        return next((row.title for row in self.chooser.list.rows if row.reference == reference), reference)

    def _remember(self, reference: str) -> None:
        recent = [ref for ref in self._settings.get("model.recent", []) if ref != reference]
        self._settings.set("model.recent", [reference, *recent][:REMEMBERED])

    def _remember_title(self, loaded: LoadedModel) -> None:
        titles = self._settings.get("model.titles", {})
        kept = {ref: title for ref, title in titles.items() if ref in self._settings.get("model.recent", [])}
        if loaded.card.title:
            kept[loaded.reference] = loaded.card.title
        self._settings.set("model.titles", kept)

    def _on_removed(self, reference: str) -> None:
        self._settings.set("model.recent", [r for r in self._settings.get("model.recent", []) if r != reference])
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

    def _on_folder_requested(self) -> None:
        start = self._settings.get("model.folder", "")
        folder = QFileDialog.getExistingDirectory(self, self.tr("Open a model folder"), start)
        if folder:
            self._settings.set("model.folder", str(Path(folder).parent))
            self.open_reference(folder)

    # --- what is shown of the selected model

    def _on_chosen(self, reference: str) -> None:
        if not reference:
            return
        self._settings.set("model.reference", reference)
        self._update_action()
        if self._loaded is not None and self._loaded.reference == reference:
            self.view.show_card(self._loaded.card)
            return
        entry = load_catalog().get(reference)
        if not is_present(reference) and (entry is not None or is_hub_id(reference)):
            self.view.show_download(reference, entry)
            return
        if self._query is not None:
            self._query.cancel()
        self._query = handle = self._services.query_runner.start(describe_model, reference, quiet=True)
        handle.succeeded.connect(lambda card: self._on_described(reference, card))
        handle.failed.connect(lambda error: self._on_not_described(reference, error))

    def _on_described(self, reference: str, card: ModelCard) -> None:
        if reference == self.reference:
            self.view.show_card(card)

    def _on_not_described(self, reference: str, error: UserError) -> None:
        if reference == self.reference:
            self.view.show_problem(self._title(reference), error)

    def _on_loaded_requested(self) -> None:
        if self._loaded is not None:
            self.open_reference(self._loaded.reference)

    def _update_action(self) -> None:
        reference = self.reference
        present = bool(reference) and is_present(reference)
        away = bool(reference) and not present and (reference in load_catalog() or is_hub_id(reference))
        if self.busy:
            text, tip = self.tr("Loading…"), self.tr("A model is being loaded; cancel it to load another one")
        elif away:
            text, tip = self.tr("Download and load"), self.tr("Bring the model to this computer and load it")
        elif self._loaded is not None and self._loaded.reference == reference:
            text, tip = self.tr("Load again"), self.tr("Load it once more, with the device and precision chosen above")
        else:
            text, tip = self.tr("Load"), self.tr("Read the model into memory")
        is_loaded = self._loaded is not None and self._loaded.reference == reference
        self.chooser.set_action(text, tip, enabled=bool(reference) and not self.busy, primary=not is_loaded)
        self.view.set_download_enabled(not self.busy)

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
        self._remember_title(loaded)
        self.view.set_loaded(loaded, "")
        if loaded.reference == self.reference:
            self.view.show_card(loaded.card)
        self.model_loaded.emit(loaded)

    def _on_failed(self, error: UserError) -> None:
        self.view.set_loaded(
            self._loaded, self.tr("{name} could not be loaded.").format(name=self._title(self._loading))
        )

    def _on_cancelled(self) -> None:
        self.view.set_loaded(
            self._loaded, self.tr("The loading of {name} was cancelled.").format(name=self._title(self._loading))
        )

    def _on_finished(self) -> None:
        self._handle, self._loading = None, ""
        self.chooser.set_busy(False)
        self.refresh()
        self._update_action()
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
        if _dropped_model(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = _dropped_model(event)
        if path:
            event.acceptProposedAction()
            self.open_reference(path)
            self.load()


def _dropped_model(event: QDropEvent) -> str:
    """The folder, or the model file, among what is being dropped; ``""`` when there is none."""
    for url in event.mimeData().urls():
        path = url.toLocalFile()
        if path and (Path(path).is_dir() or path.endswith((".safetensors", "config.json"))):
            return path
    return ""
