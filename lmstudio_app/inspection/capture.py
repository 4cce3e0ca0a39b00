"""Capture the attention weights of a model while it runs, one layer at a time.

A model that was loaded with fused attention (SDPA) never forms its weights. So for one forward pass the model
is switched to an attention function of ours (transformers calls this the *attention interface*). For a layer
that is asked for, it calls the eager function of the model's own source file, which gives exactly the weights
the model means, soft-capping, attention sinks and position biases included, in chunks of queries so that no
more than ``CHUNK_BYTES`` of weights exist at once. Every other layer stays fused.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Container, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lmstudio_app.errors import UserError

if TYPE_CHECKING:
    import torch

IMPLEMENTATION = "lmstudio_capture"
CHUNK_BYTES = 64 * 2**20


class Receiver(Protocol):
    """Takes the weights as they are made."""

    def __call__(self, layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
        """``weights`` is float32 ``[heads, chunk, key]``: the rows from query ``start`` on, of ``queries``.

        They are valid only during the call.
        """
        ...


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """What one layer hands to its attention function, after any rotary embedding.

    ``query`` is ``[1, heads, query, size]``, ``key`` and ``value`` are ``[1, key_value_heads, key, size]``. ``mask`` is
    what is added to the scores, ``[1, 1, query, key]`` or None; ``options`` are the function's other arguments
    (``scaling``, ``position_bias``, ``softcap``, ``sliding_window`` …).
    """

    layer: int
    module: torch.nn.Module
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    options: Mapping[str, Any]


class Complete(Exception):
    """Ends the forward pass: every layer that was asked for has been received."""


class _NoEagerFunction(Exception):
    """This attention class is not written against the attention interface."""


class _Capture:
    """The state of one reading: which layers are wanted, and how many have gone by.

    Layers are counted in the order in which they run and not by the module's own index, because models that
    share one module between layers (ALBERT) have no such index.
    """

    def __init__(
        self,
        layers: Container[int],
        last: int,
        receive: Receiver,
        check: Callable[[], None],
        tell: Callable[[AttentionCall], None] | None,
    ) -> None:
        self._layers = layers
        self._last = last
        self._receive = receive
        self._check = check
        self._tell = tell
        self._next = 0

    def attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        options: Mapping[str, Any],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Shapes: query ``[1, heads, query, size]``, key and value ``[1, key_value_heads, key, size]``."""
        self._check()
        layer, self._next = self._next, self._next + 1
        if layer not in self._layers:
            return _attend_fused(module, query, key, value, attention_mask, options)
        if self._tell is not None:
            self._tell(AttentionCall(layer, module, query, key, value, attention_mask, options))
        output = self._attend_and_tell(layer, module, query, key, value, attention_mask, options)
        if layer == self._last:
            raise Complete
        return output, None

    def _attend_and_tell(
        self,
        layer: int,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        options: Mapping[str, Any],
    ) -> torch.Tensor:
        import torch

        eager = own_eager_function(module)
        # In half precision the softmax itself would be rounded and the rows would no longer sum to 1. The
        # fused kernels that the model usually runs with accumulate in float32, too.
        queries, heads, keys = query.shape[2], query.shape[1], key.shape[2]
        wide_query, wide_key, wide_value = query.float(), key.float(), value.float()
        chunk = max(1, min(queries, CHUNK_BYTES // (4 * heads * keys)))
        outputs = []
        for start in range(0, queries, chunk):
            self._check()
            rows = slice(start, start + chunk)
            output, weights = eager(
                module,
                wide_query[:, :, rows],
                wide_key,
                wide_value,
                _rows_of(attention_mask, rows, queries),
                **{name: _rows_of(option, rows, queries) for name, option in options.items()},
            )
            outputs.append(output)
            self._receive(layer, start, queries, weights[0])
        joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
        return joined.to(query.dtype)


_active: ContextVar[_Capture | None] = ContextVar("active_capture", default=None)
_switching = threading.Lock()  # one reading at a time, so that each restores what it found


def _rows_of(value: Any, rows: slice, queries: int) -> Any:
    """The query rows of a mask or a position bias ``[batch, heads, query, key]``; anything else as it is."""
    import torch

    if not isinstance(value, torch.Tensor) or value.dim() != 4:
        return value
    if value.is_floating_point():
        value = value.float()
    return value[:, :, rows] if value.shape[2] == queries else value


def own_eager_function(module: torch.nn.Module) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """The plain attention function that ``module``'s source file defines."""
    forward = inspect.unwrap(type(module).forward)
    function = forward.__globals__.get("eager_attention_forward")
    if not callable(function):
        raise _NoEagerFunction(type(module).__name__)
    return function  # type: ignore[no-any-return]


def _attend_fused(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    options: Mapping[str, Any],
) -> tuple[torch.Tensor, torch.Tensor | None]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if options.get("softcap") is not None or getattr(module, "sinks", None) is not None:  # SDPA knows neither
        return own_eager_function(module)(module, query, key, value, attention_mask, **options)
    fused: Callable[..., tuple[torch.Tensor, torch.Tensor | None]] = ALL_ATTENTION_FUNCTIONS["sdpa"]
    return fused(module, query, key, value, attention_mask, **options)


def _attention_function(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    capture = _active.get()
    if capture is None:  # another thread runs this very model while it is being read
        return _attend_fused(module, query, key, value, attention_mask, options)
    return capture.attend(module, query, key, value, attention_mask, options)


def _register() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if IMPLEMENTATION not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, _attention_function)
        ALL_MASK_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, ALL_MASK_ATTENTION_FUNCTIONS["eager"])


@contextlib.contextmanager
def _switched(model: Any, implementation: str) -> Iterator[None]:
    """``model`` in evaluation mode with another attention implementation; afterwards as it was."""
    from transformers import PreTrainedModel

    configs = {id(m.config): m.config for m in model.modules() if isinstance(m, PreTrainedModel)}
    before = [(config, config._attn_implementation) for config in configs.values()]
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        model.set_attn_implementation(implementation)
        yield
    finally:
        for config, found in before:
            config._attn_implementation = found
        for module in training:
            module.training = True


def capture(
    model: Any,
    inputs: Mapping[str, Any],
    layers: Container[int],
    last: int,
    receive: Receiver,
    check: Callable[[], None],
    tell: Callable[[AttentionCall], None] | None = None,
) -> None:
    """Run ``model(**inputs)`` and hand the weights of ``layers`` to ``receive``; stop after layer ``last``.

    ``model`` is a transformers model without its head, ``inputs`` one text (batch of 1) on the model's
    device. ``check`` is called before every layer and every chunk, and whatever it raises unwinds. ``tell`` hears
    what each of these layers is about to work on; a model that is older than the attention interface does not say.
    The model is left as it was. Raises :class:`UserError` for a model that has no way to show its weights.
    """
    import torch

    _register()
    with _switching, torch.no_grad():
        if model._can_set_attn_implementation():
            token = _active.set(_Capture(layers, last, receive, check, tell))
            try:
                with _switched(model, IMPLEMENTATION):
                    model(**inputs)
                return
            except Complete:
                return
            except _NoEagerFunction:
                pass
            finally:
                _active.reset(token)
        _capture_outputs(model, inputs, layers, receive, check)


def _capture_outputs(
    model: Any,
    inputs: Mapping[str, Any],
    layers: Container[int],
    receive: Receiver,
    check: Callable[[], None],
) -> None:
    """For attention classes older than the attention interface: ask the model itself, all layers at once."""
    check()
    implementation = "eager" if model._can_set_attn_implementation() else model.config._attn_implementation
    with _switched(model, implementation):
        weights = getattr(model(**inputs, output_attentions=True, return_dict=True), "attentions", None)
    if not weights or weights[0] is None:
        raise UserError(
            "A model of the kind {kind} does not show its attention weights.",
            "Choose another model, such as BERT, RoBERTa, GPT-2 or Llama.",
            kind=model.config.model_type,
        )
    for layer, layer_weights in enumerate(weights):
        check()
        if layer in layers:
            receive(layer, 0, layer_weights.shape[2], layer_weights[0].float())
