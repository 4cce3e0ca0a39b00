"""The end of a model alone: final norm and output head, applied to hidden states of any layer."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lmstudio_app.errors import UserError

if TYPE_CHECKING:
    import torch


class ModelEnd:
    """``states(...)`` takes hidden states of a layer through the final norm, ``logits(...)`` through the head.

    The head is the model's own forward method, run on a shallow copy whose body answers with the given states: so its
    transforms, biases, scales and soft-capping are the model's, whatever its family, and the model is left alone.
    """

    def __init__(self, model: Any, tail: tuple[Callable[[torch.Tensor], torch.Tensor], ...]) -> None:
        self._tail = tail
        self._given, self._twin = _twin(model)
        self._is_encoder_decoder = bool(model.config.is_encoder_decoder)

    def states(self, hidden: torch.Tensor) -> torch.Tensor:
        for module in self._tail:
            hidden = module(hidden)
        return hidden

    def logits(self, states: torch.Tensor, inputs: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
        """``[1, tokens, vocabulary]`` or ``[1, classes]`` of normed states ``[1, tokens, size]``.

        ``inputs`` are for heads that look for the last token of the text.
        """
        self._given.states = states
        arguments: dict[str, Any] = dict(inputs or {})
        if self._is_encoder_decoder:
            arguments["encoder_outputs"] = (states,)  # which the head does not look at
        return logits_of(self._twin(**arguments)).float()


def logits_of(output: Any) -> torch.Tensor:
    """Of a model's output, one for pretraining too."""
    found: torch.Tensor = output.logits if "logits" in output else output.prediction_logits
    return found


def _twin(model: Any) -> tuple[Any, Any]:
    """A stand-in for the body, and a copy of the model that has it. Nothing of the model is changed or copied."""
    import torch

    prefix = model.base_model_prefix
    name = prefix if prefix in model._modules else "decoder"  # T5 holds its stacks itself
    body = model._modules.get(name)
    if body is None:
        raise unknown_end(model)

    class Given(torch.nn.Module):
        """Answers with the states that it was given, and is whatever else the body is."""

        def __init__(self) -> None:
            super().__init__()
            self.states: torch.Tensor = torch.empty(0)

        @property
        def decoder(self) -> Given:  # some heads reach into the body for it
            return self

        def __getattr__(self, name: str) -> Any:
            return getattr(body, name)

        def forward(self, *args: Any, **kwargs: Any) -> _Answer:
            return _Answer(self.states, _pooled(body, self.states))

    given = Given()
    twin = copy.copy(model)
    twin.__dict__["_modules"] = {**model._modules, name: given}
    return given, twin


def _pooled(body: Any, states: torch.Tensor) -> Any:
    """What a body of the BERT kind makes of its first token for a classifier; None where it has no such layer."""
    pooler = getattr(body, "pooler", None)
    if not callable(pooler):
        return None
    activation = getattr(body, "pooler_activation", None)
    return pooler(states) if activation is None else activation(pooler(states[:, 0]))  # the latter: ALBERT


class _Answer:
    """What a body returns, as heads read it: by place or by name; what is not there is None."""

    def __init__(self, states: torch.Tensor, pooled: torch.Tensor | None) -> None:
        self.last_hidden_state = states
        self.pooler_output = pooled

    def __getitem__(self, place: Any) -> Any:
        return (self.last_hidden_state, self.pooler_output)[place]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _Watch:
    """What ran outside of the layers, in this thread, and what the last layer gave."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, torch.Tensor, torch.Tensor]] = []  # module, input, output
        self.last: torch.Tensor | None = None


@contextmanager
def watched(model: Any) -> Iterator[_Watch]:
    """For one forward pass: how the last hidden states come about."""
    import torch

    mine = threading.get_ident()
    watch = _Watch()
    inside: set[int] = set()
    layers: list[Any] = []
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList):
            layers += list(module)
            inside.update(id(part) for part in module.modules())

    def _on_layer(module: Any, given: Any, found: Any) -> None:
        if threading.get_ident() == mine:
            watch.last = found[0] if isinstance(found, tuple) else found

    def _on_rest(module: Any, given: Any, found: Any) -> None:
        if threading.get_ident() == mine and given and all(isinstance(x, torch.Tensor) for x in (given[0], found)):
            watch.calls.append((module, given[0], found))

    hooks = [layer.register_forward_hook(_on_layer) for layer in layers]
    for module in model.modules():
        is_leaf = next(module.children(), None) is None
        if is_leaf and id(module) not in inside and not isinstance(module, (torch.nn.Embedding, torch.nn.Dropout)):
            hooks.append(module.register_forward_hook(_on_rest))
    try:
        yield watch
    finally:
        for hook in hooks:
            hook.remove()


def tail_of(model: Any, watch: _Watch, final: torch.Tensor) -> tuple[Any, ...]:
    """The modules between the last layer and the ``final`` hidden states, in order: a norm, a projection or none.

    Raises :class:`UserError` when something else happens there.
    """
    tail: list[Any] = []
    reached = final
    for module, given, found in reversed(watch.calls):
        if watch.last is not None and _is_same(reached, watch.last):
            break
        if _is_same(found, reached):
            tail.insert(0, module)
            reached = given
    if watch.last is None or not _is_same(reached, watch.last):
        raise unknown_end(model)
    return tuple(tail)


def _is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape


def unknown_end(model: Any) -> UserError:
    return UserError(
        "What a model of the kind {kind} does after its last layer is not known here.",
        "Choose another model, such as BERT, GPT-2, Llama, Qwen, Gemma, T5 or BART.",
        kind=model.config.model_type,
    )
