"""All heads at a glance: where each looks more in the second map, and where less."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention import compare_texts
from lmstudio_app.gui.attention.thumbnail_grid import ThumbnailGrid
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.inspection.colormaps import MIDDLE, diverging
from lmstudio_app.inspection.comparison import Comparison
from lmstudio_app.settings import Settings

MOST_FIRST, IN_ORDER = "change", "layer"
_ANY_WIDTH = 2**24 - 1  # Qt's QWIDGETSIZE_MAX


class CompareHeads(QFrame):
    head_chosen = Signal(int, int)  # row and column, by mouse or keyboard
    activated = Signal()  # Enter or a double click

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._settings = settings
        self._comparison: Comparison | None = None
        title = Heading(self.tr("All heads: B − A"), self, scale=1.0)
        self.caption = ElidedLabel(self)
        self.caption.setForegroundRole(self.palette().ColorRole.PlaceholderText)
        self.order = QuietCombo(self.tr("Order of the heads"), self.tr("What the heads are sorted by"), self)
        self.order.setMinimumContentsLength(18)
        self.order.addItem(self.tr("Most changed first"), MOST_FIRST)
        self.order.addItem(self.tr("Layer by layer"), IN_ORDER)
        self.order.choose(IN_ORDER if settings.get("compare.order") == IN_ORDER else MOST_FIRST)
        self.order.activated.connect(self._on_order_chosen)
        self.grid = ThumbnailGrid()
        self.grid.current_changed.connect(self._on_chosen)
        self.grid.activated.connect(self.activated)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, theme.em(self, 0.3), 0)
        column.addWidget(self.grid)
        column.addStretch(1)
        self._scroll = QScrollArea(self)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setWidget(inside)
        self._scroll.viewport().setAutoFillBackground(False)
        inside.setAutoFillBackground(False)  # setWidget switched it on
        header = QHBoxLayout()
        header.addWidget(title)
        header.addWidget(self.caption, 1)
        header.addWidget(self.order)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.6)
        layout.setContentsMargins(pad, pad, pad // 2, pad)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(header)
        layout.addWidget(self._scroll, 1)
        self.setMinimumHeight(theme.em(self, 8))

    @property
    def place(self) -> tuple[int, int]:
        """Of the chosen head."""
        return self.grid.current

    def show_comparison(self, comparison: Comparison) -> None:
        """The head that has changed most is chosen."""
        self._comparison = comparison
        self._paint()
        self._arrange()
        self.grid.blockSignals(True)
        self.grid.set_current(*comparison.order()[0])
        self.grid.blockSignals(False)
        QTimer.singleShot(0, self, self._settle)

    def _paint(self) -> None:
        """One scale for all, so that heads that change stand out; the square root brings out what is weak."""
        import numpy as np

        comparison = self._comparison
        if comparison is None:
            return
        thumbnails = comparison.thumbnails
        shares = thumbnails / max(float(np.abs(thumbnails).max()), 1e-6)
        places = MIDDLE + (MIDDLE - 1) * np.sign(shares) * np.sqrt(np.abs(shares))
        colours = diverging(theme.is_dark(self.palette()))[places.round().astype(np.uint8)]
        numbers = [str(second) if first == second else f"{first}/{second}" for first, second in comparison.layers]
        rows = [self.tr("Layer {number}").format(number=number) for number in numbers]
        heads = [str(head) for head in range(comparison.heads)] if comparison.is_paired else [""]
        self.grid.set_thumbnails(
            colours, rows, heads, lambda row, head: compare_texts.describe(comparison, (row, head)), numbers
        )

    def _arrange(self) -> None:
        comparison = self._comparison
        if comparison is None:
            return
        is_sorted = self.order.currentData() == MOST_FIRST
        self.grid.set_order(comparison.order() if is_sorted else None)
        room = theme.em(self, 6) + comparison.heads * theme.em(self, 3.7)  # a table need not be large
        self.grid.setMaximumWidth(_ANY_WIDTH if is_sorted else room)
        colours = self.tr("orange: more attention in B, blue: less")
        named = self.tr("named layer·head") if is_sorted else self.tr("layers down, heads across")
        if not comparison.is_paired:
            named = self.tr("layers of A/B")
        self.caption.setText(self.tr("{colours}; {named}").format(colours=colours, named=named))

    def _on_order_chosen(self) -> None:
        self._settings.set("compare.order", self.order.currentData())
        self._arrange()
        QTimer.singleShot(0, self, self._settle)

    def _on_chosen(self, row: int, head: int) -> None:
        self._bring_into_view()
        self.head_chosen.emit(row, head)

    def _settle(self) -> None:
        """When the thumbnails are laid out: take no more room than they need, and show the chosen one."""
        frame = self.height() - self._scroll.viewport().height()
        needed = frame + self.grid.minimumHeight() + theme.em(self, 0.3)
        self.setMaximumHeight(max(self.minimumHeight(), needed))
        self._bring_into_view()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width() and self._comparison is not None:
            QTimer.singleShot(0, self, self._settle)

    def _bring_into_view(self) -> None:
        centre = self.grid.mapTo(self._scroll.widget(), self.grid.cell_rect(*self.place).center())
        margin = theme.em(self, 3)
        self._scroll.ensureVisible(centre.x(), centre.y(), margin, margin)

    def changeEvent(self, event: Any) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_scroll"):
            self._paint()
