"""Sentiment: is a text negative, neutral or positive (or whatever classes the data names)?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.jobs import JobContext
from lmstudio_app.options import option
from lmstudio_app.tasks.classification import (
    CLASSIFICATION,
    CLASSIFY,
    LABEL,
    TEXT,
    data_label_names,
    predict_labels,
)
from lmstudio_app.tasks.outputs import Label
from lmstudio_app.tasks.polarity import NEGATIVE, NEUTRAL, POSITIVE, is_neutral, polarity_of, positive_share, two_sided
from lmstudio_app.tasks.task import PredictOptions

if TYPE_CHECKING:
    from datasets import Dataset

    from lmstudio_app.models.loading import LoadedModel

POLARITY = (NEGATIVE, POSITIVE)


@dataclass(frozen=True)
class JudgeOptions(PredictOptions):
    """How sure a model of two classes must be."""

    neutral_band: float = option(
        0.0,
        "Neutral band",
        "For models that know only negative and positive: a text whose positive share is nearer to 50 % than half of "
        "this is called neutral; 0.2 means 40 to 60 %, 0 none. Models with a neutral class are as they are.",
        basic=True,
        minimum=0.0,
        maximum=1.0,
    )


def label_names(train: Dataset, evaluation: Dataset, id2label: Mapping[int, str] | None) -> tuple[str, ...]:
    """The model's names where they fit; labels 0 and 1 are negative and positive; else what the data says."""
    names = data_label_names(train, evaluation, id2label)
    return POLARITY if names == ("0", "1") else names


def with_band(label: Label, band: float) -> Label:
    """The judgement with a neutral band between its two classes; of any other classes as it is."""
    sides = two_sided(tuple(label.scores))
    if sides is None or not is_neutral(positive_share(label.scores, *sides), band):
        return label
    return Label(NEUTRAL, label.scores)


def judge(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: JudgeOptions
) -> Iterator[Label]:
    """:func:`predict_labels`, and ``neutral`` where the positive share p has ``|p - 0.5| < neutral_band / 2``.

    The scores stay the model's own. A band that does not fit the model's classes is told as a warning.
    """
    polarity = polarity_of(loaded.labels) if loaded.labels else {}
    if options.neutral_band > 0 and two_sided(loaded.labels) is None and NEUTRAL not in polarity.values():
        ctx.warn(
            "The neutral band is not used: it needs a negative and a positive class, and this model has {labels}.",
            labels=", ".join(loaded.labels[:8]),
        )
    return (with_band(label, options.neutral_band) for label in predict_labels(loaded, rows, ctx, options))


JUDGE = dataclasses.replace(
    CLASSIFY,
    name="sentiment",
    title="Sentiment",
    help="Judge whether texts are negative or positive.",
    inputs=(TEXT,),
    predict=judge,
    options=JudgeOptions,
)
SENTIMENT = dataclasses.replace(
    CLASSIFICATION,
    name="sentiment",
    title="Sentiment",
    help="Judge whether texts are negative or positive.",
    columns=(TEXT, LABEL),
    label_names=label_names,
    predictions=(JUDGE,),
)
