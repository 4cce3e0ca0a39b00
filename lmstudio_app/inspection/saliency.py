"""How much each word of a text speaks for or against a label, by integrated gradients.

Sundararajan, Taly and Yan (2017), "Axiomatic Attribution for Deep Networks", equation 1: the gradient of F, averaged
along the straight line from a baseline x₀ to the input x, times (x - x₀). F is the log-odds of the label, and x are the
word embeddings. What the tokens get adds up to F(x) - F(x₀) (completeness), which is also how it is checked.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.attribution_function import EmbeddedModel, log_odds
from lmstudio_app.inspection.attribution_gradients import integrated_gradients
from lmstudio_app.inspection.words import join_pieces
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import interruptible
from lmstudio_app.models.quiet import quiet_transformers
from lmstudio_app.tasks.streaming import longest_text, whole_characters

if TYPE_CHECKING:
    import torch

    from lmstudio_app.models.loading import LoadedModel


@dataclass(frozen=True)
class SaliencyRequest:
    """``label`` None asks about the one that the model gives to the text."""

    text: str
    label: str | None = None


@dataclass(frozen=True)
class WordScore:
    """``text[start:end]`` of the input, and what it adds to the label's log-odds: below 0 it speaks against it."""

    start: int
    end: int
    text: str
    score: float

    def to_row(self) -> dict[str, Any]:
        return {"start": self.start, "end": self.end, "text": self.text, "score": self.score}


@dataclass(frozen=True)
class Saliency:
    """What was found: the scores of the words sum to ``log_odds - baseline`` but for ``error``.

    ``log_odds`` is log p / (1 - p) of the label for the text, ``baseline`` the same with every word hidden. ``read`` is
    where the text was cut off because the model reads no more (its length where it was not). Special tokens such as
    ``[CLS]`` are the same in both, so nothing falls on them.
    """

    label: str
    words: tuple[WordScore, ...]
    log_odds: float
    baseline: float
    error: float
    steps: int
    read: int


def explain_label(loaded: LoadedModel, request: SaliencyRequest, ctx: JobContext) -> Saliency:
    """The words of a text and what each says about the label (a job).

    No gradient falls on the model's weights, which are left as they are. ``ctx.check`` is asked before every layer,
    forward and backward. Raises :class:`UserError` for a model without classes, for a label that it does not have, and
    for one that cannot be given embeddings in place of tokens.
    """
    import torch

    names = loaded.labels
    if loaded.head != "sequence-classification" or len(names) < 2:
        raise UserError(
            "{model} chooses no labels, so there is nothing to explain.",
            "Choose a model that was trained to classify.",
            model=loaded.reference,
        )
    if request.label is not None and request.label not in names:
        raise UserError(
            "{label} is none of the model's labels: {names}.", "Choose one of these.",
            label=request.label, names=", ".join(names),
        )  # fmt: skip
    if (
        "inputs_embeds" not in inspect.signature(loaded.model.forward).parameters
        or loaded.model.config.is_encoder_decoder
    ):
        raise UserError(
            "A judgement of this kind of model ({kind}) cannot be traced to words.",
            "Choose another model, such as BERT, RoBERTa or GPT-2 with a classification head.",
            kind=loaded.model.config.model_type,
        )
    text = whole_characters(request.text)
    pieces = _encode(loaded, text)
    with torch.inference_mode(False), torch.enable_grad(), interruptible(loaded.model, ctx), quiet_transformers():
        with torch.no_grad():
            logits = loaded.model(**pieces.inputs).logits.float()
        label = names.index(request.label) if request.label is not None else int(logits[0].argmax())
        whole = float(_log_odds(loaded, logits, label)[0])
        if not any(pieces.is_text):
            return Saliency(names[label], (), whole, whole, 0.0, 0, len(text))
        judge = EmbeddedModel(loaded.model, pieces.inputs, lambda output: _log_odds(loaded, output.logits, label))
        with judge.open():
            hidden = judge.baseline(pieces.is_text, loaded.tokenizer.mask_token_id)
            found = integrated_gradients(judge, judge.embedded, hidden, ctx, value=whole)
    words = tuple(
        WordScore(word.start, word.end, text[word.start : word.end], float(found.scores[list(word.pieces)].sum()))
        for word in join_pieces(text, pieces.spans)
    )
    return Saliency(names[label], words, found.value, found.baseline, found.error, found.steps, pieces.read)


def _log_odds(loaded: LoadedModel, logits: torch.Tensor, label: int) -> torch.Tensor:
    """log p / (1 - p) of the label, ``[batch]``; of several labels at once that is the logit itself."""
    if loaded.model.config.problem_type == "multi_label_classification":
        return logits[:, label]
    return log_odds(logits, label)


@dataclass(frozen=True)
class _Pieces:
    """A text's tokens: ``inputs`` of a batch of 1, and for each token whether it is of the text, and its characters."""

    inputs: dict[str, torch.Tensor]
    is_text: list[bool]
    spans: list[tuple[int, int] | None]
    read: int


def _encode(loaded: LoadedModel, text: str) -> _Pieces:
    tokenizer = loaded.tokenizer
    if not tokenizer.is_fast:
        raise UserError(
            "The tokenizer of {model} does not tell which words its tokens belong to.",
            "Choose a model with a tokenizer.json.",
            model=loaded.reference,
        )
    encoded = tokenizer(
        text,
        truncation=True,
        max_length=longest_text(loaded),
        return_tensors="pt",
        return_offsets_mapping=True,
        return_token_type_ids=False,
    )
    is_text = [sequence is not None for sequence in encoded.sequence_ids(0)]
    offsets = [tuple(span) for span in encoded["offset_mapping"][0].tolist()]
    spans = [(start, end) if flag else None for flag, (start, end) in zip(is_text, offsets, strict=True)]
    inputs = {name: encoded[name].long().to(loaded.device) for name in ("input_ids", "attention_mask")}
    ends = [span[1] for span in spans if span is not None]
    rest = text[max(ends, default=0) :]
    return _Pieces(inputs, is_text, spans, len(text) if not rest.strip() else max(ends, default=0))
