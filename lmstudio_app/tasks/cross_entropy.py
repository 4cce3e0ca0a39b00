"""Cross-entropy over a large vocabulary in the memory of its logits alone, and the perplexity that it comes to."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from lmstudio_app.tasks.task import IGNORED

if TYPE_CHECKING:
    import torch

_CHUNK = 1 << 21  # logits at once: 8 MiB of intermediate numbers


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: torch.Tensor | float = 0.0) -> torch.Tensor:
    """``torch.nn.functional.cross_entropy`` of ``[tokens, vocabulary]`` with ``[tokens]``, a mean over the labelled.

    With label smoothing s (Szegedy et al. 2016) a token's loss is ``log Σ exp z - (1 - s) z[label] - s mean(z)``.
    The gradient takes the place of ``logits``, which are therefore of no use afterwards: torch's own function needs
    three times their memory, and for a small model with a large vocabulary they are most of it.
    """
    return _function().apply(logits.float(), labels, smoothing)  # type: ignore[no-any-return]


def perplexity(loss: float) -> float:
    """exp of a mean cross-entropy, cut off where floats end."""
    return math.exp(min(loss, 700.0))


@functools.cache
def _function() -> Any:
    import torch

    class CrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor, smoothing: Any) -> torch.Tensor:
            values, vocabulary = logits.detach(), logits.shape[-1]
            counts = (labels != IGNORED).float()
            weights = counts / counts.sum()
            total = values.new_zeros(())
            size = max(1, _CHUNK // vocabulary)
            for start in range(0, len(values), size):
                part, weight = values[start : start + size], weights[start : start + size, None]
                label = labels[start : start + size, None].clamp(min=0)
                normalizer = part.logsumexp(-1, keepdim=True)
                chosen, mean = part.gather(1, label), part.mean(-1, keepdim=True)
                total += ((normalizer - (1 - smoothing) * chosen - smoothing * mean) * weight).sum()
                part.sub_(normalizer).exp_().sub_(smoothing / vocabulary)
                part.scatter_(1, label, part.gather(1, label) - (1 - smoothing))
                part.mul_(weight)
            ctx.gradient = values
            return total

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
            return ctx.gradient.mul_(gradients[0]), None, None

    return CrossEntropy
