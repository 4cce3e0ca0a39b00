"""The chosen head as a view draws it: arranged and scaled as the look says, and only while the view is seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, QTimer, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.studio import AttentionStudio, Cell, Look
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.inspection.arrangement import Arranged, Arrangement
from lmstudio_app.inspection.attention import AttentionMap
from lmstudio_app.inspection.colormaps import colormap, diverging
from lmstudio_app.inspection.shading import ShadedHead, ShadingRequest, shade_head
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

QUERIES, KEYS = 0, 1
End = tuple[int, int]  # side, shown token
_TOLD = 4  # partners of a token that are named
_AT_ONCE = 1_500_000  # weights that are drawn within a frame or so; more is a job
PATIENCE = 120  # milliseconds for which the old picture stays while the job draws the new one


def colours_of(look: Look, palette: QPalette) -> npt.NDArray[np.uint8]:
    """sRGB ``[256, 3]`` for the shades of this look."""
    dark = theme.is_dark(palette)
    return diverging(dark) if look.scale == "difference" else colormap(look.colormap, dark=dark)


class ShownHead(QObject):
    """Made by a view of the studio, which draws :attr:`shaded` on :attr:`arrived` and nothing on :attr:`waiting`."""

    arrived = Signal()
    waiting = Signal(str)  # what is awaited; empty: nothing

    def __init__(self, studio: AttentionStudio, view: QWidget) -> None:
        super().__init__(view)
        self._studio = studio
        self._view = view
        self.shaded: ShadedHead | None = None
        self.map: AttentionMap | None = None
        self._mean: tuple[AttentionMap, npt.NDArray[np.float32]] | None = None
        self._handle: JobHandle | None = None
        self._is_stale = True
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.timeout.connect(self._on_impatient)
        studio.reading_changed.connect(self.refresh)
        studio.head_changed.connect(self.refresh)
        studio.look_changed.connect(self.refresh)
        studio.weights_arrived.connect(self._on_weights)
        studio.failed.connect(self._on_failed)
        view.installEventFilter(self)

    @property
    def arranged(self) -> Arranged | None:
        return self.shaded.arranged if self.shaded is not None else None

    @property
    def arrangement(self) -> Arrangement:
        look = self._studio.look
        return Arrangement(look.hide_special, look.merge_words)

    def shown(self, cell: Cell | None) -> Cell | None:
        """Where a cell of the reading's own tokens is shown."""
        return self.arranged.shown(cell) if self.arranged is not None else None

    def own(self, cell: Cell | None) -> Cell | None:
        return self.arranged.own(cell) if self.arranged is not None else None

    def describe(self, cell: Cell) -> str:
        """A shown cell in words."""
        assert self.shaded is not None
        arranged = self.shaded.arranged
        row, column = arranged.own(cell) or cell
        text = self.tr("“{query}” ({row}) looks at “{key}” ({column}) with weight {weight}").format(
            query=arranged.queries.labels[cell[0]],
            row=row,
            key=arranged.keys.labels[cell[1]],
            column=column,
            weight=f"{float(arranged.weights[cell]):.4f}",
        )
        mean = self.shaded.mean_at(cell)
        if mean is None:
            return text
        more = float(arranged.weights[cell]) - mean
        words = self.tr("{text}, {share} more than the mean of its layer's heads")
        if more < 0:
            words = self.tr("{text}, {share} less than the mean of its layer's heads")
        return words.format(text=text, share=f"{abs(more):.4f}")

    def describe_end(self, end: End, values: Sequence[float] | None = None) -> str:
        """A shown token and the tokens of the other side that it is tied to most, in words.

        ``values``: how strongly it is to each of them, when that is not this head's weights but those of all heads.
        """
        assert self.arranged is not None
        side, index = end
        arranged = self.arranged
        labels = (arranged.queries.labels, arranged.keys.labels)
        own = arranged.weights[index] if side == QUERIES else arranged.weights[:, index]
        weights = [float(weight) for weight in (own if values is None else values)]
        strongest = sorted(range(len(weights)), key=lambda other: -weights[other])[:_TOLD]
        told = ", ".join(
            self.tr("“{token}” {weight}").format(token=labels[1 - side][other], weight=f"{weights[other]:.2f}")
            for other in strongest
        )
        if side == QUERIES:
            text = self.tr("“{token}” looks most at {list}")
            if values is not None:
                text = self.tr("“{token}” looks most at {list}, each in the head where it is most")
        else:
            text = self.tr("“{token}” is looked at most by {list}")
            if values is not None:
                text = self.tr("“{token}” is looked at most by {list}, each in the head where it is most")
        return text.format(token=labels[side][index], list=told)

    # --- keeping up

    def refresh(self) -> None:
        """Now, or when the view is seen again."""
        self._drop()
        if not self._view.isVisible():
            self._is_stale = True
            return
        self._is_stale = False
        self.map = self._studio.layer_map()
        if self.map is None:
            self.shaded = None
            text = ""
            if self._studio.reading is not None:
                text = self.tr("Reading layer {layer}…").format(layer=self._studio.layer)
            self.waiting.emit(text)
            return
        request = self._request(self.map)
        heads, queries, keys = self.map.weights.shape
        if queries * keys * (heads if request.scale == "difference" and request.mean is None else 1) <= _AT_ONCE:
            self._take(shade_head(request, JobContext()))
            return
        self.shaded = None
        self._patience.start(PATIENCE)
        self._handle = handle = self._studio.services.inspection_runner.start(shade_head, request, quiet=True)
        handle.succeeded.connect(lambda shaded: self._take(shaded) if handle is self._handle else None)
        handle.failed.connect(lambda error: self._studio.failed.emit(error) if handle is self._handle else None)

    def _request(self, item: AttentionMap) -> ShadingRequest:
        known = self._mean[1] if self._mean is not None and self._mean[0] is item else None
        return ShadingRequest(item, self._studio.head, self.arrangement, self._studio.look.scale, known)

    def _take(self, shaded: ShadedHead) -> None:
        self._handle = None
        self._patience.stop()
        self.shaded = shaded
        self._mean = (self.map, shaded.mean) if self.map is not None and shaded.mean is not None else None
        self.arrived.emit()

    def _on_impatient(self) -> None:
        if self.map is not None:
            _, queries, keys = self.map.weights.shape
            text = self.tr("Drawing {queries} × {keys} weights…")
            self.waiting.emit(text.format(queries=f"{queries:,}", keys=f"{keys:,}"))

    def _on_weights(self, layer: int) -> None:
        if layer == self._studio.layer:
            self.refresh()

    def _on_failed(self) -> None:
        if self._view.isVisible() and self.shaded is None:
            self._drop()
            self.waiting.emit(self.tr("These weights could not be read."))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Show and self._is_stale:
            self.refresh()
        return super().eventFilter(watched, event)

    def _drop(self) -> None:
        self._patience.stop()
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()

    def shutdown(self) -> None:
        self._drop()
