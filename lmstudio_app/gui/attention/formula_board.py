"""The matrices of a head in the order of its formula, in two lines; what is pointed at in one is marked in all."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QEvent, QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QHelpEvent,
    QKeyEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QResizeEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.formula_focus import Focus, Spans
from lmstudio_app.gui.attention.formula_lettering import Lettering
from lmstudio_app.gui.attention.formula_matrix import MatrixView, Place
from lmstudio_app.gui.attention.formula_terms import (
    FEATURE,
    KEY,
    QUERY,
    VALUE,
    Sign,
    Term,
    mask_colours,
    shades_of,
    terms_of,
)
from lmstudio_app.gui.attention.studio import Look
from lmstudio_app.gui.attention.token_ruler import TokenRuler
from lmstudio_app.inspection.colormaps import colormap, diverging
from lmstudio_app.inspection.formula import HeadFormula

_WIDEST = 2.1  # a matrix's width to its height


class FormulaBoard(QWidget):
    pointed = Signal(object)  # Focus; of what is kept when the mouse has left
    chosen = Signal(int, int)  # query, key: kept by a click or a key

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._formula: HeadFormula | None = None
        self._look = Look()
        self._lines: tuple[tuple[Term | Sign, ...], ...] = ()
        self.views: dict[str, MatrixView] = {}
        self._left: dict[str, TokenRuler] = {}
        self._top: dict[str, TokenRuler] = {}
        self.spans = Spans({})
        self._kept = Focus(0, 0)
        self._hovered: Focus | None = None
        self._signs: list[tuple[QRect, Sign]] = []
        self._tops: dict[str, int] = {}  # where the title of a matrix begins
        self._lettering = Lettering(self)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(self.tr("The formula of one head, as heat maps"))
        self.setToolTip("")

    # --- content

    @property
    def formula(self) -> HeadFormula | None:
        return self._formula

    @property
    def focus(self) -> Focus:
        return self._hovered or self._kept

    def set_formula(self, formula: HeadFormula, look: Look, kept: Place) -> None:
        """``kept`` is the query, among the rows that are here, and the key that are marked. The zoom stays for as long
        as the tokens do."""
        counts = {
            QUERY: len(formula.rows),
            KEY: len(formula.keys),
            FEATURE: formula.key.shape[1],
            VALUE: formula.value.shape[1],
        }
        before = self._formula
        is_same_text = (
            before is not None
            and (before.rows, before.queries, before.keys) == (formula.rows, formula.queries, formula.keys)
            and counts == self.spans.counts
        )
        self._formula, self._look = formula, look
        if not is_same_text:
            self.spans = Spans(counts)
        self._lines = terms_of(formula)
        self._hovered = None
        self._kept = Focus(*kept)
        self._make_parts()
        self._draw()
        self._lay_out()
        self._mark()

    def set_look(self, look: Look) -> None:
        self._look = look
        if self._formula is not None:
            self._draw()

    @property
    def terms(self) -> tuple[Term, ...]:
        return tuple(part for line in self._lines for part in line if isinstance(part, Term))

    def _make_parts(self) -> None:
        """The widgets that this formula needs and the one before did not."""
        assert self._formula is not None
        names = {term.name for term in self.terms}
        for name, view in self.views.items():
            view.setVisible(name in names)
        labels = {QUERY: self._formula.queries.labels[self._formula.rows.start : self._formula.rows.stop]}
        labels[KEY] = self._formula.keys.labels
        for term in self.terms:
            if term.name not in self.views:
                self._make_view(term)
            for rulers, axis, wanted in (
                (self._left, term.rows, term.rows_named),
                (self._top, term.columns, term.columns_named),
            ):
                if wanted:
                    if term.name not in rulers:
                        rulers[term.name] = TokenRuler(upright=rulers is self._top, parent=self)
                        rulers[term.name].clicked.connect(
                            lambda index, axis=axis: self._keep(replace(self._kept, **{axis: index}))
                        )
                    rulers[term.name].set_labels(labels[axis])
                    rulers[term.name].show()

    def _make_view(self, term: Term) -> None:
        self.views[term.name] = view = MatrixView(f"{term.symbol}: {term.title}", self)
        view.pointed.connect(lambda place, term=term: self._on_pointed(term, place))
        view.clicked.connect(lambda row, column, term=term: self._on_clicked(term, (row, column)))
        view.zoomed.connect(lambda factor, row, column, term=term: self._on_zoomed(term, factor, row, column))
        view.dragged.connect(lambda rows, columns, term=term: self._on_dragged(term, rows, columns))
        view.whole_wanted.connect(self.show_all)
        view.show()

    def _draw(self) -> None:
        """Shades and colours of every matrix."""
        assert self._formula is not None
        palette, dark = self.palette(), theme.is_dark(self.palette())
        base, ink = palette.color(QPalette.ColorRole.Base), palette.color(QPalette.ColorRole.Text)
        veil = theme.blend(ink, base, 0.55)
        luts = {
            "weights": colormap(self._look.colormap, dark=dark),
            "mask": mask_colours(base.getRgb()[:3], veil.getRgb()[:3]),
        }
        pens = self.pens()
        for term in self.terms:
            scaled = shades_of(self._formula, term, self._look.scale)
            view = self.views[term.name]
            view.set_shades(scaled.shades, luts.get(term.name, diverging(dark)), signed=scaled.is_signed)
            view.set_pens(pens[term.rows], pens[term.columns])
            rows, columns = view.shape
            tip = self.tr("{symbol}: {title}, {rows} × {columns}. {caption}.").format(
                symbol=term.symbol, title=term.title, rows=f"{rows:,}", columns=f"{columns:,}", caption=term.caption
            )
            if scaled.is_signed:
                tip = self.tr("{tip} The strongest colours stand for −{top} and less, and for {top} and more.").format(
                    tip=tip, top=f"{scaled.high:.3g}"
                )
            view.setAccessibleDescription(tip)
        self._show_spans()
        self.update()

    def pens(self) -> dict[str, QColor]:
        """The colours in which queries and keys are marked."""
        series = theme.chart_colours(self.palette()).series
        other = self.palette().color(QPalette.ColorRole.Text)
        return {QUERY: series[2], KEY: series[3], FEATURE: other, VALUE: other}

    # --- what is marked

    def keep(self, query: int, key: int) -> None:
        """Mark a score, without a signal."""
        self._kept = Focus(query, key)
        self._reveal()
        self._mark()

    def point_at_feature(self, feature: int | None) -> None:
        """Mark one of the products of the kept score."""
        self._hover(None if feature is None else replace(self._kept, feature=feature))

    def _keep(self, focus: Focus) -> None:
        self._hovered = None
        self._kept = replace(focus, feature=None, value=None)
        self._reveal()
        self._mark()
        self.chosen.emit(self._kept.query, self._kept.key)
        self.pointed.emit(self.focus)

    def _focus_at(self, term: Term, place: Place) -> Focus:
        found = {term.rows: place[0], term.columns: place[1]}
        focus = replace(self._kept, **{axis: index for axis, index in found.items() if axis in (QUERY, KEY)})
        if VALUE in found:
            return replace(focus, value=found[VALUE])
        return replace(focus, feature=found.get(FEATURE))

    def _on_pointed(self, term: Term, place: Place | None) -> None:
        self._hover(None if place is None else self._focus_at(term, place))

    def _hover(self, focus: Focus | None) -> None:
        if focus != self._hovered:
            self._hovered = focus
            self._mark()
            self.pointed.emit(self.focus)

    def _on_clicked(self, term: Term, place: Place) -> None:
        self.setFocus(Qt.FocusReason.MouseFocusReason)
        self._keep(self._focus_at(term, place))

    def _mark(self) -> None:
        focus = self.focus
        for term in self.terms:
            self.views[term.name].mark(focus.at(term.rows), focus.at(term.columns))
            if term.name in self._left:
                self._left[term.name].mark(focus.at(term.rows))
            if term.name in self._top:
                self._top[term.name].mark(focus.at(term.columns))

    # --- zoom: queries and keys alike in every matrix

    def show_all(self) -> None:
        self.spans.show_all()
        self._show_spans()

    def _on_zoomed(self, term: Term, factor: float, row: float, column: float) -> None:
        around = {term.rows: row, term.columns: column}
        if self.spans.counts[KEY] == self.spans.counts[QUERY]:  # the same tokens, also where only one side has them
            around = {KEY: around.get(QUERY, 0.0), QUERY: around.get(KEY, 0.0)} | around
        self.spans.zoom(factor, around)
        self._show_spans()

    def _on_dragged(self, term: Term, rows: float, columns: float) -> None:
        self.spans.move(term.rows, rows)
        self.spans.move(term.columns, columns)
        self._show_spans()

    def _reveal(self) -> None:
        """Bring what is kept into view."""
        self.spans.reveal(QUERY, self._kept.query)
        self.spans.reveal(KEY, self._kept.key)
        self._show_spans()

    def _show_spans(self) -> None:
        for term in self.terms:
            self.views[term.name].set_spans(self.spans[term.rows], self.spans[term.columns])
            if term.name in self._left:
                self._left[term.name].set_range(*self.spans[term.rows])
            if term.name in self._top:
                self._top[term.name].set_range(*self.spans[term.columns])

    # --- keys

    def keyPressEvent(self, event: QKeyEvent) -> None:
        moves = {
            Qt.Key.Key_Left: (0, -1),
            Qt.Key.Key_Right: (0, 1),
            Qt.Key.Key_Up: (-1, 0),
            Qt.Key.Key_Down: (1, 0),
        }
        key = event.key()
        if self._formula is None:
            super().keyPressEvent(event)
        elif key in moves:
            down, right = moves[Qt.Key(key)]
            query = min(max(self._kept.query + down, 0), self.spans.counts[QUERY] - 1)
            self._keep(Focus(query, min(max(self._kept.key + right, 0), self.spans.counts[KEY] - 1)))
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus):
            factor = 1 / 0.7 if key == Qt.Key.Key_Minus else 0.7
            self.spans.zoom(factor, {QUERY: self._kept.query + 0.5, KEY: self._kept.key + 0.5})
            self._show_spans()
        elif key in (Qt.Key.Key_0, Qt.Key.Key_Home):
            self.show_all()
        else:
            super().keyPressEvent(event)

    # --- geometry

    def _ruler_width(self, ruler: TokenRuler) -> int:
        return min(ruler.breadth(), theme.em(self, 5.5), max(theme.em(self, 3), self.width() // 9))

    def _lay_out(self) -> None:
        if not self._lines:
            return
        self._signs = []
        gap = theme.em(self, 0.5)
        height = (self.height() - gap * (len(self._lines) - 1)) // len(self._lines)
        for number, line in enumerate(self._lines):
            self._lay_out_line(line, number * (height + gap), height)
        self.update()

    def _lay_out_line(self, line: tuple[Term | Sign, ...], y: int, height: int) -> None:
        terms = [part for part in line if isinstance(part, Term)]
        overhang = next(iter(self._left.values())).overhang()
        taken = sum(self._lettering.sign_width(part) for part in line if isinstance(part, Sign))
        taken += sum(self._ruler_width(self._left[term.name]) for term in terms if term.rows_named)
        across = max(theme.em(self, 3), (self.width() - taken - overhang) // len(terms))
        roof = self._lettering.roof(terms, min(across, round(_WIDEST * (height - self._lettering.roof()))))
        ruler_height = min(
            max((self._top[term.name].breadth() for term in terms if term.columns_named), default=0),
            theme.em(self, 4.5),
        )
        has_tops = height - roof - ruler_height - overhang >= theme.em(self, 9.5)
        top = y + roof + (ruler_height if has_tops else 0)
        down = max(theme.em(self, 3), y + height - top - overhang)
        across = min(across, round(_WIDEST * down))
        x = 0
        for part in line:
            if isinstance(part, Sign):
                width = self._lettering.sign_width(part)
                self._signs.append((QRect(x, top, width, down), part))
                x += width
                continue
            if part.rows_named:
                ruler = self._left[part.name]
                width = self._ruler_width(ruler)
                ruler.setGeometry(x, top - overhang, width, down + 2 * overhang)
                x += width
            self._tops[part.name] = y
            self.views[part.name].setGeometry(x, top, across, down)
            if part.columns_named:
                self._top[part.name].setVisible(has_tops)
                self._top[part.name].setGeometry(x - overhang, y + roof, across + 2 * overhang, ruler_height)
            x += across
        for ruler in (*self._left.values(), *self._top.values()):
            ruler.lower()

    def sizeHint(self) -> QSize:
        return QSize(theme.em(self, 42), theme.em(self, 26))

    def minimumSizeHint(self) -> QSize:
        return QSize(theme.em(self, 30), 2 * (self._lettering.roof() + theme.em(self, 5)))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._lay_out()

    # --- words

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        for term in self.terms:
            view = self.views[term.name]
            area = QRect(view.x(), self._tops[term.name], view.width(), self._lettering.roof())
            self._lettering.paint_title(painter, area, term, view.shape)
        for area, sign in self._signs:
            self._lettering.paint_sign(painter, area, sign)

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            text = self.tip_at(event.pos())
            if text:
                QToolTip.showText(event.globalPos(), text, self)
            else:
                QToolTip.hideText()
            return True
        return super().event(event)

    def tip_at(self, position: QPoint) -> str:
        """The sentence about a sign, or about a matrix whose title is pointed at."""
        for area, sign in self._signs:
            if area.contains(position):
                return sign.tip
        for term in self.terms:
            view, top = self.views[term.name], self._tops[term.name]
            if QRect(view.x(), top, view.width(), self._lettering.roof()).contains(position):
                return view.accessibleDescription()
        return ""

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if self._formula is None:
            return
        if event.type() == QEvent.Type.PaletteChange:
            self._draw()
        elif event.type() == QEvent.Type.FontChange:
            self._lay_out()
