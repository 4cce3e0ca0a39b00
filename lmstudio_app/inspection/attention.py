"""Read the attention weights softmax(QKᵀ/√d_k) of a loaded model (Vaswani et al. 2017, equation 1).

:func:`prepare` makes a request ready: what is to be read is tokens, and an encoder-decoder has written its target.
:func:`stream` runs the model once and hands the weights on as they are made; :func:`read_attention` keeps them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast

from lmstudio_app.errors import UserError
from lmstudio_app.inspection.capture import AttentionCall, Receiver, Wanted, capture
from lmstudio_app.inspection.kinds import Reader, kinds_of, reader_of
from lmstudio_app.inspection.sources import encode_source
from lmstudio_app.inspection.targets import (
    Languages,
    Written,
    choose_languages,
    encode_target,
    require_languages,
    write_target,
)
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    Weights = npt.NDArray[np.float32]

__all__ = [
    "AttentionMap",
    "AttentionMaps",
    "AttentionRequest",
    "ModelAndTokenizer",
    "Prepared",
    "kinds_of",
    "prepare",
    "read_attention",
    "stream",
]


class ModelAndTokenizer(Protocol):
    """What is read; :class:`lmstudio_app.models.loading.LoadedModel` is one."""

    @property
    def model(self) -> Any: ...
    @property
    def tokenizer(self) -> Any: ...


@dataclass(frozen=True)
class AttentionRequest:
    """What is read, and what of it is looked at; layers and heads count from 0, and None means all of them.

    ``messages`` is a chat, laid out by the model's own template, in the place of ``text`` and ``pair``. ``kind`` is
    one of :func:`kinds_of`; None is the model's only one, and for an encoder-decoder cross-attention when ``target`` is
    given and its encoder's when not. ``target`` is what an encoder-decoder has written; None with the kinds ``decoder``
    and ``cross``: it writes it itself, always the likeliest token. The languages, in ISO 639-1 codes, are for models
    that translate between several.
    """

    text: str = ""
    pair: str | None = None
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    kind: str | None = None
    target: str | None = None
    messages: tuple[Mapping[str, str], ...] = ()
    source_language: str = ""
    target_language: str = ""


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """One layer. ``weights`` is ``[heads, query, key]``; each row says where a query token looks.

    They are float32, or float16 where float32 would take more than ``attention_store.FLOAT32_BYTES``.
    """

    kind: str  # "encoder", "decoder" or "cross"
    layer: int
    weights: Weights
    queries: Tokens
    keys: Tokens


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The layers that were asked for, in order.

    ``dropped`` counts the tokens that did not fit the model. ``first_head`` is the number of the first head
    that the maps hold, which is 0 unless heads were chosen; ``chosen`` has the numbers of all of them then.
    """

    maps: tuple[AttentionMap, ...]
    dropped: int = 0
    first_head: int = 0
    chosen: tuple[int, ...] = ()

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(item.layer for item in self.maps)

    @property
    def heads(self) -> int:
        """How many heads a layer has here, at most."""
        return max(len(item.weights) for item in self.maps)

    @property
    def head_numbers(self) -> tuple[int, ...]:
        return self.chosen or tuple(range(self.first_head, self.first_head + self.heads))

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
        """``[layers, heads, query, key]``, without a copy when the layers were read in one go."""
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
        import numpy as np

        weights, numbers = self.of_layer(layer).weights, self.head_numbers
        if head not in numbers or numbers.index(head) >= len(weights):
            raise no_head(head, numbers[: len(weights)])
        found: Weights = np.asarray(weights[numbers.index(head)], dtype=np.float32)
        return found

    def only_head(self, head: int) -> AttentionMaps:
        """The same layers with nothing but this head."""
        chosen = tuple(replace(item, weights=self.head(item.layer, head)[None]) for item in self.maps)
        return AttentionMaps(chosen, self.dropped, first_head=head)


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def no_head(head: int, numbers: Sequence[int]) -> UserError:
    return UserError(
        "There is no head {head}.",
        "Choose a head from {first} to {last}.",
        head=head,
        first=numbers[0],
        last=numbers[-1],
    )


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request that is ready to be streamed, as often as is needed.

    Each row of the weights is a query and each column a key. For the kinds ``decoder`` and ``cross`` of an
    encoder-decoder, the queries are what goes into its decoder: the token that it begins with, and then what it has
    written. Row i is what the model looks at *while it writes token i + 1*: ``writes[i]`` says which one that is.
    ``written`` is the target as a text, given or its own; empty where there is none.
    """

    kind: str  # "encoder", "decoder" or "cross"
    queries: Tokens
    keys: Tokens
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    dropped: int
    written: str
    writes: tuple[str, ...]
    reader: Reader
    inputs: Mapping[str, Any]
    are_heads_chosen: bool


def prepare(loaded: ModelAndTokenizer, request: AttentionRequest, ctx: JobContext) -> Prepared:
    """Tokenise, check what is asked for, and let an encoder-decoder write its target where that is needed.

    What is longer than the model can number is cut, with a warning. Raises :class:`UserError` for an empty text, for
    a kind, layer, head or language that is not there, and for messages that the chat template refuses.
    """
    kind = request.kind
    if kind is None and request.target is not None and len(kinds_of(loaded.model)) > 1:
        kind = "cross"
    reader = reader_of(loaded.model, kind)
    layers = _checked_layers(request.layers, reader.layers)
    heads = _checked_heads(request.heads, reader.heads)
    is_encoder_decoder = getattr(loaded.model.config, "is_encoder_decoder", False)
    languages = Languages()
    if is_encoder_decoder:
        languages = choose_languages(loaded, request.source_language, request.target_language, ctx)
    source = encode_source(reader.module, loaded.tokenizer, request, languages)
    ctx.check()
    tensors = _on_device(source.inputs, reader.module)
    target: Written | None = None
    if reader.decoder is not None:
        require_languages(loaded, languages)
        if request.target is None:
            target = write_target(loaded, _known(tensors, loaded.model), languages, ctx)
        else:
            target = encode_target(loaded, request.target, languages)
    dropped = source.dropped + (target.dropped if target is not None else 0)
    if dropped:
        kept = len(source.tokens) + (len(target.ids) if target is not None else 0)
        ctx.warn(
            "The text is too long for the model: the first {kept} tokens are read, {dropped} are left out.",
            kept=kept,
            dropped=dropped,
        )
    inputs = _known(tensors, reader.module)
    if target is not None:
        inputs["decoder_input_ids"] = tensors["input_ids"].new_tensor([target.ids])
    if "use_cache" in inspect.signature(reader.module.forward).parameters:
        inputs["use_cache"] = False
    return Prepared(
        kind=reader.kind,
        queries=target.tokens if target is not None else source.tokens,
        keys=target.tokens if target is not None and reader.kind == "decoder" else source.tokens,
        layers=tuple(layers),
        heads=heads,
        dropped=dropped,
        written=target.text if target is not None else "",
        writes=target.writes if target is not None else (),
        reader=reader,
        inputs=inputs,
        are_heads_chosen=request.heads is not None,
    )


def stream(
    prepared: Prepared, receive: Receiver, ctx: JobContext, tell: Callable[[AttentionCall], None] | None = None
) -> None:
    """Run the model once and hand the weights on, layer by layer, in chunks of queries; nothing is held.

    ``receive(layer, start, queries, weights)`` gets float32 ``[heads, chunk, key]``, valid only during the call: the
    rows from query ``start`` on, of the heads in ``prepared.heads``. ``tell`` hears what each layer works on, of all
    heads. Weights equal the ``output_attentions`` of the eager model; in half precision the softmax is taken in
    float32. The model keeps its attention implementation and its mode. ``ctx.check()`` is asked before every layer and
    chunk. Raises :class:`UserError` for a model that has no way to show its weights.
    """

    def receive_chosen(layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
        receive(layer, start, queries, weights[[head for head in prepared.heads if head < len(weights)]])

    reader = prepared.reader
    taker: Receiver = receive_chosen if prepared.are_heads_chosen else receive
    capture(
        reader.module,
        prepared.inputs,
        Wanted(reader.kind, frozenset(prepared.layers), taker, ctx.check, tell, reader.decoder),
    )


def read_attention(loaded: ModelAndTokenizer, request: AttentionRequest, ctx: JobContext) -> AttentionMaps:
    """The model's own attention weights, all of them in memory; see :func:`prepare` and :func:`stream`.

    Raises :class:`UserError` as these do, and when there is too little memory.
    """
    from lmstudio_app.inspection.attention_store import LayerStore, require_memory

    prepared = prepare(loaded, request, ctx)
    require_memory(prepared)
    store = LayerStore(prepared.layers)
    stream(prepared, store.receive, ctx)
    found = store.found()
    if not found:
        raise no_attention(prepared.layers)
    return as_maps(prepared, [as_map(prepared, layer, weights) for layer, weights in found])


def as_map(prepared: Prepared, layer: int, weights: Weights) -> AttentionMap:
    return AttentionMap(prepared.kind, layer, weights, prepared.queries, prepared.keys)


def as_maps(prepared: Prepared, maps: Sequence[AttentionMap]) -> AttentionMaps:
    chosen = prepared.heads if prepared.are_heads_chosen else ()
    return AttentionMaps(tuple(maps), prepared.dropped, first_head=prepared.heads[0], chosen=chosen)


def no_attention(layers: Sequence[int]) -> UserError:
    return UserError(
        "This model has no attention in the layers {layers}.",
        "Choose other layers, or a model whose layers all attend.",
        layers=_list(layers),
    )


def _on_device(tensors: Mapping[str, Any], module: Any) -> dict[str, torch.Tensor]:
    device = module.get_input_embeddings().weight.device
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _known(tensors: Mapping[str, torch.Tensor], module: Any) -> dict[str, Any]:
    """What the module takes."""
    parameters = inspect.signature(module.forward).parameters
    return {name: tensor for name, tensor in tensors.items() if name in parameters}


def _checked_layers(wanted: tuple[int, ...] | None, count: int) -> list[int]:
    if wanted is None:
        return list(range(count))
    for layer in wanted:
        if not 0 <= layer < count:
            raise UserError(
                "There is no layer {layer}.", "Choose a layer from 0 to {last}.", layer=layer, last=count - 1
            )
    return sorted(set(wanted))


def _checked_heads(wanted: tuple[int, ...] | None, count: int) -> tuple[int, ...]:
    numbers = tuple(range(count))
    if wanted is None:
        return numbers
    for head in wanted:
        if head not in numbers:
            raise no_head(head, numbers)
    return tuple(sorted(set(wanted)))
