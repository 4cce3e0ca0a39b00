"""Which models the list of the Model page names: the catalogue's, those of the hub, and what the user has opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtGui import QDropEvent

from lmstudio_app.files import format_bytes
from lmstudio_app.gui.widgets.model_list import ModelRow
from lmstudio_app.models.conversion import GGUF
from lmstudio_app.models.installed import list_models
from lmstudio_app.models.references import is_hub_id, is_present
from lmstudio_app.settings import Settings

if TYPE_CHECKING:
    from lmstudio_app.models.loading import LoadedModel

REMEMBERED = 12  # folders and hub ids that are kept in the list


class ModelRows(QObject):
    """What is remembered of models from elsewhere is in the settings."""

    def __init__(self, settings: Settings, parent: QObject) -> None:
        super().__init__(parent)
        self._settings = settings

    @property
    def _recent(self) -> list[str]:
        return list(self._settings.get("model.recent", []))

    def remember(self, reference: str) -> None:
        recent = [ref for ref in self._recent if ref != reference]
        self._settings.set("model.recent", [reference, *recent][:REMEMBERED])

    def forget(self, reference: str) -> None:
        self._settings.set("model.recent", [ref for ref in self._recent if ref != reference])

    def remember_title(self, loaded: LoadedModel) -> None:
        titles = self._settings.get("model.titles", {})
        kept = {ref: title for ref, title in titles.items() if ref in self._recent}
        if loaded.card.title:
            kept[loaded.reference] = loaded.card.title
        self._settings.set("model.titles", kept)

    def make(self, loaded: str) -> list[ModelRow]:
        """The rows as it is on this disk now; ``loaded`` is the reference of the model in memory."""
        installed = list_models()
        known = {model.reference for model in installed}
        rows = [ModelRow(self.tr("Starter models"))]
        rows += [
            self._row(model.reference, model.title, model.size, model.license, loaded, model.present, model.description)
            for model in installed
            if model.starter
        ]
        others = [model for model in installed if not model.starter]
        remembered = [ref for ref in self._recent if ref not in known]
        hub_ids = [ref for ref in remembered if is_hub_id(ref) and not Path(ref).is_dir()]
        folders = [ref for ref in remembered if ref not in hub_ids]
        if others or hub_ids:
            rows.append(ModelRow(self.tr("From the hub")))
            rows += [self._row(m.reference, m.title, m.size, m.license, loaded, m.present, "") for m in others]
            rows += [self._hub_row(reference) for reference in hub_ids]
        if folders:
            rows.append(ModelRow(self.tr("Folders and files")))
            rows += [self._folder_row(reference, loaded) for reference in folders]
        return rows

    def _row(
        self, ref: str, title: str, size: int, license_name: str, loaded: str, present: bool, tip: str
    ) -> ModelRow:
        detail = self.tr("{size} · {license}").format(
            size=format_bytes(size), license=license_name or self.tr("licence unknown")
        )
        if loaded == ref:
            return ModelRow(title, ref, detail, "loaded", self.tr("Loaded"), tip)
        if present:
            return ModelRow(title, ref, detail, "here", self.tr("On this computer"), tip)
        return ModelRow(title, ref, detail, "away", self.tr("To download"), tip)

    def _hub_row(self, reference: str) -> ModelRow:
        tip = self.tr("Not downloaded yet. Delete takes it off the list.")
        name = reference.split("/")[-1]
        return ModelRow(name, reference, reference, "away", self.tr("To download"), tip, removable=True)

    def _folder_row(self, reference: str, loaded: str) -> ModelRow:
        tip = self.tr("{folder}\nDelete takes it off the list; the files stay.").format(folder=reference)
        path = Path(reference)
        name = self._settings.get("model.titles", {}).get(reference)  # what it was called when it was last loaded
        if not name:
            name = f"{path.parent.name}/{path.name}" if path.name == "final" else path.name
        if loaded == reference:
            return ModelRow(name, reference, reference, "loaded", self.tr("Loaded"), tip, removable=True)
        if is_present(reference):
            return ModelRow(name, reference, reference, "here", self.tr("On this computer"), tip, removable=True)
        return ModelRow(name, reference, reference, "missing", self.tr("Not found"), tip, removable=True)


def dropped_model(event: QDropEvent) -> str:
    """The folder (of a model or of adapters), or the model file, among what is dropped; ``""`` when there is none."""
    for url in event.mimeData().urls():
        path = url.toLocalFile()
        if path and (Path(path).is_dir() or path.endswith((".safetensors", "config.json", GGUF))):
            return path
    return ""
