"""Masked language modelling: guess hidden words from both sides, P(x_i | the rest)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.tasks.cross_entropy import perplexity
from lmstudio_app.tasks.documents import DOCUMENTS, by_document, even_blocks, frame, token_ids
from lmstudio_app.tasks.fill_mask import FILL_MASK
from lmstudio_app.tasks.masked_head import MaskedTokens, masked_tokens
from lmstudio_app.tasks.masking import MaskingOptions, mask_batch, pieces_of
from lmstudio_app.tasks.task import IGNORED, Evaluation, Features, Inputs, Rows, Setup, Task, count_labels

if TYPE_CHECKING:
    import numpy as np
    import torch

MAX_SAMPLES = 10


def encode(rows: Rows, setup: Setup) -> Features:
    """Blocks of at most ``max_length`` tokens, special ones included.

    No block goes beyond its document (DOC-SENTENCES of Liu et al. 2019, section 4.2, where it does a little better
    than blocks that do). The reason against it, batches half full of padding, does not hold here: blocks of similar
    length go together. A document is cut evenly, so that no block is a leftover of a few words.
    """
    pieces_of(setup.tokenizer)  # says so when there is no mask token
    before, behind = frame(setup.tokenizer)
    size = max(1, setup.max_length - len(before) - len(behind))
    found: Features = {"input_ids": [], "row": []}
    for first, _, texts in by_document(rows):
        # rows are joined by a space, which some tokenizers count to the word behind it
        lines = token_ids(setup.tokenizer, [text if index == 0 else f" {text}" for index, text in enumerate(texts)])
        for block in even_blocks([token for line in lines for token in line], size):
            found["input_ids"].append([*before, *block.tolist(), *behind])
            found["row"].append(first)
    return found


def collate(
    features: Sequence[Mapping[str, Any]], setup: Setup, random: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Pad, then mask: other tokens every time that a block is seen."""
    padded = pad_features(features, {"input_ids": setup.tokenizer.pad_token_id or 0})
    return mask_batch(padded, setup.tokenizer, setup.options, random)


def loss(model: Any, inputs: Inputs) -> torch.Tensor:
    return masked_tokens(model, inputs).loss()


class MaskedMetrics:
    """Loss and accuracy over all masked tokens of an evaluation, and some of the texts with what was guessed."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._loss = 0.0
        self._right = self._count = 0
        self.samples: list[dict[str, str]] = []

    def add(self, inputs: Inputs, found: MaskedTokens) -> None:
        from torch.nn import functional

        guesses = found.logits.argmax(-1)
        self._loss += float(functional.cross_entropy(found.logits, found.targets, reduction="sum"))
        self._right += int((guesses == found.targets).sum())
        self._count += len(found.targets)
        if len(self.samples) < MAX_SAMPLES:
            self._sample(inputs, guesses)

    def _sample(self, inputs: Inputs, guesses: torch.Tensor) -> None:
        """The first text of the batch: with its gaps, as it was, and as the model fills it."""
        ids, labels = inputs["input_ids"][0], inputs["labels"][0]
        is_masked = labels != IGNORED
        reference, output = ids.clone(), ids.clone()
        reference[is_masked] = labels[is_masked]
        output[is_masked] = guesses[: int(is_masked.sum())]
        kept = inputs["attention_mask"][0].bool()
        texts = [self._tokenizer.decode(row[kept].tolist()) for row in (ids, reference, output)]
        self.samples.append(dict(zip(("input", "reference", "output"), texts, strict=True)))

    @property
    def loss(self) -> float:
        return self._loss / max(1, self._count)

    @property
    def accuracy(self) -> float:
        return self._right / max(1, self._count)


def evaluate(evaluation: Evaluation) -> tuple[dict[str, float], dict[str, Any]]:
    """Loss and accuracy of the masked tokens. The pseudo-perplexity is exp(loss): P(x_i | the rest) is no
    probability of a text, so it compares with other masked models only.
    """
    found = MaskedMetrics(evaluation.setup.tokenizer)
    for inputs, _ in evaluation.batches():
        evaluation.ctx.check()
        found.add(inputs, masked_tokens(evaluation.model, inputs))
    metrics = {
        "loss": found.loss,
        "mlm_accuracy": found.accuracy,
        "pseudo_perplexity": perplexity(found.loss),
    }
    return metrics, {"samples": found.samples}


MASKED_LM = Task(
    name="masked_lm",
    title="Masked language modelling",
    help="Pretrain on plain text: guess hidden words from both sides.",
    group="Pretraining",
    columns=(DOCUMENTS,),
    head="masked-lm",
    main_metric="loss",
    greater_is_better=False,
    encode=encode,
    collate=collate,
    evaluate=evaluate,
    loss=loss,
    items=count_labels,
    predictions=(FILL_MASK,),
    options=MaskingOptions,
    recommended={"training.learning_rate": 5e-4, "training.epochs": 10.0, "architecture.tokenizer.lowercase": True},
)
