"""Keep the weights of layers as they come, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmstudio_app.errors import UserError
from lmstudio_app.files import format_bytes

if TYPE_CHECKING:
    import torch

    from lmstudio_app.inspection.attention import Prepared, Weights

FLOAT32_BYTES = 128 * 2**20  # a layer that would take more is kept as float16, in which 1/2048 of a weight is rounded


class LayerStore:
    """Gathers the chunks in one block ``[layers, heads, query, key]``, allocated at the first chunk.

    ``dtype`` is by default float32, and float16 for large layers.
    """

    def __init__(self, layers: Sequence[int], dtype: str = "") -> None:
        self._layers = list(layers)
        self._dtype = dtype
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
            self._block = np.empty((len(self._layers), *shape), dtype=self._dtype or usual_dtype(*shape))
        if self._block.shape[1:] == shape:
            row: Weights = self._block[self._layers.index(layer)]
            return row
        if layer not in self._odd:
            self._odd[layer] = np.empty(shape, dtype=self._dtype or usual_dtype(*shape))
        return self._odd[layer]

    def found(self) -> list[tuple[int, Weights]]:
        """The layers that came, in order."""
        if self._block is None:
            return []
        rows = {layer: self._block[index] for index, layer in enumerate(self._layers)}
        return [(layer, self._odd.get(layer, rows[layer])) for layer in sorted(self._filled)]


def usual_dtype(heads: int, queries: int, keys: int) -> str:
    return "float32" if 4 * heads * queries * keys <= FLOAT32_BYTES else "float16"


def layer_bytes(heads: int, queries: int, keys: int, dtype: str = "") -> int:
    """What a layer takes when it is kept."""
    size = 2 if (dtype or usual_dtype(heads, queries, keys)) == "float16" else 4
    return heads * queries * keys * size


def require_memory(prepared: Prepared) -> None:
    """Raises :class:`UserError` when the weights of all its layers do not fit into what is free."""
    import psutil

    tokens = len(prepared.queries)
    needed = len(prepared.layers) * layer_bytes(len(prepared.heads), tokens, len(prepared.keys))
    free = psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise UserError(
            "The weights of {layers} layers, {tokens} tokens, need {needed} of memory, and {free} are free.",
            "Ask for one layer at a time, or shorten the text.",
            layers=len(prepared.layers),
            tokens=tokens,
            needed=format_bytes(needed),
            free=format_bytes(free),
        )
