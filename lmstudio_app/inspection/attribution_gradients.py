"""Integrated gradients and gradient × input, by captum."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmstudio_app.inspection.attribution_function import EmbeddedModel
from lmstudio_app.jobs import JobContext, Meter
from lmstudio_app.libraries import load_modules

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Scores = npt.NDArray[np.float64]

STEPS = (12, 24, 48, 96, 192)  # points on the line; more are taken while the sum is off
TOLERANCE = 0.02  # of the difference that the attributions have to sum to
_BUDGET = 0.06  # seconds that a layer may take for all points that go through the model together


@dataclass(frozen=True, eq=False)
class Integrated:
    """``scores`` float64 ``[tokens]`` sum to ``value - baseline`` but for ``error`` (the convergence delta)."""

    scores: Scores
    value: float
    baseline: float
    error: float
    steps: int


def integrated_gradients(
    function: EmbeddedModel,
    embedded: torch.Tensor,
    baseline: torch.Tensor,
    ctx: JobContext,
    *,
    value: float | None = None,
    least: float = 0.01,
) -> Integrated:
    """What each token adds on the straight line from ``baseline`` to ``embedded``, both float32 ``[1, tokens, size]``.

    Sundararajan, Taly and Yan (2017), "Axiomatic Attribution for Deep Networks", equation 1, with the integral by
    Gauss-Legendre quadrature. What the tokens get adds up to F(x) - F(x₀) (completeness), and points are added until it
    does: within :data:`TOLERANCE` of it, or within ``least``. ``value`` is F(x) where it is known already.
    """
    import torch

    _load_captum(ctx)
    from captum.attr import IntegratedGradients

    with torch.no_grad():
        if value is None:
            value = float(function(embedded)[0])
        begun = time.perf_counter()
        start = float(function(baseline)[0])
        taken = time.perf_counter() - begun
    wanted = value - start
    # a job is asked between layers whether to go on; points that go together take less than one after the other
    together = max(1, int(_BUDGET * function.depth / max(1e-9, taken)))
    checked = _Checked(function, ctx)
    method = IntegratedGradients(checked)
    scores = _sums(torch.zeros_like(embedded))
    for steps in STEPS:
        checked.expect(steps)
        found = method.attribute(embedded, baseline, n_steps=steps, internal_batch_size=min(together, steps))
        scores = _sums(found)
        if abs(scores.sum() - wanted) <= max(least, TOLERANCE * abs(wanted)):
            break
    return Integrated(scores, value, start, float(scores.sum()) - wanted, steps)


def gradient_times_input(
    function: Callable[[torch.Tensor], torch.Tensor], embedded: torch.Tensor, ctx: JobContext
) -> Scores:
    """The gradient at the text times the embeddings, float64 ``[tokens]`` (Shrikumar et al. 2016, section 3)."""
    _load_captum(ctx)
    from captum.attr import InputXGradient

    method = InputXGradient(_Checked(function, ctx))
    return _sums(method.attribute(embedded.detach().clone().requires_grad_()))


def _load_captum(ctx: JobContext) -> None:
    """It brings matplotlib; imported like anything else, both would freeze a window for 100 ms."""
    if "captum.attr" not in sys.modules:
        load_modules(("matplotlib.pyplot", "captum.attr"), ctx)


class _Checked:
    """A function that asks first whether to go on, and tells how far it is."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], ctx: JobContext) -> None:
        self._function, self._ctx = function, ctx
        self._meter: Meter | None = None
        self._done = 0

    def expect(self, points: int) -> None:
        self._meter, self._done = self._ctx.meter(points, "points"), 0

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        self._ctx.check()
        if self._meter is not None:
            self._meter.update(self._done)
            self._done += len(points)
        return self._function(points)


def _sums(attributed: Any) -> Scores:
    sums: Scores = attributed[0].detach().sum(-1).double().cpu().numpy()
    return sums
