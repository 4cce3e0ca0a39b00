"""Sentiment: is a text negative or positive (or whatever classes the data names)?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.tasks.classification import (
    ClassificationMetrics,
    choose_label_names,
    collate,
    distinct_labels,
    encode_texts,
    predict_labels,
)
from lmstudio_app.tasks.task import Label, Task

if TYPE_CHECKING:
    from datasets import Dataset

POLARITY = ("negative", "positive")


def label_names(train: Dataset, evaluation: Dataset, id2label: Mapping[int, str] | None) -> tuple[str, ...]:
    """The model's names where they fit; labels 0 and 1 are negative and positive; else what the data says."""
    names = choose_label_names(distinct_labels(train, evaluation), id2label)
    return POLARITY if names == ("0", "1") else names


SENTIMENT = Task(
    name="sentiment",
    title="Sentiment",
    help="Sort texts into classes such as negative and positive.",
    columns=(
        ColumnSpec(
            "text",
            "Text",
            "The column with the sentences to judge.",
            aliases=("text", "sentence", "review", "content", "comment", "tweet", "document", "body"),
        ),
        ColumnSpec(
            "label",
            "Label",
            "The column with the right answer: 0/1 or names.",
            type="label",
            aliases=(
                "label",
                "labels",
                "sentiment",
                "class",
                "category",
                "polarity",
                "rating",
                "target",
                "score",
            ),
        ),
    ),
    head="sequence-classification",
    output=Label,
    main_metric="accuracy",
    greater_is_better=True,
    label_names=label_names,
    encode=encode_texts,
    collate=collate,
    metrics=ClassificationMetrics,
    predict=predict_labels,
)
