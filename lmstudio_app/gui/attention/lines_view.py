"""The lines view: each token on the left is tied to the tokens on the right that it looks at.

After J. Vig 2019, "A Multiscale Visualization of Attention in the Transformer Model".
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QHBoxLayout, QLabel, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.lines_canvas import LinesCanvas
from lmstudio_app.gui.attention.lines_choice import HeadShares, LayerShares
from lmstudio_app.gui.attention.lines_heads import HeadChips, head_colours
from lmstudio_app.gui.attention.shown_head import KEYS, QUERIES, End, ShownHead, colours_of
from lmstudio_app.gui.attention.studio import AttentionStudio, Cell
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.mode_bar import ModeBar
from lmstudio_app.inspection.arrangement import Side


class LinesView(QWidget):
    """Of the chosen head, or of all heads of its layer."""

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._studio = studio
        self._settings = studio.services.settings
        self._sides: tuple[Side, Side] | None = None
        self.mode = ModeBar(
            self.tr("Whose lines are drawn"),
            (
                (self.tr("This head"), self.tr("The lines of the chosen head, coloured as the look says")),
                (self.tr("All heads of the layer"), self.tr("The lines of every head, each in a colour of its own")),
            ),
            self,
        )
        self.mode.setCurrentIndex(1 if self._settings.get("attention.lines_of_layer", False) is True else 0)
        self.mode.currentChanged.connect(self._on_mode_changed)
        self.chips = HeadChips(self)
        self.chips.changed.connect(self._draw)
        self.readout = ElidedLabel(self)
        self.counted = ElidedLabel(self)
        self.counted.setForegroundRole(self.palette().ColorRole.PlaceholderText)
        self.counted.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.canvas = LinesCanvas(self)
        self.canvas.pointed.connect(lambda _: self._tell())
        self.canvas.chosen.connect(self._on_chosen)
        self.canvas.drawn.connect(self._on_drawn)
        self.state = QLabel(self)
        self.state.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.state.setForegroundRole(self.palette().ColorRole.PlaceholderText)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self._build_picture())
        self._stack.addWidget(self.state)
        header = QHBoxLayout()
        header.setSpacing(theme.em(self, 0.6))
        header.addWidget(self.mode)
        header.addWidget(self.chips, 1)
        notes = QHBoxLayout()
        notes.addWidget(self.readout, 3)
        notes.addWidget(self.counted, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(header)
        layout.addLayout(notes)
        layout.addWidget(self._stack, 1)
        self.setFocusProxy(self.canvas)
        self.shown = ShownHead(studio, self)
        self.shown.arrived.connect(self._draw)
        self.shown.waiting.connect(self._wait)
        studio.cell_changed.connect(self._on_cell_chosen)
        self._tell()

    def _build_picture(self) -> QWidget:
        """The canvas between its scroll bars."""
        picture = QWidget(self)
        row = QHBoxLayout(picture)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.em(self, 0.2))
        row.addWidget(self.canvas.bars[QUERIES])
        row.addWidget(self.canvas, 1)
        row.addWidget(self.canvas.bars[KEYS])
        return picture

    @property
    def is_of_layer(self) -> bool:
        return self.mode.currentIndex() == 1

    # --- drawing

    def _draw(self) -> None:
        shaded, item = self.shown.shaded, self.shown.map
        if shaded is None or item is None:
            return
        arranged = shaded.arranged
        self._stack.setCurrentIndex(0)
        sides = (arranged.rows, arranged.columns)
        if self._sides is None or any(new is not old for new, old in zip(sides, self._sides, strict=True)):
            self._sides = sides
            queries, keys = arranged.queries, arranged.keys
            self.canvas.set_tokens(queries.labels, keys.labels, (queries.special, keys.special))
        self.chips.set_count(len(item.weights))
        self.chips.setVisible(self.is_of_layer)
        relative = self._studio.look.scale in ("head", "row", "column")
        if self.is_of_layer:
            colours = self._colours(len(item.weights))
            self.canvas.set_shares(LayerShares(item, *sides), colours, self.chips.shown, relative=relative)
        else:
            shares = HeadShares(shaded)
            heads = list(range(shares.count))
            self.canvas.set_shares(shares, self._colours(shares.count), heads, relative=relative)
        self._on_cell_chosen(self._studio.cell)
        self._tell()

    def _colours(self, count: int) -> list[QColor]:
        if self.is_of_layer:
            return head_colours(count, self.palette())
        if count == 1:
            return [self.palette().accent().color()]
        lut = colours_of(self._studio.look, self.palette())
        return [QColor(*lut[-1].tolist()), QColor(*lut[0].tolist())]  # more, less

    def _wait(self, text: str) -> None:
        self.state.setText(text)
        self._stack.setCurrentWidget(self.state)
        self.chips.setVisible(self.is_of_layer)
        self.readout.setText("")
        self.counted.setText("")

    def _on_mode_changed(self) -> None:
        self._settings.set("attention.lines_of_layer", self.is_of_layer)
        self._draw()

    # --- the token

    def _on_chosen(self, end: End | None) -> None:
        if end is None:
            self._studio.choose_cell(None)
        elif shares := self.canvas.shares_of(end):
            other = shares.index(max(shares))
            cell = (end[1], other) if end[0] == QUERIES else (other, end[1])
            self._studio.choose_cell(self.shown.own(cell))
        self._tell()

    def _on_cell_chosen(self, cell: Cell | None) -> None:
        """Another view has marked a cell: its row is kept, unless one of its tokens is already."""
        if self.shown.shaded is None or not self.isVisible():
            return
        shown = self.shown.shown(cell)
        ends: list[End | None] = [None] if shown is None else [(QUERIES, shown[0]), (KEYS, shown[1])]
        if self.canvas.kept not in ends:
            self.canvas.keep(ends[0])
            self._tell()

    def _tell(self) -> None:
        active = self.canvas.active
        if self.shown.arranged is None:
            return
        if active is None:
            self.readout.setForegroundRole(self.palette().ColorRole.PlaceholderText)
            self.readout.setText(self.tr("Point at a token to see its lines only; a click keeps them."))
            return
        values = self.canvas.shares_of(active) if self.is_of_layer else None
        self.readout.setForegroundRole(self.palette().ColorRole.Text)
        self.readout.setText(self.shown.describe_end(active, values))

    def _on_drawn(self, drawn: int, total: int) -> None:
        text = self.tr("{count} lines").format(count=f"{total:,}")
        if drawn < total:
            text = self.tr("the {drawn} strongest of {count} lines").format(drawn=f"{drawn:,}", count=f"{total:,}")
        self.counted.setText(text)

    def showEvent(self, event: QEvent) -> None:
        super().showEvent(event)  # type: ignore[arg-type]
        self._on_cell_chosen(self._studio.cell)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "shown"):
            QTimer.singleShot(0, self, self._draw)  # Qt is in the middle of restyling everything

    def shutdown(self) -> None:
        self.shown.shutdown()
