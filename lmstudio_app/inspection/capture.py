"""Capture the attention weights of a model while it runs, one layer at a time.

A model that was loaded with fused attention (SDPA) never forms its weights. So for one forward pass the model
is switched to an attention function of ours (transformers calls this the *attention interface*). For a layer
that is asked for, it calls the eager function of the model's own source file, which gives exactly the weights
the model means, soft-capping, attention sinks and position biases included, in chunks of queries so that no
more than ``CHUNK_BYTES`` of weights exist at once. Every other layer stays fused.

Masks stay as the fused function takes them, which is none for a plain causal model and one byte a cell otherwise: as
numbers that are added to the scores they are made for a chunk at a time, since at 4,096 tokens a whole one takes 64 MB.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lmstudio_app.devices import return_freed_memory
from lmstudio_app.errors import UserError

if TYPE_CHECKING:
    import torch

IMPLEMENTATION = "lmstudio_capture"  # for models that have a fused attention; their masks are none or boolean
EAGER_IMPLEMENTATION = "lmstudio_capture_eager"  # for those that have only the plain one, and its masks
CHUNK_BYTES = 4 * 2**20
_MANY = 16  # chunks of a large layer


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
    what is added to the scores, float32 ``[1, 1, query, key]`` or None; ``options`` are the function's other arguments
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


@dataclass(frozen=True, eq=False)
class Wanted:
    """Which layers of which attention are captured, and who takes them.

    ``kind`` is ``encoder``, ``decoder`` or ``cross``. ``decoder`` is the part of an encoder-decoder model in which
    attention of the kinds ``decoder`` and ``cross`` is; None for a model that is run without its other half.
    """

    kind: str
    layers: frozenset[int]
    receive: Receiver
    check: Callable[[], None]
    tell: Callable[[AttentionCall], None] | None = None
    decoder: Any = None


class _Capture:
    """The state of one reading: which layers are wanted, and how many have gone by.

    Layers are counted in the order in which they run and not by the module's own index, because models that
    share one module between layers (ALBERT) have no such index. In a layer of a decoder that reads a source,
    self-attention comes first and cross-attention second (Vaswani et al. 2017, section 3.1).
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._last = max(wanted.layers)
        self._next = 0
        self._decoder = {id(module) for module in wanted.decoder.modules()} if wanted.decoder is not None else None

    def attend(self, given: _Given) -> tuple[torch.Tensor, torch.Tensor | None]:
        self._wanted.check()
        layer = self._number(given)
        if layer is None or layer not in self._wanted.layers:
            return _attend_fused(given, self._wanted.check)
        if self._wanted.tell is not None:
            self._wanted.tell(given.as_call(layer))

        def receive(start: int, weights: torch.Tensor) -> None:
            self._wanted.receive(layer, start, given.query.shape[2], weights)

        output = _attend_in_chunks(given, self._wanted.check, receive)
        if layer == self._last:
            raise Complete
        return output, None

    def _number(self, given: _Given) -> int | None:
        """The number of the layer, None for attention of another kind."""
        if self._decoder is None:
            number, self._next = self._next, self._next + 1
            return number
        if id(given.module) not in self._decoder:
            return None
        number, self._next = self._next, self._next + 1
        is_cross = number % 2 == 1
        return number // 2 if is_cross == (self._wanted.kind == "cross") else None


@dataclass(frozen=True, eq=False)
class _Given:
    """The arguments of an attention function: ``query`` is ``[1, heads, query, size]``, ``key`` and ``value`` are
    ``[1, key_value_heads, key, size]``. ``is_causal`` holds when it is left to the function to hide later keys.
    """

    module: torch.nn.Module
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    options: Mapping[str, Any]
    is_causal: bool

    def as_call(self, layer: int) -> AttentionCall:
        mask = self.added(slice(None))
        return AttentionCall(layer, self.module, self.query, self.key, self.value, mask, self.options)

    def added(self, rows: slice) -> torch.Tensor | None:
        """What is added to the scores of these queries: float32 ``[1, 1, rows, key]``."""
        import torch

        queries = self.query.shape[2]
        if not self.is_causal:
            part = _rows_of(self.mask, rows, queries)
            if part is None or part.is_floating_point():
                return part  # type: ignore[no-any-return]
            seen = part.bool()
        else:
            numbers = torch.arange(self.key.shape[2], device=self.query.device)
            seen = (numbers[None, :] <= numbers[rows, None])[None, None]
        lowest = torch.finfo(torch.float32).min
        return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, lowest)


