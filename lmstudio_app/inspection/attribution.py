"""What an answer of a model owes to each token of its input, by three methods that see it differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.attribution_attention import attention_times_gradient
from lmstudio_app.inspection.attribution_function import EmbeddedModel
from lmstudio_app.inspection.attribution_gradients import gradient_times_input, integrated_gradients
from lmstudio_app.inspection.attribution_inputs import InputText, ModelInput, encode_input
from lmstudio_app.inspection.attribution_outputs import COSINE, choosable, choose_output
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import interruptible
from lmstudio_app.models.quiet import quiet_transformers

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lmstudio_app.models.loading import LoadedModel

INTEGRATED, GRADIENT, ATTENTION = "integrated-gradients", "gradient-x-input", "attention-x-gradient"
METHODS = (INTEGRATED, GRADIENT, ATTENTION)


@dataclass(frozen=True)
class AttributionRequest:
    """Which answer is explained: ``position`` is a token of the input as the result lists it, ``answer`` a label or
    a word. None is what the model is asked by itself: its likeliest label, the first gap, the next token.
    """

    given: InputText
    methods: tuple[str, ...] = METHODS
    position: int | None = None
    answer: str | None = None

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in METHODS:
                raise UserError(
                    "There is no method {method}.", "Choose one of: {methods}.",
                    method=method, methods=", ".join(METHODS),
                )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Attribution:
    """``scores`` has float32 ``[tokens]`` for each method, 0 for the tokens from ``seen`` on, which came later.

    By integrated gradients they sum to ``value - baseline`` but for ``error``; ``value`` is the answer's, in ``unit``
    (``log-odds``, ``log-probability`` or ``cosine``), ``baseline`` the same with every word hidden (of a decoder: but
    the first token). ``explained`` is
    the token whose word is the answer, where it is one of the input; ``choosable`` tells which others could be.
    """

    kind: str  # "label", "word", "next", "span" or "similarity"
    answer: str
    unit: str
    value: float
    probability: float | None
    tokens: Tokens
    seen: int
    explained: int | None
    choosable: tuple[bool, ...]
    candidates: tuple[tuple[str, float], ...]
    scores: Mapping[str, npt.NDArray[np.float32]]
    baseline: float | None = None
    error: float | None = None
    steps: int | None = None
    dropped: int = 0

    def to_row(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "answer": self.answer,
            "position": self.explained,
            "unit": self.unit,
            "value": self.value,
            "probability": self.probability,
            "baseline": self.baseline,
            "error": self.error,
            "steps": self.steps,
            "tokens": list(self.tokens.tokens),
            "special": list(self.tokens.special),
            "scores": {name: [float(score) for score in scores] for name, scores in self.scores.items()},
        }


def attribute(loaded: LoadedModel, request: AttributionRequest, ctx: JobContext) -> Attribution:
    """Explain one answer (a job). The model's weights, their gradients and its mode stay as they are.

    ``ctx.check`` is asked before every layer, forward and backward. Raises :class:`UserError` for what
    :func:`lmstudio_app.inspection.attribution_outputs.choose_output` cannot find.
    """
    import numpy as np
    import torch

    given = request.given
    with torch.inference_mode(False), torch.enable_grad(), interruptible(loaded.model, ctx), quiet_transformers():
        # of a bare encoder the second text has a vector of its own
        alone = replace(given, pair=None) if loaded.head == "base" else given
        with torch.no_grad():
            inputs = encode_input(loaded, alone, ctx)
            output = choose_output(loaded, inputs, given, request.position, request.answer, ctx)
        seen = output.inputs
        count = len(inputs.tokens)
        hidden = seen.is_hidden(output.seen, keep_first=loaded.head == "causal-lm")
        function = EmbeddedModel(loaded.model, seen.tensors, output.value, seen.options)
        scores: dict[str, npt.NDArray[np.float32]] = {}
        baseline = error = steps = None
        with function.open():
            with torch.no_grad():
                value = float(function(function.embedded)[0])
            for method in request.methods:
                ctx.check()
                if method == INTEGRATED:
                    found = integrated_gradients(
                        function,
                        function.embedded,
                        function.baseline(hidden, loaded.tokenizer.mask_token_id),
                        ctx,
                        value=value,
                        least=0.001 if output.unit == COSINE else 0.01,
                    )
                    baseline, error, steps = found.baseline, found.error, found.steps
                    shares = found.scores
                elif method == GRADIENT:
                    shares = gradient_times_input(function, function.embedded, ctx)
                else:
                    shares = attention_times_gradient(loaded.model, function, *_sizes(seen, output.seen), ctx)
                scores[method] = np.pad(shares, (0, count - output.seen)).astype(np.float32)
    return Attribution(
        kind=output.kind,
        answer=output.answer,
        unit=output.unit,
        value=value,
        probability=output.probability,
        tokens=inputs.tokens,
        seen=output.seen,
        explained=output.explained,
        choosable=choosable(loaded, inputs),
        candidates=output.candidates,
        scores=scores,
        baseline=baseline,
        error=error,
        steps=steps,
        dropped=inputs.dropped,
    )


def _sizes(inputs: ModelInput, seen: int) -> tuple[int, int]:
    """How many tokens of the source and of the target the model was given."""
    return (inputs.source, seen - inputs.source) if inputs.has_target else (seen, 0)
