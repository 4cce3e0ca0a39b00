"""Writing text with a model: batched and sorted by length, and stopped within the time of one layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import torch


def stopping_criterion(ctx: JobContext, *, ends_early: bool = False) -> Any:
    """What ``generate(stopping_criteria=[…])`` asks after every token.

    It waits while paused and raises :class:`lmstudio_app.errors.Cancelled` when cancelled. With ``ends_early`` a stop
    ends the texts where they are, as a chat wants it; without, a stop lets them be finished.
    """
    import torch
    from transformers import StoppingCriteria

    class _Asking(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            ctx.check()
            is_over = ends_early and ctx.stopping
            return torch.full((len(input_ids),), is_over, dtype=torch.bool, device=input_ids.device)

    return _Asking()


@contextlib.contextmanager
def interruptible(model: Any, ctx: JobContext) -> Iterator[None]:
    """Let ``ctx.check()`` be asked before every layer: a pass over long texts can take seconds, and a stop must not.

    A cancelled job raises :class:`lmstudio_app.errors.Cancelled` out of the model's ``forward``.
    """
    import torch

    layers = [layer for module in model.modules() if isinstance(module, torch.nn.ModuleList) for layer in module]
    hooks = [layer.register_forward_pre_hook(lambda *_: ctx.check()) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
