"""The Try page: ask the loaded model whatever it can be asked, by the records of its predictions.

Fields come from a prediction's inputs, the view from the type of its output, the options from its dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QApplication, QStackedWidget, QVBoxLayout, QWidget

from lmstudio_app.errors import UserError
from lmstudio_app.gui import theme
from lmstudio_app.gui.forms import DataclassForm
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import model_title
from lmstudio_app.gui.try_queries import (
    Question,
    Reply,
    Study,
    Trained,
    ask_model,
    newest_trained,
    study_model,
)
from lmstudio_app.gui.widgets.answer_bar import duration_of_answer
from lmstudio_app.gui.widgets.empty_state import EmptyState
from lmstudio_app.gui.widgets.task_chooser import task_text
from lmstudio_app.gui.widgets.try_inputs import InputFields
from lmstudio_app.gui.widgets.try_panes import AnswerPane, QuestionPane, fill_with_cards
from lmstudio_app.gui.widgets.try_views import make_view
from lmstudio_app.tasks import PREDICTIONS, Prediction, find_task
from lmstudio_app.tasks.chat_templates import DEFAULT_CHAT_TEMPLATE
from lmstudio_app.tasks.fill_mask import FILL_MASK
from lmstudio_app.tasks.zero_shot import ZERO_SHOT

OFFERED = 5  # trained models, one a task
REMEMBERED = 50  # models whose choice is kept
LONGEST = 20_000  # characters of a text that the settings keep
HARD_STOP = 100  # milliseconds that a stopped answer has to end where it is, before it is dropped


@dataclass(frozen=True)
class _Kit:
    """What one prediction needs on the page."""

    prediction: Prediction
    fields: InputFields
    form: DataclassForm
    view: Any


class TryTab(QWidget):
    load_requested = Signal(str)  # a model's folder or reference
    step_requested = Signal(str)  # name of the page to go to

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._settings = services.settings
        self._model: Any = None
        self._possible: tuple[Prediction, ...] = ()
        self._kits: dict[str, _Kit] = {}
        self._kit: _Kit | None = None
        self._study = Study()
        self._may_switch = False  # may what is known of the model's training still choose the prediction?
        self._trained: list[Trained] = []
        self._handle: JobHandle | None = None
        self._looking: JobHandle | None = None
        self._studying: JobHandle | None = None
        self._stop_timer = QTimer(self)
        self._stop_timer.setSingleShot(True)
        self._stop_timer.setInterval(HARD_STOP)
        self._stop_timer.timeout.connect(self._on_stop_overdue)
        self._build()
        self._show_state()

    # --- what others use

    def set_model(self, loaded: Any) -> None:
        """Ask another model from now on; one that can be asked nothing shows what to do instead."""
        self._drop_question()
        self._model = loaded
        self._study = Study()
        self._possible = possible_predictions(loaded)
        self.answer.forget_answers()
        for kit in self._kits.values():
            kit.view.clear()
            if kit.fields.is_conversation:
                kit.fields.start_over()
        self._show_state()
        if self._possible:
            self.question.set_predictions(self._possible)
            self.choose((self._remembered() or best_prediction(loaded, self._possible)).name, remember=False)
            self._may_switch = self._remembered() is None
            self._studying = handle = self._services.query_runner.start(study_model, loaded, quiet=True)
            handle.succeeded.connect(lambda study: self._on_studied(handle, study))
        else:
            self._look_for_trained()

    def choose(self, name: str, *, remember: bool = True) -> None:
        """Ask the model for this prediction; one that it cannot be asked for is passed over."""
        prediction = next((item for item in self._possible if item.name == name), None)
        if prediction is None:
            return
        self._drop_question()
        self._kit = kit = self._kit_for(prediction)
        if remember:
            self._may_switch = False
            chosen = {key: value for key, value in self._chosen().items() if key != self._model.reference}
            chosen = dict([*chosen.items(), (self._model.reference, name)][-REMEMBERED:])
            self._settings.set("try.chosen", chosen)
        is_gap = name == FILL_MASK.name
        self.question.show_prediction(
            prediction, kit.fields, kit.form, can_insert=is_gap, can_start_over=kit.fields.is_conversation
        )
        self.question.set_samples(self._study.samples.get(name, []))
        self.answer.show_prediction(prediction, kit.view)
        self.question.history.show_for(tuple(item.name for item in self._possible))

    @property
    def prediction(self) -> Prediction | None:
        """What the model is asked for."""
        return self._kit.prediction if self._kit is not None and self._possible else None

    @property
    def fields(self) -> InputFields | None:
        return self._kit.fields if self._kit is not None else None

    @property
    def view(self) -> Any:
        return self._kit.view if self._kit is not None else None

    @property
    def busy(self) -> bool:
        return self._handle is not None

    def ask(self, inputs: Mapping[str, Any] | None = None, *, keep: bool = True) -> None:
        """Ask about ``inputs``, or about what is in the fields; a question that still runs is dropped.

        ``keep``: the question goes into the list of those asked before.
        """
        kit = self._kit
        if kit is None or self._model is None:
            return
        self._drop_question()
        self.answer.clear_problem()
        try:
            if inputs is None:
                inputs = kit.fields.inputs()
            options = kit.form.config("options")
        except UserError as error:
            self._show_problem(error)
            return
        self._may_switch = False
        question = Question(self._model, kit.prediction, dict(inputs), options)
        handle = self._services.query_runner.start(ask_model, question, title=self.tr("Asking the model"), quiet=True)
        self._handle = handle
        kit.view.begin(question.inputs)
        if kit.fields.is_conversation:
            self.answer.set_answered(kit.view, True)
        if keep:  # a question that fails is no question to keep
            for ended in (handle.succeeded, handle.cancelled):
                ended.connect(lambda *_: self._keep(handle, question))
        handle.succeeded.connect(lambda reply: self._on_reply(handle, kit, question, reply))
        handle.failed.connect(lambda error: self._on_failed(handle, kit, error))
        handle.cancelled.connect(lambda: self._on_cancelled(handle, kit))
        handle.finished.connect(lambda: self._on_finished(handle))
        self._show_busy()

    def stop(self) -> None:
        """End the answer: where it is, if it can end in the middle; else it is dropped a moment later."""
        if self._handle is not None:
            self._handle.stop()
            self._stop_timer.start()
            self._show_busy()

    def shutdown(self) -> None:
        self._looking = self._studying = None
        self._drop_question()

    # --- building

    def _build(self) -> None:
        self.question = QuestionPane(self._settings, self)
        self.answer = AnswerPane(self)
        work = QWidget(self)
        self.splitter = fill_with_cards(work, self.question, self.answer, self._settings, "try.splitter")
        self.question.prediction_chosen.connect(self.choose)
        self.question.ask_requested.connect(lambda: self.ask())
        self.question.stop_requested.connect(self.stop)
        self.question.insert_requested.connect(self._on_insert)
        self.question.start_over_requested.connect(self._on_start_over)
        self.question.inputs_chosen.connect(self._on_inputs_chosen)
        self.question.model_requested.connect(lambda: self.step_requested.emit("model"))
        self.answer.copy_requested.connect(self._on_copy)
        self.answer.insert_requested.connect(self._on_insert)
        self.empty = EmptyState(self)
        self._stack = QStackedWidget(self)
        self._stack.addWidget(self.empty)
        self._stack.addWidget(work)
        layout = QVBoxLayout(self)
        pad = theme.em(self, 0.9)
        layout.setContentsMargins(pad, pad, pad, theme.em(self, 0.6))
        layout.addWidget(self._stack)

    def _kit_for(self, prediction: Prediction) -> _Kit:
        name = prediction.name
        if name not in self._kits:
            fields = InputFields(prediction, self.question)
            form = DataclassForm({"options": prediction.options}, parent=self.question)
            remembered = self._settings.get(f"try.options.{name}", {})
            form.set_values(remembered if isinstance(remembered, dict) else {})
            form.changed.connect(lambda: self._settings.set(f"try.options.{name}", form.values()))
            view = make_view(prediction, self.answer)
            view.again.connect(self._on_again)
            fields.submitted.connect(lambda: self.ask())
            typed = self._settings.get(f"try.inputs.{name}", {})
            if isinstance(typed, dict) and not fields.is_conversation:
                fields.set_inputs({key: str(value) for key, value in typed.items()})
            fields.changed.connect(lambda: self._remember(name, fields))
            self._kits[name] = _Kit(prediction, fields, form, view)
        return self._kits[name]

    def _remember(self, name: str, fields: InputFields) -> None:
        if not fields.is_conversation:
            texts = {key: edit.toPlainText()[:LONGEST] for key, edit in fields.edits.items()}
            self._settings.set(f"try.inputs.{name}", texts)

    # --- state

    def _chosen(self) -> dict[str, Any]:
        """Names of predictions by the reference of the model they were chosen for."""
        known = self._settings.get("try.chosen", {})
        return known if isinstance(known, dict) else {}

    def _remembered(self) -> Prediction | None:
        """What was chosen for this model last."""
        name = self._chosen().get(self._model.reference)
        return next((item for item in self._possible if item.name == name), None)

    def _show_state(self) -> None:
        if self._possible:
            self._stack.setCurrentIndex(1)
            self.question.set_model(model_title(self._model))
            return
        self._stack.setCurrentWidget(self.empty)
        self.empty.clear_buttons()
        if self._model is None:
            self.empty.set_texts(
                self.tr("Load a model first"),
                self.tr("This page asks a model whatever it was trained for: to fill gaps, to answer, to write."),
            )
        else:
            self.empty.set_texts(
                self.tr("This model cannot be asked anything yet"),
                self.tr("{name} reads text, but has not learned to say anything. Train it for a task first.").format(
                    name=model_title(self._model)
                ),
            )
        for run in self._trained:
            self.empty.offer(
                self.tr("Load {title}").format(title=run.title),
                self.tr("Your newest model for this task: {task}").format(task=task_text(find_task(run.task).title)),
                partial(self.load_requested.emit, str(run.folder)),
            )
        if self._model is not None:
            self._add_step("train", self.tr("Train this model"), self.tr("Go to the Train page"))
        self._add_step("model", self.tr("Choose a model"), self.tr("Go to the Model page"))

    def _add_step(self, step: str, text: str, tip: str) -> None:
        self.empty.offer(text, tip, lambda: self.step_requested.emit(step))

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._possible:
            self._look_for_trained()

    def _look_for_trained(self) -> None:
        """Offer what was trained here. Folders are read, so not in the window's thread."""
        self._looking = handle = self._services.query_runner.start(newest_trained, OFFERED, quiet=True)
        handle.succeeded.connect(lambda trained: self._on_trained(handle, trained))

    def _on_trained(self, handle: JobHandle, trained: list[Trained]) -> None:
        if handle is self._looking and trained != self._trained:
            self._trained = trained
            self._show_state()

    def _on_studied(self, handle: JobHandle, study: Study) -> None:
        if handle is not self._studying or self._kit is None:
            return
        self._study = study
        own = next((item for item in PREDICTIONS if item.name in study.trained_for and item in self._possible), None)
        if self._may_switch and own is not None and own is not self.prediction:
            self.choose(own.name, remember=False)
        self.question.set_samples(study.samples.get(self._kit.prediction.name, []))

    # --- asking

    def _on_again(self, inputs: Mapping[str, Any], into_fields: bool) -> None:
        if into_fields and self._kit is not None:
            self._kit.fields.set_inputs(inputs)
        self.ask(inputs, keep=False)

    def _on_inputs_chosen(self, name: str, inputs: Mapping[str, Any]) -> None:
        """A sample or an older question: into the fields, and asked."""
        if self._kit is None or name != self._kit.prediction.name:
            self.choose(name)
        if self._kit is not None and self._kit.prediction.name == name:
            mask = self._model.tokenizer.mask_token if name == FILL_MASK.name else None
            if mask:
                inputs = {key: value.replace("[MASK]", mask) for key, value in inputs.items()}
            self._kit.fields.set_inputs(inputs)
            self.ask()

    def _on_insert(self) -> None:
        if self._kit is not None:
            self.answer.clear_problem()
            self._kit.fields.insert(self._model.tokenizer.mask_token or "[MASK]")

    def _on_start_over(self) -> None:
        if self._kit is not None:
            self._drop_question()
            self._kit.fields.start_over()
            self._kit.view.clear()
            self.answer.set_answered(self._kit.view, False)
            self.answer.clear_problem()
            self._kit.fields.focus_first()

    def _on_copy(self) -> None:
        if self._kit is not None:
            QApplication.clipboard().setText(self._kit.view.copied_text())

    def _drop_question(self) -> None:
        self._stop_timer.stop()
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.cancel()
            if self._kit is not None and self._kit.fields.is_conversation:
                self._clear_answer(self._kit)  # it waits for an answer that will not come
        self._show_busy()

    def _on_stop_overdue(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _show_busy(self) -> None:
        stopping = self._handle is not None and self._handle.stopping
        self.question.set_busy(self.busy, stopping=stopping)
        self.answer.set_busy(self.busy)

    # --- answers

    def _on_reply(self, handle: JobHandle, kit: _Kit, question: Question, reply: Reply) -> None:
        if handle is not self._handle:
            return
        kit.view.show_reply(question.inputs, reply)
        self.answer.set_answered(kit.view, True)
        if kit.fields.is_conversation:
            kit.fields.accept_answer(question.inputs, reply.output.text)
        self.answer.set_time(duration_of_answer(reply.seconds))

    def _keep(self, handle: JobHandle, question: Question) -> None:
        if handle is self._handle:
            self.question.history.add(question.prediction.name, question.inputs)

    def _on_failed(self, handle: JobHandle, kit: _Kit, error: UserError) -> None:
        if handle is self._handle:
            self._clear_answer(kit)
            self._show_problem(error)

    def _on_cancelled(self, handle: JobHandle, kit: _Kit) -> None:
        if handle is self._handle:
            self._clear_answer(kit)
            self.answer.set_time(self.tr("Stopped"))

    def _clear_answer(self, kit: _Kit) -> None:
        """No answer has come; an older one belongs to another question. What was said in a conversation stays."""
        kit.view.clear()
        if kit.fields.is_conversation:
            kit.view.show_turns(kit.fields.turns)
        self.answer.set_answered(kit.view, bool(kit.fields.turns))

    def _on_finished(self, handle: JobHandle) -> None:
        if handle is self._handle:
            self._handle = None
            self._stop_timer.stop()
            self._show_busy()

    def _show_problem(self, error: UserError) -> None:
        can_insert = self._kit is not None and self._kit.prediction.name == FILL_MASK.name
        self.answer.show_problem(error, can_insert=can_insert)
        names = (
            [name for name in self._kit.form.values() if name.partition(".")[2] in error.remedy] if self._kit else []
        )
        if names and self._kit is not None:  # the remedy is an option
            self.question.options.set_open(True)
            self._kit.form.editor(names[0]).setFocus()


def possible_predictions(loaded: Any) -> tuple[Prediction, ...]:
    """What a model can be asked, by its head."""
    if loaded is None:
        return ()
    return tuple(
        item
        for item in PREDICTIONS
        if loaded.head in item.heads
        and (item.name != FILL_MASK.name or loaded.tokenizer.mask_token is not None)
        and item.name != ZERO_SHOT.name  # the Sentiment page is where labels are one's own
    )


def best_prediction(loaded: Any, possible: tuple[Prediction, ...]) -> Prediction:
    """The one to begin with: a model with a chat template is there for chats, another writer for going on."""
    by_name = {item.name: item for item in possible}
    # the default one was put there by us, perhaps only because somebody has tried to chat
    talks = loaded.tokenizer.chat_template not in (None, DEFAULT_CHAT_TEMPLATE)
    preferred = "chat" if talks else "next_token"
    return by_name.get(preferred, possible[0])
