"""Show the code: a recipe as one short script on plain torch and transformers that does the same training.

The same rows in the same order, the same random numbers, the same formulas: the losses are those of the app but for
rounding, which ``tests/training/test_script.py`` proves for every task and strategy. What the app does around it
(checkpoints, the metrics of a task, keeping the best model, several processes) is not in the script.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.splits import DataSplits, prepare_data
from lmstudio_app.errors import UserError
from lmstudio_app.files import atomic_folder, atomic_write_text
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.architectures import create_model, skeleton
from lmstudio_app.models.card import read_card
from lmstudio_app.models.loading import agree_on_padding, load_tokenizer, preload_libraries, quiet_transformers
from lmstudio_app.models.references import resolve
from lmstudio_app.tasks import find_task
from lmstudio_app.tasks.task import Setup
from lmstudio_app.training.plan import pretrained_skeleton
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import CHECKPOINTS, FINAL, RECIPE
from lmstudio_app.training.scratch import require_tokens, saved_tokenizer, tokenizer_folder
from lmstudio_app.training.script_parts import compose
from lmstudio_app.training.script_rows import PORTION, write_rows
from lmstudio_app.training.script_values import (
    TASKS_WITH_SCRIPTS,
    Subject,
    find_conditions,
    find_constants,
    find_replacements,
    part_names,
)

if TYPE_CHECKING:
    from lmstudio_app.tasks import Task

SCRIPT, TOKENIZER = "train.py", "tokenizer"


@dataclass(frozen=True)
class ScriptRequest:
    """Write the script of ``source``, a recipe or a run's folder, with its rows into the new folder ``folder``."""

    source: Recipe | Path
    folder: Path


def export_script(request: ScriptRequest, ctx: JobContext) -> Path:
    """The job. Writes ``train.py``, ``train.jsonl``, ``eval.jsonl``, ``README.md`` and, for a model from scratch, its
    tokenizer, all or nothing. Returns the path of the script.

    Raises :class:`UserError` when the folder is there already, and as a training does for whatever is wrong with the
    recipe. The weights of a model are not read.
    """
    folder = request.folder.expanduser().resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError("{folder} is there already.", "Choose a new folder for the script.", folder=str(folder))
    run = request.source if isinstance(request.source, Path) else None
    recipe = request.source if isinstance(request.source, Recipe) else _read_run(request.source)
    task = _find_task(recipe)
    ctx.status("Reading the data")
    splits = prepare_data(recipe.data, task.columns, ctx)
    ctx.status("Loading the libraries")
    preload_libraries(ctx)
    with atomic_folder(folder) as temporary:
        subject = _subject(recipe, task, splits, run, ctx)
        if recipe.architecture is not None:
            with quiet_transformers():
                subject.tokenizer.save_pretrained(temporary / TOKENIZER)
        subject = _write_data(temporary, subject, splits, ctx)
        atomic_write_text(temporary / SCRIPT, _compose(subject))
        atomic_write_text(temporary / "README.md", _readme(subject, splits))
    ctx.status("The script is in {folder}", folder=str(folder))
    return folder / SCRIPT


def script_text(source: Recipe | Path, ctx: JobContext | None = None) -> str:
    """The script of a recipe or of a run's folder, to be shown (a job; a second or two where torch is loaded already).

    Neither the data nor any weights are read. So the names of the labels are those of the model, or made up; a
    vocabulary that is still to be learned has the size that the recipe wants; and where the rows would have to be
    written as token ids, this shows the encoding that they nearly have. Raises :class:`UserError` when the model is not
    on this computer, or the strategy does not suit it.
    """
    ctx = ctx or JobContext()
    recipe = source if isinstance(source, Recipe) else _read_run(source)
    task = _find_task(recipe)
    preload_libraries(ctx)
    labels: tuple[str, ...] = ()
    if task.label_names is not None:
        card = None if recipe.architecture is not None else read_card(resolve(recipe.model, ctx), recipe.model)
        labels = (card.labels if card is not None and card.head == task.head else ()) or ("negative", "positive")
    if recipe.architecture is not None:
        model = skeleton(recipe.architecture, recipe.architecture.tokenizer.vocabulary, task.head, len(labels) or 2)
        subject = Subject(recipe, task, model, None, labels, _limit(recipe, recipe.architecture.max_length), None)
    else:
        subject = _pretrained(recipe, task, labels, ctx)
    return _compose(dataclasses.replace(subject, has_pairs=bool(recipe.data.columns.get("pair"))))


def _read_run(folder: Path) -> Recipe:
    if not (folder / RECIPE).is_file():
        raise UserError("{folder} holds no run.", "Choose a folder with a recipe.yaml.", folder=str(folder))
    return Recipe.load(folder / RECIPE)


def _find_task(recipe: Recipe) -> Task:
    if recipe.task not in TASKS_WITH_SCRIPTS:
        raise UserError("There is no script for the task {task} yet.", "Choose another task.", task=recipe.task)
    return find_task(recipe.task)


def _compose(subject: Subject) -> str:
    with _without_weights():
        conditions = find_conditions(subject)
        constants = find_constants(subject)
    return compose(_title(subject), part_names(subject, conditions), conditions, constants, find_replacements(subject))


def _title(subject: Subject) -> str:
    recipe = subject.recipe
    name = recipe.title if recipe.architecture is not None else Path(recipe.model).name
    needs = "torch, transformers and peft" if recipe.strategy.name == "lora" else "torch and transformers"
    return (
        f"{subject.task.title}: {name}, strategy {recipe.strategy.name}.\n\n"
        "python train.py does the whole training and saves the model in the folder model;\n"
        f"python train.py --steps 20 only begins it. It needs {needs}. Written by lmstudio-app."
    )


