"""A masked language model's head at the masked positions alone.

The head costs ``hidden_size * vocabulary`` products a token, for a small model more than all its layers, and only 15 %
of the tokens count. So the hidden states are gathered before the head, inside of the model's own ``forward``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.tasks.task import IGNORED, Inputs

if TYPE_CHECKING:
    import torch
    from torch import nn

# family -> the module that is given the hidden states [batch, length, hidden] and with which the head begins
_HEADS: Mapping[str, str] = {
    "bert": "cls.predictions",
    "roberta": "lm_head",
    "xlm-roberta": "lm_head",
    "camembert": "lm_head",
    "mpnet": "lm_head",
    "distilbert": "vocab_transform",
    "albert": "predictions",
    "electra": "generator_predictions",
}


@dataclass(frozen=True)
class MaskedTokens:
    """``logits`` float32 ``[masked, vocabulary]``, ``targets`` int64 ``[masked]``; ``output`` is the model's own."""

    logits: torch.Tensor
    targets: torch.Tensor
    output: Any

    def loss(self) -> torch.Tensor:
        """The mean cross-entropy, as the models of transformers compute it; 0 when nothing is masked."""
        from torch.nn import functional

        if not len(self.targets):
            return self.logits.sum() * 0.0
        return functional.cross_entropy(self.logits, self.targets)


def masked_tokens(model: Any, inputs: Inputs) -> MaskedTokens:
    """Run ``model`` (a masked language model, perhaps wrapped) on ``inputs`` with ``labels``.

    Families whose head is not known here compute all logits, which are gathered behind it: slower, but the same.
    """
    labels = inputs["labels"]
    is_masked = labels != IGNORED
    others = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    with _gathered(model, is_masked):
        output = model(**others)
    logits = output.prediction_logits if "prediction_logits" in output else output.logits
    if logits.ndim == 3:
        logits = logits[is_masked]
    return MaskedTokens(logits.float(), labels[is_masked], output)


@contextlib.contextmanager
def _gathered(model: Any, is_masked: torch.Tensor) -> Iterator[None]:
    """Hand the head of ``model`` only the hidden states at ``is_masked``, in this block."""
    path = head_path(model)
    if path is None:
        yield
        return

    def gather(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (arguments[0][is_masked], *arguments[1:])

    hook = model.get_submodule(path).register_forward_pre_hook(gather)
    try:
        yield
    finally:
        hook.remove()


def head_path(model: Any) -> str | None:
    """The module of ``model`` with which its head begins, None for a family that is not known here.

    By name, from the end: a wrapper (for several processes, or adapters) only puts something before it.
    """
    inner = model
    while not hasattr(inner, "config") and hasattr(inner, "module"):
        inner = inner.module
    name = _HEADS.get(getattr(inner.config, "model_type", ""))
    if name is None:
        return None
    return next((key for key, _ in model.named_modules() if f".{key}".endswith(f".{name}")), None)
