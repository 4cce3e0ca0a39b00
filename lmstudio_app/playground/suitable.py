"""Which of the models on this disk can be asked for something."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.card import ModelCard, read_card
from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.models.installed import list_models
from lmstudio_app.tasks import TASKS, Prediction, find_prediction
from lmstudio_app.training.summaries import list_runs

if TYPE_CHECKING:
    from lmstudio_app.training.summaries import RunSummary

_TRANSLATORS = ("marian", "m2m_100", "nllb_moe", "mbart", "fsmt")  # families that do nothing but translate
_ALL_ROUND = ("t5", "mt5", "umt5")  # told by a prefix what to do


@dataclass(frozen=True, eq=False)
class Suitable:
    """A model that can be asked. ``reference`` is what loads it; ``run`` is the training that made it, if one here did.

    ``made_for_it``: it was trained for this, or published for it; another one is told by words what to do.
    """

    reference: str
    title: str
    card: ModelCard
    made_for_it: bool
    run: RunSummary | None = None


def find_suitable(prediction: str, ctx: JobContext) -> list[Suitable]:
    """Those on this disk (a job): the catalogue's first, then what was trained here, the newest first, then others.

    Within each, those that are made for it come first. What cannot be read is left out: the Model page says why.
    """
    wanted = find_prediction(prediction)
    catalogue = load_catalog()
    installed = [
        Suitable(model.reference, model.title, card, is_made_for(card, wanted))
        for model in list_models()
        if model.present and (card := _card(model.folder, model.reference, ctx)) is not None and suits(card, wanted)
    ]
    groups = (
        [model for model in installed if model.reference in catalogue],
        list(_trained(wanted, ctx)),
        [model for model in installed if model.reference not in catalogue],
    )
    return [model for group in groups for model in sorted(group, key=lambda model: not model.made_for_it)]


def _trained(wanted: Prediction, ctx: JobContext) -> Iterator[Suitable]:
    teaching = {task.name for task in TASKS if wanted in task.predictions}
    for run in sorted(list_runs(ctx=ctx), key=lambda run: -run.started):
        if run.task not in teaching or (folder := run.model_folder) is None:
            continue
        card = _card(folder, str(folder), ctx)
        if card is not None and card.head in wanted.heads:
            yield Suitable(str(folder), run.title or card.title or run.name, card, made_for_it=True, run=run)


def _card(folder: Path, reference: str, ctx: JobContext) -> ModelCard | None:
    ctx.check()
    try:
        return read_card(folder, reference)
    except (UserError, OSError):
        return None


def suits(card: ModelCard, prediction: Prediction) -> bool:
    """Can this model be asked for it with some sense? A head that fits is not enough where words say what to do."""
    if card.head not in prediction.heads:
        return False
    if prediction.name == "summarization" and card.model_type in _TRANSLATORS:
        return False
    if card.head == "causal-lm" and prediction.name in ("translation", "summarization"):
        return has_chat_template(card.folder)
    if prediction.name == "zero_shot" and card.head == "sequence-classification":
        return any("entail" in label.lower() for label in card.labels)
    return True


def is_made_for(card: ModelCard, prediction: Prediction) -> bool:
    """Was it trained or published for this? Of a model that suits."""
    if prediction.name == "translation":
        return card.model_type in (*_TRANSLATORS, *_ALL_ROUND)
    if prediction.name == "chat":
        return has_chat_template(card.folder)
    return card.head != "causal-lm"


def has_chat_template(folder: Path) -> bool:
    """Was the model taught to take turns? Then its tokenizer says how a conversation is written."""
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        stated = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(stated, dict) and bool(stated.get("chat_template"))
