"""A sweep: the same recipe with other values, over a grid or at random, and which values did best.

sweep.yaml       what was asked for, with the whole recipe
trials.journal   optuna's record of the trials, only ever appended to; a sweep goes on where it was interrupted

The trainings themselves are ordinary runs, tagged with the sweep's name.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError, first_line, is_out_of_memory
from lmstudio_app.events import Event, Finished, TrialEnded
from lmstudio_app.files import new_folder, timestamp
from lmstudio_app.jobs import JobContext
from lmstudio_app.settings import runs_folder, sweeps_folder
from lmstudio_app.tasks import find_task
from lmstudio_app.training.claims import claim, release
from lmstudio_app.training.event_file import end_of_last_line
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.runs import create_run
from lmstudio_app.training.summaries import RECIPE, About, lower_is_better, write_about
from lmstudio_app.training.sweep_config import Range, SweepConfig

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import JournalStorage
    from optuna.trial import FrozenTrial

SWEEP, JOURNAL = "sweep.yaml", "trials.journal"
# what a trial keeps: what it set, as the recipe has it; its run; how that ended; why it failed
_VALUES, _FOLDER, _STATE, _REASON = "values", "run_folder", "state", "reason"


@dataclass(frozen=True)
class TrialResult:
    """``values`` by recipe key; ``value`` of the metric, None while it runs or when it failed."""

    number: int
    values: dict[str, Any]
    value: float | None
    state: str  # finished, stopped, failed or running (or interrupted, when nobody runs it)
    run_folder: str = ""
    reason: str = ""


@dataclass(frozen=True)
class SweepResult:
    """``best`` is None when no trial came to a value."""

    folder: Path
    config: SweepConfig
    metric: str
    greater_is_better: bool
    trials: tuple[TrialResult, ...] = field(default_factory=tuple)

    @property
    def ranked(self) -> list[TrialResult]:
        """The trials, the best first, and behind them those that came to no value."""
        sign = -1 if self.greater_is_better else 1
        return sorted(self.trials, key=lambda trial: math.inf if trial.value is None else sign * trial.value)

    @property
    def best(self) -> TrialResult | None:
        return next((trial for trial in self.ranked if trial.value is not None), None)


@dataclass(frozen=True)
class SweepRequest:
    """Start ``config`` in ``folder`` (None: a new one), or go on with the sweep there (``resume``)."""

    config: SweepConfig | None
    folder: Path | None = None
    resume: bool = False


def run_sweep(request: SweepRequest, ctx: JobContext) -> SweepResult:
    """The job: one training after the other. ``stop`` ends it after the training that runs, which is saved.

    A training that fails is noted, and the sweep goes on; after ``cancel`` or a crash it can be resumed, and begins
    the interrupted trial anew. Raises :class:`UserError` when every trial failed, and while another process runs the
    sweep.
    """
    folder, config = _open(request)
    mine = claim(folder)
    try:
        return _run(folder, config, ctx)
    finally:
        release(folder, mine)


def _run(folder: Path, config: SweepConfig, ctx: JobContext) -> SweepResult:
    _tidy(folder / JOURNAL)
    metric, is_greater_better = _metric(config)
    study = _study(folder, config, metric, greater_is_better=is_greater_better)
    while not ctx.stopping and (trial := _next_trial(study, config)) is not None:
        ctx.check()
        values = trial.user_attrs[_VALUES]
        text = ", ".join(f"{key} = {_short(value)}" for key, value in values.items())
        ctx.status("Trial {number} of {total}: {text}", number=trial.number + 1, total=config.total, text=text)
        _run_trial(study, trial, config, folder.name, metric, ctx)
        ended = _as_result(study.get_trials(deepcopy=False)[trial.number])
        ctx.emit(
            TrialEnded(
                number=ended.number, total=config.total, parameters=ended.values, value=ended.value,
                state=ended.state, run_folder=ended.run_folder,
            )
        )  # fmt: skip
    result = read_sweep(folder)
    if result.best is None and all(trial.state == "failed" for trial in result.trials) and not ctx.stopping:
        raise UserError(
            "None of the {count} trainings came to a result; the last one said: {reason}",
            "Mend the recipe, and start the sweep anew.",
            count=len(result.trials),
            reason=result.trials[-1].reason,
        )
    is_over = len(result.trials) >= config.total and all(trial.state != "running" for trial in result.trials)
    state = "finished" if is_over else "stopped"
    ctx.emit(Finished(state=state, result={"sweep_folder": str(folder)}))
    return result


def read_sweep(folder: Path) -> SweepResult:
    """What a sweep has come to so far. Raises :class:`UserError` when there is none in ``folder``."""
    import optuna

    if not (folder / SWEEP).is_file():
        raise UserError("{folder} holds no sweep.", "Choose a folder with a sweep.yaml.", folder=str(folder))
    config = SweepConfig.load(folder / SWEEP)
    metric, is_greater_better = _metric(config)
    trials: Sequence[FrozenTrial] = ()
    if (folder / JOURNAL).is_file():
        with contextlib.suppress(KeyError):  # nothing was tried yet
            study = optuna.load_study(study_name=metric, storage=_storage(folder / JOURNAL))
            trials = [trial for trial in study.get_trials(deepcopy=False) if _VALUES in trial.user_attrs]
    return SweepResult(folder, config, metric, is_greater_better, tuple(map(_as_result, trials)))


def list_sweeps(folder: Path | None = None) -> list[Path]:
    """The sweeps of the app, the newest first."""
    found = [path.parent for path in (folder or sweeps_folder()).glob(f"*/{SWEEP}")]
    return sorted(found, key=lambda path: path.name, reverse=True)


def _open(request: SweepRequest) -> tuple[Path, SweepConfig]:
    if request.resume:
        if request.folder is None:
            raise UserError("There is no sweep to resume.", "Name its folder.")
        folder = request.folder.expanduser().resolve()
        return folder, read_sweep(folder).config
    if request.config is None:
        raise UserError("There is no sweep to run.", "Give a sweep file.")
    if request.folder is not None:
        folder = request.folder.expanduser().resolve()
    else:
        folder = new_folder(sweeps_folder().resolve(), f"{timestamp()}-{request.config.recipe['task']}")
    if (folder / SWEEP).exists():
        raise UserError(
            "{folder} already holds a sweep.", "Resume it (--resume), or choose another folder.", folder=str(folder)
        )
    folder.mkdir(parents=True, exist_ok=True)
    request.config.save(folder / SWEEP)
    return folder, request.config


def _metric(config: SweepConfig) -> tuple[str, bool]:
    """The metric that is compared, and whether more of it is better."""
    task = find_task(str(config.recipe["task"]))
    if config.metric in ("", task.main_metric):
        return task.main_metric, task.greater_is_better
    return config.metric, not lower_is_better(config.metric)


def _tidy(path: Path) -> None:
    """Remove what a killed process has left: half a line, behind which the next one would be lost, and a lock."""
    if path.is_file():
        with path.open("rb+") as file:
            file.truncate(end_of_last_line(file))
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def _storage(path: Path) -> JournalStorage:
    """optuna's record of the trials; opening it changes nothing. Raises :class:`UserError` when it is damaged."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            "The record of the trials, {path}, is damaged ({reason}).",
            "Start the sweep anew; the trainings that it made are among the runs.",
            path=str(path),
            reason=first_line(error),
        ) from error


