"""Sorting texts into classes: labels, metrics, prediction, and the record of the plain case."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.data.columns import ColumnSpec
from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import interruptible
from lmstudio_app.tasks.outputs import Label
from lmstudio_app.tasks.streaming import by_row, longest_text, row_text, stream_rows
from lmstudio_app.tasks.task import Evaluation, Features, Prediction, PredictOptions, Rows, Setup, Task

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset

    from lmstudio_app.models.loading import LoadedModel

_INTEGER = re.compile(r"-?\d+")
WORST_EXAMPLES = 50  # how many misclassified rows an evaluation keeps
MAX_CLASSES = 1000
_DEFAULTS = PredictOptions()


def canonical(value: Any) -> str:
    """The text of a raw label: ``1``, ``1.0``, ``"1"`` and ``True`` are the same label ``"1"``."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def distinct_labels(*datasets: Dataset) -> list[str]:
    """Every label that occurs, sorted (numbers by value, then texts)."""
    found = {canonical(value) for dataset in datasets for value in dataset.unique("label")}
    return sorted(found, key=lambda text: (0, int(text), "") if _INTEGER.fullmatch(text) else (1, 0, text))


def choose_label_names(found: Sequence[str], id2label: Mapping[int, str] | None) -> tuple[str, ...]:
    """Label names in id order.

    The model's own names win when every label of the data is one of them (or an id of one); otherwise the data's.
    Raises :class:`UserError` for fewer than two classes or for what is clearly no label column.
    """
    if len(found) < 2:
        raise UserError(
            "The label column holds only one class ({label}).",
            "Choose another label column, or add examples of the other class.",
            label=found[0] if found else "none",
        )
    if len(found) > MAX_CLASSES:
        raise UserError(
            "The label column holds {count} different values; that is no set of classes.",
            "Choose another label column in the column mapping.",
            count=len(found),
        )
    own = tuple(id2label[index] for index in sorted(id2label)) if id2label else ()
    if own and not _is_placeholder(own):
        known = _ids_by_name(own)
        if all(label in known or label.lower() in known for label in found):
            return own
        # as ids; but where a name is a number itself, 1 could be either
        are_ids = all(_INTEGER.fullmatch(label) and 0 <= int(label) < len(own) for label in found)
        if are_ids and not any(_INTEGER.fullmatch(name) for name in own):
            return own
    return tuple(found)


def _is_placeholder(names: Sequence[str]) -> bool:
    return all(name == f"LABEL_{index}" for index, name in enumerate(names))


def _ids_by_name(names: Sequence[str]) -> dict[str, int]:
    """Ids of the names as they are, and of their small letters where only one name has these."""
    lowered = collections.Counter(name.lower() for name in names)
    ids = {name.lower(): index for index, name in enumerate(names) if lowered[name.lower()] == 1}
    return ids | {name: index for index, name in enumerate(names)}


def label_ids(values: Iterable[Any], names: Sequence[str]) -> list[int]:
    """Ids of raw labels, by name (case aside), else by number. Raises :class:`UserError` for any other."""
    by_text = {str(index): index for index in range(len(names))} | _ids_by_name(names)
    ids = []
    for value in values:
        text = canonical(value)
        if text not in by_text:
            text = text.lower()
        if text not in by_text:
            raise UserError(
                "The label {label} is none of the model's labels: {names}.",
                "Correct the label, or start from a model without a head.",
                label=canonical(value),
                names=", ".join(names),
            )
        ids.append(by_text[text])
    return ids


def encode_texts(rows: Rows, setup: Setup) -> Features:
    """Token ids of ``text`` (with ``pair`` where there is one) and, where there is a ``label``, its id."""
    tokenizer, max_length = setup.tokenizer, setup.max_length
    pair = {"text_pair": list(rows["pair"])} if "pair" in rows else {}
    encoded = tokenizer(list(rows["text"]), **pair, truncation=True, max_length=max_length, return_attention_mask=False)
    features = {name: encoded[name] for name in ("input_ids", "token_type_ids") if name in encoded}
    if not all(features["input_ids"]):  # a text without a token, for a tokenizer that frames texts with none
        filler = _filler_id(tokenizer)
        for name, fill in (("input_ids", filler), ("token_type_ids", 0)):
            if name in features:
                features[name] = [ids or [fill] for ids in features[name]]
    if not pair:
        features.pop("token_type_ids", None)  # all zero, which is the models' default
    if "label" in rows:
        features["labels"] = label_ids(rows["label"], setup.labels)
    return features


def _filler_id(tokenizer: Any) -> int:
    """The token that stands for an empty text; a model needs at least one."""
    candidates = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.pad_token_id, 0)
    return next(token for token in candidates if token is not None)


def collate(
    features: Sequence[Mapping[str, Any]], setup: Setup, random: np.random.Generator | None = None
) -> dict[str, torch.Tensor]:
    return pad_features(features, {"input_ids": setup.tokenizer.pad_token_id or 0})


