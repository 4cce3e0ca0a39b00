"""A model as a function of the embeddings of its tokens: what every attribution by gradients needs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class EmbeddedModel:
    """``function(points) -> [batch]``: one number of the model's output, for embeddings ``[batch, tokens, size]``.

    ``inputs`` are those of one text (batch of 1), with ``input_ids`` and, for an encoder-decoder, ``decoder_input_ids``
    whose embeddings stand behind those of the source. ``options`` are further arguments of every pass, ``value`` makes
    ``[batch]`` of what the model returns.

    The model gets its ids, and the embedding layer is made to answer with the points instead: models differ in what
    they do with ``inputs_embeds`` (Marian's encoder leaves out its scale, others refuse them). Only passes of the
    thread that is inside :meth:`open` are touched, because pages share their models.
    """

    def __init__(
        self,
        model: Any,
        inputs: Mapping[str, torch.Tensor],
        value: Callable[[Any], torch.Tensor],
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._model = model
        self._inputs = dict(inputs)
        self._value = value
        self._options = dict(options or {})
        self._ids = [inputs["input_ids"]]
        self._layers = [model.get_input_embeddings()]
        if "decoder_input_ids" in inputs:
            self._ids.append(inputs["decoder_input_ids"])
            self._layers = [model.get_encoder().get_input_embeddings(), model.get_decoder().get_input_embeddings()]
        self._pending: list[torch.Tensor] = []  # what the next calls of the embedding layers answer
        self.embedded = self._embed(self._ids)

    @property
    def depth(self) -> int:
        """How many layers follow each other."""
        import torch

        return max((len(part) for part in self._model.modules() if isinstance(part, torch.nn.ModuleList)), default=1)

    def _embed(self, ids: Sequence[torch.Tensor]) -> torch.Tensor:
        """float32 ``[1, tokens, size]``."""
        import torch

        with torch.no_grad():
            found = [layer(part) for layer, part in zip(self._layers, ids, strict=True)]
            return torch.cat([part.float() for part in found], dim=1)

    def baseline(self, is_hidden: Sequence[bool], mask_id: int | None) -> torch.Tensor:
        """The embeddings with some tokens hidden, float32 ``[1, tokens, size]``.

        What stands in the place of a hidden one is the model's own mask where it has learned one, else nothing (zeros).
        """
        import torch

        if mask_id is None or any(mask_id >= len(layer.weight) for layer in self._layers):
            hidden = torch.zeros_like(self.embedded)
        else:
            hidden = self._embed([torch.full_like(part, mask_id) for part in self._ids])
        chosen = torch.tensor(list(is_hidden), device=self.embedded.device)[None, :, None]
        return torch.where(chosen, hidden, self.embedded)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """The function can be called within."""
        mine = threading.get_ident()

        def _answer(_: Any, given: Any, found: torch.Tensor) -> torch.Tensor | None:
            if threading.get_ident() != mine or not self._pending:
                return None
            return self._pending.pop(0).to(found.dtype)

        hooks = [layer.register_forward_hook(_answer) for layer in {id(item): item for item in self._layers}.values()]
        try:
            yield
        finally:
            self._pending.clear()
            for hook in hooks:
                hook.remove()

    def run(self, points: torch.Tensor, **options: Any) -> Any:
        """What the model returns for these embeddings."""
        import torch

        batch = len(points)
        inputs = {name: tensor.expand(batch, *tensor.shape[1:]) for name, tensor in self._inputs.items()}
        self._pending = list(torch.split(points, [part.shape[1] for part in self._ids], dim=1))
        return self._model(**inputs, **self._options, **options)

    def value(self, output: Any) -> torch.Tensor:
        """float32 ``[batch]`` of what the model returned."""
        return self._value(output).float()

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        return self.value(self.run(points))


def log_odds(logits: torch.Tensor, index: int) -> torch.Tensor:
    """log p / (1 - p) of one class, ``[batch]``, of logits ``[batch, classes]``."""
    import torch

    logits = logits.float()
    others = torch.cat([logits[:, :index], logits[:, index + 1 :]], dim=-1)
    return logits[:, index] - others.logsumexp(-1)
