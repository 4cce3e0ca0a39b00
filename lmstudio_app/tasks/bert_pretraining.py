"""BERT's own pretraining: guess hidden words, and whether the second text follows the first (Devlin et al. 2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.errors import UserError
from lmstudio_app.options import option
from lmstudio_app.tasks.documents import by_document, token_ids
from lmstudio_app.tasks.fill_mask import FILL_MASK
from lmstudio_app.tasks.masked_head import MaskedTokens, masked_tokens
from lmstudio_app.tasks.masked_lm import MASKED_LM, MaskedMetrics
from lmstudio_app.tasks.masking import MaskingOptions, mask_batch, pieces_of
from lmstudio_app.tasks.next_sentence import NEXT_SENTENCE
from lmstudio_app.tasks.sentence_pairs import SPECIAL, Piece, cut_pieces, draw_pair
from lmstudio_app.tasks.sentences import sentence_texts
from lmstudio_app.tasks.task import Evaluation, Features, Inputs, Rows, Setup, count_rows

if TYPE_CHECKING:
    import numpy as np
    import torch

_FAMILIES = ("bert", "mobilebert", "megatron-bert", "ernie")  # whose head for pretraining judges pairs
_LONE = "{count} documents of a single sentence are left out: there is no next one."


@dataclass(frozen=True)
class PretrainingOptions(MaskingOptions):
    """Masks, and how documents become pairs."""

    duplicates: int = option(
        1,
        "Cuts of a document",
        "How many times an epoch goes through each document, every time cut into pairs at other sentences.",
        minimum=1,
        maximum=100,
    )


def encode(rows: Rows, setup: Setup) -> Features:
    """Pieces of documents (see :mod:`lmstudio_app.tasks.sentence_pairs`): ``input_ids`` without special tokens,
    ``sentences`` (the tokens of each), ``document`` and ``piece`` (its number within the document).

    Raises :class:`UserError` for a model without a head for next sentences.
    """
    tokenizer = setup.tokenizer
    if setup.model_config.model_type not in _FAMILIES:
        raise UserError(
            "A {family} model has no head that judges whether texts follow each other.",
            "Choose a BERT or a new one, or the task masked_lm.",
            family=setup.model_config.model_type,
        )
    pieces_of(tokenizer)
    if setup.max_length < SPECIAL + 2:
        raise UserError("A pair of texts does not fit {count} tokens.", "Raise training.max_length.",
                        count=setup.max_length)  # fmt: skip
    budget = setup.max_length - SPECIAL
    options: PretrainingOptions = setup.options
    found: Features = {"input_ids": [], "sentences": [], "document": [], "piece": [], "row": []}
    for first, document, texts in by_document(rows):
        sentences = [ids for ids in token_ids(tokenizer, [s for t in texts for s in sentence_texts(t)]) if ids]
        if len(sentences) < 2:
            setup.notes[_LONE] += 1
            continue
        lengths = [len(ids) for ids in sentences]
        for duplicate in range(options.duplicates):
            begin_with = budget * (options.duplicates - duplicate) // options.duplicates
            for number, (begin, end) in enumerate(cut_pieces(lengths, budget, begin_with)):
                found["input_ids"].append([token for ids in sentences[begin:end] for token in ids])
                found["sentences"].append(lengths[begin:end])
                found["document"].append(document)
                found["piece"].append(number)
                found["row"].append(first)
    return found


def collate(
    features: Sequence[Mapping[str, Any]], setup: Setup, random: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Draw a pair of each piece, join it as ``[CLS] A [SEP] B [SEP]``, pad, and mask."""
    import numpy as np

    tokenizer = setup.tokenizer
    begin, middle = [tokenizer.cls_token_id], [tokenizer.sep_token_id]
    pieces = [Piece.of(feature) for feature in features]
    examples = []
    for index in range(len(pieces)):
        first, second, follows = draw_pair(index, pieces, setup.max_length - SPECIAL, random)
        examples.append(
            {
                "input_ids": np.concatenate([begin, first, middle, second, middle]),
                "token_type_ids": np.repeat([0, 1], [len(first) + 2, len(second) + 1]),
                "next_sentence_label": 0 if follows else 1,
            }
        )
    padded = pad_features(examples, {"input_ids": tokenizer.pad_token_id or 0})
    return mask_batch(padded, tokenizer, setup.options, random)


def _losses(model: Any, inputs: Inputs) -> tuple[MaskedTokens, torch.Tensor, torch.Tensor]:
    """The masked tokens, and logits and loss of the next sentence."""
    from torch.nn import functional

    labels = inputs["next_sentence_label"]
    found = masked_tokens(model, {name: tensor for name, tensor in inputs.items() if name != "next_sentence_label"})
    logits = found.output.seq_relationship_logits.float()
    return found, logits, functional.cross_entropy(logits, labels)


def loss(model: Any, inputs: Inputs) -> torch.Tensor:
    """The sum of both losses.

    One is a mean over tokens, the other over pairs, and batches are weighted by their pairs. As every pair has its
    share masked, parts of a batch give the gradient of the whole but for the rounding of these shares.
    """
    found, _, next_sentence = _losses(model, inputs)
    total: torch.Tensor = found.loss() + next_sentence
    return total


def evaluate(evaluation: Evaluation) -> tuple[dict[str, float], dict[str, Any]]:
    """Both losses and accuracies. ``nsp_majority`` is the accuracy of always giving the commoner answer."""
    masked = MaskedMetrics(evaluation.setup.tokenizer)
    total, right, follows, count = 0.0, 0, 0, 0
    for inputs, _ in evaluation.batches():
        evaluation.ctx.check()
        found, logits, next_sentence = _losses(evaluation.model, inputs)
        masked.add(inputs, found)
        labels = inputs["next_sentence_label"]
        total += float(next_sentence) * len(labels)
        right += int((logits.argmax(-1) == labels).sum())
        follows += int((labels == 0).sum())
        count += len(labels)
    nsp = total / max(1, count)
    metrics = {
        "loss": masked.loss + nsp,
        "mlm_loss": masked.loss,
        "mlm_accuracy": masked.accuracy,
        "nsp_loss": nsp,
        "nsp_accuracy": right / max(1, count),
        "nsp_majority": max(follows, count - follows) / max(1, count),
    }
    return metrics, {"samples": masked.samples}


BERT_PRETRAINING = dataclasses.replace(
    MASKED_LM,
    name="bert_pretraining",
    title="BERT pretraining",
    help="Pretrain on plain text as BERT: guess hidden words, and whether one text follows another.",
    head="pretraining",
    encode=encode,
    collate=collate,
    evaluate=evaluate,
    loss=loss,
    items=count_rows,
    predictions=(FILL_MASK, NEXT_SENTENCE),
    options=PretrainingOptions,
)
