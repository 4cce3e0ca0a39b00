"""Sentiment: is a text negative or positive (or whatever classes the data names)?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lmstudio_app.tasks.classification import (
    CLASSIFICATION,
    CLASSIFY,
    LABEL,
    TEXT,
    data_label_names,
)

if TYPE_CHECKING:
    from datasets import Dataset

POLARITY = ("negative", "positive")


def label_names(train: Dataset, evaluation: Dataset, id2label: Mapping[int, str] | None) -> tuple[str, ...]:
    """The model's names where they fit; labels 0 and 1 are negative and positive; else what the data says."""
    names = data_label_names(train, evaluation, id2label)
    return POLARITY if names == ("0", "1") else names


JUDGE = dataclasses.replace(
    CLASSIFY,
    name="sentiment",
    title="Sentiment",
    help="Judge whether texts are negative or positive.",
    inputs=(TEXT,),
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