def _study(folder: Path, config: SweepConfig, metric: str, *, greater_is_better: bool) -> Study:
    import optuna

    path = folder / JOURNAL
    drawn = len(path.read_bytes().splitlines()) if path.is_file() else 0
    seed = config.seed + drawn  # a resumed sweep must not draw the same values again
    return optuna.create_study(
        study_name=metric,
        storage=_storage(path),
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
        if config.method == "tpe"
        else optuna.samplers.RandomSampler(seed=seed),
        direction="maximize" if greater_is_better else "minimize",
        load_if_exists=True,
    )


def _next_trial(study: Study, config: SweepConfig) -> Trial | None:
    """The one that was under way when the sweep was interrupted, else a new one; None when all are done."""
    import optuna

    trials = study.get_trials(deepcopy=False)
    for known in trials:
        if known.state == optuna.trial.TrialState.RUNNING:
            trial = optuna.trial.Trial(study, known._trial_id)
            break
    else:
        if len(trials) >= config.total:
            return None
        if config.method == "grid":
            sizes = [range(len(values)) for values in config.space.values()]
            places = next(itertools.islice(itertools.product(*sizes), len(trials), None))
            study.enqueue_trial(dict(zip(config.space, places, strict=True)))
        trial = study.ask()
    trial.set_user_attr(_VALUES, _draw(trial, config))
    return trial


def _draw(trial: Trial, config: SweepConfig) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, dimension in config.space.items():
        if not isinstance(dimension, Range):
            values[key] = dimension[trial.suggest_categorical(key, list(range(len(dimension))))]
        elif dimension.is_whole:
            values[key] = trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log)
        else:
            values[key] = trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log)
    return values


def _run_trial(study: Study, trial: Trial, config: SweepConfig, sweep: str, metric: str, ctx: JobContext) -> None:
    """Train with the trial's values, or go on with the run that it had begun, and note what came of it."""
    from optuna.trial import TrialState

    def _emit(event: Event) -> None:
        if not isinstance(event, Finished):  # the sweep has an end of its own
            ctx.emit(event)

    folder = Path(
        trial.user_attrs.get(_FOLDER) or new_folder(runs_folder().resolve(), f"{sweep}-trial-{trial.number + 1:03}")
    )
    trial.set_user_attr(_FOLDER, str(folder))
    try:
        if not (folder / RECIPE).is_file():
            create_run(config.recipe_with(trial.user_attrs[_VALUES]), folder)
            write_about(folder, About(tags=(sweep,)))
        result = train(TrainRequest(None, folder, resume=True), JobContext(_emit, ctx.control))
    except (UserError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        trial.set_user_attr(_REASON, first_line(error))
        study.tell(trial, state=TrialState.FAIL)
        return
    trial.set_user_attr(_STATE, result.state)
    if metric in result.metrics:
        study.tell(trial, result.metrics[metric])
        return
    problem = UserError(
        "The task does not report the metric {metric}.",
        "Choose one of: {names}.",
        metric=metric,
        names=", ".join(result.metrics),
    )
    trial.set_user_attr(_REASON, problem.message)
    study.tell(trial, state=TrialState.FAIL)
    raise problem  # the other trainings would not report it either


def _as_result(trial: FrozenTrial) -> TrialResult:
    from optuna.trial import TrialState

    known = trial.user_attrs
    is_complete = trial.state == TrialState.COMPLETE
    name = known.get(_STATE, "finished") if is_complete else "failed" if trial.state == TrialState.FAIL else "running"
    return TrialResult(
        trial.number,
        dict(known.get(_VALUES, {})),
        trial.value if is_complete else None,
        name,
        known.get(_FOLDER, ""),
        known.get(_REASON, ""),
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
