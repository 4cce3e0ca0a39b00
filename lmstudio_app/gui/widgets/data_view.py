"""The right side of the Data page: what the data is, what is odd about it, its rows, its classes and lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSplitter, QStackedLayout, QVBoxLayout, QWidget

from lmstudio_app.data.catalog import bundled_data_sets
from lmstudio_app.data.problems import Problem, delimiter_name, encoding_name
from lmstudio_app.gui import theme
from lmstudio_app.gui.text import compact_number_text, number_text
from lmstudio_app.gui.widgets.arrow_table import ArrowTableView
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.gui.widgets.figures import FigureRow
from lmstudio_app.gui.widgets.problem_list import ProblemList
from lmstudio_app.gui.widgets.scaled_label import FontScale
from lmstudio_app.gui.widgets.task_chooser import task_text

if TYPE_CHECKING:
    from lmstudio_app.data.columns import ColumnSpec
    from lmstudio_app.data.reports import DataReport
    from lmstudio_app.data.sources import Table
    from lmstudio_app.gui.data_queries import TextLengths
    from lmstudio_app.gui.widgets.distribution_chart import ClassBalanceChart, LengthHistogram
    from lmstudio_app.settings import Settings

_MOST_LENGTHS = 3  # charts of text columns


class DataView(QWidget):
    fix_requested = Signal(str)
    line_requested = Signal(object)  # Problem
    files_requested = Signal()
    continue_requested = Signal()

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._report: DataReport | None = None
        self._kind = "labels"
        self._lengths: tuple[Sequence[TextLengths], bool] = ((), False)
        self._charts_wanted = False
        self.classes: ClassBalanceChart | None = None
        self.length_charts: list[LengthHistogram] = []
        heading = self._build_heading()  # built from top to bottom, so that the keyboard comes through in this order
        self.problem_list = ProblemList(self)
        self.problem_list.fix_requested.connect(self.fix_requested)
        self.problem_list.line_requested.connect(self.line_requested)
        self._stack_holder = QWidget(self)
        self._stack = QStackedLayout(self._stack_holder)
        self._stack.addWidget(self._build_empty())
        self._stack.addWidget(self._build_full())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(heading)
        layout.addWidget(self.problem_list)
        layout.addWidget(self._stack_holder, 1)

    def _build_heading(self) -> QHBoxLayout:
        self.title = ElidedLabel(self)
        FontScale(self.title, 1.25, QFont.Weight.DemiBold)
        self.detail = ElidedLabel(self)
        self.detail.setForegroundRole(self.detail.palette().ColorRole.PlaceholderText)
        self.continue_button = QPushButton(self.tr("Continue to Train"), self)
        self.continue_button.setProperty("primary", True)
        self.continue_button.setAccessibleName(self.tr("Continue to Train"))
        self.continue_button.setToolTip(self.tr("The next step: let a model learn from this data"))
        self.continue_button.clicked.connect(self.continue_requested)
        policy = self.continue_button.sizePolicy()
        policy.setRetainSizeWhenHidden(True)  # the titles must not jump
        self.continue_button.setSizePolicy(policy)
        self.continue_button.hide()
        titles = QVBoxLayout()
        titles.setSpacing(theme.em(self, 0.1))
        titles.addWidget(self.title)
        titles.addWidget(self.detail)
        layout = QHBoxLayout()
        layout.setSpacing(theme.em(self, 0.7))
        layout.addLayout(titles, 1)
        layout.addWidget(self.continue_button, 0, Qt.AlignmentFlag.AlignVCenter)
        return layout

    def _build_empty(self) -> QWidget:
        empty = EmptyState(self)
        empty.set_texts(
            self.tr("Nothing is open yet"),
            self.tr("Choose a bundled data set on the left, open a file, or drop one here."),
        )
        button = empty.add_button(self.tr("Open files…"), self.tr("CSV, TSV, JSON, Parquet or text"))
        button.clicked.connect(self.files_requested)
        return empty

    def _build_full(self) -> QWidget:
        full = QWidget(self)
        self._figure_rows = self._build_figures(full)
        self.preview = ArrowTableView(full)
        self.preview.setMinimumHeight(theme.em(self, 6))
        self._charts = QWidget(full)
        self._charts_layout = QHBoxLayout(self._charts)
        self._charts_layout.setContentsMargins(0, 0, 0, 0)
        self._charts_layout.setSpacing(theme.em(self, 0.5))
        self._charts.setMinimumHeight(theme.em(self, 8))
        self._placeholder = QLabel(self._charts)
        self._charts_layout.addWidget(self._placeholder, 1)
        self._splitter = QSplitter(Qt.Orientation.Vertical, full)
        self._splitter.addWidget(self.preview)
        self._splitter.addWidget(self._charts)
        self._splitter.setStretchFactor(0, 3)
        self._splitter.setStretchFactor(1, 1)
        self._splitter.setChildrenCollapsible(False)
        self._splitter.setHandleWidth(theme.em(self, 0.6))
        self._splitter.setSizes(self._settings.get("data.preview_splitter", [theme.em(self, 20), theme.em(self, 11)]))
        self._splitter.splitterMoved.connect(
            lambda: self._settings.set("data.preview_splitter", self._splitter.sizes())
        )
        layout = QVBoxLayout(full)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(theme.em(self, 0.5))
        for figures in self._figure_rows.values():
            layout.addWidget(figures)
        layout.addWidget(self._splitter, 1)
        return full

    def _build_figures(self, parent: QWidget) -> dict[str, FigureRow]:
        """A row of figures for data with labels, for other tables, and for running text."""
        train = ("train", self.tr("Training rows"), self.tr("Rows the model learns from"))
        evaluation = ("eval", self.tr("Evaluation rows"), self.tr("Rows that tell how good it is; never learnt from"))
        classes = ("classes", self.tr("Classes"), self.tr("Different labels in the training rows"))
        left_out = (
            "left_out",
            self.tr("Left out"),
            self.tr("Rows that did not fit, lacked a value, or were duplicates"),
        )
        duplicates = ("duplicates", self.tr("Duplicates"), self.tr("Training rows that repeat an earlier text"))
        leakage = (
            "leakage",
            self.tr("Leakage"),
            self.tr("Evaluation rows whose text is also in the training rows"),
        )
        documents = ("documents", self.tr("Documents"), self.tr("Texts that belong together, for training"))
        words = ("words", self.tr("Words"), self.tr("Words the model learns from"))
        kinds = {
            "labels": [train, evaluation, classes, left_out, duplicates, leakage],
            "table": [train, evaluation, left_out, duplicates, leakage],
            "running": [train, evaluation, documents, words, left_out, duplicates],
        }
        rows = {kind: FigureRow(specs, parent) for kind, specs in kinds.items()}
        for kind, row in rows.items():
            row.setVisible(kind == self._kind)
        return rows

    # --- what it is told

    @property
    def figures(self) -> FigureRow:
        """The row that suits the data."""
        return self._figure_rows[self._kind]

    @property
    def lengths(self) -> LengthHistogram | None:
        """The chart of the first text column."""
        return self.length_charts[0] if self.length_charts else None

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.problem_list.problems

    def set_usable(self, usable: bool) -> None:
        """Whether a training could use the data as it is."""
        self.continue_button.setVisible(usable)

    def show_problems(self, problems: Sequence[Problem]) -> None:
        self.problem_list.set_problems(problems)

    def show_table(self, table: Table, types: Mapping[str, str], uses: Mapping[str, ColumnSpec], title: str) -> None:
        """``uses`` says which input of the task a column feeds."""
        self.title.setText(title)
        self.detail.setText(self._describe(table))
        self.preview.set_table(table, types)
        self.set_uses(uses)
        self._stack.setCurrentIndex(1)
        self.show_report(None)
        if not self._charts_wanted:  # pyqtgraph was imported by the job that read the table
            self._charts_wanted = True
            QTimer.singleShot(0, self, self._build_classes)

    def _describe(self, table: Table) -> str:
        rows = number_text(len(table.dataset))
        entry = bundled_data_sets().get(table.source) if isinstance(table.source, str) else None
        if entry is not None:
            return self.tr("{rows} rows · {license} · {attribution}").format(
                rows=rows, license=entry.license, attribution=entry.attribution
            )
        facts = table.facts
        is_aligned = isinstance(table.source, Mapping)
        parts = [self.tr("aligned lines") if is_aligned else facts.get("format", "").upper()]
        if facts.get("encoding"):
            parts.append(encoding_name(facts["encoding"]))
        if facts.get("delimiter"):
            parts.append(self.tr("separated by {delimiter}").format(delimiter=delimiter_name(facts["delimiter"])))
        return self.tr("{rows} rows · {facts} · {path}").format(
            rows=rows, facts=", ".join(parts), path=table.parts[0].path
        )

    def set_uses(self, uses: Mapping[str, ColumnSpec]) -> None:
        self.preview.set_uses(
            {column: task_text(spec.title) for column, spec in uses.items()},
            {column: spec.type for column, spec in uses.items()},
        )
        types = {spec.type for spec in uses.values()}
        self._kind = "running" if "document" in types else "labels" if "label" in types else "table"
        for kind, row in self._figure_rows.items():
            row.setVisible(kind == self._kind)
        if self.classes is not None:
            self.classes.setVisible(self._kind == "labels")

    def show_report(self, report: DataReport | None) -> None:
        """None: not known (yet)."""
        self._report = report
        for row in self._figure_rows.values():
            row.set_values({})
        if report is None:
            return
        left_out = report.dropped + report.rejected + report.removed
        values = {
            "train": number_text(report.train_rows),
            "eval": number_text(report.eval_rows),
            "classes": number_text(len(report.train_balance)) if report.train_balance else "",
            "left_out": number_text(left_out),
            "duplicates": number_text(report.duplicates),
            "leakage": number_text(report.leakage),
        }
        if report.running is not None:
            values["documents"] = number_text(report.running.train_documents)
            values["words"] = compact_number_text(report.running.train_words)
        self.figures.set_values(values)
        if self.classes is not None:
            self.classes.set_balance(report.train_balance, report.eval_balance)

    def show_lengths(self, measured: Sequence[TextLengths], *, tokens: bool) -> None:
        """A chart a text column, at most a few."""
        self._lengths = (measured[:_MOST_LENGTHS], tokens)
        if self.length_charts:
            self._draw_lengths()

    def _draw_lengths(self) -> None:
        measured, tokens = self._lengths
        for number, chart in enumerate(self.length_charts):
            chart.setVisible(number < max(1, len(measured)))
            if number < len(measured):
                name = measured[number].title if len(measured) > 1 else ""
                chart.set_lengths(measured[number].lengths, tokens=tokens, name=name)
            else:
                chart.clear()
        if len(self.length_charts) < len(measured):
            QTimer.singleShot(0, self, self._build_lengths)

    # --- charts, built one after the other so that neither holds the window up

    def _build_classes(self) -> None:
        from lmstudio_app.gui.widgets.distribution_chart import ClassBalanceChart

        self._placeholder.hide()
        self.classes = ClassBalanceChart(self._charts)
        self.classes.setVisible(self._kind == "labels")
        self._charts_layout.addWidget(self.classes, 2)
        self.show_report(self._report)
        QTimer.singleShot(0, self, self._build_lengths)

    def _build_lengths(self) -> None:
        from lmstudio_app.gui.widgets.distribution_chart import LengthHistogram

        if len(self.length_charts) < max(1, len(self._lengths[0])):
            chart = LengthHistogram(self._charts)
            self.length_charts.append(chart)
            self._charts_layout.addWidget(chart, 3)
            self._draw_lengths()

    def shutdown(self) -> None:
        for chart in (self.classes, *self.length_charts):
            if chart is not None:
                chart.shutdown()
