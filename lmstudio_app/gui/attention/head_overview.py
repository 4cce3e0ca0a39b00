"""All heads as thumbnails in any order, the chosen one in words and as a list, and below it what attention is."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.attention_explained import AttentionExplained
from lmstudio_app.gui.attention.looks_table import LooksTable
from lmstudio_app.gui.attention.overview_bar import OverviewBar
from lmstudio_app.gui.attention.overview_texts import describe_head
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.attention.thumbnail_grid import ThumbnailGrid
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.inspection.colormaps import colormap
from lmstudio_app.inspection.overview import thumbnail_shades


class HeadOverview(QFrame):
    """Follows the studio's reading, and chooses its head and cell."""

    activated = Signal()  # Enter or a double click on a thumbnail

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._studio = studio
        title = Heading(self.tr("All layers and heads"), self, scale=1.0)
        self.caption = ElidedLabel(self)
        self.caption.setForegroundRole(self.caption.palette().ColorRole.PlaceholderText)
        header = QHBoxLayout()
        header.addWidget(title)
        header.addWidget(self.caption, 1)
        self.bar = OverviewBar(studio.services.settings, self)
        self.bar.changed.connect(self._arrange)
        self.grid = ThumbnailGrid()
        self.grid.current_changed.connect(self._on_thumbnail_chosen)
        self.grid.activated.connect(self.activated)
        self.nothing = QLabel(self.tr("No head has such a pattern within these limits."))
        self.nothing.setWordWrap(True)
        self.nothing.setForegroundRole(self.nothing.palette().ColorRole.PlaceholderText)
        self.nothing.hide()
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.summary.setTextFormat(Qt.TextFormat.PlainText)
        self.summary.setAccessibleName(self.tr("The chosen head in words"))
        self.looks = LooksTable()
        self.looks.cell_chosen.connect(lambda query, key: studio.choose_cell((query, key)))
        self.explained = AttentionExplained()
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, theme.em(self, 0.3), 0)
        column.setSpacing(theme.em(self, 0.6))
        column.addWidget(self.grid)
        column.addWidget(self.nothing)
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
        layout.addWidget(self.bar)
        layout.addWidget(self._scroll, 1)
        studio.reading_changed.connect(self._on_reading_changed)
        studio.head_changed.connect(self._show_head)
        studio.look_changed.connect(self._paint)
        studio.weights_arrived.connect(self._show_looks)

    # --- what the studio says

    def _on_reading_changed(self) -> None:
        reading = self._studio.reading
        if reading is not None:
            self.bar.set_table(reading.overview.statistics, has_special=any(reading.keys.special))
            self._paint()
            self._arrange()
            self._show_head(self._studio.layer, self._studio.head)

    def _show_head(self, layer: int, head: int) -> None:
        reading = self._studio.reading
        assert reading is not None
        row = reading.layers.index(layer)
        self.grid.blockSignals(True)
        self.grid.set_current(row, head)
        self.grid.blockSignals(False)
        self.summary.setText(self._describe(row, head))
        self._show_looks()

    def _show_looks(self) -> None:
        """The list of the chosen head; empty while its layer is being read."""
        reading = self._studio.reading
        weights = self._studio.weights()
        if reading is None or weights is None:
            self.looks.clear()
        else:
            self.looks.set_weights(weights, reading.queries.labels, reading.keys.labels)

    def _paint(self) -> None:
        reading = self._studio.reading
        if reading is None:
            return
        look = self._studio.look
        lut = colormap(look.colormap, dark=theme.is_dark(self.palette()))
        shades = thumbnail_shades(reading.overview.thumbnails, shared=look.scale == "shared")
        colours = lut[(shades * 255).round().clip(0, 255).astype("uint8")]
        numbers = [str(layer) for layer in reading.layers]
        rows = [self.tr("Layer {number}").format(number=number) for number in numbers]
        self.grid.set_thumbnails(colours, rows, [str(head) for head in range(reading.heads)], self._describe, numbers)

    def _arrange(self) -> None:
        """The order and the heads that the bar says."""
        reading = self._studio.reading
        if reading is None:
            return
        order = self.bar.arranged()
        self.grid.set_order(order)
        total = sum(len(heads) for heads in reading.overview.statistics)
        text = self.tr("layers down, heads across; choose one")
        if order is not None and len(order) == total:
            text = self.tr("named layer·head; choose one")
        elif order is not None:
            text = self.tr("{shown} of {total} shown, named layer·head").format(
                shown=number_text(len(order)), total=number_text(total)
            )
        self.caption.setText(text)
        self.nothing.setVisible(order is not None and not order)

    def _describe(self, row: int, column: int) -> str:
        reading = self._studio.reading
        return "" if reading is None else describe_head(reading, row, column)

    def _on_thumbnail_chosen(self, row: int, head: int) -> None:
        reading = self._studio.reading
        assert reading is not None
        centre = self.grid.mapTo(self._scroll.widget(), self.grid.cell_rect(row, head).center())
        margin = theme.em(self, 4)
        self._scroll.ensureVisible(centre.x(), centre.y(), margin, margin)
        self._studio.choose_head(reading.layers[row], head)

    def changeEvent(self, event: Any) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_scroll"):
            self._paint()
