"""How one number of the formula came about: the dot product of a score, or the weighted sum of an output."""

from __future__ import annotations

from html import escape

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.formula_bars import BarRow, BarRows
from lmstudio_app.gui.attention.formula_focus import Focus
from lmstudio_app.gui.attention.formula_terms import KEY, QUERY, scale_text, signed
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.scaled_label import FontScale
from lmstudio_app.inspection.colormaps import diverging
from lmstudio_app.inspection.formula import CellExplanation, HeadFormula, explain_cell

_LINES = 6  # of the numbers, at most
_TOLD = 2  # tokens that give most to an output


class FormulaCell(QWidget):
    """Bars on the left, the arithmetic on the right."""

    feature_pointed = Signal(object)  # one of the products of a score, or None

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._formula: HeadFormula | None = None
        self._focus: Focus | None = None
        self._pens: dict[str, QColor] = {}
        self.title = ElidedLabel(self)
        FontScale(self.title, 1.0, self.title.font().Weight.DemiBold)
        self.bars = BarRows(self)
        self.bars.pointed.connect(self._on_bar)
        self.numbers = QLabel(self)
        self.numbers.setTextFormat(Qt.TextFormat.RichText)
        self.numbers.setWordWrap(True)
        self.numbers.setToolTip(
            self.tr("Taking the row's largest score off each keeps the powers of e small, and changes no share")
        )
        self.numbers.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.numbers.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.numbers.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        row = QHBoxLayout()
        row.setSpacing(theme.em(self, 1))
        row.addWidget(self.bars, 5)
        row.addWidget(self.numbers, 5)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.2))
        layout.addWidget(self.title)
        layout.addLayout(row, 1)
        self.setFixedHeight(theme.em(self, _LINES + 2))

    def show_focus(self, formula: HeadFormula, focus: Focus, pens: dict[str, QColor]) -> None:
        """``pens`` are the colours of queries and keys."""
        self._formula, self._focus, self._pens = formula, focus, pens
        if focus.value is None:
            self._show_score(formula, focus)
        else:
            self._show_output(formula, focus, focus.value)

    def _show_score(self, formula: HeadFormula, focus: Focus) -> None:
        query = formula.rows[focus.query]
        cell = explain_cell(formula, query, focus.key)
        asking, offering = formula.queries.labels[query], formula.keys.labels[focus.key]
        self._set_title(
            self.tr("“{query}” ({row}) looks at “{key}” ({column}) with weight {weight}").format(
                query=asking, row=query, key=offering, column=focus.key, weight=f"{cell.weight:.4f}"
            )
        )
        rows = [
            self._factor(self.tr("Q of “{token}”").format(token=asking), formula.query[focus.query], QUERY),
            self._factor(self.tr("K of “{token}”").format(token=offering), formula.key[focus.key], KEY),
            self._products(cell.products),
        ]
        self.bars.set_rows(rows, focus.feature)
        lines = self._score_lines(formula, cell)
        if focus.feature is not None:
            number = focus.feature
            lines[0] = self.tr("number {number}: {query} × {key} = <b>{product}</b>, of a sum of {dot}").format(
                number=number,
                query=signed(float(formula.query[focus.query, number])),
                key=signed(float(formula.key[focus.key, number])),
                product=signed(float(cell.products[number])),
                dot=signed(cell.dot),
            )
        self._set_numbers(lines)

    def _score_lines(self, formula: HeadFormula, cell: CellExplanation) -> list[str]:
        lines = [
            self.tr("sum of the {count} products: <b>{dot}</b>").format(count=len(cell.products), dot=signed(cell.dot)),
            self.tr("{scale} = score S: <b>{score}</b>").format(scale=scale_text(formula), score=signed(cell.scaled)),
        ]
        if cell.capped is not None:
            lines.append(
                self.tr("capped softly at ±{cap}: <b>{score}</b>").format(
                    cap=f"{formula.softcap:g}", score=signed(cell.capped)
                )
            )
        if cell.bias is not None:
            lines.append(
                self.tr("+ position bias B of {bias}: <b>{score}</b>").format(
                    bias=signed(cell.bias), score=signed(cell.logit)
                )
            )
        if cell.is_hidden:
            lines.append(self.tr("+ mask M: −∞, because this token may not be seen"))
            lines.append(self.tr("e<sup>−∞</sup> = 0, so the weight A is <b>0</b>"))
            return lines
        lines += [
            self.tr("e<sup>{score} − {largest}</sup> = <b>{numerator}</b> (minus the largest)").format(
                score=signed(cell.logit), largest=_bracketed(cell.largest_logit), numerator=_share(cell.numerator)
            ),
            self.tr("÷ the row's sum {total} = weight A: <b>{weight}</b>").format(
                total=f"{cell.row_sum:.3f}", weight=_share(cell.weight)
            ),
        ]
        return lines

    def _show_output(self, formula: HeadFormula, focus: Focus, number: int) -> None:
        query = formula.rows[focus.query]
        token = formula.queries.labels[query]
        weights = formula.weights[focus.query].astype(np.float64)
        values = formula.value[:, number].astype(np.float64)
        products = weights * values
        self._set_title(
            self.tr("Number {number} of what “{token}” ({row}) takes along: {value}").format(
                number=number, token=token, row=query, value=signed(float(products.sum()))
            )
        )
        rows = [
            self._factor(self.tr("A of “{token}”").format(token=token), weights, QUERY),
            self._factor(self.tr("V, number {number}").format(number=number), values, KEY),
            self._products(products),
        ]
        self.bars.set_rows(rows, None)
        most = np.argsort(-np.abs(products))[:_TOLD]
        lines = [
            self.tr("a bar for each of the {count} tokens that “{token}” can look at").format(
                count=f"{len(products):,}", token=escape(token)
            ),
            self.tr("its weight × its value, and all of these products added up: <b>{value}</b>").format(
                value=signed(float(products.sum()))
            ),
        ]
        lines += [
            self.tr("“{token}” ({column}): {weight} × {value} = <b>{product}</b>").format(
                token=escape(formula.keys.labels[key]),
                column=key,
                weight=_share(float(weights[key])),
                value=signed(float(values[key])),
                product=signed(float(products[key])),
            )
            for key in most.tolist()
        ]
        self._set_numbers(lines)

    def _factor(self, name: str, values: object, axis: str) -> BarRow:
        return BarRow(name, np.asarray(values), self._pens[axis], self._pens[axis])

    def _products(self, products: object) -> BarRow:
        ends = diverging(theme.is_dark(self.palette()))
        less, more = (QColor(*(int(part) for part in ends[place])) for place in (1, 255))
        return BarRow(self.tr("products"), np.asarray(products), less, more)

    def _set_title(self, text: str) -> None:
        self.title.setText(text)

    def _set_numbers(self, lines: list[str]) -> None:
        self.numbers.setText("<br>".join(lines))

    def _on_bar(self, index: int | None) -> None:
        if self._focus is not None and self._focus.value is None:
            self.feature_pointed.emit(index)


def _share(value: float) -> str:
    """Four digits behind the point; what is less, in powers of ten."""
    return f"{value:.4f}" if value >= 0.0001 or value == 0 else f"{value:.1e}".replace("e-0", "e-").replace("-", "−")


def _bracketed(value: float) -> str:
    return f"({signed(value)})" if value < 0 else signed(value)
