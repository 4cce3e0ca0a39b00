"""What can be compared on this computer, as a job: models, and trained models with what they were before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from PySide6.QtCore import QCoreApplication

from lmstudio_app.gui.suitable_queries import Choice
from lmstudio_app.jobs import JobContext


@dataclass(frozen=True)
class StateChoice:
    """A model at some time of its training; ``reference`` is what ``training.states.loadable`` takes."""

    reference: str
    title: str


@dataclass(frozen=True)
class Trained:
    """A training whose states can be compared: at least two, in the order of time. ``key`` is remembered."""

    key: str
    title: str
    states: tuple[StateChoice, ...]
    writes: bool = False  # does its model read one text and write another?


@dataclass(frozen=True)
class Comparable:
    """``bases``: what a model was fine-tuned from, by reference, as far as it is known."""

    models: tuple[Choice, ...] = ()
    trained: tuple[Trained, ...] = ()
    bases: Mapping[str, str] = field(default_factory=dict)

    def partner_of(self, reference: str) -> str:
        """The model that is worth comparing with this one: a relative, or any other; empty where there is none."""
        others = [choice.reference for choice in self.models if choice.reference != reference]
        base = self.bases.get(reference)
        kin = [other for other in others if other == base or self.bases.get(other) == reference]
        return (kin or others or [""])[0]


def find_comparable(_: None, ctx: JobContext) -> Comparable:
    """Runs come first, the newest first; then models of the catalogue that were fine-tuned from another one."""
    from lmstudio_app.gui.run_texts import dated_title, model_name
    from lmstudio_app.models.catalog import load_catalog
    from lmstudio_app.models.installed import list_models
    from lmstudio_app.tasks import find_task
    from lmstudio_app.training.states import list_states
    from lmstudio_app.training.summaries import list_runs

    installed = [model for model in list_models() if model.present]
    runs = list_runs(ctx=ctx)
    models = [Choice(model.reference, model.title, model.reference) for model in installed]
    trained: list[Trained] = []
    bases: dict[str, str] = {}
    for run in runs:
        ctx.check()
        states = list_states(run.folder)
        if run.model_folder is not None:
            models.append(Choice(str(run.model_folder), dated_title(run), str(run.folder)))
            bases[str(run.model_folder)] = run.model
        if len(states) > 1:
            choices = tuple(
                StateChoice(state.reference, _state_title(state.kind, state.step, model_name(run))) for state in states
            )
            writes = find_task(run.task).head == "seq2seq-lm"
            trained.append(Trained(str(run.folder), dated_title(run), choices, writes))
    catalogue = load_catalog()
    for model in installed:
        entry = catalogue.get(model.reference)
        if entry is not None and entry.base in catalogue:
            base = catalogue[entry.base]
            states = (
                StateChoice(base.name, _state_title("base", 0, base.title)),
                StateChoice(entry.name, _state_title("final", 0, base.title)),
            )
            trained.append(Trained(entry.name, entry.title, states))
            bases[entry.name] = base.name
    return Comparable(tuple(models), tuple(trained), bases)


def _state_title(kind: str, step: int, base: str) -> str:
    translate = QCoreApplication.translate
    if kind == "base":
        return translate("compare", "{model} (before)").format(model=base)
    if kind == "final":
        return translate("compare", "After training")
    return translate("compare", "Step {step}").format(step=step)
