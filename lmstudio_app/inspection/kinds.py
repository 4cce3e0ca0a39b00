"""Which attention a model has, and which part of it has to run to show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmstudio_app.errors import UserError

KINDS = ("encoder", "decoder", "cross")


@dataclass(frozen=True, eq=False)
class Reader:
    """``module`` is run: the model without its head, whose logits would cost the most memory.

    ``layers`` and ``heads`` are how many there are, ``heads`` in one layer. ``decoder`` is the part of an
    encoder-decoder model in which the attention of this kind is; None where nothing else is run.
    """

    kind: str
    module: Any
    layers: int
    heads: int
    decoder: Any = None


def kinds_of(model: Any) -> tuple[str, ...]:
    """What a transformers model can show, its natural kind first.

    ``encoder``: every token may look at every other one. ``decoder``: a token looks at itself and at what stands
    before it. ``cross``: what a decoder writes looks at the source that an encoder has read.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        return KINDS
    body = model.base_model
    is_causal = getattr(body.config, "is_decoder", False) or looks_causal(body)
    return ("decoder",) if is_causal else ("encoder",)


def looks_causal(body: Any) -> bool:
    """Do its attention modules declare that a token sees only what came before it?"""
    return any(getattr(module, "is_causal", False) is True for module in body.modules())


def reader_of(model: Any, kind: str | None) -> Reader:
    """What shows the attention of ``kind``, by default of the natural one.

    Raises :class:`UserError` for a kind that the model does not have.
    """
    kinds = kinds_of(model)
    kind = kind or kinds[0]
    if kind not in kinds:
        raise UserError(
            "This model has no attention of the kind {kind}.",
            "Choose one of: {kinds}.",
            kind=kind,
            kinds=", ".join(kinds),
        )
    if kinds != KINDS:
        body = model.base_model
        layers, heads = _sizes(body.config.get_text_config())
        return Reader(kind, body, layers, heads)
    config = model.config.get_text_config(**{"encoder" if kind == "encoder" else "decoder": True})
    layers, heads = _sizes(config)
    if kind == "encoder":
        return Reader(kind, model.get_encoder(), layers, heads)
    layers = int(getattr(config, "num_decoder_layers", None) or layers)  # T5 and its kin
    return Reader(kind, model.base_model, layers, heads, model.get_decoder())


def _sizes(config: Any) -> tuple[int, int]:
    return int(config.num_hidden_layers), int(config.num_attention_heads)
