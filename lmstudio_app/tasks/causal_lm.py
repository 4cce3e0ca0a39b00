"""Causal language modelling: guess every token from those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features
from lmstudio_app.errors import UserError
from lmstudio_app.tasks.cross_entropy import perplexity
from lmstudio_app.tasks.documents import DOCUMENTS, by_document, frame, token_ids
from lmstudio_app.tasks.labelled_loss import count_targets, labelled_logits, labelled_loss
from lmstudio_app.tasks.next_token import NEXT_TOKEN
from lmstudio_app.tasks.task import IGNORED, Evaluation, Features, Inputs, Rows, Setup, Task

if TYPE_CHECKING:
    import numpy as np
    import torch

_SAMPLES, _SAMPLE_TOKENS = 3, 24


def encode(rows: Rows, setup: Setup) -> Features:
    """Blocks of ``max_length`` tokens out of one stream: the documents, each ended by the end-of-text token.

    Lines of a document stay lines. The last block of a portion may be shorter; one of a single token is left out, since
    it has nothing to predict.
    """
    import numpy as np

    tokenizer = setup.tokenizer
    if tokenizer.eos_token_id is None:
        raise UserError("The tokenizer of this model has no end-of-text token.", "Choose another model, or a new one.")
    before, _ = frame(tokenizer)
    documents = list(by_document(rows))
    stream: list[int] = []
    begins, firsts = [], []
    for (first, _, _), ids in zip(
        documents, token_ids(tokenizer, ["\n".join(texts) for _, _, texts in documents]), strict=True
    ):
        begins.append(len(stream))
        firsts.append(first)
        stream += [*before, *ids, tokenizer.eos_token_id]
    blocks = [stream[at : at + setup.max_length] for at in range(0, len(stream), setup.max_length)]
    blocks = [block for block in blocks if len(block) > 1]
    starts = np.arange(len(blocks)) * setup.max_length
    inside = np.searchsorted(begins, starts, side="right") - 1
    return {"input_ids": blocks, "row": [firsts[index] for index in inside]}


def collate(
    features: Sequence[Mapping[str, Any]], setup: Setup, random: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Pad; ``labels`` are the tokens themselves, which the model shifts by one."""
    import torch

    batch = pad_features(features, {"input_ids": setup.tokenizer.pad_token_id or 0})
    batch["labels"] = torch.where(batch["attention_mask"] > 0, batch["input_ids"], IGNORED)
    return batch


def evaluate(evaluation: Evaluation) -> tuple[dict[str, float], dict[str, Any]]:
    """Loss, the share of tokens that are guessed exactly, and perplexity = exp(loss)."""
    from torch.nn import functional

    total, right, count = 0.0, 0, 0
    samples: list[dict[str, str]] = []
    for inputs, _ in evaluation.batches():
        evaluation.ctx.check()
        logits, targets = labelled_logits(evaluation.model, inputs)
        total += float(functional.cross_entropy(logits, targets, reduction="sum"))
        right += int((logits.argmax(-1) == targets).sum())
        count += len(targets)
        if not samples:
            samples = _samples(evaluation, inputs)
    mean = total / max(1, count)
    metrics = {"loss": mean, "accuracy": right / max(1, count), "perplexity": perplexity(mean)}
    return metrics, {"samples": samples}


def _samples(evaluation: Evaluation, inputs: Inputs) -> list[dict[str, str]]:
    """How the model goes on with the first halves of some blocks, beside how the blocks themselves go on."""
    from lmstudio_app.models.generation import interruptible, stopping_criterion
    from lmstudio_app.models.quiet import quiet_transformers

    tokenizer, model, ctx = evaluation.setup.tokenizer, evaluation.loaded.model, evaluation.ctx
    found = []
    with quiet_transformers(), interruptible(model, ctx):
        for row in inputs["input_ids"][:_SAMPLES]:
            begin = row[: max(1, min(len(row) // 2, 48))]
            written = model.generate(
                input_ids=begin[None], attention_mask=begin.new_ones(1, len(begin)), max_new_tokens=_SAMPLE_TOKENS,
                do_sample=False, pad_token_id=tokenizer.pad_token_id, stopping_criteria=[stopping_criterion(ctx)],
            )[0]  # fmt: skip
            texts = (begin, row[len(begin) : len(begin) + _SAMPLE_TOKENS], written[len(begin) :])
            decoded = [tokenizer.decode(ids.tolist(), skip_special_tokens=True) for ids in texts]
            found.append(dict(zip(("input", "reference", "output"), decoded, strict=True)))
    return found


CAUSAL_LM = Task(
    name="causal_lm",
    title="Causal language modelling",
    help="Pretrain on plain text: guess every word from those before it.",
    group="Pretraining",
    columns=(DOCUMENTS,),
    head="causal-lm",
    main_metric="loss",
    greater_is_better=False,
    encode=encode,
    collate=collate,
    evaluate=evaluate,
    loss=labelled_loss,
    items=count_targets,
    predictions=(NEXT_TOKEN,),
    recommended={"training.learning_rate": 5e-4, "training.epochs": 10.0, "architecture.family": "gpt2"},
)
