"""One head, large: its heat map, the choice of layer and head, and the line that reads a cell off."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Signal
from PySide6.QtGui import QAction, QActionGroup
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QMenu, QSpinBox, QToolButton, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.heatmap import Cell, Heatmap
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.inspection.attention import AttentionMaps
from lmstudio_app.inspection.colormaps import COLORMAPS, colormap


class HeadView(QFrame):
    """Built when it is first shown, because the heat map needs pyqtgraph."""

    head_chosen = Signal(int, int)  # layer, head, by the spin boxes
    look_changed = Signal(str, bool)  # colour map, one scale for all heads
    save_requested = Signal()
    copy_requested = Signal()

    def __init__(self, colormap_name: str, *, shared_scale: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._maps: AttentionMaps | None = None
        self._colormap = colormap_name
        self._shared = shared_scale
        self.heatmap = Heatmap(self)
        self.heatmap.cell_changed.connect(self._on_cell_changed)
        self.readout = ElidedLabel(self)
        self.readout.setAccessibleName(self.tr("Weight under the mouse"))
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.6)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(self._build_header())
        layout.addWidget(self.readout)
        layout.addWidget(self.heatmap, 1)
        self.setTabOrder(self.save, self.heatmap)

    def _build_header(self) -> QHBoxLayout:
        self.layer = self._make_spin(self.tr("Layer"), self.tr("Layers are counted from 0, the one next to the input"))
        self.head = self._make_spin(self.tr("Head"), self.tr("The heads of a layer are counted from 0"))
        header = QHBoxLayout()
        header.setSpacing(theme.em(self, 0.4))
        for text, spin in ((self.tr("&Layer"), self.layer), (self.tr("&Head"), self.head)):
            label = QLabel(text, self)
            label.setBuddy(spin)
            header.addWidget(label)
            header.addWidget(spin)
            header.addSpacing(theme.em(self, 0.3))
        header.addStretch(1)
        self.whole = self._make_button(
            self.tr("Whole map"), self.tr("Show all tokens again (double click, or the key 0)"), self.heatmap.show_all
        )
        self.view_button = self._make_button(self.tr("Colours"), self.tr("Colour map and scale"), None)
        self.view_button.setMenu(self._build_menu())
        self.view_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.copy = self._make_button(
            self.tr("Copy"), self.tr("Put a picture of this head on the clipboard"), self.copy_requested.emit
        )
        self.save = self._make_button(
            self.tr("Save PNG…"), self.tr("Write a picture of this head or of all heads"), self.save_requested.emit
        )
        for button in (self.whole, self.view_button, self.copy, self.save):
            header.addWidget(button)
        return header

    def _make_spin(self, name: str, tip: str) -> QSpinBox:
        spin = QSpinBox(self)
        spin.setAccessibleName(name)
        spin.setToolTip(tip)
        spin.setWrapping(True)
        spin.setFixedWidth(theme.characters(self, 9))
        spin.valueChanged.connect(self._on_spin_changed)
        return spin

    def _make_button(self, text: str, tip: str, slot: object) -> QToolButton:
        button = QToolButton(self)
        button.setText(text)
        button.setAccessibleName(text)
        button.setToolTip(tip)
        if slot is not None:
            button.clicked.connect(lambda: slot())  # type: ignore[operator]
        return button

    def _build_menu(self) -> QMenu:
        titles = {
            "ink": self.tr("Ink, follows the theme"),
            "viridis": self.tr("Viridis"),
            "cividis": self.tr("Cividis"),
            "magma": self.tr("Magma"),
        }
        menu = QMenu(self)
        maps = QActionGroup(menu)
        for name in COLORMAPS:
            action = self._add_choice(menu, maps, titles[name], checked=name == self._colormap)
            action.triggered.connect(lambda _=False, name=name: self._set_look(name, self._shared))
        menu.addSeparator()
        scales = QActionGroup(menu)
        for shared, title in (
            (False, self.tr("Scale: up to this head's largest weight")),
            (True, self.tr("Scale: from 0 to 1 for every head")),
        ):
            action = self._add_choice(menu, scales, title, checked=shared == self._shared)
            action.triggered.connect(lambda _=False, shared=shared: self._set_look(self._colormap, shared))
        return menu

    @staticmethod
    def _add_choice(menu: QMenu, group: QActionGroup, title: str, *, checked: bool) -> QAction:
        action = menu.addAction(title)
        action.setCheckable(True)
        action.setChecked(checked)
        group.addAction(action)
        return action

    # --- content

    def show_maps(self, maps: AttentionMaps, layer: int, head: int) -> None:
        """New weights: the rows and columns get their tokens, the spin boxes their ranges."""
        self._maps = maps
        self.layer.blockSignals(True)
        self.head.blockSignals(True)
        self.layer.setRange(maps.layers[0], maps.layers[-1])
        self.head.setRange(0, maps.heads - 1)
        self.layer.blockSignals(False)
        self.head.blockSignals(False)
        self.heatmap.set_tokens(maps.queries.labels, maps.keys.labels)
        self.show_head(layer, head)

    def show_head(self, layer: int, head: int) -> None:
        assert self._maps is not None
        for spin, value in ((self.layer, layer), (self.head, head)):
            spin.blockSignals(True)
            spin.setValue(value)
            spin.blockSignals(False)
        self._draw()

    def _draw(self) -> None:
        if self._maps is None:
            return
        weights = self._maps.head(self.layer.value(), self.head.value())
        lut = colormap(self._colormap, dark=theme.is_dark(self.palette()))
        self.heatmap.set_weights(weights, lut, 1.0 if self._shared else None)

    @property
    def colormap_name(self) -> str:
        return self._colormap

    @property
    def shared_scale(self) -> bool:
        return self._shared

    def _set_look(self, name: str, shared: bool) -> None:
        self._colormap, self._shared = name, shared
        self._draw()
        self.look_changed.emit(name, shared)

    def _on_spin_changed(self) -> None:
        if self._maps is not None:
            self._draw()
            self.head_chosen.emit(self.layer.value(), self.head.value())

    def _on_cell_changed(self, cell: Cell | None) -> None:
        if self._maps is None:
            return
        if cell is None:
            self.readout.setText(
                self.tr("Point at a cell to read its weight. The wheel zooms, dragging moves; the arrow keys work too.")
            )
            self.readout.setForegroundRole(self.palette().ColorRole.PlaceholderText)
            return
        query, key = (
            tokens.labels[index] for tokens, index in zip((self._maps.queries, self._maps.keys), cell, strict=True)
        )
        self.readout.setForegroundRole(self.palette().ColorRole.Text)
        self.readout.setText(
            self.tr("“{query}” ({row}) looks at “{key}” ({column}) with weight {weight}").format(
                query=query, row=cell[0], key=key, column=cell[1], weight=f"{self.heatmap.weight(cell):.4f}"
            )
        )

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "save"):
            self._draw()

    def shutdown(self) -> None:
        self.heatmap.shutdown()
