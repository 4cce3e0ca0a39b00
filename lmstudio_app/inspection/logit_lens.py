"""What a model would say if it stopped after each layer: the logit lens (nostalgebraist 2020).

The hidden states of every layer go through the model's own final norm and output head. They were made for the last
layer's states only, so early layers may look more confused than they are (Belrose et al. 2023, "Eliciting Latent
Predictions from Transformers with the Tuned Lens").
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.attribution_inputs import InputText, ModelInput, encode_input
from lmstudio_app.inspection.logit_lens_head import ModelEnd, logits_of, tail_of, unknown_end, watched
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import interruptible
from lmstudio_app.models.quiet import quiet_transformers
from lmstudio_app.tasks.streaming import token_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from lmstudio_app.models.loading import LoadedModel

TOP = 5
_CHUNK_BYTES = 32 * 2**20  # of logits at once
_KINDS = {
    "causal-lm": "next",
    "seq2seq-lm": "next",
    "masked-lm": "word",
    "pretraining": "word",
    "sequence-classification": "label",
    "token-classification": "labels",
}


@dataclass(frozen=True)
class LensRequest:
    """``top`` is how many answers are kept of each place."""

    given: InputText
    top: int = TOP


@dataclass(frozen=True, eq=False)
class Lens:
    """Row 0 is the embeddings, row ``i`` the states after layer ``i``; the last row is what the model says.

    ``ids`` int32 and ``probabilities`` float32 ``[layers + 1, places, top]`` are the likeliest answers, named by
    ``names``. The model's own answer at each place is ``answers`` int32 ``[places]``; ``answer_probabilities`` and
    ``answer_ranks`` (1 is the likeliest) ``[layers + 1, places]`` follow it through the layers. ``kind`` is ``next``
    for the token after each, ``word`` for the one at each, ``labels`` for its label, ``label`` for the whole text's.
    """

    kind: str
    tokens: Tokens
    names: Mapping[int, str]
    ids: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]
    answers: npt.NDArray[np.int32]
    answer_probabilities: npt.NDArray[np.float32]
    answer_ranks: npt.NDArray[np.int32]
    dropped: int = 0

    @property
    def layers(self) -> int:
        return len(self.ids) - 1

    def top(self, row: int, place: int) -> list[tuple[str, float]]:
        """The likeliest answers and their probabilities."""
        pairs = zip(self.ids[row, place].tolist(), self.probabilities[row, place].tolist(), strict=True)
        return [(self.names[number], share) for number, share in pairs]

    def to_row(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "tokens": list(self.tokens.tokens),
            "layers": [
                [
                    {
                        "top": [{"text": text, "probability": share} for text, share in self.top(row, place)],
                        "answer": self.names[int(self.answers[place])],
                        "probability": float(self.answer_probabilities[row, place]),
                        "rank": int(self.answer_ranks[row, place]),
                    }
                    for place in range(len(self.tokens))
                ]
                for row in range(len(self.ids))
            ],
        }


def read_lens(loaded: LoadedModel, request: LensRequest, ctx: JobContext) -> Lens:
    """Every layer of one pass through the model's end (a job).

    One layer's logits exist at a time, in chunks of places. Raises :class:`UserError` for a model that has no head, and
    for one that ends in a way that is not known.
    """
    import torch

    if loaded.head not in _KINDS:
        raise UserError(
            "{model} turns its states into no words or labels, so there is nothing to see between its layers ({head}).",
            "Choose a model that writes, fills gaps or classifies.",
            model=loaded.reference,
            head=loaded.head,
        )
    model = loaded.model
    with torch.inference_mode(), interruptible(model, ctx), quiet_transformers():
        inputs = encode_input(loaded, request.given, ctx)
        states, end, own = _read_states(loaded, inputs)
        reading = _Reading(loaded, inputs, end, _places(inputs), max(1, request.top))
        last = len(states) - 1
        meter = ctx.meter(len(states), "layers")
        meter.update(0)
        reading.read(last, states[last], ctx)  # first: the others look for its answers
        reading.check(own)
        for row in range(last):
            reading.read(row, end.states(states[row]), ctx)
            meter.update(row + 1)
        meter.update(len(states))
    return reading.result(_KINDS[loaded.head], len(states))


def _read_states(loaded: LoadedModel, inputs: ModelInput) -> tuple[tuple[torch.Tensor, ...], ModelEnd, torch.Tensor]:
    """The hidden states ``[1, tokens, size]`` of all layers, the last ones as the head gets them; the model's end; and
    its own logits ``[answers]`` at the last place.
    """
    model = loaded.model
    options = dict(inputs.options)
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        options["logits_to_keep"] = 1  # those of a long text would cost more than the rest together
    with watched(model) as watch:
        output = model(**inputs.tensors, **options, output_hidden_states=True)
    states = output.decoder_hidden_states if inputs.has_target else output.hidden_states
    if not states:
        raise UserError(
            "A model of the kind {kind} does not show the states between its layers.",
            "Choose another model, such as BERT, GPT-2 or Llama.",
            kind=model.config.model_type,
        )
    logits = logits_of(output)
    own = logits.reshape(-1, logits.shape[-1])[-1]
    return tuple(states), ModelEnd(model, tail_of(model, watch, states[-1])), own


def _places(inputs: ModelInput) -> Tokens:
    """The tokens that the states are of."""
    if not inputs.has_target:
        return inputs.tokens
    tokens, keep = inputs.tokens, slice(inputs.source, len(inputs.tokens) - 1)
    return Tokens(
        tokens.tokens[keep], tokens.labels[keep], tokens.special[keep], tokens.segments[keep], tokens.words[keep],
        tokens.spans[keep],
    )  # fmt: skip


class _Reading:
    """Gathers what is kept of each layer."""

    def __init__(self, loaded: LoadedModel, inputs: ModelInput, end: ModelEnd, tokens: Tokens, top: int) -> None:
        self._loaded, self._inputs, self._end, self._top = loaded, inputs, end, top
        self._is_whole = loaded.head == "sequence-classification"
        self._tokens = Tokens(("",), ("",), (False,), (None,)) if self._is_whole else tokens
        self._answers: torch.Tensor | None = None
        self._rows: dict[int, tuple[npt.NDArray[Any], ...]] = {}

    def read(self, row: int, states: torch.Tensor, ctx: JobContext) -> None:
        """Normed states ``[1, tokens, size]``; the last row must come first."""
        import torch

        found = [self._chunk(part, start) for start, part in self._chunks(states, ctx)]
        parts = [torch.cat(columns).cpu() for columns in zip(*found, strict=True)]
        if self._answers is None:
            self._answers = parts[4]
        self._rows[row] = tuple(part.numpy() for part in parts[:4])

    def check(self, own: torch.Tensor) -> None:
        """Raises :class:`UserError` when the last row is not what the model says, ``[answers]`` at the last place."""
        import torch

        shares = self._shares(own.float()[None])
        mine = torch.tensor(self._rows[max(self._rows)][1][-1])
        theirs = shares[0].topk(len(mine)).values.cpu()
        if not torch.allclose(mine, theirs, atol=1e-4 if self._loaded.dtype == torch.float32 else 0.02):
            raise unknown_end(self._loaded.model)

    def _shares(self, logits: torch.Tensor) -> torch.Tensor:
        several = self._is_whole and self._loaded.model.config.problem_type == "multi_label_classification"
        return logits.sigmoid() if several else logits.softmax(-1)

    def _chunks(self, states: torch.Tensor, ctx: JobContext) -> list[tuple[int, torch.Tensor]]:
        ctx.check()
        if self._is_whole:
            return [(0, states)]
        size = int(getattr(self._loaded.model.config.get_text_config(), "vocab_size", 1))
        step = max(1, _CHUNK_BYTES // (4 * size))
        return [(start, states[:, start : start + step]) for start in range(0, states.shape[1], step)]

    def _chunk(self, states: torch.Tensor, start: int) -> tuple[torch.Tensor, ...]:
        """Ids and probabilities of the likeliest ``[places, top]``; probability and rank of the answer, the answer."""
        logits = self._logits(states)
        shares = self._shares(logits)
        best = logits.topk(min(self._top, logits.shape[-1]))
        answers = best.indices[:, 0] if self._answers is None else self._answers[start : start + len(logits)]
        answers = answers.to(logits.device)
        own = logits.gather(1, answers[:, None])
        ranks = 1 + (logits > own).sum(-1)
        return best.indices, shares.gather(1, best.indices), shares.gather(1, answers[:, None])[:, 0], ranks, answers

    def _logits(self, states: torch.Tensor) -> torch.Tensor:
        """``[places, answers]``."""
        if not self._is_whole:
            return self._end.logits(states)[0]
        names = ("input_ids", "attention_mask")
        inputs = {name: self._inputs.tensors[name] for name in names if name in self._inputs.tensors}
        return self._end.logits(states, inputs)

    def result(self, kind: str, rows: int) -> Lens:
        import numpy as np

        assert self._answers is not None
        ids, probabilities, answer_probabilities, ranks = (
            np.stack([self._rows[row][part] for row in range(rows)]) for part in range(4)
        )
        answers = self._answers.numpy().astype(np.int32)
        numbers = {*np.unique(ids).tolist(), *answers.tolist()}
        return Lens(
            kind=kind,
            tokens=self._tokens,
            names={number: self._name(number) for number in numbers},
            ids=ids.astype(np.int32),
            probabilities=probabilities.astype(np.float32),
            answers=answers,
            answer_probabilities=answer_probabilities.astype(np.float32),
            answer_ranks=ranks.astype(np.int32),
            dropped=self._inputs.dropped,
        )

    def _name(self, number: int) -> str:
        if "classification" in self._loaded.head:
            return self._loaded.labels[number]
        tokenizer = self._loaded.tokenizer
        if number >= len(tokenizer):  # some embeddings are padded to a round number
            return f"#{number}"
        return token_text(tokenizer, number)
