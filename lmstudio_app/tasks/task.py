"""What a task is: a record of plain functions. The loop, the forms and the views are written against this record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.architectures import FAMILIES_BY_HEAD
from lmstudio_app.options import check_options, option

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset

    from lmstudio_app.models.loading import LoadedModel

Rows = Mapping[str, Sequence[Any]]  # rows by column
Features = dict[str, list[Any]]  # numbers or sequences of numbers by name, one a row
Inputs = Mapping[str, "torch.Tensor"]
IGNORED = -100  # a label that counts in no loss, as in torch and transformers


@dataclass(frozen=True)
class NoOptions:
    """The options of a task or a prediction that has none."""


@dataclass(frozen=True)
class PredictOptions:
    """What every prediction can be told."""

    batch_size: int = option(32, "Batch size", "Rows that go through the model at once.", minimum=1, maximum=4096)

    def __post_init__(self) -> None:
        check_options(self, "options")


@dataclass(frozen=True)
class Setup:
    """How one training reads its rows; every function of a task gets it.

    ``labels`` are names in id order, empty for tasks without; ``max_length`` counts tokens; ``options`` is the task's
    own dataclass; ``model_config`` the ``transformers.PretrainedConfig`` of the model. ``notes`` counts rows by a
    sentence with ``{count}`` that is true of them: ``encode`` adds to it, and when all rows are encoded each sentence
    is told as a warning.
    """

    tokenizer: Any
    labels: tuple[str, ...]
    max_length: int
    options: Any = NoOptions()
    model_config: Any = None
    notes: Counter[str] = field(default_factory=Counter, compare=False)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation works on.

    ``model`` is called as ``model(**inputs)`` (it may be wrapped for several processes); ``loaded`` has the plain one,
    for generation. Both are in eval mode, and gradients are off. ``rows`` is the evaluation set as the data has it.
    ``batches()`` goes through it once, longest rows first: what ``collate`` made of them, on the device, and int64
    ``[batch]`` on the CPU, the row of ``rows`` that each example comes from.
    """

    model: Any
    loaded: LoadedModel
    setup: Setup
    rows: Dataset
    batches: Callable[[], Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]]
    ctx: JobContext

    def sample(self, count: int) -> list[int]:
        """``count`` of the rows, spread evenly over the whole set: the same ones in every evaluation."""
        import numpy as np

        found = np.linspace(0, len(self.rows) - 1, min(count, len(self.rows))).round().astype(int)
        return [int(row) for row in np.unique(found)]


@dataclass(frozen=True)
class Prediction:
    """One thing a trained model can be asked: the record behind ``predict NAME`` and the pages to try a model on.

    ``inputs`` declares what a row holds. ``heads`` are those that a model may have for it. ``output`` is the type that
    ``predict`` yields, in the rows' order; views are keyed on it. ``options`` is a dataclass of described fields.
    """

    name: str
    title: str
    help: str
    inputs: tuple[ColumnSpec, ...]
    heads: tuple[str, ...]
    output: type
    predict: Callable[[LoadedModel, Iterable[Mapping[str, Any]], JobContext, Any], Iterator[Any]]
    options: type = PredictOptions


def model_loss(model: Any, inputs: Inputs) -> torch.Tensor:
    """The model's own loss: a mean over the batch's items."""
    loss: torch.Tensor = model(**inputs).loss
    return loss


def count_rows(inputs: Inputs) -> int:
    """For a loss that is a mean over rows."""
    return len(next(iter(inputs.values())))


def count_labels(inputs: Inputs) -> int:
    """For a loss that is a mean over the labels that are not :data:`IGNORED`."""
    return int((inputs["labels"] != IGNORED).sum())


@dataclass(frozen=True)
class Task:
    """One thing a model can be trained for.

    ``columns`` declares what the data must have; it builds the form and the column mapping. ``head`` says how the model
    is loaded (see :class:`lmstudio_app.models.loading.LoadRequest`). ``options`` is a dataclass of described fields,
    the recipe's section of that name. ``predictions`` are what a model trained for the task can be asked.
    ``recommended`` are values of the recipe's fields, as ``section.key``, with which the form begins.
    """

    name: str
    title: str
    help: str
    columns: tuple[ColumnSpec, ...]
    head: str
    main_metric: str
    greater_is_better: bool
    # -> features, among them input_ids; more or fewer rows than it got are allowed when a feature ``row`` (the index
    # among the rows that came in) says where each comes from
    encode: Callable[[Rows, Setup], Features]
    # (features of the rows of a batch, setup, random numbers that depend on seed and batch alone) -> padded tensors
    collate: Callable[[Sequence[Mapping[str, Any]], Setup, np.random.Generator], dict[str, torch.Tensor]]
    # -> metrics, among them ``loss``, and details for the views: confusion and worst, or samples
    evaluate: Callable[[Evaluation], tuple[dict[str, float], dict[str, Any]]]
    predictions: tuple[Prediction, ...]
    group: str = "Fine-tuning"
    options: type = NoOptions
    # (train, eval, id2label of the model or None) -> label names in id order
    label_names: Callable[[Dataset, Dataset, Mapping[int, str] | None], tuple[str, ...]] | None = None
    # (model, inputs on the device) -> mean loss over the items of the batch, a scalar
    loss: Callable[[Any, Inputs], torch.Tensor] = model_loss
    # how many items that mean is over: batches of one optimizer step are weighted by it
    items: Callable[[Inputs], int] = count_rows
    # (training rows, options) -> tokens that a vocabulary learned for the task keeps whole, such as >>deu<<
    special_tokens: Callable[[Dataset, Any], Sequence[str]] | None = None
    recommended: Mapping[str, Any] = field(default_factory=dict)

    @property
    def families(self) -> tuple[str, ...]:
        """The architectures that can be made for it with random weights."""
        return FAMILIES_BY_HEAD.get(self.head, ())
