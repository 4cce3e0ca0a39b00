"""The presets of the Chat page: listed, chosen, kept and deleted; and what was set last."""

from __future__ import annotations

import dataclasses
from typing import Any

from PySide6.QtCore import QCoreApplication, QObject, Signal

from lmstudio_app.chat.presets import PRESETS, Preset
from lmstudio_app.errors import UserError
from lmstudio_app.gui.chat_queries import drop_preset, keep_preset, list_presets
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.widgets.chat_settings import ChatSettings
from lmstudio_app.jobs import Job

_FIRST = "Balanced"  # what is set before anything was chosen


class ChatPresets(QObject):
    """Fills ``panel``, and keeps in the settings what is set there."""

    failed = Signal(object, object)  # UserError, what to call to try again
    changed = Signal()  # another preset was chosen

    def __init__(self, services: Services, panel: ChatSettings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._panel = panel
        self._known: list[Preset] = list(PRESETS)
        self._current = ""
        panel.preset_chosen.connect(self.choose)
        panel.preset_saved.connect(self.keep)
        panel.preset_deleted.connect(self.drop)
        panel.changed.connect(self._on_changed)
        self._restore()

    @property
    def current(self) -> str:
        """The preset that is set; empty when anything was changed since."""
        return self._current

    def refresh(self) -> None:
        self._do(list_presets, None, self._current)

    def choose(self, name: str) -> None:
        """Set what the preset holds. Its system prompt is taken when it has one."""
        preset = next((preset for preset in self._known if preset.name == name), None)
        if preset is None:
            return
        values = dataclasses.asdict(preset.options)
        system = values.pop("system") or self._panel.system_text
        values.pop("batch_size")
        self._panel.set_all(system, values)
        self._set_current(name)
        self._remember()
        self.changed.emit()

    def show(self, system: str, preset: str) -> None:
        """What belongs to a conversation: its system prompt, and its preset where there is still one of that name."""
        self._panel.set_all(system, self._panel.values())
        if preset and preset != self._current:
            self.choose(preset)
            self._panel.set_all(system, self._panel.values())
        self._set_current(preset if any(known.name == preset for known in self._known) else "")
        self._remember()

    def keep(self, name: str) -> None:
        """Keep what is set now under this name."""
        try:
            options = self._panel.options()
        except UserError as error:
            self.failed.emit(error, None)
            return
        self._do(keep_preset, Preset(name, "", options), name)

    def drop(self, name: str) -> None:
        self._do(drop_preset, name, "")

    def _do(self, job: Job, request: Any, current: str) -> None:
        handle = self._services.query_runner.start(job, request, quiet=True)
        handle.succeeded.connect(lambda known: self._on_known(known, current))
        handle.failed.connect(lambda error: self.failed.emit(error, lambda: self._do(job, request, current)))

    def _on_known(self, known: list[Preset], current: str) -> None:
        self._known = known
        self._list(current)

    def _list(self, current: str) -> None:
        names = [
            (
                preset.name,
                QCoreApplication.translate("presets", preset.name) if preset.is_built_in else preset.name,
                QCoreApplication.translate("presets", preset.help) if preset.help else "",
            )
            for preset in self._known
        ]
        own = {preset.name for preset in self._known if not preset.is_built_in}
        self._panel.set_presets(names, own, current)
        self._set_current(current if any(preset.name == current for preset in self._known) else "")

    def _set_current(self, name: str) -> None:
        self._current = name
        self._panel.choose_preset(name)

    def _on_changed(self) -> None:
        self._current = ""
        self._remember()

    def _remember(self) -> None:
        kept = {"system": self._panel.system_text, "sampling": self._panel.values(), "preset": self._current}
        self._services.settings.set("chat.options", kept)

    def _restore(self) -> None:
        kept = self._services.settings.get("chat.options", {})
        kept = kept if isinstance(kept, dict) else {}
        self._list(str(kept.get("preset", "")))
        if isinstance(kept.get("sampling"), dict):
            preset = self._current
            self._panel.set_all(str(kept.get("system", "")), kept["sampling"])
            self._set_current(preset)
        else:
            self.choose(_FIRST)
