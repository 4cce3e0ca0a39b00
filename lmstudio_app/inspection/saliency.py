"""How much each word of a text speaks for or against a label, by integrated gradients.

Sundararajan, Taly and Yan (2017), "Axiomatic Attribution for Deep Networks", equation 1: the gradient of F, averaged
along the straight line from a baseline x₀ to the input x, times (x - x₀). F is the log-odds of the label, and x are the
word embeddings. What the tokens get adds up to F(x) - F(x₀) (completeness), which is also how it is checked.
"""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.words import join_pieces
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import interruptible
from lmstudio_app.models.quiet import quiet_transformers
from lmstudio_app.tasks.streaming import longest_text, whole_characters

if TYPE_CHECKING:
    import numpy as np
    import torch

    from lmstudio_app.models.loading import LoadedModel

STEPS = (12, 24, 48, 96, 192)  # points on the line; more are taken while the sum is off
TOLERANCE = 0.02  # of the difference that the attributions have to sum to
_LEAST = 0.01  # log-odds: nearer than this is near enough however small the difference is
_BUDGET = 0.08  # seconds that the points which go through the model together may take


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
        judge = _Judge(loaded, pieces.inputs)
        with torch.no_grad():
            logits = judge.logits(judge.embedded[None]).float()[0]
        label = names.index(request.label) if request.label is not None else int(logits.argmax())
        log_odds = float(judge.log_odds(logits[None], label)[0])
        if not any(pieces.is_text):
            return Saliency(names[label], (), log_odds, log_odds, 0.0, 0, len(text))
        line = _Line(judge, pieces, label)
        baseline = line.value_at(0.0)
        scores, steps = line.integrate(log_odds - baseline, ctx)
    found = [
        WordScore(word.start, word.end, text[word.start : word.end], float(scores[list(word.pieces)].sum()))
        for word in join_pieces(text, pieces.spans)
    ]
    error = float(scores.sum()) - (log_odds - baseline)
    return Saliency(names[label], tuple(found), log_odds, baseline, error, steps, pieces.read)


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


class _Judge:
    """The model as a function of the embeddings of one text's tokens, float32 ``[batch, tokens, size]``."""

    def __init__(self, loaded: LoadedModel, inputs: dict[str, torch.Tensor]) -> None:
        self._model = loaded.model
        self._mask = inputs["attention_mask"]
        self._is_exclusive = loaded.model.config.problem_type != "multi_label_classification"
        self._embeddings = loaded.model.get_input_embeddings()
        self.embedded = self.embed(inputs["input_ids"])[0]
        mask = loaded.tokenizer.mask_token_id
        self.mask_id = mask if mask is not None and mask < len(self._embeddings.weight) else None

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.no_grad():
            return self._embeddings(ids).float()  # type: ignore[no-any-return]

    def logits(self, embedded: torch.Tensor) -> torch.Tensor:
        output = self._model(
            inputs_embeds=embedded.to(self._embeddings.weight.dtype),
            attention_mask=self._mask.expand(len(embedded), -1),
        )
        return output.logits  # type: ignore[no-any-return]

    def log_odds(self, logits: torch.Tensor, label: int) -> torch.Tensor:
        """log p / (1 - p) of the label, ``[batch]``; of several labels at once that is the logit itself."""
        import torch

        logits = logits.float()
        if not self._is_exclusive:
            return logits[:, label]
        others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=-1)
        return logits[:, label] - others.logsumexp(-1)


class _Line:
    """The straight line from the text with all its tokens hidden to the text."""

    def __init__(self, judge: _Judge, pieces: _Pieces, label: int) -> None:
        import torch

        self._judge, self._label = judge, label
        is_text = torch.tensor(pieces.is_text, device=judge.embedded.device)[:, None]
        self._base = torch.where(is_text, self._hidden(pieces), judge.embedded)
        self._way = judge.embedded - self._base
        self._together = 1  # points that go through the model at once

    def _hidden(self, pieces: _Pieces) -> torch.Tensor:
        """What stands in the place of a token: the model's own mask where it has learned one, else nothing (zeros)."""
        import torch

        if self._judge.mask_id is None:
            return torch.zeros_like(self._judge.embedded)
        return self._judge.embed(torch.full_like(pieces.inputs["input_ids"], self._judge.mask_id))[0]

    def value_at(self, place: float) -> float:
        """F at a place of the line: 0 is the baseline, 1 the text."""
        import torch

        with torch.no_grad():
            return float(self._judge.log_odds(self._judge.logits((self._base + place * self._way)[None]), self._label))

    def integrate(self, wanted: float, ctx: JobContext) -> tuple[np.ndarray, int]:
        """Each token's share, float64 ``[tokens]``, and the points that were needed for their sum to be ``wanted``."""
        import numpy as np

        scores = np.zeros(len(self._way))
        for steps in STEPS:
            # Gauss-Legendre quadrature on [0, 1]
            nodes, weights = np.polynomial.legendre.leggauss(steps)
            scores = self._average_gradient((nodes + 1) / 2, weights / 2, ctx)
            if abs(scores.sum() - wanted) <= max(_LEAST, TOLERANCE * abs(wanted)):
                break
        return scores, steps

    def _average_gradient(self, places: np.ndarray, weights: np.ndarray, ctx: JobContext) -> np.ndarray:
        import torch

        total = torch.zeros_like(self._way)
        start = 0
        while start < len(places):
            ctx.check()
            count = min(self._together, len(places) - start)
            begun = time.perf_counter()
            share = torch.as_tensor(places[start : start + count], dtype=torch.float32, device=total.device)
            points = (self._base + share[:, None, None] * self._way).requires_grad_()
            values = self._judge.log_odds(self._judge.logits(points), self._label)
            (gradients,) = torch.autograd.grad(values.sum(), points)  # of the points alone, not of the weights
            weight = torch.as_tensor(weights[start : start + count], dtype=torch.float32, device=total.device)
            total += (gradients * weight[:, None, None]).sum(0)
            start += count
            taken = time.perf_counter() - begun
            if count == self._together and taken < _BUDGET / 2:
                self._together *= 2
            elif taken > _BUDGET and self._together > 1:
                self._together //= 2
        found: np.ndarray = (total * self._way).sum(-1).double().cpu().numpy()
        return found
