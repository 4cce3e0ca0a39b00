"""Texts as vectors: the mean of an encoder's token vectors, of length 1 (Reimers and Gurevych, 2019)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmstudio_app.data.batching import pad_features, sorted_batches
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import interruptible
from lmstudio_app.tasks.streaming import longest_text, whole_characters

if TYPE_CHECKING:
    import numpy as np
    import torch

    from lmstudio_app.models.loading import LoadedModel

_BATCH = {"cpu": 32}
_GPU_BATCH = 256


class Embedder:
    """A loaded model that turns texts into vectors.

    The tokens' vectors are averaged; a model of sentence-transformers that states so takes that of its first token.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        base = loaded.model.base_model
        self._model = base.get_encoder() if loaded.model.config.is_encoder_decoder else base
        stated = _read_json(loaded.folder / "sentence_bert_config.json").get("max_seq_length")
        self.limit = min([longest_text(loaded), *([stated] if isinstance(stated, int) and stated > 0 else [])])
        self._takes_first = bool(_read_json(loaded.folder / "1_Pooling" / "config.json").get("pooling_mode_cls_token"))
        self.batch_size = _BATCH.get(loaded.device.type, _GPU_BATCH)
        self.dimension = int(loaded.model.config.get_text_config().hidden_size)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without the special ones that are put around it."""
        return [len(ids) for ids in self._tokenize(texts, whole=False)] if texts else []

    def _tokenize(self, texts: Sequence[str], *, whole: bool) -> list[list[int]]:
        options: dict[str, Any] = {"truncation": True, "max_length": self.limit} if whole else {"verbose": False}
        found: list[list[int]] = self.loaded.tokenizer(
            [whole_characters(text) for text in texts],
            add_special_tokens=whole,
            return_attention_mask=False,
            return_token_type_ids=False,
            **options,
        )["input_ids"]
        return found

    def embed(
        self, texts: Sequence[str], ctx: JobContext, advance: Callable[[int], object] = lambda count: None
    ) -> np.ndarray:
        """float32 ``[texts, dimension]``, each row of length 1. ``advance`` is told how many texts are done.

        Texts of similar length go through the model together; what is longer than the model reads is cut.
        """
        import numpy as np
        import torch

        ids = self._tokenize(texts, whole=True) if texts else []
        lengths = np.array([len(sequence) for sequence in ids], dtype=np.int64)
        vectors = np.zeros((len(ids), self.dimension), dtype=np.float32)
        pad = self.loaded.tokenizer.pad_token_id or 0
        done = 0
        with torch.inference_mode(), interruptible(self._model, ctx):
            for rows in sorted_batches(lengths, self.batch_size):
                ctx.check()
                batch = pad_features([{"input_ids": ids[row]} for row in rows], {"input_ids": pad})
                inputs = {name: tensor.to(self.loaded.device) for name, tensor in batch.items()}
                states = self._model(**inputs).last_hidden_state.float()
                vectors[rows] = self.pool(states, inputs["attention_mask"]).cpu().numpy()
                done += len(rows)
                advance(done)
        return vectors

    def pool(self, states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """One vector of length 1 a text, of the states float32 ``[texts, tokens, dimension]`` of its tokens."""
        import torch

        if self._takes_first:
            pooled = states[:, 0]
        else:
            weights = attention_mask.unsqueeze(-1).float()
            pooled = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(pooled, dim=-1)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # only sentence-transformers writes these files
    return values if isinstance(values, dict) else {}
