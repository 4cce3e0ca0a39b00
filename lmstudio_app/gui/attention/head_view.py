"""The map view: the chosen head as a heat map, and the line that reads a cell off."""

from __future__ import annotations

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QToolButton, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.heatmap import Cell, Heatmap
from lmstudio_app.gui.attention.shown_head import ShownHead, colours_of
from lmstudio_app.gui.attention.state_label import StateLabel
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.inspection.arrangement import Side


class HeadView(QWidget):
    """Built when it is first shown, because the heat map needs pyqtgraph."""

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._studio = studio
        self._sides: tuple[Side, Side] | None = None
        self.heatmap = Heatmap(self)
        self.heatmap.cell_changed.connect(self._on_cell_changed)
        self.heatmap.cell_kept.connect(self._on_cell_kept)
        self.readout = ElidedLabel(self)
        self.readout.setAccessibleName(self.tr("Weight under the mouse"))
        self.whole = QToolButton(self)
        self.whole.setText(self.tr("Whole map"))
        self.whole.setAccessibleName(self.tr("Whole map"))
        self.whole.setToolTip(self.tr("Show all tokens again (double click, or the key 0)"))
        self.whole.clicked.connect(self.heatmap.show_all)
        self.state = StateLabel(self)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.heatmap)
        self._stack.addWidget(self.state)
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.5))
        row.addWidget(self.readout, 1)
        row.addWidget(self.whole)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(row)
        layout.addWidget(self._stack, 1)
        self.setTabOrder(self.whole, self.heatmap)
        self.setFocusProxy(self.heatmap)
        self.shown = ShownHead(studio, self)
        self.shown.arrived.connect(self._draw)
        self.shown.waiting.connect(self._wait)
        studio.cell_changed.connect(self._on_cell_chosen)
        self._on_cell_changed(None)

    def _draw(self) -> None:
        shaded = self.shown.shaded
        assert shaded is not None
        arranged = shaded.arranged
        self._stack.setCurrentWidget(self.heatmap)
        sides = (arranged.rows, arranged.columns)
        if self._sides is None or any(new is not old for new, old in zip(sides, self._sides, strict=True)):
            self._sides = sides
            self.heatmap.set_tokens(arranged.queries.labels, arranged.keys.labels)
        lut = colours_of(self._studio.look, self.palette())
        self.heatmap.set_scaled(arranged.weights, shaded.scaled, lut, shaded.levels)
        self.whole.setEnabled(True)
        self._on_cell_chosen(self._studio.cell)

    def _wait(self, text: str) -> None:
        self.state.setText(text)
        self._stack.setCurrentWidget(self.state)
        self.heatmap.clear()
        self.whole.setEnabled(False)

    def _on_cell_kept(self, cell: Cell | None) -> None:
        self._studio.choose_cell(self.shown.own(cell))

    def _on_cell_chosen(self, cell: Cell | None) -> None:
        if self.shown.shaded is not None and self.isVisible():
            shown = self.shown.shown(cell)
            if shown != self.heatmap.kept:
                self.heatmap.mark_cell(shown)

    def _on_cell_changed(self, cell: Cell | None) -> None:
        if cell is None or self.shown.shaded is None:
            hint = self.tr(
                "Point at a cell to read its weight. The wheel zooms, dragging moves; the arrow keys work too."
            )
            self.readout.setText(hint if self._stack.currentWidget() is self.heatmap else "")
            self.readout.setForegroundRole(self.palette().ColorRole.PlaceholderText)
            return
        self.readout.setForegroundRole(self.palette().ColorRole.Text)
        self.readout.setText(self.shown.describe(cell))

    def showEvent(self, event: QEvent) -> None:
        super().showEvent(event)  # type: ignore[arg-type]
        self._on_cell_chosen(self._studio.cell)  # it may have moved meanwhile

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "shown"):
            self.heatmap.set_lut(colours_of(self._studio.look, self.palette()))

    def shutdown(self) -> None:
        self.shown.shutdown()
        self.heatmap.shutdown()