def evaluate(evaluation: Evaluation) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics over the evaluation set, and as details the confusion matrix and the worst rows with their texts."""
    metrics = ClassificationMetrics(evaluation.setup.labels)
    for inputs, rows in evaluation.batches():
        evaluation.ctx.check()
        labels = inputs.pop("labels")
        metrics.add(evaluation.model(**inputs).logits, labels, rows)
    values, details = metrics.compute()
    for example in details["worst"]:
        example["text"] = evaluation.rows[example["row"]]["text"]
    return values, details


class ClassificationMetrics:
    """Loss, accuracy, macro F1 (mean of the classes' F1 = 2TP / (2TP + FP + FN)), confusion matrix, worst rows."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._probabilities: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []

    def add(self, logits: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> None:
        """``logits`` ``[batch, classes]``; ``labels``, ``rows`` (in the evaluation set) ``[batch]``."""
        self._probabilities.append(logits.float().softmax(-1).cpu().numpy())
        self._labels.append(labels.cpu().numpy())
        self._rows.append(rows.cpu().numpy())

    def compute(self) -> tuple[dict[str, float], dict[str, Any]]:
        import numpy as np

        probabilities = np.concatenate(self._probabilities)
        labels, rows = np.concatenate(self._labels), np.concatenate(self._rows)
        predicted = probabilities.argmax(-1)
        count = len(self._names)
        confusion = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
        hits = np.diag(confusion).astype(float)
        total = confusion.sum(0) + confusion.sum(1)
        # a class that is neither there nor predicted has no F1 and does not count in the mean
        f1 = (2 * hits / np.maximum(total, 1))[total > 0]
        losses = -np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None))
        wrong = np.flatnonzero(predicted != labels)
        wrong = wrong[np.argsort(-losses[wrong], kind="stable")][:WORST_EXAMPLES]
        metrics = {
            "loss": float(losses.mean()),
            "accuracy": float((predicted == labels).mean()),
            "f1_macro": float(f1.mean()),
        }
        worst = [
            {
                "row": int(rows[index]),
                "label": self._names[labels[index]],
                "predicted": self._names[predicted[index]],
                "probability": float(probabilities[index, predicted[index]]),
                "loss": float(losses[index]),
            }
            for index in wrong
        ]
        return metrics, {"labels": self._names, "confusion": confusion.tolist(), "worst": worst}


def predict_labels(
    loaded: LoadedModel, rows: Iterable[Mapping[str, Any]], ctx: JobContext, options: PredictOptions = _DEFAULTS
) -> Iterator[Label]:
    """Probabilities of each row's ``text`` (with its ``pair``, where there is one), in the rows' order.

    They are softmax(logits), or sigmoid(logits) for a model that was trained to give several labels at once. Raises
    :class:`UserError` when the model has no classification head, or one that gives a single number.
    """
    import torch

    if loaded.head != "sequence-classification":
        raise UserError(
            "{model} has no classification head, so it gives no labels.",
            "Train it on labelled data first, or choose a sequence classification model.",
            model=loaded.reference,
        )
    model, tokenizer = loaded.model, loaded.tokenizer
    names = loaded.labels
    if len(names) < 2:
        raise UserError(
            "{model} gives one number and no labels.",
            "Choose a sequence classification model with two labels or more.",
            model=loaded.reference,
        )
    is_exclusive = model.config.problem_type != "multi_label_classification"
    setup = Setup(tokenizer, names, longest_text(loaded), model_config=model.config)

    def _prepare(window: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        columns = {"text": [row_text(row) for row in window]}
        if any("pair" in row for row in window):
            columns["pair"] = [str(row.get("pair") or "") for row in window]
        return by_row(encode_texts(columns, setup))

    def _run(features: Sequence[dict[str, Any]]) -> list[Label]:
        batch = {name: tensor.to(loaded.device) for name, tensor in collate(features, setup).items()}
        with torch.inference_mode(), interruptible(model, ctx):
            logits = model(**batch).logits.float()
        scores = (logits.softmax(-1) if is_exclusive else logits.sigmoid()).cpu()
        best = scores.argmax(-1).tolist()
        return [
            Label(names[index], dict(zip(names, row, strict=True)))
            for index, row in zip(best, scores.tolist(), strict=True)
        ]

    return stream_rows(rows, options.batch_size, ctx, _prepare, lambda item: len(item["input_ids"]), _run)


TEXT = ColumnSpec(
    "text",
    "Text",
    "The column with the texts to judge.",
    aliases=("text", "sentence", "review", "content", "comment", "tweet", "document", "body"),
)
LABEL = ColumnSpec(
    "label",
    "Label",
    "The column with the right answer: a number or a name.",
    type="label",
    aliases=("label", "labels", "sentiment", "class", "category", "polarity", "rating", "target", "score"),
)
PAIR = ColumnSpec(
    "pair",
    "Second text",
    "For judgements about two texts, such as whether one follows from the other: the column with the second one.",
    required=False,
    aliases=("pair", "text_pair", "sentence2", "hypothesis", "text2", "question2"),
)


def data_label_names(train: Dataset, evaluation: Dataset, id2label: Mapping[int, str] | None) -> tuple[str, ...]:
    """The model's names where they fit, else what the data says."""
    return choose_label_names(distinct_labels(train, evaluation), id2label)


CLASSIFY = Prediction(
    name="classification",
    title="Classification",
    help="Sort texts into the classes that the model has learned.",
    inputs=(TEXT, PAIR),
    heads=("sequence-classification",),
    output=Label,
    predict=predict_labels,
)
CLASSIFICATION = Task(
    name="classification",
    title="Text classification",
    help="Sort texts, or pairs of texts, into any number of classes.",
    columns=(TEXT, PAIR, LABEL),
    head="sequence-classification",
    main_metric="accuracy",
    greater_is_better=True,
    label_names=data_label_names,
    encode=encode_texts,
    collate=collate,
    evaluate=evaluate,
    predictions=(CLASSIFY,),
)
