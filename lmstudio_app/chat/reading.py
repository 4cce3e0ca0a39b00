"""A causal language model that reads on where it has stopped: what it has read is kept as keys and values."""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lmstudio_app.jobs import JobContext

if TYPE_CHECKING:
    import torch

_LAYER_SECONDS = 0.05  # a prompt is read in parts that take a layer this long, since a stop is seen between layers
_FIRST_PART, _SMALLEST_PART, _LARGEST_PART = 64, 16, 1024  # tokens


class Stopped(Exception):
    """The user wants the reply to end where it is."""


class Reader:
    """Gives the logits behind any tokens, and reads only those that differ from what it has read before.

    A model whose cache cannot be shortened (a sliding window, a state space) begins anew when the tokens are not those
    of before and more; one that takes no cache reads everything for every token.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        import torch

        self._model = model
        self._device = device
        self._layers = [layer for part in model.modules() if isinstance(part, torch.nn.ModuleList) for layer in part]
        taken = inspect.signature(model.forward).parameters
        self._cache_name = next((name for name in ("cache", "past_key_values") if name in taken), "")
        self._keep_last: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        self._cache: Any = None
        self._read: list[int] = []
        self._part = _FIRST_PART

    def reusable(self, ids: Sequence[int]) -> int:
        """How many of these tokens, from the first one on, need not be read again."""
        shared = min(_shared_length(self._read, ids), max(0, len(ids) - 1))
        return shared if shared == len(self._read) or self._can_forget() else 0

    def read(self, ids: Sequence[int], ctx: JobContext) -> torch.Tensor:
        """Logits ``[vocabulary]`` for the token that follows ``ids``.

        Between layers it asks ``ctx``: raises :class:`Stopped` and :class:`lmstudio_app.errors.Cancelled`, after which
        it can be used as before.
        """
        self._forget(self.reusable(ids))
        while True:
            begin = len(self._read)
            end = min(len(ids), begin + self._part) if self._cache_name and self._can_forget() else len(ids)
            started = time.monotonic()
            try:
                logits = self._forward(ids[begin:end], ctx)
            except BaseException:
                self._forget(begin if self._can_forget() else 0)  # some layers have read on, others have not
                raise
            if self._cache_name:
                self._read = list(ids[:end])
            if end - begin > 1:
                self._adapt((time.monotonic() - started) / (end - begin) / max(1, len(self._layers)))
            if end == len(ids):
                return logits

    def _adapt(self, seconds: float) -> None:
        """``seconds``: for a token and a layer."""
        self._part = int(min(max(_LAYER_SECONDS / max(seconds, 1e-9), _SMALLEST_PART), _LARGEST_PART))

    def _forward(self, ids: Sequence[int], ctx: JobContext) -> torch.Tensor:
        import torch
        from transformers import DynamicCache

        if self._cache is None and self._cache_name:
            self._cache = DynamicCache(config=self._model.config)
        cache = {self._cache_name: self._cache, "use_cache": True} if self._cache_name else {}
        with torch.inference_mode(), self._asking(ctx):
            inputs = torch.tensor([list(ids)], device=self._device)
            logits: torch.Tensor = self._model(input_ids=inputs, **cache, **self._keep_last).logits[0, -1]
        return logits

    @contextlib.contextmanager
    def _asking(self, ctx: JobContext) -> Iterator[None]:
        """Ask ``ctx`` before every layer, in this thread alone: another page may use the same model."""
        mine = threading.get_ident()

        def _ask(*_: Any) -> None:
            if threading.get_ident() == mine:
                ctx.check()
                if ctx.stopping:
                    raise Stopped

        hooks = [layer.register_forward_pre_hook(_ask) for layer in self._layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _can_forget(self) -> bool:
        """Does every layer keep each token by itself?"""
        from transformers.cache_utils import DynamicLayer

        return self._cache is None or all(type(layer) is DynamicLayer for layer in self._cache.layers)

    def _forget(self, kept: int) -> None:
        """Shorten the cache to its first ``kept`` tokens."""
        if kept == 0:
            self._cache = None
        for layer in self._cache.layers if self._cache is not None else ():
            if (surplus := layer.get_seq_length() - kept) > 0:
                layer.keys, layer.values = layer.keys[..., :-surplus, :], layer.values[..., :-surplus, :]
        self._read = self._read[:kept]


def _shared_length(some: Sequence[int], others: Sequence[int]) -> int:
    """How much of their beginnings is the same."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(some), len(others)))
