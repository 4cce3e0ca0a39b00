"""The heads of one frame of a replay: all as thumbnails, the chosen one as a map, and both in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QScrollArea,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.heatmap import Cell, Heatmap
from lmstudio_app.gui.attention.replay_reading import Figures, ShownFrame
from lmstudio_app.gui.attention.thumbnail_grid import ThumbnailGrid
from lmstudio_app.gui.splitters import keep_sizes
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import Heading
from lmstudio_app.inspection.colormaps import COLORMAPS, MIDDLE, colormap, diverging
from lmstudio_app.inspection.scales import scale_signed
from lmstudio_app.settings import Settings

if TYPE_CHECKING:
    import numpy.typing as npt

    from lmstudio_app.training.frames import FrameFile

WEIGHTS, CHANGE = "weights", "change"
_MOVERS = 12  # heads that are listed


class ReplayHeads(QWidget):
    """Shows a frame in one of two modes: its weights, or how they have changed since the first frame."""

    head_chosen = Signal()  # by mouse or keyboard

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._wanted_mode = WEIGHTS
        self._shown: ShownFrame | None = None
        self._is_start = True  # whether it is the first frame
        self._figures: Mapping[FrameFile, Figures] = {}
        self._tokens: tuple[Any, Any] | None = None  # of the heat map
        self.has_chosen = False  # a head, since the run was opened
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._build_split())

    def _build_split(self) -> QSplitter:
        self.grid = ThumbnailGrid()
        self.grid.current_changed.connect(self._on_head_chosen)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, theme.em(self, 0.3), 0)
        column.setSpacing(theme.em(self, 0.8))
        column.addWidget(self.grid)
        column.addWidget(self._build_movers(), 1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(inside)
        scroll.viewport().setAutoFillBackground(False)
        inside.setAutoFillBackground(False)  # setWidget switched it on
        left = self._card(self.tr("All recorded heads"), self.tr("layers down, heads across; choose one"), scroll)
        self.heatmap = Heatmap()
        self.heatmap.cell_changed.connect(self._tell_cell)
        self.readout = ElidedLabel()
        self.readout.setAccessibleName(self.tr("Weight under the mouse"))
        self.head_title = Heading("", self, scale=1.0)
        self.head_text = ElidedLabel()
        self.head_text.setForegroundRole(self.palette().ColorRole.PlaceholderText)
        right = self._card(self.head_title, self.head_text, self.heatmap, self.readout)
        split = QSplitter(Qt.Orientation.Horizontal, self)
        split.setChildrenCollapsible(False)
        split.setHandleWidth(theme.em(self, 0.5))
        split.addWidget(left)
        split.addWidget(right)
        split.setStretchFactor(0, 2)
        split.setStretchFactor(1, 3)
        keep_sizes(split, self._settings, "replay.splitter", (theme.em(self, 36), theme.em(self, 54)))
        return split

    def _build_movers(self) -> QWidget:
        """The heads that have changed most, in the room below the thumbnails."""
        holder = QWidget(self)
        title = QLabel(self.tr("Changed most since the start"), holder)
        self.movers = QListWidget(holder)
        self.movers.setFrameShape(QFrame.Shape.NoFrame)
        self.movers.setAccessibleName(title.text())
        self.movers.setToolTip(
            self.tr("The share of its attention that a head gives to other tokens than before the first step")
        )
        self.movers.viewport().setAutoFillBackground(False)
        self.movers.setMinimumHeight(theme.em(self, 6))
        self.movers.itemActivated.connect(self._on_mover_chosen)
        self.movers.itemClicked.connect(self._on_mover_chosen)
        title.setBuddy(self.movers)
        layout = QVBoxLayout(holder)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.3))
        layout.addWidget(title)
        layout.addWidget(self.movers, 1)
        return holder

    def _card(self, title: str | QLabel, caption: str | ElidedLabel, *widgets: QWidget) -> QFrame:
        card = QFrame(self)
        card.setProperty("card", True)
        if isinstance(title, str):
            title = Heading(title, card, scale=1.0)
        if isinstance(caption, str):
            text, caption = caption, ElidedLabel(card)
            caption.setText(text)
            caption.setForegroundRole(self.palette().ColorRole.PlaceholderText)
        header = QHBoxLayout()
        header.addWidget(title)
        header.addWidget(caption, 1)
        layout = QVBoxLayout(card)
        pad = theme.em(self, 0.6)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(header)
        for number, widget in enumerate(widgets):
            layout.addWidget(widget, 0 if number else 1)
        return card

    # --- what is shown

    def clear(self) -> None:
        self._shown, self._tokens, self._figures = None, None, {}
        self.has_chosen = False
        self.grid.clear()
        self.heatmap.clear()
        self.movers.clear()
        self._tell_head()

    def show_frame(self, shown: ShownFrame, *, is_start: bool) -> None:
        is_first = self._shown is None
        self._shown, self._is_start = shown, is_start
        tokens = (shown.frame.queries.labels, shown.frame.keys.labels)
        if tokens != self._tokens:
            self._tokens = tokens
            self.heatmap.set_tokens(*tokens)
        if is_first:
            self._restore_head()
        self._draw()
        self._list_movers()

    def show_problem(self, text: str) -> None:
        """Why there is nothing to see."""
        self._shown = None
        self.heatmap.clear()
        self.grid.clear()
        self._tell_head()
        self.readout.setText(text)

    def set_figures(self, figures: Mapping[FrameFile, Figures]) -> None:
        """Of all frames so far: they say what the strongest colour stands for, at every step alike."""
        self._figures = figures
        self._draw()
        self._list_movers()

    def set_mode(self, mode: str) -> None:
        self._wanted_mode = mode
        self._draw()

    # --- which head

    @property
    def head(self) -> tuple[int, int]:
        """Places of the chosen layer and head among those that were recorded."""
        return self.grid.current

    def _restore_head(self) -> None:
        assert self._shown is not None
        frame = self._shown.frame
        layer, head = self._settings.get("replay.layer"), self._settings.get("replay.head")
        if layer in frame.layers and head in frame.heads and not self.has_chosen:
            self.has_chosen = True
            self._draw_thumbnails()  # the grid must know how many there are
            self._set_current(frame.layers.index(layer), frame.heads.index(head))

    def choose_most_moved(self, file: FrameFile) -> bool:
        """The head that has changed most by the frame ``file``; False while that is not known."""
        figures = self._figures.get(file)
        if figures is None or self._shown is None or not np.isfinite(figures.moved).any():
            return False
        row, column = np.unravel_index(int(np.nanargmax(figures.moved)), figures.moved.shape)
        self._set_current(int(row), int(column))
        self._draw_head()
        return True

    def _set_current(self, row: int, column: int) -> None:
        self.grid.blockSignals(True)
        self.grid.set_current(row, column)
        self.grid.blockSignals(False)

    def _on_head_chosen(self, row: int, column: int) -> None:
        self.has_chosen = True
        if self._shown is not None:
            self._settings.set("replay.layer", self._shown.frame.layers[row])
            self._settings.set("replay.head", self._shown.frame.heads[column])
        self._draw_head()
        self.head_chosen.emit()

    def _list_movers(self) -> None:
        """Of the step that is shown."""
        figures = self._figures.get(self._shown.file) if self._shown is not None else None
        if figures is None or self._shown is None:
            return
        frame, moved = self._shown.frame, np.nan_to_num(figures.moved)
        order = np.argsort(-moved, axis=None, kind="stable")[:_MOVERS].tolist()
        places = [divmod(place, moved.shape[1]) for place in order if moved.flat[place] > 0]
        self.movers.clear()
        for row, column in places:
            text = self.tr("Layer {layer}, head {head}: {share} %").format(
                layer=frame.layers[row], head=frame.heads[column], share=f"{100 * moved[row, column]:.1f}"
            )
            item = QListWidgetItem(text, self.movers)
            item.setData(Qt.ItemDataRole.UserRole, (row, column))

    def _on_mover_chosen(self, item: QListWidgetItem) -> None:
        self.grid.set_current(*item.data(Qt.ItemDataRole.UserRole))

    # --- drawing

    @property
    def mode(self) -> str:
        """The change cannot be drawn where the first frame is of other tokens."""
        if self._shown is not None and self._shown.changes is None:
            return WEIGHTS
        return self._wanted_mode

    def _tops(self) -> npt.NDArray[np.float64]:
        """``[layers, heads]``: what the strongest colour stands for, the same at every step so that steps compare."""
        assert self._shown is not None
        frame = self._shown.frame
        shape = frame.weights.shape[:2]
        if self.mode == CHANGE:
            found = [f.largest_change for f in self._figures.values() if f.largest_change.shape == shape]
            assert self._shown.change is not None
            found.append(np.abs(self._shown.change).max(axis=(-2, -1)))
        else:
            found = [f.largest for f in self._figures.values() if f.largest.shape == shape]
            found.append(frame.weights.max(axis=(-2, -1)))
        tops: npt.NDArray[np.float64] = np.maximum(np.nan_to_num(np.stack(found).max(axis=0)), 1e-6)
        return tops

    def _draw(self) -> None:
        if self._shown is not None:
            self._draw_thumbnails()
            self._draw_head()

    def _colours(self) -> npt.NDArray[np.uint8]:
        dark = theme.is_dark(self.palette())
        if self.mode == CHANGE:
            return diverging(dark)
        name = self._settings.get("attention.colormap", COLORMAPS[0])
        return colormap(name if name in COLORMAPS else COLORMAPS[0], dark=dark)

    def _draw_thumbnails(self) -> None:
        """The square root brings out what is weak, which makes the shape."""
        assert self._shown is not None
        shown, tops = self._shown, self._tops()
        if self.mode == CHANGE and shown.changes is not None:
            # one scale for all heads: those that change are to stand out from those that do not
            shares = np.clip(shown.changes / tops.max(), -1, 1)
            places = MIDDLE + (MIDDLE - 1) * np.sign(shares) * np.sqrt(np.abs(shares))
        else:
            places = 255 * np.sqrt(np.clip(shown.thumbnails / tops[..., None, None], 0, 1))
        colours = self._colours()[places.round().astype(np.uint8)]
        frame = shown.frame
        rows = [self.tr("Layer {number}").format(number=layer) for layer in frame.layers]
        self.grid.set_thumbnails(colours, rows, [str(head) for head in frame.heads], self._describe)

    def _draw_head(self) -> None:
        if self._shown is None:
            return
        row, column = self.head
        tops = self._tops()
        row, column = min(row, len(tops) - 1), min(column, tops.shape[1] - 1)
        top = float(tops[row, column])
        if self.mode == CHANGE and self._shown.change is not None:
            change = np.nan_to_num(self._shown.change[row, column])
            self.heatmap.set_scaled(change, scale_signed(change, top), self._colours())
        else:
            self.heatmap.set_weights(np.nan_to_num(self._shown.frame.weights[row, column]), self._colours(), top)
        self._tell_head()

    # --- in words

    def _describe(self, row: int, column: int) -> str:
        if self._shown is None:
            return ""
        frame = self._shown.frame
        if np.isnan(frame.weights[row, column]).all():
            return self.tr("This layer has no head {head}.").format(head=frame.heads[column])
        name = self.tr("Layer {layer}, head {head}").format(layer=frame.layers[row], head=frame.heads[column])
        return "\n".join([name, *self._figure_texts(row, column)])

    def _figure_texts(self, row: int, column: int) -> list[str]:
        figures = self._figures.get(self._shown.file) if self._shown is not None else None
        if figures is None or row >= len(figures.moved) or column >= figures.moved.shape[1]:
            return []
        moved, entropy = float(figures.moved[row, column]), float(figures.entropy[row, column])
        if not (np.isfinite(moved) and np.isfinite(entropy)):
            return []
        return [
            self.tr("{share} % of its attention has moved since the start").format(share=f"{100 * moved:.1f}"),
            self.tr("entropy {bits} bits").format(bits=f"{entropy:.2f}"),
        ]

    def _tell_head(self) -> None:
        if self._shown is None:
            self.head_title.setText("")
            self.head_text.setText("")
            return
        row, column = self.head
        self.head_title.setText(self._describe(row, column).partition("\n")[0])
        self.head_text.setText("  ·  ".join(self._figure_texts(row, column)))

    def _tell_cell(self, cell: Cell | None) -> None:
        if self._shown is None or cell is None:
            self.readout.setText(
                self.tr("Point at a cell to read its weight; click to keep it in view while it plays.")
                if self._shown is not None
                else ""
            )
            self.readout.setForegroundRole(self.palette().ColorRole.PlaceholderText)
            return
        row, column = self.head
        frame, change = self._shown.frame, self._shown.change
        text = self.tr("“{query}” looks at “{key}” with weight {weight}").format(
            query=frame.queries.labels[cell[0]],
            key=frame.keys.labels[cell[1]],
            weight=f"{float(frame.weights[row, column][cell]):.4f}",
        )
        if change is not None and not self._is_start:
            difference = float(change[row, column][cell])
            words = self.tr("{text}, {difference} more than at the start")
            if difference < 0:
                words = self.tr("{text}, {difference} less than at the start")
            text = words.format(text=text, difference=f"{abs(difference):.4f}")
        self.readout.setForegroundRole(self.palette().ColorRole.Text)
        self.readout.setText(text)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "readout"):
            self._draw()

    def shutdown(self) -> None:
        self.heatmap.shutdown()
