"""All heads as thumbnails, the chosen one in words and as a list, and below it what attention is."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.attention_explained import AttentionExplained
from lmstudio_app.gui.attention.looks_table import LooksTable
from lmstudio_app.gui.attention.thumbnail_grid import ThumbnailGrid
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.inspection.attention import AttentionMaps
from lmstudio_app.inspection.colormaps import colormap
from lmstudio_app.inspection.overview import Overview, thumbnail_shades


class HeadOverview(QFrame):
    head_chosen = Signal(int, int)  # layer, head, by mouse or keyboard
    cell_chosen = Signal(int, int)  # query, key, in the list of the chosen head
    activated = Signal()  # Enter or a double click on a thumbnail

    def __init__(self, colormap_name: str, *, shared_scale: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._look = (colormap_name, shared_scale)
        self._result: tuple[AttentionMaps, Overview] | None = None
        title = Heading(self.tr("All layers and heads"), self, scale=1.0)
        caption = ElidedLabel(self)
        caption.setText(self.tr("layers down, heads across; choose one"))
        caption.setForegroundRole(caption.palette().ColorRole.PlaceholderText)
        header = QHBoxLayout()
        header.addWidget(title)
        header.addWidget(caption, 1)
        self.grid = ThumbnailGrid()
        self.grid.current_changed.connect(self._on_thumbnail_chosen)
        self.grid.activated.connect(self.activated)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.summary.setTextFormat(Qt.TextFormat.PlainText)
        self.summary.setAccessibleName(self.tr("The chosen head in words"))
        self.looks = LooksTable()
        self.looks.cell_chosen.connect(self.cell_chosen)
        self.explained = AttentionExplained()
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, theme.em(self, 0.3), 0)
        column.setSpacing(theme.em(self, 0.6))
        column.addWidget(self.grid)
        column.addWidget(self.summary)
        column.addWidget(self.looks, 1)
        column.addWidget(self.explained)
        self._scroll = QScrollArea(self)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._scroll.setWidget(inside)
        self._scroll.viewport().setAutoFillBackground(False)
        inside.setAutoFillBackground(False)  # setWidget switched it on
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.6)
        layout.setContentsMargins(pad, pad, pad // 2, pad)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(header)
        layout.addWidget(self._scroll, 1)

    def show_result(self, maps: AttentionMaps, overview: Overview, layer: int, head: int) -> None:
        """New thumbnails; the given head, or the nearest there is, is chosen."""
        self._result = (maps, overview)
        self._paint()
        self.set_current(layer, head)

    def set_look(self, colormap_name: str, *, shared_scale: bool) -> None:
        self._look = (colormap_name, shared_scale)
        self._paint()

    @property
    def current(self) -> tuple[int, int]:
        """Layer and head; only once there are thumbnails."""
        assert self._result is not None
        row, head = self.grid.current
        return self._result[0].layers[row], head

    def set_current(self, layer: int, head: int) -> None:
        """Choose a head without :attr:`head_chosen`."""
        assert self._result is not None
        layers = self._result[0].layers
        self.grid.blockSignals(True)
        self.grid.set_current(layers.index(layer) if layer in layers else 0, head)
        self.grid.blockSignals(False)
        self._show_head(*self.grid.current)

    def _show_head(self, row: int, head: int) -> None:
        assert self._result is not None
        maps, _ = self._result
        self.summary.setText(self._describe(row, head))
        self.looks.set_weights(maps.head(maps.layers[row], head), maps.queries.labels, maps.keys.labels)

    def _paint(self) -> None:
        if self._result is None:
            return
        maps, overview = self._result
        name, shared = self._look
        lut = colormap(name, dark=theme.is_dark(self.palette()))
        shades = thumbnail_shades(overview.thumbnails, shared=shared)
        colours = lut[(shades * 255).round().clip(0, 255).astype("uint8")]
        rows = [self.tr("Layer {number}").format(number=layer) for layer in maps.layers]
        self.grid.set_thumbnails(colours, rows, [str(head) for head in range(maps.heads)], self._describe)

    def _describe(self, row: int, column: int) -> str:
        """A head in words: its name, its strongest look at a word, and how much goes to special tokens."""
        if self._result is None:
            return ""
        maps, overview = self._result
        lines = [self.tr("Layer {layer}, head {head}").format(layer=maps.layers[row], head=column)]
        if column < len(overview.summaries[row]):
            summary = overview.summaries[row][column]
            lines.append(
                self.tr("Strongest: “{query}” looks at “{key}” ({weight})").format(
                    query=maps.queries.labels[summary.query],
                    key=maps.keys.labels[summary.key],
                    weight=f"{summary.strongest:.2f}",
                )
            )
            if any(maps.keys.special):
                share = round(100 * summary.special_share)
                lines.append(self.tr("{share} % goes to special tokens").format(share=share))
        return "\n".join(lines)

    def _on_thumbnail_chosen(self, row: int, head: int) -> None:
        assert self._result is not None
        self._show_head(row, head)
        centre = self.grid.mapTo(self._scroll.widget(), self.grid.cell_rect(row, head).center())
        margin = theme.em(self, 4)
        self._scroll.ensureVisible(centre.x(), centre.y(), margin, margin)
        self.head_chosen.emit(self._result[0].layers[row], head)

    def changeEvent(self, event: Any) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_scroll"):
            self._paint()