def _attend_in_chunks(
    given: _Given, check: Callable[[], None], receive: Callable[[int, torch.Tensor], None] | None = None
) -> torch.Tensor:
    """The output ``[1, query, heads, size]`` by the model's own plain function; ``receive`` takes start and weights."""

    eager = own_eager_function(given.module)
    # In half precision the softmax itself would be rounded and the rows would no longer sum to 1. The
    # fused kernels that the model usually runs with accumulate in float32, too.
    query, key, value = given.query.float(), given.key.float(), given.value.float()
    queries, heads, keys = query.shape[2], query.shape[1], key.shape[2]
    chunk = max(1, min(queries, CHUNK_BYTES // (4 * heads * keys)))
    if chunk < queries // _MANY:
        return_freed_memory()  # of the layers before, which would be held beside what a large layer needs
    joined: torch.Tensor | None = None
    for start in range(0, queries, chunk):
        check()
        rows = slice(start, start + chunk)
        output, weights = eager(
            given.module,
            query[:, :, rows],
            key,
            value,
            given.added(rows),
            **{name: _rows_of(option, rows, queries) for name, option in given.options.items()},
        )
        # one block for all outputs: small ones that stay between large ones that go would keep memory from being reused
        if joined is None:
            joined = output.new_empty(output.shape[0], queries, *output.shape[2:])
        joined[:, rows] = output
        if receive is not None:
            receive(start, weights[0])
        del output, weights
    assert joined is not None
    return joined.to(given.query.dtype)


_active: ContextVar[_Capture | None] = ContextVar("active_capture", default=None)
_switching = threading.Lock()  # one reading at a time, so that each restores what it found


def _rows_of(value: Any, rows: slice, queries: int) -> Any:
    """The query rows of a mask or a position bias ``[batch, heads, query, key]``; anything else as it is."""
    import torch

    if not isinstance(value, torch.Tensor) or value.dim() != 4:
        return value
    if value.shape[2] == queries:
        value = value[:, :, rows]
    return value.float() if value.is_floating_point() else value


def own_eager_function(module: torch.nn.Module) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """The plain attention function that ``module``'s source file defines."""
    forward = inspect.unwrap(type(module).forward)
    function = forward.__globals__.get("eager_attention_forward")
    if not callable(function):
        raise _NoEagerFunction(type(module).__name__)
    return function  # type: ignore[no-any-return]


def _attend_fused(given: _Given, check: Callable[[], None]) -> tuple[torch.Tensor, torch.Tensor | None]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    module, options = given.module, given.options
    if options.get("softcap") is not None or getattr(module, "sinks", None) is not None:  # SDPA knows neither
        return _attend_in_chunks(given, check), None
    fused: Callable[..., tuple[torch.Tensor, torch.Tensor | None]] = ALL_ATTENTION_FUNCTIONS["sdpa"]
    return fused(module, given.query, given.key, given.value, given.mask, **options)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    has_fused_masks: bool,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    hides_later = options.get("is_causal")  # as the fused function of transformers decides it
    hides_later = getattr(module, "is_causal", True) if hides_later is None else hides_later
    is_causal = has_fused_masks and attention_mask is None and query.shape[2] > 1 and bool(hides_later)
    given = _Given(module, query, key, value, attention_mask, options, is_causal)
    capture = _active.get()
    if capture is None:  # another thread runs this very model while it is being read
        return _attend_fused(given, _never)
    return capture.attend(given)


def _never() -> None:
    """Another thread's pass is not ours to end."""


def _register() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if EAGER_IMPLEMENTATION not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        for name, masks, is_fused in ((IMPLEMENTATION, "sdpa", True), (EAGER_IMPLEMENTATION, "eager", False)):
            ALL_ATTENTION_FUNCTIONS.register(name, functools.partial(_attend, has_fused_masks=is_fused))
            ALL_MASK_ATTENTION_FUNCTIONS.register(name, ALL_MASK_ATTENTION_FUNCTIONS[masks])


@contextlib.contextmanager
def _asked(model: Any, check: Callable[[], None]) -> Iterator[None]:
    """``check`` before every matrix: of a long text a single layer may take half a second. Only in this thread."""
    mine = threading.get_ident()

    def ask(*_: Any) -> None:
        if threading.get_ident() == mine:
            check()

    matrices = [m for m in model.modules() if getattr(getattr(m, "weight", None), "ndim", 0) == 2]
    hooks = [module.register_forward_pre_hook(ask) for module in matrices]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


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


def capture(model: Any, inputs: Mapping[str, Any], wanted: Wanted) -> None:
    """Run ``model(**inputs)`` and hand the weights of the wanted layers over; stop after the last one.

    ``model`` is a transformers model without its head, ``inputs`` one text (batch of 1) on the model's
    device. ``wanted.check`` is called before every matrix and every chunk, and whatever it raises unwinds.
    ``wanted.tell`` hears what each of these layers is about to work on; a model that is older than the attention
    interface does not say. The model is left as it was. Raises :class:`UserError` for a model that has no way to show
    its weights.
    """
    import torch

    _register()
    with _switching, torch.no_grad(), _asked(model, wanted.check):
        if model._can_set_attn_implementation():
            token = _active.set(_Capture(wanted))
            try:
                with _switched(model, IMPLEMENTATION if _has_fused(model) else EAGER_IMPLEMENTATION):
                    model(**inputs)
                return
            except Complete:
                return
            except _NoEagerFunction:
                pass
            finally:
                _active.reset(token)
        _capture_outputs(model, inputs, wanted)


def _has_fused(model: Any) -> bool:
    from transformers import PreTrainedModel

    return all(module._supports_sdpa for module in model.modules() if isinstance(module, PreTrainedModel))


def _capture_outputs(model: Any, inputs: Mapping[str, Any], wanted: Wanted) -> None:
    """For attention classes older than the attention interface: ask the model itself, all layers at once."""
    wanted.check()
    implementation = "eager" if model._can_set_attn_implementation() else model.config._attn_implementation
    name = "attentions" if wanted.decoder is None else f"{wanted.kind}_attentions"
    with _switched(model, implementation):
        weights = getattr(model(**inputs, output_attentions=True, return_dict=True), name, None)
    if not weights or weights[0] is None:
        raise UserError(
            "A model of the kind {kind} does not show its attention weights.",
            "Choose another model, such as BERT, RoBERTa, GPT-2 or Llama.",
            kind=model.config.model_type,
        )
    for layer, layer_weights in enumerate(weights):
        wanted.check()
        if layer in wanted.layers:
            wanted.receive(layer, 0, layer_weights.shape[2], layer_weights[0].float())
