"""The two halves of the Try page: the question with all that belongs to it, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from lmstudio_app.errors import UserError
from lmstudio_app.gui import dialogs, theme
from lmstudio_app.gui.splitters import keep_sizes
from lmstudio_app.gui.text import error_texts
from lmstudio_app.gui.try_queries import Sample
from lmstudio_app.gui.try_texts import answer_title, explanation, prediction_help, prediction_title
from lmstudio_app.gui.widgets.buttons import make_button
from lmstudio_app.gui.widgets.disclosure import Disclosure
from lmstudio_app.gui.widgets.elided_label import ElidedLabel
from lmstudio_app.gui.widgets.notice import Notice
from lmstudio_app.gui.widgets.quiet_combo import QuietCombo
from lmstudio_app.gui.widgets.sample_list import SampleList
from lmstudio_app.gui.widgets.scaled_label import Heading, Hint
from lmstudio_app.gui.widgets.try_history import QuestionHistory
from lmstudio_app.settings import Settings
from lmstudio_app.tasks import PREDICTIONS, Prediction


def fill_with_cards(page: QWidget, left: QWidget, right: QWidget, settings: Settings, key: str) -> QSplitter:
    """Two cards beside each other, with a handle whose place is remembered."""
    splitter = QSplitter(Qt.Orientation.Horizontal, page)
    splitter.setChildrenCollapsible(False)
    splitter.setHandleWidth(theme.em(page, 0.5))
    for index, card in enumerate((left, right)):
        splitter.addWidget(card)
        splitter.setStretchFactor(index, 1)
    keep_sizes(splitter, settings, key, (900, 1000))
    layout = QVBoxLayout(page)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(splitter)
    return splitter


def _title_of(name: str) -> str:
    return next((prediction_title(item) for item in PREDICTIONS if item.name == name), name)


class QuestionPane(QFrame):
    """What the model is asked for, the fields, examples, options, and what was asked before."""

    prediction_chosen = Signal(str)
    ask_requested = Signal()
    stop_requested = Signal()
    insert_requested = Signal()
    start_over_requested = Signal()
    model_requested = Signal()
    inputs_chosen = Signal(str, object)  # name of the prediction, inputs

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._settings = settings
        self._name = ""
        self._build()

    def _build(self) -> None:
        self._model_line = ElidedLabel(self)
        self._model_line.setForegroundRole(self._model_line.palette().ColorRole.PlaceholderText)
        self.other_button = make_button(self.tr("Use another model"), self.tr("Go to the Model page"), self)
        self.other_button.clicked.connect(self.model_requested)
        header = QHBoxLayout()
        header.addWidget(self._model_line, 1)
        header.addWidget(self.other_button)
        self.combo = QuietCombo(self.tr("Ask it to"), self.tr("What this model can be asked"), self)
        self.combo.activated.connect(lambda index: self.prediction_chosen.emit(self.combo.itemData(index)))
        self._help = Hint("", self)
        self.ask_button = make_button(self.tr("Ask"), self.tr("Ask the model (Ctrl+Enter)"), self)
        self.ask_button.setProperty("primary", True)
        self.ask_button.clicked.connect(self.ask_requested)
        self.stop_button = make_button(self.tr("Stop"), self.tr("End the answer now"), self)
        self.stop_button.clicked.connect(self.stop_requested)
        self.insert_button = make_button(
            self.tr("Insert a mask"), self.tr("Put a gap where the cursor stands, in place of what is selected"), self
        )
        self.insert_button.clicked.connect(self.insert_requested)
        self.over_button = make_button(
            self.tr("New conversation"), self.tr("Forget what was said and begin anew"), self
        )
        self.over_button.clicked.connect(self.start_over_requested)
        buttons = QHBoxLayout()
        for button in (self.ask_button, self.stop_button):
            buttons.addWidget(button)
        buttons.addStretch(1)
        for button in (self.insert_button, self.over_button):
            buttons.addWidget(button)
        self._fields = QStackedWidget(self)
        self._samples = SampleList(self)
        self._samples.chosen.connect(lambda inputs: self.inputs_chosen.emit(self._name, inputs))
        self.options = Disclosure(self.tr("Options"), self.tr("How the model is asked"), self)
        self.options.set_open(bool(self._settings.get("try.options_open", False)))
        self.options.toggled.connect(lambda is_open: self._settings.set("try.options_open", is_open))
        self._forms = QStackedWidget(self.options.body)
        forms = QVBoxLayout(self.options.body)
        forms.setContentsMargins(0, 0, 0, 0)
        forms.addWidget(self._forms)
        inside = QWidget(self)
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, theme.em(self, 0.3), 0)
        column.setSpacing(theme.em(self, 0.5))
        column.addWidget(self._fields)
        column.addLayout(buttons)
        column.addWidget(self._samples)
        column.addWidget(self.options)
        column.addStretch(1)
        self.scroll = QScrollArea(self)
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setWidget(inside)
        self.scroll.viewport().setAutoFillBackground(False)
        inside.setAutoFillBackground(False)  # setWidget switched it on
        before = QLabel(self.tr("Asked before"), self)
        before.setForegroundRole(before.palette().ColorRole.PlaceholderText)
        self.history = QuestionHistory(self._settings, _title_of, self)
        self.history.asked.connect(self.inputs_chosen)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.8)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.4))
        layout.addLayout(header)
        layout.addWidget(self.combo)
        layout.addWidget(self._help)
        layout.addWidget(self.scroll, 3)
        layout.addWidget(before)
        layout.addWidget(self.history, 1)

    def set_model(self, name: str) -> None:
        self._model_line.setText(self.tr("Model: {name}").format(name=name))

    def set_predictions(self, predictions: Sequence[Prediction]) -> None:
        self.combo.clear()
        for prediction in predictions:
            self.combo.addItem(prediction_title(prediction), prediction.name)
            self.combo.setItemData(self.combo.count() - 1, prediction_help(prediction), Qt.ItemDataRole.ToolTipRole)

    def show_prediction(
        self, prediction: Prediction, fields: QWidget, form: QWidget, *, can_insert: bool, can_start_over: bool
    ) -> None:
        self._name = prediction.name
        self.combo.choose(prediction.name)
        self._help.setText(prediction_help(prediction))
        for stack, page in ((self._fields, fields), (self._forms, form)):
            if stack.indexOf(page) < 0:
                stack.addWidget(page)
            stack.setCurrentWidget(page)
            _fit_to_page(stack)
        self.insert_button.setVisible(can_insert)
        self.over_button.setVisible(can_start_over)
        self.ask_button.setText(self.tr("Send") if can_start_over else self.tr("Ask"))
        self.ask_button.setAccessibleName(self.ask_button.text())
        self.scroll.verticalScrollBar().setValue(0)

    @property
    def samples(self) -> list[QPushButton]:
        return self._samples.buttons

    def set_samples(self, samples: Sequence[Sample]) -> None:
        self._samples.set_samples(samples)

    def set_busy(self, busy: bool, *, stopping: bool) -> None:
        self.stop_button.setEnabled(busy and not stopping)


def _fit_to_page(stack: QStackedWidget) -> None:
    """A stack is as large as its largest page; let it be as large as the one that is shown."""
    for index in range(stack.count()):
        policy = QSizePolicy.Policy.Preferred if index == stack.currentIndex() else QSizePolicy.Policy.Ignored
        stack.widget(index).setSizePolicy(QSizePolicy.Policy.Preferred, policy)
    stack.adjustSize()


class AnswerPane(QFrame):
    """What the model says, what it means, and how long it took; or what is wrong with the question."""

    copy_requested = Signal()
    insert_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self._error: UserError | None = None
        self._title = Heading("", self, scale=1.1)
        self.time = QLabel(self)
        self.time.setForegroundRole(self.time.palette().ColorRole.PlaceholderText)
        self.time.setToolTip(self.tr("How long the model took, from the question to the answer"))
        self.copy_button = make_button(self.tr("Copy"), self.tr("Copy the answer"), self)
        self.copy_button.clicked.connect(self.copy_requested)
        self._explanation = Hint("", self)
        self.notice = Notice(self)
        self.insert_button = make_button(self.tr("Insert a mask"), self.tr("Put a gap into the text"), self)
        self.insert_button.clicked.connect(self.insert_requested)
        self.details_button = make_button(
            self.tr("Details"), self.tr("The technical side of it, for a bug report"), self
        )
        self.details_button.clicked.connect(self._on_details)
        self._view: Any = None
        self._answered: list[Any] = []  # the views that have something to show
        self.blank = QLabel(self.tr("Ask something, or take an example. The answer comes here."), self)
        self.blank.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.blank.setWordWrap(True)
        self.blank.setForegroundRole(self.blank.palette().ColorRole.PlaceholderText)
        self._views = QStackedWidget(self)
        self._views.addWidget(self.blank)
        header = QHBoxLayout()
        header.addWidget(self._title, 1)
        header.addWidget(self.time)
        header.addWidget(self.copy_button)
        ways = QHBoxLayout()
        ways.addWidget(self.insert_button)
        ways.addWidget(self.details_button)
        ways.addStretch(1)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.8)
        layout.setContentsMargins(pad, pad, pad, pad)
        layout.setSpacing(theme.em(self, 0.5))
        layout.addLayout(header)
        layout.addWidget(self._explanation)
        layout.addWidget(self.notice)
        layout.addLayout(ways)
        layout.addWidget(self._views, 1)
        self.clear_problem()

    def show_prediction(self, prediction: Prediction, view: Any) -> None:
        self._title.setText(answer_title(prediction.name))
        text = explanation(prediction.name)
        self._explanation.setText(text)
        self._explanation.setVisible(bool(text))
        if self._views.indexOf(view) < 0:
            self._views.addWidget(view)
        self._view = view
        self.clear_problem()
        self.time.clear()
        self._settle()

    def set_answered(self, view: Any, answered: bool) -> None:
        """Has this view something to show? Until it has, there is a line that says how to get it."""
        self._answered = [item for item in self._answered if item is not view] + [view] * answered
        self._settle()

    def forget_answers(self) -> None:
        """Nothing has been answered yet."""
        self._answered = []
        self._settle()

    def show_problem(self, error: UserError, *, can_insert: bool) -> None:
        """Message and remedy in place of an answer; the details where something else went wrong than the question."""
        self._error = error
        self.notice.set_text(" ".join(text for text in error_texts(error) if text))
        self.insert_button.setVisible(can_insert)
        # an error that was raised as it is says all; one that was made of another exception has more to tell
        self.details_button.setVisible(bool(error.details) and error.__traceback__ is None)
        self.time.clear()
        self._settle()

    def clear_problem(self) -> None:
        self._error = None
        self.notice.set_text("")
        self.insert_button.hide()
        self.details_button.hide()

    def set_time(self, text: str) -> None:
        self.time.setText(text)
        self._settle()

    def set_busy(self, busy: bool) -> None:
        if busy:
            self.time.setText(self.tr("Thinking…"))
        self._settle()

    def _settle(self) -> None:
        answered = any(item is self._view for item in self._answered)
        self._views.setCurrentWidget(self._view if answered else self.blank)
        self.copy_button.setEnabled(answered and bool(self._view.copied_text()))

    def _on_details(self) -> None:
        if self._error is not None:
            dialogs.show_error(self, self._error)
