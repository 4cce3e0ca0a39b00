"""Read the attention weights softmax(QKᵀ/√d_k) of a loaded model (Vaswani et al. 2017, equation 1)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast

from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes
from lmstudio_app.inspection.capture import capture
from lmstudio_app.inspection.tokens import Tokens, encode_text
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Weights = npt.NDArray[np.float32]


class ModelAndTokenizer(Protocol):
    """What is read; :class:`lmstudio_app.models.loading.LoadedModel` is one."""

    @property
    def model(self) -> Any: ...
    @property
    def tokenizer(self) -> Any: ...


@dataclass(frozen=True)
class AttentionRequest:
    """``layers`` None means all of them; layers and heads count from 0."""

    text: str
    pair: str | None = None
    layers: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """One layer. ``weights`` is float32 ``[heads, query, key]``; each row says where a query token looks."""

    kind: str  # "encoder", "decoder" or "cross"
    layer: int
    weights: Weights
    queries: Tokens
    keys: Tokens


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The layers that were asked for, in order.

    ``dropped`` counts the tokens that did not fit the model. ``first_head`` is the number of the first head
    that the maps hold, which is 0 unless :meth:`only_head` chose one.
    """

    maps: tuple[AttentionMap, ...]
    dropped: int = 0
    first_head: int = 0

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(item.layer for item in self.maps)

    @property
    def heads(self) -> int:
        return max(len(item.weights) for item in self.maps)

    @property
    def queries(self) -> Tokens:
        return self.maps[0].queries

    @property
    def keys(self) -> Tokens:
        return self.maps[0].keys

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens that look, as the vocabulary spells them."""
        return self.queries.tokens

    @cached_property
    def weights(self) -> Weights:
        """Float32 ``[layers, heads, query, key]``, without a copy when the layers were read in one go."""
        import numpy as np

        first = self.maps[0].weights
        block = cast("Weights | None", first.base)
        shape = (len(self.maps), *first.shape)
        if block is not None and block.shape == shape and all(m.weights.base is block for m in self.maps):
            return block
        stacked: Weights = np.stack([item.weights for item in self.maps])
        return stacked

    def of_layer(self, layer: int) -> AttentionMap:
        """Raises :class:`UserError` when the layer was not read."""
        for item in self.maps:
            if item.layer == layer:
                return item
        raise UserError(
            "Layer {layer} was not read.", "Choose one of: {layers}.", layer=layer, layers=_list(self.layers)
        )

    def head(self, layer: int, head: int) -> Weights:
        """Float32 ``[query, key]`` of one head; raises :class:`UserError` when there is no such head."""
        weights = self.of_layer(layer).weights
        if not 0 <= head - self.first_head < len(weights):
            raise UserError(
                "There is no head {head}.",
                "Choose a head from {first} to {last}.",
                head=head,
                first=self.first_head,
                last=self.first_head + len(weights) - 1,
            )
        chosen: Weights = weights[head - self.first_head]
        return chosen

    def only_head(self, head: int) -> AttentionMaps:
        """The same layers with nothing but this head."""
        chosen = tuple(replace(item, weights=self.head(item.layer, head)[None]) for item in self.maps)
        return AttentionMaps(chosen, self.dropped, first_head=head)


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def read_attention(loaded: ModelAndTokenizer, request: AttentionRequest, ctx: JobContext) -> AttentionMaps:
    """The model's own attention weights for ``request.text``.

    The weights equal the ``output_attentions`` of the eager model; in half precision the softmax is taken in
    float32. The model keeps its attention implementation and its mode. A text longer than the model can
    number is cut, with a warning. An encoder-decoder model shows its encoder.

    Raises :class:`UserError` for an empty text, a layer that is not there, or too little memory.
    """
    model = loaded.model
    kind, reader = _reader(model)
    encoded = encode_text(reader, loaded.tokenizer, request.text, request.pair)
    ctx.check()
    if encoded.dropped:
        ctx.warn(
            "The text is too long for the model: the first {kept} tokens are read, {dropped} are left out.",
            kept=len(encoded.tokens),
            dropped=encoded.dropped,
        )
    config = reader.config.get_text_config()
    layers = _checked_layers(request.layers, int(config.num_hidden_layers))
    _require_memory(len(layers), int(config.num_attention_heads), len(encoded.tokens))
    device = reader.get_input_embeddings().weight.device
    store = _Store(layers)
    capture(reader, _inputs(reader, encoded.inputs, device), set(layers), layers[-1], store.receive, ctx.check)
    found = store.found()
    if not found:
        raise UserError(
            "This model has no attention in the layers {layers}.",
            "Choose other layers, or a model whose layers all attend.",
            layers=_list(layers),
        )
    tokens = encoded.tokens
    return AttentionMaps(
        tuple(AttentionMap(kind, layer, weights, tokens, tokens) for layer, weights in found), encoded.dropped
    )


def _reader(model: Any) -> tuple[str, Any]:
    """What reads the text: the model without its head, whose logits would cost the most memory."""
    if getattr(model.config, "is_encoder_decoder", False):
        return "encoder", model.get_encoder()
    body = model.base_model
    causal = getattr(body.config, "is_decoder", False) or _looks_causal(body)
    return ("decoder" if causal else "encoder"), body


def _looks_causal(body: Any) -> bool:
    """Do its attention modules declare that a token sees only what came before it?"""
    return any(getattr(module, "is_causal", False) is True for module in body.modules())


def _inputs(reader: Any, tensors: Any, device: torch.device) -> dict[str, Any]:
    parameters = inspect.signature(reader.forward).parameters
    inputs = {name: tensor.to(device) for name, tensor in tensors.items() if name in parameters}
    if "use_cache" in parameters:
        inputs["use_cache"] = False
    return inputs


def _checked_layers(wanted: tuple[int, ...] | None, count: int) -> list[int]:
    if wanted is None:
        return list(range(count))
    for layer in wanted:
        if not 0 <= layer < count:
            raise UserError(
                "There is no layer {layer}.", "Choose a layer from 0 to {last}.", layer=layer, last=count - 1
            )
    return sorted(set(wanted))


def _require_memory(layers: int, heads: int, tokens: int) -> None:
    import psutil

    needed = 4 * layers * heads * tokens * tokens
    free = psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise UserError(
            "The weights of {layers} layers, {tokens} tokens, need {needed} of memory, and {free} are free.",
            "Ask for one layer at a time, or shorten the text.",
            layers=layers,
            tokens=tokens,
            needed=format_bytes(needed),
            free=format_bytes(free),
        )


class _Store:
    """Gathers the chunks in one block ``[layers, heads, query, key]``, allocated at the first chunk."""

    def __init__(self, layers: Sequence[int]) -> None:
        self._layers = list(layers)
        self._block: Weights | None = None
        self._odd: dict[int, Weights] = {}  # layers whose number of heads differs from the first one's
        self._filled: list[int] = []

    def receive(self, layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
        import torch

        target = self._target(layer, (weights.shape[0], queries, weights.shape[2]))
        torch.from_numpy(target[:, start : start + weights.shape[1]]).copy_(weights)
        if layer not in self._filled:
            self._filled.append(layer)

    def _target(self, layer: int, shape: tuple[int, int, int]) -> Weights:
        import numpy as np

        if self._block is None:
            self._block = np.empty((len(self._layers), *shape), dtype=np.float32)
        if self._block.shape[1:] == shape:
            row: Weights = self._block[self._layers.index(layer)]
            return row
        return self._odd.setdefault(layer, np.empty(shape, dtype=np.float32))

    def found(self) -> list[tuple[int, Weights]]:
        """The layers that came, in order."""
        if self._block is None:
            return []
        rows = {layer: self._block[index] for index, layer in enumerate(self._layers)}
        return [(layer, self._odd.get(layer, rows[layer])) for layer in sorted(self._filled)]
