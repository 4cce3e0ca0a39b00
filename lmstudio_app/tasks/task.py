"""What a task is: a record of plain functions. The loop, the forms and the views are written against this record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import torch
    from datasets import Dataset

    from lmstudio_app.models.loading import LoadedModel


@dataclass(frozen=True)
class Label:
    """The output of a classification: ``scores`` maps every label to its probability.

    They sum to 1, unless the model was trained to give several labels at once.
    """

    label: str
    scores: Mapping[str, float]

    def to_row(self) -> dict[str, Any]:
        return {"label": self.label, "scores": dict(self.scores)}


class Metrics(Protocol):
    """Collects batches during an evaluation."""

    def add(self, batch: Mapping[str, torch.Tensor], logits: torch.Tensor) -> None: ...

    def compute(self) -> tuple[dict[str, float], dict[str, Any]]:
        """The metrics, and details for the views (confusion matrix, worst examples)."""
        ...


@dataclass(frozen=True)
class Task:
    """One thing a model can be trained for and asked to do.

    ``columns`` declares the inputs; they build the form, the column mapping and the CLI's ``IN.jsonl``.
    ``head`` says how the model is loaded (see :class:`lmstudio_app.models.loading.LoadRequest`).
    ``output`` is the type that :attr:`predict` yields; views are keyed on it.
    """

    name: str
    title: str
    help: str
    columns: tuple[ColumnSpec, ...]
    head: str
    output: type
    main_metric: str
    greater_is_better: bool
    # (train, eval, id2label of the model or None) -> label names in id order; () for tasks without labels
    label_names: Callable[[Dataset, Dataset, Mapping[int, str] | None], tuple[str, ...]]
    # (rows by column, tokenizer, label names, max_length) -> features by name, among them input_ids
    encode: Callable[[Mapping[str, Sequence[Any]], Any, Sequence[str], int], dict[str, list[Any]]]
    # (features, tokenizer) -> padded tensors
    collate: Callable[[Sequence[Mapping[str, Any]], Any], dict[str, torch.Tensor]]
    metrics: Callable[[Sequence[str]], Metrics]
    # (model, input rows, ctx, batch size) -> outputs in the rows' order
    predict: Callable[[LoadedModel, Iterable[Mapping[str, Any]], JobContext, int], Iterator[Any]]
