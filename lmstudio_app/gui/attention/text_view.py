"""The text view: the text itself, each token shaded by how much the chosen one looks at it."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QHBoxLayout, QLabel, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.lines_choice import HeadShares
from lmstudio_app.gui.attention.shown_head import KEYS, QUERIES, ShownHead
from lmstudio_app.gui.attention.step_bar import StepBar
from lmstudio_app.gui.attention.studio import AttentionStudio, Cell
from lmstudio_app.gui.attention.text_flow import FlowArea, TextFlow
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.mode_bar import ModeBar
from lmstudio_app.gui.widgets.scaled_label import Hint
from lmstudio_app.inspection.arrangement import Arranged, Side

_STRONGEST = 0.5  # of the colour on the paper: the text keeps a contrast of 4.5 to 1 on it
_FAINTEST = 0.03  # less is not tinted
_MORE, _LESS = 0, 1  # of the palette's categorical colours


class TextView(QWidget):
    """One text for self-attention; for cross-attention what was written above, what it was written from below."""

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._studio = studio
        self._sides: tuple[Side, Side] | None = None
        self._token = 0  # the chosen one, of the side that :attr:`side` names
        self.mode = ModeBar(
            self.tr("Which way is shown"),
            (
                (self.tr("What it looks at"), self.tr("Shade every token by how much the chosen one looks at it")),
                (self.tr("Who looks at it"), self.tr("Shade every token by how much it looks at the chosen one")),
            ),
            self,
        )
        self.mode.currentChanged.connect(self._on_mode_changed)
        self.steps = StepBar(
            self.tr("Chosen token"), self.tr("Step through the tokens, in the order of the text"), self
        )
        self.steps.value_changed.connect(self._choose)
        self.readout = ElidedLabel(self)
        self.written_title, self.source_title = Hint("", self), Hint(self.tr("The text it was written from"), self)
        self.written, self.source = TextFlow(self.tr("The text"), self), TextFlow(self.tr("The text looked at"), self)
        self.areas = (FlowArea(self.written, self), FlowArea(self.source, self))
        for side, flow in enumerate((self.written, self.source)):
            flow.clicked.connect(lambda index, side=side: self._on_clicked(side, index))
            flow.pointed.connect(lambda index, side=side: self._on_pointed(side, index))
        self.legend = ElidedLabel(self)
        self.legend.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.legend.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.state = QLabel(self)
        self.state.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.state.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        texts = QWidget(self)
        column = QVBoxLayout(texts)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.em(self, 0.3))
        for title, area in zip((self.written_title, self.source_title), self.areas, strict=True):
            column.addWidget(title)
            column.addWidget(area, 1000)
        column.addStretch(1)  # for what the texts do not need
        self._stack = QStackedWidget(self)
        self._stack.addWidget(texts)
        self._stack.addWidget(self.state)
        header = QHBoxLayout()
        header.setSpacing(theme.em(self, 0.8))
        header.addWidget(self.mode)
        header.addWidget(self.steps, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(header)
        notes = QHBoxLayout()
        notes.addWidget(self.readout, 3)
        notes.addWidget(self.legend, 2)
        layout.addLayout(notes)
        layout.addWidget(self._stack, 1)
        self.setFocusProxy(self.written)
        self.shown = ShownHead(studio, self)
        self.shown.arrived.connect(self._draw)
        self.shown.waiting.connect(self._wait)
        studio.cell_changed.connect(self._on_cell_chosen)

    @property
    def side(self) -> int:
        """Which side the chosen token is of."""
        return self.mode.currentIndex()

    @property
    def token(self) -> int:
        return self._token

    @property
    def is_cross(self) -> bool:
        return self._studio.reading is not None and self._studio.reading.kind == "cross"

    def flow(self, side: int) -> TextFlow:
        """Where the tokens of a side are written."""
        return self.source if self.is_cross and side == KEYS else self.written

    # --- drawing

    def _draw(self) -> None:
        arranged = self.shown.arranged
        assert arranged is not None
        self._stack.setCurrentIndex(0)
        sides = (arranged.rows, arranged.columns)
        if self._sides is None or any(new is not old for new, old in zip(sides, self._sides, strict=True)):
            self._sides = sides
            self._set_texts(arranged)
        self._follow(self._studio.cell)
        self._tint()

    def _set_texts(self, arranged: Arranged) -> None:
        self.written.set_tokens(arranged.queries)
        for widget in (self.written_title, self.source_title, self.areas[1]):
            widget.setVisible(self.is_cross)
        if self.is_cross:
            self.written_title.setText(self.tr("What the model wrote"))
            self.source.set_tokens(arranged.keys)
        self._start(arranged)

    def _start(self, arranged: Arranged) -> None:
        """A token that says something: the first word, or the last one of a text that is read from left to right."""
        tokens = (arranged.queries, arranged.keys)[self.side]
        words = [index for index, special in enumerate(tokens.special) if not special] or [0]
        is_causal = self._studio.reading is not None and self._studio.reading.kind == "decoder"
        self._token = words[-1] if is_causal and self.side == QUERIES else words[0]
        self.steps.set_count(len(tokens))
        self.steps.set_value(self._token)

    def _tint(self) -> None:
        shaded, arranged = self.shown.shaded, self.shown.arranged
        if shaded is None or arranged is None:
            return
        other = self.flow(1 - self.side)
        tints, top = self._shades()
        faded = range(0)
        if self._studio.reading is not None and self._studio.reading.kind == "decoder":
            faded = range(self._token + 1, other.count) if self.side == QUERIES else range(self._token)
        own = self.flow(self.side)
        if own is not other:
            own.set_tints([None] * own.count, self._token)
        other.set_tints(tints, self._token if own is other else None, faded)
        self.readout.setText(self.shown.describe_end((self.side, self._token)))
        if shaded.scaled.is_signed:
            self.legend.setText(self.tr("Blue: more than the mean of the layer's heads. Orange: less."))
        else:
            self.legend.setText(self.tr("The strongest tint stands for a weight of {top}.").format(top=f"{top:.2g}"))

    def _shades(self) -> tuple[list[QColor | None], float]:
        """A colour of each token of the other side, and what the strongest stands for.

        The scales "head" and "row" are the chosen token's own here, so that one which spreads its looks is seen too.
        """
        shaded = self.shown.shaded
        assert shaded is not None
        weights = shaded.arranged.weights
        scale = shaded.scaled.scale
        line = weights[self._token] if self.side == QUERIES else weights[:, self._token]
        top = shaded.scaled.high
        if scale in ("head", "row", "column"):
            top = max(float(line.max()), 1e-9)
            shares: list[Any] = [[float(weight) / top for weight in line]]
        else:
            picked = HeadShares(shaded)
            rows = picked.rows(self._token, self._token + 1)[:, 0] if self.side == QUERIES else None
            shares = (rows if rows is not None else picked.column(self._token)[:, :, 0]).tolist()
        tints: list[QColor | None] = [None] * len(shares[0])
        for which, values in zip((_MORE, _LESS), shares, strict=False):
            for index, share in enumerate(values):
                if share > _FAINTEST:
                    tints[index] = self._colour(which, min(share, 1.0))
        return tints, top

    def _colour(self, which: int, share: float) -> QColor:
        colours = theme.chart_colours(self.palette())
        return theme.blend(colours.series[which], colours.background, _STRONGEST * share)

    def _wait(self, text: str) -> None:
        self.steps.stop()
        self.state.setText(text)
        self._stack.setCurrentWidget(self.state)
        self.readout.setText("")
        self.legend.setText("")

    # --- the token

    def _on_clicked(self, side: int, index: int) -> None:
        """In the text that is shaded a click turns round what is asked, where there are two texts."""
        if self.is_cross and side != self.side:
            self._token = index
            self.mode.setCurrentIndex(side)
        self.steps.stop()
        self._choose(index)

    def _choose(self, index: int) -> None:
        arranged = self.shown.arranged
        if arranged is None:
            return
        self._token = index
        self.steps.set_value(index)
        line = arranged.weights[index] if self.side == QUERIES else arranged.weights[:, index]
        other = int(line.argmax())
        self._tint()
        self.areas[0 if self.flow(self.side) is self.written else 1].show_token(index)
        self._studio.choose_cell(arranged.own((index, other) if self.side == QUERIES else (other, index)))

    def _on_mode_changed(self) -> None:
        arranged = self.shown.arranged
        if arranged is None:
            return
        count = len((arranged.queries, arranged.keys)[self.side])
        self.steps.set_count(count)
        self._choose(min(self._token, count - 1))

    def _follow(self, cell: Cell | None) -> None:
        shown = self.shown.shown(cell)
        if shown is not None and shown[self.side] != self._token:
            self._token = shown[self.side]
            self.steps.set_value(self._token)

    def _on_cell_chosen(self, cell: Cell | None) -> None:
        if self.isVisible() and self.shown.arranged is not None:
            before = self._token
            self._follow(cell)
            if self._token != before:
                self._tint()
                self.areas[0 if self.flow(self.side) is self.written else 1].show_token(self._token)

    def _on_pointed(self, side: int, index: int | None) -> None:
        """The weight between the chosen token and the one under the mouse."""
        if self.shown.arranged is None:
            return
        if index is None or (self.is_cross and side == self.side):
            self.readout.setText(self.shown.describe_end((self.side, self._token)))
            return
        self.readout.setText(
            self.shown.describe((self._token, index) if self.side == QUERIES else (index, self._token))
        )

    def showEvent(self, event: QEvent) -> None:
        super().showEvent(event)  # type: ignore[arg-type]
        self._on_cell_chosen(self._studio.cell)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "shown"):
            QTimer.singleShot(0, self, self._tint)  # Qt is in the middle of restyling everything

    def shutdown(self) -> None:
        self.steps.stop()
        self.shown.shutdown()
