"""What all views of the attention studio share: the reading, the chosen head and cell, and the look of things."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.inspection.attention import AttentionMap
from lmstudio_app.inspection.colormaps import COLORMAPS
from lmstudio_app.inspection.reading import LayerRequest, Reading, read_layer
from lmstudio_app.inspection.scales import widened

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Cell = tuple[int, int]  # query, key: places in the reading's own tokens
_LAYERS_HELD = 2  # beside those that the reading keeps


@dataclass(frozen=True)
class Look:
    """How weights are drawn. ``scale`` is one of ``lmstudio_app.inspection.scales.SCALES``."""

    colormap: str = COLORMAPS[0]
    scale: str = "head"
    hide_special: bool = False
    merge_words: bool = False


class AttentionStudio(QObject):
    """Views ask it and listen to it; they do not know each other."""

    reading_changed = Signal()
    head_changed = Signal(int, int)  # layer, head
    cell_changed = Signal(object)  # Cell or None: what is pointed at or marked
    look_changed = Signal()
    weights_arrived = Signal(int)  # a layer that :meth:`weights` had to ask for
    failed = Signal(object)  # UserError
    busy_changed = Signal(bool)  # whether a layer is being read

    def __init__(self, services: Services, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.services = services
        self._settings = services.settings
        self._reading: Reading | None = None
        self._head = (0, 0)
        self._cell: Cell | None = None
        self._more: dict[int, AttentionMap] = {}  # the newest last
        self._asked: tuple[int, JobHandle] | None = None
        self._look = self._remembered_look()

    # --- the reading

    @property
    def reading(self) -> Reading | None:
        return self._reading

    def set_reading(self, reading: Reading | None) -> None:
        """Another text or model; the chosen head stays, or becomes the nearest there is."""
        self._drop()
        self._more.clear()
        self._reading = reading
        self._cell = None
        if reading is not None:
            wanted = (int(self._settings.get("attention.layer", 0)), int(self._settings.get("attention.head", 0)))
            self._head = self._nearest(*wanted)
        self.reading_changed.emit()

    def weights(self, layer: int | None = None, head: int | None = None) -> npt.NDArray[np.float32] | None:
        """Float32 ``[query, key]`` of a head, of the chosen one by default.

        None when its layer is not in memory: it is read then, and :attr:`weights_arrived` or :attr:`failed` follows.
        """
        found = self.layer_map(layer)
        return None if found is None else widened(found.weights[self.head if head is None else head])

    def layer_map(self, layer: int | None = None) -> AttentionMap | None:
        """All heads of a layer, of the chosen one by default, as they are kept; None as of :meth:`weights`."""
        if self._reading is None:
            return None
        layer = self.layer if layer is None else layer
        found = self._reading.kept.get(layer) or self._more.get(layer)
        if found is None:
            self._ask(layer)
        return found

    @property
    def is_busy(self) -> bool:
        return self._asked is not None

    # --- what is chosen

    @property
    def layer(self) -> int:
        return self._head[0]

    @property
    def head(self) -> int:
        return self._head[1]

    def choose_head(self, layer: int, head: int) -> None:
        if self._reading is None or (chosen := self._nearest(layer, head)) == self._head:
            return
        self._head = chosen
        self._settings.set("attention.layer", chosen[0])
        self._settings.set("attention.head", chosen[1])
        self.head_changed.emit(*chosen)

    @property
    def cell(self) -> Cell | None:
        return self._cell

    def choose_cell(self, cell: Cell | None) -> None:
        """Mark a cell in every view; None marks none."""
        if cell != self._cell:
            self._cell = cell
            self.cell_changed.emit(cell)

    @property
    def look(self) -> Look:
        return self._look

    def change_look(self, **changes: Any) -> None:
        """Fields of :class:`Look`; what is chosen is there again next time."""
        look = replace(self._look, **changes)
        if look != self._look:
            self._look = look
            for name, value in changes.items():
                self._settings.set(f"attention.{name}", value)
            self.look_changed.emit()

    # --- inside

    def _remembered_look(self) -> Look:
        """Names that are unknown by now give the default."""
        from lmstudio_app.inspection.scales import SCALES

        get, default = self._settings.get, Look()
        name, scale = get("attention.colormap", default.colormap), get("attention.scale", default.scale)
        return Look(
            colormap=name if name in COLORMAPS else default.colormap,
            scale=scale if scale in SCALES else default.scale,
            hide_special=bool(get("attention.hide_special", default.hide_special)),
            merge_words=bool(get("attention.merge_words", default.merge_words)),
        )

    def _nearest(self, layer: int, head: int) -> tuple[int, int]:
        assert self._reading is not None
        layers = self._reading.layers
        return (layer if layer in layers else layers[0]), max(0, min(head, self._reading.heads - 1))

    def _ask(self, layer: int) -> None:
        assert self._reading is not None
        if self._asked is not None and self._asked[0] == layer:
            return
        was_busy = self.is_busy
        self._drop(quiet=True)
        request = LayerRequest(self._reading, layer)
        handle = self.services.inspection_runner.start(
            read_layer, request, title=self.tr("Reading layer {layer}").format(layer=layer), quiet=True
        )
        self._asked = (layer, handle)
        handle.succeeded.connect(lambda found: self._on_layer(handle, layer, found))
        handle.failed.connect(lambda error: self._is_awaited(handle) and self.failed.emit(error))
        handle.finished.connect(lambda: self._on_finished(handle))
        if not was_busy:
            self.busy_changed.emit(True)

    def _is_awaited(self, handle: JobHandle) -> bool:
        return self._asked is not None and self._asked[1] is handle

    def _on_layer(self, handle: JobHandle, layer: int, found: AttentionMap) -> None:
        if self._is_awaited(handle):
            while len(self._more) >= _LAYERS_HELD:
                self._more.pop(next(iter(self._more)))
            self._more[layer] = found
            self._asked = None
            self.busy_changed.emit(False)
            self.weights_arrived.emit(layer)

    def _on_finished(self, handle: JobHandle) -> None:
        if self._is_awaited(handle):
            self._asked = None
            self.busy_changed.emit(False)

    def _drop(self, *, quiet: bool = False) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked[1].cancel()
            if not quiet:
                self.busy_changed.emit(False)

    def shutdown(self) -> None:
        self._drop()
