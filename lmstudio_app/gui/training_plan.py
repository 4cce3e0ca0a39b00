"""What the Train page finds out while its form is edited: does the model fit, what would train, how texts are cut."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, Signal

from lmstudio_app.errors import UserError
from lmstudio_app.gui.job_runner import JobHandle
from lmstudio_app.gui.layer_planner import LayerPlanner
from lmstudio_app.gui.plan_queries import PlanAnswer, PlanRequest, VocabularyRequest, try_vocabulary
from lmstudio_app.gui.services import Services
from lmstudio_app.gui.text import error_texts, model_title
from lmstudio_app.gui.try_queries import read_probes
from lmstudio_app.gui.widgets.recipe_panel import RecipePanel
from lmstudio_app.gui.widgets.task_chooser import task_text


class TrainingPlan(QObject):
    """Keeps :class:`RecipePanel` up to date: its notice, its layer plan, the size and the vocabulary of a new model."""

    readiness_changed = Signal()

    def __init__(self, services: Services, panel: RecipePanel, parent: QObject) -> None:
        super().__init__(parent)
        self._services = services
        self._panel = panel
        self._model: Any = None
        self._data: Any = None
        self._trial: JobHandle | None = None
        self._sampling: JobHandle | None = None
        self.misfit: UserError | None = None
        self.answer: PlanAnswer | None = None
        self._planner = LayerPlanner(services.query_runner, self)
        self._planner.answered.connect(self._on_answered)
        self._planner.failed.connect(panel.plan.show_problem)
        panel.model_changed.connect(self._update)
        panel.changed.connect(self._show_plan)  # how many epochs there are decides what they reach
        panel.trial_requested.connect(self._on_trial_requested)
        panel.sample_requested.connect(self._on_sample_requested)

    def set_model(self, model: Any) -> None:
        self._model = model
        self._update()

    def set_data(self, selection: Any) -> None:
        self._data = selection
        if self._panel.new_model is not None:
            self._panel.new_model.trial.clear()  # it was learned from other texts
        self._update()

    @property
    def is_model_ready(self) -> bool:
        """Is there something to train that fits the task?"""
        if self._panel.is_new:
            return self._panel.new_model is not None and self._panel.new_model.problem is None
        return self._model is not None and self.misfit is None

    @property
    def is_idle(self) -> bool:
        """Does the panel show the plan of what it holds?"""
        return self._planner.is_idle

    def shutdown(self) -> None:
        self._planner.shutdown()
        for handle in (self._trial, self._sampling):
            if handle is not None:
                handle.cancel()

    # --- does it fit, and what would train

    def _update(self) -> None:
        self.answer = None
        panel, task = self._panel, self._panel.task
        self.misfit = None if panel.is_new else self._find_misfit()
        panel.show_misfit(self.misfit)
        panel.requirements.set_value("model", self._new_title() if panel.is_new else model_title(self._model))
        panel.requirements.buttons["model"].setEnabled(not panel.is_new)
        if panel.new_model is not None:
            panel.new_model.show_size(None)
            panel.new_model.trial.set_ready(self._data is not None, busy=self._trial is not None)
        source = self._source()
        try:
            strategy = panel.form.config("strategy")
        except UserError as error:
            source = None
            panel.plan.show_problem(error)
        else:
            if source is None:
                panel.plan.show_nothing(has_model=panel.is_new or self._model is not None)
        if source is None:
            self._planner.request(None)
        else:
            data = self._data.config if self._data is not None and self._data.task == task.name else None
            card = None if panel.is_new else self._model.card
            self._planner.request(PlanRequest(source, task, data, strategy, card))
        self.readiness_changed.emit()

    def _new_title(self) -> str:
        new = self._panel.new_model
        return new.config().title if new is not None and new.problem is None else self.tr("a new model")

    def _find_misfit(self) -> UserError | None:
        config = self._config()
        if config is None:
            return None
        from lmstudio_app.models.fitting import find_misfit

        task = self._panel.task
        return find_misfit(
            config, task.head, task=task_text(task.title), model=model_title(self._model),
            can_be_new=bool(task.families),
        )  # fmt: skip

    def _config(self) -> Any:
        """The loaded model's ``transformers.PretrainedConfig``."""
        return self._model.model.config if self._model is not None else None

    def _source(self) -> Any:
        """What a plan can be made for; None when there is nothing yet, or nothing that fits."""
        if not self._panel.is_new:
            return self._config() if self.misfit is None else None
        new = self._panel.new_model
        return new.config() if new is not None and new.problem is None else None

    def _on_answered(self, answer: PlanAnswer) -> None:
        self.answer = answer
        panel = self._panel
        if answer.problem is not None:
            panel.plan.show_problem(answer.problem)
        else:
            self._show_plan()
        if panel.new_model is not None and panel.is_new:
            panel.new_model.show_size(answer.parameters, answer.plan.trained if answer.plan is not None else None)

    def _show_plan(self) -> None:
        if self.answer is not None and self.answer.plan is not None and self._planner.is_idle:
            self._panel.plan.show_plan(self.answer.plan, float(self._panel.form.values()["training.epochs"]))

    # --- a sentence to watch

    def _on_sample_requested(self) -> None:
        if self._sampling is None:
            self._sampling = handle = self._services.query_runner.start(read_probes, self._panel.task, quiet=True)
            handle.succeeded.connect(self._on_samples)
            handle.finished.connect(self._on_sampled)

    def _on_samples(self, samples: list[tuple[str, str]]) -> None:
        form = self._panel.form
        texts = [text for text, _ in samples]
        before = form.values()["probe.text"]
        text, pair = samples[(texts.index(before) + 1) % len(samples) if before in texts else 0]
        form.set_values({"probe.text": text, "probe.pair": pair, "probe.target": ""})

    def _on_sampled(self) -> None:
        self._sampling = None

    # --- the vocabulary of a new model

    def _on_trial_requested(self) -> None:
        panel = self._panel
        new = panel.new_model
        if self._data is None or new is None or self._trial is not None:
            return
        try:
            request = VocabularyRequest(new.config(), panel.task.name, self._data.config, panel.form.config("options"))
        except UserError as error:
            new.trial.show_message(" ".join(error_texts(error)))
            return
        handle = self._services.model_runner.start(
            try_vocabulary, request, title=self.tr("Trying the vocabulary"), quiet=True
        )
        self._trial = handle
        new.trial.set_ready(True, busy=True)
        handle.succeeded.connect(lambda report: self._on_tried(request, report))
        handle.failed.connect(lambda error: self._show_trial_problem(error))
        handle.finished.connect(self._on_trial_finished)

    def _on_tried(self, request: VocabularyRequest, report: Any) -> None:
        new = self._panel.new_model
        is_current = (
            new is not None and new.problem is None and new.config().tokenizer == request.architecture.tokenizer
            and self._panel.task.name == request.task
            and self._data is not None and self._data.config == request.data
        )  # fmt: skip
        if new is not None and is_current:
            ready = bool(request.architecture.tokenizer.folder)  # is taken as it is, however large
            new.trial.show_report(report, None if ready else request.architecture.tokenizer.vocabulary)

    def _show_trial_problem(self, error: UserError) -> None:
        if self._panel.new_model is not None:
            self._panel.new_model.trial.show_message(" ".join(error_texts(error)))

    def _on_trial_finished(self) -> None:
        self._trial = None
        if self._panel.new_model is not None:
            self._panel.new_model.trial.set_ready(self._data is not None)
