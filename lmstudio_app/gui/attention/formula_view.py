"""The view of the formula: softmax(QKᵀ/√d)V of the chosen head, with its own numbers."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.asker import Asker
from lmstudio_app.gui.attention import formula_texts
from lmstudio_app.gui.attention.formula_board import FormulaBoard
from lmstudio_app.gui.attention.formula_cell import FormulaCell
from lmstudio_app.gui.attention.formula_focus import Focus
from lmstudio_app.gui.attention.reasons_note import SourcedNote
from lmstudio_app.gui.attention.state_label import StateLabel
from lmstudio_app.gui.attention.studio import AttentionStudio, Cell
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import Hint, ScaledLabel
from lmstudio_app.inspection.colormaps import diverging
from lmstudio_app.inspection.formula import FormulaRequest, HeadFormula, read_formula

_HIGH = 54  # lines of text in which everything has room


class FormulaView(QWidget):
    """Works the head out while it is seen."""

    def __init__(self, studio: AttentionStudio, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._studio = studio
        self._is_stale = True
        self._around: int | None = None  # a query that has to be among the rows
        self.asker = Asker(studio.services.inspection_runner, self)
        self.title = ElidedLabel(self)
        self.legend = ScaledLabel("", self, scale=0.88)
        self.legend.setTextFormat(Qt.TextFormat.RichText)
        self.legend.setToolTip(
            self.tr("The stronger the colour, the farther from 0; weights have colours of their own")
        )
        self.earlier = make_button(
            self.tr("Rows before"), self.tr("Show the queries before these"), self, lambda: self._go(-1)
        )
        self.later = make_button(
            self.tr("Rows after"), self.tr("Show the queries after these"), self, lambda: self._go(1)
        )
        self.board = FormulaBoard(self)
        self.board.pointed.connect(self._show_focus)
        self.board.chosen.connect(self._on_chosen)
        self.cell = FormulaCell(self)
        self.cell.feature_pointed.connect(self.board.point_at_feature)
        self.difference = Hint("", self)
        self.state = StateLabel(self)
        self.note = SourcedNote(
            self.tr("What do the letters stand for?"),
            formula_texts.symbols(),
            studio.services.settings,
            "attention.formula.note",
            self,
            tip=self.tr("Every symbol of the formula in a sentence"),
        )
        self._lay_out()
        self.note.toggled.connect(self._make_room)
        self.asker.succeeded.connect(self._on_formula)
        self.asker.failed.connect(self._on_failed)
        studio.reading_changed.connect(self._on_reading)
        studio.head_changed.connect(lambda layer, head: self._refresh())
        studio.cell_changed.connect(self._on_cell)
        studio.look_changed.connect(lambda: self.board.set_look(studio.look))
        self._show_state(self.tr("Type a text to see how its attention is worked out."))

    def _lay_out(self) -> None:
        gap = theme.em(self, 0.4)
        content = QWidget(self)
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(gap)
        bar = QHBoxLayout()
        bar.addWidget(self.title, 1)
        bar.addWidget(self.legend)
        bar.addWidget(self.earlier)
        bar.addWidget(self.later)
        column.addLayout(bar)
        column.addWidget(self.board, 1)
        column.addWidget(self.cell)
        column.addWidget(self.difference)
        column.addWidget(self.note)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(content)
        self._stack.addWidget(self.state)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._stack)
        self.setFocusProxy(self.board)
        self._make_room()

    @property
    def formula(self) -> HeadFormula | None:
        """What is shown."""
        return self.board.formula if self._stack.currentIndex() == 0 else None

    # --- working out

    def _refresh(self) -> None:
        self.asker.drop()
        if not self.isVisible():
            self._is_stale = True
            return
        self._is_stale = False
        reading = self._studio.reading
        if reading is None:
            self._show_state(self.tr("Type a text to see how its attention is worked out."))
            return
        if self.formula is None:
            self._show_state(self.tr("Working the head out…"))
        cell = self._studio.cell
        around = self._around if self._around is not None else cell[0] if cell is not None else 0
        head = reading.head_numbers[self._studio.head]
        self.asker.ask(
            read_formula,
            FormulaRequest(reading.loaded, reading.request, self._studio.layer, head, around),
            title=self.tr("Working out a head"),
        )

    def _on_formula(self, formula: HeadFormula) -> None:
        self._around = None
        self._stack.setCurrentIndex(0)
        self.board.set_formula(formula, self._studio.look, self._place(formula))
        self.title.setText(formula_texts.title(formula))
        self.difference.setText(formula_texts.difference(formula.largest_difference))
        for button, is_more in (
            (self.earlier, formula.rows.start > 0),
            (self.later, formula.rows.stop < len(formula.queries)),
        ):
            button.setVisible(not formula.is_whole)
            button.setEnabled(is_more)
        self._restyle()

    def _restyle(self) -> None:
        ends = diverging(theme.is_dark(self.palette()))
        parts = ((ends[1], self.tr("below 0")), (ends[255], self.tr("above 0")))
        swatch = "<span style='color: rgb({0}, {1}, {2})'>■</span> {3}"
        self.legend.setText("&nbsp; ".join(swatch.format(*(int(part) for part in end), text) for end, text in parts))
        self._show_focus(self.board.focus)

    def _place(self, formula: HeadFormula) -> tuple[int, int]:
        """The studio's cell, or the strongest weight between two words that are not the same."""
        import numpy as np

        cell = self._studio.cell
        if cell is not None and cell[0] in formula.rows and cell[1] < len(formula.keys):
            return cell[0] - formula.rows.start, cell[1]
        weights = formula.weights.copy()
        queries = np.asarray(formula.rows)
        keys = np.arange(len(formula.keys))
        # heads rest on special tokens and on the first one, and looking at itself is not what one looks for
        weights[np.array(formula.queries.special)[queries]] -= 1
        weights[:, np.array(formula.keys.special) | (keys == 0)] -= 1
        if formula.kind != "cross":
            weights[queries[:, None] == keys[None]] -= 1
        row, column = np.unravel_index(int(weights.argmax()), weights.shape)
        return int(row), int(column)

    def _go(self, direction: int) -> None:
        """The rows before or after those that are shown."""
        formula = self.formula
        assert formula is not None
        middle = formula.rows.start + len(formula.rows) // 2 + direction * len(formula.rows)
        self._around = min(max(middle, 0), len(formula.queries) - 1)
        self._refresh()

    def _on_failed(self, error: UserError) -> None:
        message, remedy = error_texts(error)
        self._show_state(f"{message} {remedy}".strip())

    def _show_state(self, text: str) -> None:
        self.state.setText(text)
        self._stack.setCurrentIndex(1)

    # --- pointing

    def _show_focus(self, focus: Focus) -> None:
        formula = self.board.formula
        if formula is not None:
            self.cell.show_focus(formula, focus, self.board.pens())

    def _on_chosen(self, row: int, key: int) -> None:
        formula = self.board.formula
        assert formula is not None
        self._studio.choose_cell((formula.rows[row], key))

    def _on_cell(self, cell: Cell | None) -> None:
        formula = self.formula
        if cell is None or formula is None or self.asker.busy:
            return
        if cell[0] not in formula.rows:
            self._refresh()
        elif cell[1] < len(formula.keys):
            self.board.keep(cell[0] - formula.rows.start, cell[1])
            self._show_focus(self.board.focus)

    # --- coming and going

    def _on_reading(self) -> None:
        self._around = None
        self._show_state("")
        self._refresh()

    def showEvent(self, event: QEvent) -> None:
        super().showEvent(event)  # type: ignore[arg-type]
        if self._is_stale:
            self._refresh()

    def hideEvent(self, event: QEvent) -> None:
        super().hideEvent(event)  # type: ignore[arg-type]
        if self.asker.busy:
            self.asker.drop()
            self._is_stale = True

    def _make_room(self) -> None:
        """In a low window the letters take the place of the arithmetic."""
        self.cell.setVisible(not self.note.is_open or self.height() >= theme.em(self, _HIGH))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._make_room()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "note") and self.formula is not None:
            QTimer.singleShot(0, self, self._restyle)  # the board is restyled first

    def shutdown(self) -> None:
        self.asker.drop()
