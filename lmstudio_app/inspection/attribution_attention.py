"""Attention × gradient: which tokens an answer draws on, by the attention weights that it depends on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.inspection.attribution_function import EmbeddedModel
from lmstudio_app.inspection.capture import _switched, _switching
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


def attention_times_gradient(
    model: Any, function: EmbeddedModel, source: int, target: int, ctx: JobContext
) -> npt.NDArray[np.float64]:
    """The relevance of each token, float64 ``[source + target]``, never below 0.

    Chefer, Gur and Wolf (2021), "Generic Attention-model Explainability". Of every layer Ā is the mean over the heads
    of the positive part of A ∘ ∂F/∂A (equation 5). R begins as the identity and each self-attention adds Ā R (equation
    6); each cross-attention adds R̄ₜᵀ Ā R̄ₛ to what the target draws from the source (equation 10), where R̄ is R - I with
    its rows made to sum to 1, plus I (equations 8 and 9). The answer is read at the tokens whose last state F depends
    on: the mean of their rows of R, less the identity.

    ``target`` is the number of tokens of an encoder-decoder's target, 0 for other models. Raises :class:`UserError` for
    a model that does not show its weights, and when there is too little memory for all of them at once.
    """
    import torch

    _require_memory(model, source, target)
    with _switching, _switched(model, "eager" if model._can_set_attn_implementation() else _present(model)):
        ctx.check()
        points = function.embedded.detach().clone().requires_grad_()
        output = function.run(points, output_attentions=True, output_hidden_states=True)
        value = function.value(output).sum()
        kinds = ("encoder_attentions", "cross_attentions", "decoder_attentions") if target else ("attentions",)
        weights = [[w for w in (getattr(output, kind, None) or ()) if w is not None] for kind in kinds]
        states = output.decoder_hidden_states if target else output.hidden_states
        if not all(weights) or not states:
            raise UserError(
                "A model of the kind {kind} does not show its attention weights.",
                "Choose another model, such as BERT, RoBERTa, GPT-2 or Llama.",
                kind=model.config.model_type,
            )
        flat = [weight for part in weights for weight in part]
        *slopes, of_states = torch.autograd.grad(value, [*flat, states[-1]], allow_unused=True)
    ctx.check()
    with torch.no_grad():
        means = [_mean(weight, slope) for weight, slope in zip(flat, slopes, strict=True)]
        rows = _rows(of_states, states[-1])
        if target:
            layers = len(weights[0])
            found = _two_streams(means[:layers], means[layers : -len(weights[2])], means[-len(weights[2]) :], rows)
        else:
            found = rows @ (_self_relevance(means, source) - torch.eye(source, device=rows.device))
    scores: npt.NDArray[np.float64] = found.double().cpu().numpy()
    return scores


def _present(model: Any) -> str:
    return str(model.config._attn_implementation)


def _mean(weights: torch.Tensor, slopes: torch.Tensor | None) -> torch.Tensor:
    """Ā, float32 ``[query, key]``; nothing where the answer does not depend on this layer."""
    import torch

    if slopes is None:
        return torch.zeros(weights.shape[2:], device=weights.device)
    found: torch.Tensor = (weights * slopes).float().clamp(min=0).mean(1)[0]
    return found


def _rows(slopes: torch.Tensor | None, states: torch.Tensor) -> torch.Tensor:
    """Float32 ``[tokens]`` that sums to 1: where the answer is read."""
    import torch

    if slopes is None:  # an output that does not come from the last states: all the same
        return torch.full(states.shape[1:2], 1 / states.shape[1], device=states.device)
    used = (slopes[0].float().abs().amax(-1) > 0).float()
    return used / used.sum().clamp(min=1)


def _self_relevance(means: Sequence[torch.Tensor], count: int) -> torch.Tensor:
    """R ``[tokens, tokens]`` of one stream."""
    import torch

    relevance = torch.eye(count, device=means[0].device)
    for mean in means:
        relevance = relevance + mean @ relevance
    return relevance


def _normalized(relevance: torch.Tensor) -> torch.Tensor:
    import torch

    identity = torch.eye(len(relevance), device=relevance.device)
    gained = relevance - identity
    return gained / gained.sum(-1, keepdim=True).clamp(min=1e-12) + identity


def _two_streams(
    encoder: Sequence[torch.Tensor],
    cross: Sequence[torch.Tensor],
    decoder: Sequence[torch.Tensor],
    rows: torch.Tensor,
) -> torch.Tensor:
    """What the answer draws from the source, and from the target before it."""
    import torch

    of_source = _normalized(_self_relevance(encoder, encoder[0].shape[0]))
    size = decoder[0].shape[0]
    own = torch.eye(size, device=rows.device)
    drawn = torch.zeros(size, len(of_source), device=rows.device)
    for itself, across in zip(decoder, cross, strict=True):
        drawn = drawn + itself @ drawn
        own = own + itself @ own
        drawn = drawn + _normalized(own).T @ across @ of_source
    return torch.cat([rows @ drawn, rows @ (own - torch.eye(size, device=rows.device))])


def _require_memory(model: Any, source: int, target: int) -> None:
    import psutil

    config = model.config.get_text_config()
    layers, heads = int(config.num_hidden_layers), int(config.num_attention_heads)
    cells = source * source + (target * target + source * target if target else 0)
    needed = 4 * 4 * layers * heads * cells  # weights, their gradients, and what softmax keeps of both
    free = psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise UserError(
            "All attention weights of {tokens} tokens with their gradients need {needed} of memory, and {free} are "
            "free.",
            "Shorten the text, or choose another method.",
            tokens=source + target,
            needed=format_bytes(needed),
            free=format_bytes(free),
        )
