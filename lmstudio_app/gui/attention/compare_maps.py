"""The chosen head three times: A, B, and B − A. What is pointed at or zoomed to in one is in the others, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention import compare_texts
from lmstudio_app.gui.attention.heatmap import Cell, Heatmap
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.inspection.colormaps import COLORMAPS, colormap, diverging
from lmstudio_app.inspection.comparison import Comparison, HeadPair
from lmstudio_app.inspection.scales import largest, scale_signed, scale_to
from lmstudio_app.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmstudio_app.inspection.scales import Scaled


class CompareMaps(QWidget):
    """Imports pyqtgraph, so build it only when it is shown."""

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._comparison: Comparison | None = None
        self._head: HeadPair | None = None
        self._slots: tuple[list[int], list[int]] = ([], [])  # that are shown, of queries and keys
        self._hides_special = False
        self._is_linking = False
        self.names = [ElidedLabel(self) for _ in range(3)]
        self.maps = [Heatmap(self) for _ in range(3)]
        titles = (self.tr("First map"), self.tr("Second map"), self.tr("Difference"))
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 0.8))
        for number, (name, heatmap, title) in enumerate(zip(self.names, self.maps, titles, strict=True)):
            heatmap.setAccessibleName(title)
            heatmap.cell_changed.connect(lambda cell, number=number: self._on_cell_changed(number, cell))
            heatmap.cell_kept.connect(lambda cell, number=number: self._on_cell_kept(number, cell))
            heatmap.range_changed.connect(lambda number=number: self._on_range_changed(number))
            column = QVBoxLayout()
            column.setSpacing(theme.em(self, 0.2))
            column.addWidget(name)
            column.addWidget(heatmap, 1)
            row.addLayout(column, 1)
        self.readout = ElidedLabel(self)
        self.readout.setAccessibleName(self.tr("Weights under the mouse"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.3))
        layout.addLayout(row, 1)
        layout.addWidget(self.readout)
        self._tell(None)

    # --- content

    def show_comparison(self, comparison: Comparison, names: tuple[str, str]) -> None:
        """Other tokens; the maps of a head follow by :meth:`show_head`."""
        self._comparison, self._head = comparison, None
        for label, text in zip(
            self.names,
            (
                self.tr("A: {name}").format(name=names[0]),
                self.tr("B: {name}").format(name=names[1]),
                self.tr("B − A: what is more in B, and what is less"),
            ),
            strict=True,
        ):
            label.setText(text)
        self._lay_out_tokens()

    def show_head(self, head: HeadPair) -> None:
        self._head = head
        self._draw()

    def hide_special(self, hide: bool) -> None:
        """Leave out ``[CLS]``, ``<s>`` and the like, at which many heads look when they have nothing to do."""
        self._hides_special = hide
        self._lay_out_tokens()
        self._draw()

    def wait(self, text: str) -> None:
        """There is no head to show yet."""
        self._head = None
        for heatmap in self.maps:
            heatmap.clear()
        self.readout.setText(text)

    def _lay_out_tokens(self) -> None:
        if self._comparison is None:
            return
        axes = (self._comparison.queries, self._comparison.keys)
        shown = [
            [slot for slot, special in enumerate(axis.special) if not (self._hides_special and special)]
            for axis in axes
        ]
        # of nothing but special tokens all are shown
        self._slots = (shown[0] or list(range(len(axes[0]))), shown[1] or list(range(len(axes[1]))))
        self._is_linking = True
        for which, heatmap in enumerate(self.maps):
            queries, keys = (
                [axis.labels(which)[slot] for slot in slots] for axis, slots in zip(axes, self._slots, strict=True)
            )
            heatmap.set_tokens(queries, keys)
        self._is_linking = False

    def _draw(self) -> None:
        import numpy as np

        if self._head is None:
            return
        places = np.ix_(*self._slots)
        first, second, difference = (
            np.nan_to_num(weights[places]) for weights in (self._head.first, self._head.second, self._head.difference)
        )
        top = max(largest(first), largest(second))  # one scale, so that the colours of A and B compare
        kept = self.maps[0].kept
        self._is_linking = True
        for heatmap, weights, scaled in zip(
            self.maps,
            (first, second, difference),
            (scale_to(first, top), scale_to(second, top), scale_signed(difference)),
            strict=True,
        ):
            heatmap.set_scaled(weights, scaled, self._colours(scaled))
        self._is_linking = False
        self._tell(kept)

    def _colours(self, scaled: Scaled) -> npt.NDArray[np.uint8]:
        dark = theme.is_dark(self.palette())
        if scaled.is_signed:
            return diverging(dark)
        name = self._settings.get("attention.colormap", COLORMAPS[0])
        return colormap(name if name in COLORMAPS else COLORMAPS[0], dark=dark)

    # --- three as one

    def _on_cell_changed(self, number: int, cell: Cell | None) -> None:
        if self._is_linking:
            return
        self._is_linking = True
        for other, heatmap in enumerate(self.maps):
            if other != number:
                heatmap.point_at(cell)
        self._is_linking = False
        self._tell(cell)

    def _on_cell_kept(self, number: int, cell: Cell | None) -> None:
        self._is_linking = True
        for other, heatmap in enumerate(self.maps):
            if other != number:
                heatmap.mark_cell(cell)
        self._is_linking = False

    def _on_range_changed(self, number: int) -> None:
        if self._is_linking:
            return
        self._is_linking = True
        for other, heatmap in enumerate(self.maps):
            if other != number:
                heatmap.show_range(*self.maps[number].visible_range())
        self._is_linking = False

    def show_all(self) -> None:
        self.maps[0].show_all()

    def _tell(self, cell: Cell | None) -> None:
        is_told = cell is not None and self._head is not None and self._comparison is not None
        role = self.palette().ColorRole
        self.readout.setForegroundRole(role.Text if is_told else role.PlaceholderText)
        if not is_told:
            hint = self.tr(
                "Point at a cell to read its weights: who looks (left) at whom (top). The wheel zooms, dragging moves."
            )
            self.readout.setText(hint if self._head is not None else "")
            return
        assert cell is not None
        assert self._comparison is not None
        assert self._head is not None
        own = (self._slots[0][cell[0]], self._slots[1][cell[1]])
        self.readout.setText(compare_texts.cell_text(self._comparison, self._head, own))

    def changeEvent(self, event: Any) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "readout"):
            self._draw()

    def shutdown(self) -> None:
        for heatmap in self.maps:
            heatmap.shutdown()
