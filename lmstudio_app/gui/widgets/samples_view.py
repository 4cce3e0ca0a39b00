"""What the model writes for a few evaluation rows, beside what it should; a slider goes back to earlier evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRectF, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPalette, QTextLayout
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPlainTextEdit,
    QSlider,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.gui import theme
from lmstudio_app.gui.sample_history import Sample, SampleHistory
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.row_height import RowHeight

_Index = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()
_LINES = 2  # of a row
_SHOWN = 300  # characters of a cell; the whole text is below the table


class SamplesModel(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._rows: tuple[Sample, ...] = ()
        self._titles = (self.tr("Input"), self.tr("Reference"), self.tr("The model writes"))
        self._tips = (
            self.tr("A row of the evaluation set, which it never learns from"),
            self.tr("What the data says is right"),
            self.tr("What the model made of it after the chosen step"),
        )

    def set_rows(self, rows: Sequence[Sample]) -> None:
        rows = tuple(rows)
        if len(rows) == len(self._rows):  # another step: the selection and the scroll bar stay
            self._rows = rows
            if rows:
                self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, 2))
            return
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()

    def sample(self, row: int) -> Sample:
        return self._rows[row]

    def rowCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: _Index = _ROOT) -> int:
        return 0 if parent.isValid() else len(self._titles)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return self._titles[section]
            if role == Qt.ItemDataRole.ToolTipRole:
                return self._tips[section]
            if role == Qt.ItemDataRole.TextAlignmentRole:
                return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self._rows[index.row()]
        text = (row.input, row.reference, row.output)[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return " ".join(text[:_SHOWN].split()) + ("…" if len(text) > _SHOWN else "")
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{self._titles[index.column()]}: {text[:_SHOWN]}"
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop
        return None


class WholeLines(QStyledItemDelegate):
    """Whole lines of a text, the last one with an ellipsis where there would be more."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        self.initStyleOption(option, index)
        text, option.text = option.text, ""
        style = option.widget.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, option, painter, option.widget)
        is_chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        role = QPalette.ColorRole.HighlightedText if is_chosen else QPalette.ColorRole.Text
        painter.save()
        painter.setFont(option.font)
        painter.setPen(option.palette.color(role))
        margin = style.pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin) + 1
        room = QRectF(option.rect).adjusted(margin, 0, -margin, 0)
        shown, height = _wrap(text, option.font, room.width(), _LINES)
        top = room.top() + (room.height() - len(shown) * height) / 2
        flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextDontClip
        for number, line in enumerate(shown):
            area = QRectF(room.left(), top + number * height, room.width(), height)
            painter.drawText(area, flags | Qt.TextFlag.TextSingleLine, line)
        painter.restore()


def _wrap(text: str, font: QFont, width: float, most: int) -> tuple[list[str], float]:
    """The first ``most`` lines of a text, and the height that each needs."""
    layout = QTextLayout(text, font)
    layout.beginLayout()
    found: list[str] = []
    height = QFontMetricsF(font).height()
    while len(found) < most and (line := layout.createLine()).isValid():
        line.setLineWidth(width)
        height = max(height, line.height())  # scripts whose font is a higher one
        end = line.textStart() + line.textLength()
        found.append(text[line.textStart() : end])
        if len(found) == most and end < len(text):
            found[-1] = QFontMetricsF(font).elidedText(text[line.textStart() :], Qt.TextElideMode.ElideRight, width)
    layout.endLayout()
    return found, height


