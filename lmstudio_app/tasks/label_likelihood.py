"""How probable labels are as the continuation of a text, by a language model that writes from left to right.

The prompt is ``Text: …`` and, on a line of its own, the beginning of a sentence that the label ends. A label counts by
the mean log-likelihood of its tokens, so that long ones are not at a disadvantage, less the same behind texts without
content: some labels are probable whatever the text says (Zhao et al. 2021, "Calibrate Before Use").
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from lmstudio_app.data.batching import pad_features, sorted_batches
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.generation import interruptible
from lmstudio_app.tasks.streaming import longest_text, whole_characters

if TYPE_CHECKING:
    import numpy as np

    from lmstudio_app.models.loading import LoadedModel

WITHOUT_CONTENT = ("N/A", "", "[MASK]")  # as in the paper
# model -> (labels, beginning) -> float64 [labels]: asked again with every letter that somebody types
_calibrations: WeakKeyDictionary[Any, dict[Any, np.ndarray]] = WeakKeyDictionary()


class LabelLikelihood:
    """``labels`` as the end of a sentence that begins with ``beginning``, ``batch_size`` sequences at once."""

    def __init__(self, loaded: LoadedModel, labels: Sequence[str], beginning: str, batch_size: int) -> None:
        self._loaded = loaded
        self._labels = tuple(labels)
        self._beginning = beginning.rstrip()
        self._space = " " if beginning != self._beginning or not beginning else ""
        self._batch_size = batch_size

    def scores(self, texts: Sequence[str], ctx: JobContext) -> np.ndarray:
        """float64 ``[texts, labels]``: mean log-likelihoods less those behind texts without content."""
        known = _calibrations.setdefault(self._loaded.model, {})
        key = (self._labels, self._beginning, self._space)
        if key not in known:
            known.clear()
            known[key] = self._likelihoods(WITHOUT_CONTENT, ctx).mean(0)
        found: np.ndarray = self._likelihoods(texts, ctx) - known[key]
        return found

    def _likelihoods(self, texts: Sequence[str], ctx: JobContext) -> np.ndarray:
        import numpy as np
        import torch

        sequences = [
            self._sequence(self._prompt(text), label) for text in texts for label in self._labels
        ]  # (ids, where the label begins)
        means = np.zeros(len(sequences))
        lengths = np.array([len(ids) for ids, _ in sequences])
        with torch.inference_mode(), interruptible(self._loaded.model, ctx):
            for rows in sorted_batches(lengths, self._batch_size):
                ctx.check()
                means[rows] = self._means([sequences[row] for row in rows])
        return means.reshape(len(texts), len(self._labels))

    def _prompt(self, text: str) -> str:
        """With as much of the text as leaves room for the rest."""
        tokenizer = self._loaded.tokenizer
        text = whole_characters(text)
        frame = f"Text: \n{self._beginning} {max(self._labels, key=len)}"
        room = max(1, longest_text(self._loaded) - len(tokenizer(frame, verbose=False)["input_ids"]) - 2)
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) > room:
            text = tokenizer.decode(ids[:room], clean_up_tokenization_spaces=False)
        return f"Text: {text}\n{self._beginning}"

    def _sequence(self, prompt: str, label: str) -> tuple[list[int], int]:
        """Token ids of prompt and label, and where they part; the label has one token at least."""
        tokenizer = self._loaded.tokenizer
        before, whole = (
            _without_end(tokenizer, tokenizer(text, verbose=False)["input_ids"])
            for text in (prompt, prompt + self._space + label)
        )
        start = 0
        while start < min(len(before), len(whole) - 1) and before[start] == whole[start]:
            start += 1
        return whole, max(1, start)  # nothing stands before the first token to tell it from

    def _means(self, sequences: Sequence[tuple[list[int], int]]) -> list[float]:
        """Mean log-likelihood of each sequence's tokens from its start on."""
        loaded = self._loaded
        inputs = pad_features(
            [{"input_ids": ids} for ids, _ in sequences], {"input_ids": loaded.tokenizer.pad_token_id or 0}
        )
        inputs = {name: tensor.to(loaded.device) for name, tensor in inputs.items()}
        width = inputs["input_ids"].shape[1]
        arguments: dict[str, Any] = dict(inputs)
        if "logits_to_keep" in inspect.signature(loaded.model.forward).parameters:  # a vocabulary is wide
            arguments["logits_to_keep"] = width - min(start for _, start in sequences) + 1
        logits = loaded.model(**arguments).logits
        skipped = width - logits.shape[1]
        means = []
        for row, (ids, start) in enumerate(sequences):
            shares = logits[row, start - 1 - skipped : len(ids) - 1 - skipped].float().log_softmax(-1)
            targets = inputs["input_ids"][row, start : len(ids)]
            means.append(float(shares.gather(1, targets[:, None]).mean()))
        return means


def _without_end(tokenizer: Any, ids: list[int]) -> list[int]:
    """Some tokenizers end every text."""
    ends = {tokenizer.eos_token_id, tokenizer.sep_token_id} - {None}
    while ids and ids[-1] in ends:
        ids = ids[:-1]
    return ids