@contextlib.contextmanager
def _without_weights() -> Any:
    import torch

    with torch.device("meta"):
        yield


# --- what the recipe's words mean


def _limit(recipe: Recipe, longest: int) -> int:
    return min(recipe.training.max_length, longest or recipe.training.max_length)


def _subject(recipe: Recipe, task: Task, splits: DataSplits, run: Path | None, ctx: JobContext) -> Subject:
    own: tuple[str, ...] = ()
    if recipe.architecture is None:
        own = read_card(resolve(recipe.model, ctx), recipe.model).labels
    labels: tuple[str, ...] = ()
    if task.label_names is not None:
        labels = task.label_names(splits.train, splits.eval, dict(enumerate(own)) or None)
    if recipe.architecture is None:
        subject = _pretrained(recipe, task, labels, ctx)
    else:
        subject = _from_scratch(recipe, task, labels, splits, run, ctx)
    return dataclasses.replace(
        subject,
        has_pairs="pair" in splits.train.column_names,
        portions=task.columns[0].type == "document" and max(len(splits.train), len(splits.eval)) > PORTION,
    )


def _pretrained(recipe: Recipe, task: Task, labels: tuple[str, ...], ctx: JobContext) -> Subject:
    folder = resolve(recipe.model, ctx)
    with quiet_transformers(ctx):
        model = pretrained_skeleton(recipe, task.head, len(labels), ctx)
        tokenizer = load_tokenizer(folder)
        made = Subject(
            recipe, task, model, tokenizer, labels, _limit(recipe, read_card(folder).max_length), folder,
            own_padding=tokenizer.pad_token_id is not None,
            own_template=task.name != "chat" or bool(tokenizer.chat_template),
            model_padding=model.config.get_text_config().pad_token_id is None,
        )  # fmt: skip
        agree_on_padding(model, tokenizer)
    if task.name == "chat":
        _ensure_template(tokenizer)
    return made


def _from_scratch(
    recipe: Recipe, task: Task, labels: tuple[str, ...], splits: DataSplits, run: Path | None, ctx: JobContext
) -> Subject:
    """With the run's own tokenizer, where there is a run: its model belongs to it."""
    config = recipe.architecture
    assert config is not None
    folder = None
    if run is not None:
        folder = run / FINAL if (run / FINAL).is_dir() else saved_tokenizer(run / CHECKPOINTS)
    if folder is None:
        extra = tuple(task.special_tokens(splits.train, recipe.options)) if task.special_tokens is not None else ()
        folder = tokenizer_folder(config, task, splits.train, extra, ctx)
    with quiet_transformers(ctx):
        tokenizer = load_tokenizer(folder)
        require_tokens(tokenizer, config.family, folder)
        with _without_weights():
            model = create_model(config, task.head, tokenizer, labels, recipe.training.seed)
    if task.name == "chat":
        _ensure_template(tokenizer)
    return Subject(recipe, task, model, tokenizer, labels, _limit(recipe, config.max_length), None)


def _ensure_template(tokenizer: Any) -> None:
    from lmstudio_app.tasks.chat_templates import ensure_chat_template

    ensure_chat_template(tokenizer)


# --- files


def _write_data(folder: Path, subject: Subject, splits: DataSplits, ctx: JobContext) -> Subject:
    """Write both files of rows. Returns the subject, which may have become one whose files hold token ids."""
    setup = Setup(subject.tokenizer, subject.labels, subject.max_length, subject.recipe.options, subject.model.config)
    sides = (("train.jsonl", splits.train), ("eval.jsonl", splits.eval))
    ctx.status("Writing {rows} rows", rows=len(splits.train) + len(splits.eval))
    if not all(write_rows(folder / name, rows, subject, setup, ctx) for name, rows in sides):
        ctx.status("The rows are written as token ids: encoding them as the app does would not be short")
        subject = dataclasses.replace(subject, is_encoded=True)
        for name, rows in sides:
            write_rows(folder / name, rows, subject, setup, ctx)
    return subject


def _readme(subject: Subject, splits: DataSplits) -> str:
    packages = ["torch", "transformers", "numpy", *(["peft"] if subject.recipe.strategy.name == "lora" else [])]
    if subject.recipe.architecture is not None and subject.recipe.architecture.family == "marian":
        packages.append("sentencepiece")
    versions = " ".join(f"{name}=={version(name).partition('+')[0]}" for name in packages)
    form = "as token ids" if subject.is_encoded else "one JSON object a line"
    config = subject.recipe.training
    left_out = ["checkpoints, the metrics of the task besides the loss"]
    left_out += ["keeping the model that did best in an evaluation (here it is the last)"] if config.keep_best else []
    left_out += ["early stopping"] if config.early_stopping else []
    tokenizer = [f"- `{TOKENIZER}/`: the vocabulary learned from the training texts."] if subject.folder is None else []
    place = ["- `MODEL` in it is a folder of this computer; elsewhere name another, or the model's name on the hub."]
    lines = [
        f"# {subject.task.title}: the training as a script",
        "",
        f"    pip install {versions}",
        f"    python {SCRIPT}",
        "",
        f"These are the versions it was written with, under Python {platform.python_version()}; with them, on the same",
        "machine, the losses are those of the app's training, but for rounding in their last digits.",
        f"`python {SCRIPT} --steps 20` stops early.",
        "",
        f"- `{SCRIPT}`: the training, to be read from top to bottom. The constants at its top are the recipe's.",
        *(place if subject.folder is not None else []),
        f"- `train.jsonl`, `eval.jsonl`: {len(splits.train):,} and {len(splits.eval):,} prepared rows, {form}.",
        *tokenizer,
        "- `model/`: the trained model, once the script has run.",
        "",
        f"Not in it: {'; '.join(left_out)}.",
        "",
    ]
    return "\n".join(lines)
