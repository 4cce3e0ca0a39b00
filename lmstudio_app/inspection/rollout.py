"""Attention rollout: which tokens of the text a token of a layer is made of, if mixing is all that layers do.

A layer's heads are averaged to W. Its residual connection hands each token on as it is, beside what attention brings:
A = 0.5 W + 0.5 I, rows scaled to sum to 1. Layer by layer, the rollout is A_l A_{l-1} … A_1 (Abnar and Zuidema 2020,
section 3). It knows nothing of values, feed-forward layers or of what the heads do to each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MULTIPLICATIONS = 1 << 29  # in one go, which is well below 0.1 s


def with_residual(mean: torch.Tensor, start: int) -> torch.Tensor:
    """A of some rows: ``mean`` is float ``[chunk, key]``, the heads' mean of the rows from ``start`` on."""
    mixed = 0.5 * mean
    mixed.diagonal(start).add_(0.5)
    return mixed / mixed.sum(dim=1, keepdim=True)


class RolloutGatherer:
    """Takes the layers in order, each in chunks of rows; holds two matrices ``[query, key]`` and no layer."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._layer: int | None = None
        self._before: torch.Tensor | None = None  # the rollout below the layer that is coming in
        self._now: torch.Tensor | None = None

    def add(self, layer: int, start: int, mean: torch.Tensor) -> None:
        """``mean`` is float32 ``[chunk, key]`` on the CPU, the mean of the layer's heads."""
        import torch

        count = mean.shape[1]
        if layer != self._layer:
            self._layer, self._before, self._now = layer, self._now, torch.empty(count, count)
        assert self._now is not None
        rows = with_residual(mean, start)
        step = max(1, _MULTIPLICATIONS // (count * count))
        for first in range(0, len(rows), step):
            self._check()
            block = rows[first : first + step]
            if self._before is not None:
                block = block @ self._before
            self._now[start + first : start + first + len(block)] = block

    def result(self) -> torch.Tensor | None:
        """Float32 ``[query, key]``, rows sum to 1; None when no layer came."""
        return self._now