class SamplesView(QWidget):
    """A table of the samples, the chosen one in full below, and a slider over the evaluations that are kept."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._history = SampleHistory()
        self._steps: tuple[int, ...] = ()
        self._follows = True  # the slider stays at the newest evaluation until it is moved
        self.samples = SamplesModel(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(self._build_chooser())
        self.table = self._build_table()
        layout.addWidget(self.table, 3)
        layout.addLayout(self._build_details(), 2)

    def _build_chooser(self) -> QHBoxLayout:
        self.slider = QSlider(Qt.Orientation.Horizontal, self)
        self.slider.setAccessibleName(self.tr("Evaluation"))
        self.slider.setToolTip(self.tr("Go back to earlier evaluations and see how the outputs have changed"))
        self.slider.setTickPosition(QSlider.TickPosition.TicksBelow)
        self.slider.setPageStep(1)
        self.slider.valueChanged.connect(self._on_moved)
        self.moment = QLabel(self)
        self.moment.setMinimumWidth(theme.characters(self, 18))
        label = QLabel(self.tr("Written after"), self)
        label.setBuddy(self.slider)
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self.moment)
        row.addWidget(self.slider, 1)
        return row

    def _build_table(self) -> QTableView:
        table = QTableView(self)
        table.setModel(self.samples)
        table.setAccessibleName(self.tr("What the model writes"))
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setAlternatingRowColors(True)
        table.setShowGrid(False)
        table.setItemDelegate(WholeLines(table))
        table.setTabKeyNavigation(False)
        table.setFrameShape(QFrame.Shape.NoFrame)
        table.setMinimumHeight(theme.em(self, 7))
        table.verticalHeader().hide()
        RowHeight(table, _LINES + 0.8)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        table.selectionModel().currentRowChanged.connect(lambda: self._show_details())
        return table

    def _build_details(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(theme.em(self, 0.5))
        grid.setVerticalSpacing(theme.em(self, 0.1))
        self.details: list[QPlainTextEdit] = []
        titles = (self.tr("Input"), self.tr("Reference"), self.tr("The model writes"))
        for column, title in enumerate(titles):
            caption = QLabel(title, self)
            caption.setForegroundRole(QPalette.ColorRole.PlaceholderText)
            text = QPlainTextEdit(self)
            text.setReadOnly(True)
            text.setTabChangesFocus(True)
            text.setAccessibleName(self.tr("{title}, in full").format(title=title))
            text.setToolTip(self.tr("The chosen row in full"))
            text.setMinimumHeight(theme.em(self, 3.5))
            caption.setBuddy(text)
            grid.addWidget(caption, 0, column)
            grid.addWidget(text, 1, column)
            grid.setColumnStretch(column, 1)
            self.details.append(text)
        return grid

    def set_history(self, history: SampleHistory) -> None:
        """Show a run's samples; called again when there are more, the slider stays where somebody has put it."""
        if history is not self._history:
            self._history, self._follows = history, True
        shown = self.step
        self._steps = history.steps
        index = len(self._steps) - 1
        if not self._follows and shown is not None and self._steps:
            index = min(range(len(self._steps)), key=lambda number: abs(self._steps[number] - shown))
        self.slider.blockSignals(True)
        self.slider.setRange(0, max(0, len(self._steps) - 1))
        self.slider.setValue(max(0, index))
        self.slider.blockSignals(False)
        self.slider.setEnabled(len(self._steps) > 1)
        self._show()

    @property
    def step(self) -> int | None:
        """The optimizer step whose evaluation is shown."""
        index = self.slider.value()
        return self._steps[index] if index < len(self._steps) else None

    def show_step(self, step: int) -> None:
        """Show the evaluation after ``step``, where it is kept."""
        if step in self._steps:
            self.slider.setValue(self._steps.index(step))

    def _on_moved(self, index: int) -> None:
        self._follows = index == self.slider.maximum()
        self._show()

    def _show(self) -> None:
        step = self.step
        rows = self._history.at(step) if step is not None else ()
        self.moment.setText(self.tr("step {step}").format(step=number_text(step)) if step is not None else "")
        self.slider.setAccessibleDescription(self.moment.text())
        has_reference = any(row.reference for row in rows)
        self.table.setColumnHidden(1, not has_reference)
        self.samples.set_rows(rows)
        if rows and not self.table.currentIndex().isValid():
            self.table.setCurrentIndex(self.samples.index(0, 0))
        self._show_details()

    def _show_details(self) -> None:
        row = self.table.currentIndex().row()
        texts = ("", "", "")
        if 0 <= row < self.samples.rowCount():
            sample = self.samples.sample(row)
            texts = (sample.input, sample.reference, sample.output)
        for edit, text in zip(self.details, texts, strict=True):
            if edit.toPlainText() != text:
                edit.setPlainText(text)
