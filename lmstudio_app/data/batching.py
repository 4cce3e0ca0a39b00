"""Batches: which rows go together, and how they are padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

# Rows are shuffled, cut into pools of this many batches and sorted inside a pool: padding almost vanishes, and two
# epochs still see different batches. The same size as the length-grouped samplers of the field.
POOL_BATCHES = 50


def epoch_batches(
    lengths: np.ndarray, batch_size: int, *, seed: int, epoch: int, group_by_length: bool, batch_tokens: int = 0
) -> list[np.ndarray]:
    """The batches of one epoch as arrays of row numbers; a function of its arguments alone.

    ``lengths`` is int ``[rows]``, in tokens. Every row appears exactly once. A batch holds at most ``batch_size`` rows
    and (unless 0) ``batch_tokens`` tokens with its padding, but at least one row. With ``group_by_length`` the longest
    batch comes first, so that a lack of memory shows in the first step and not after an hour.
    """
    import numpy as np

    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(len(lengths))
    if not group_by_length:
        return _cut(order, lengths, batch_size, batch_tokens)
    pool = batch_size * POOL_BATCHES
    batches: list[np.ndarray] = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        batches += _cut(rows, lengths, batch_size, batch_tokens)
    batches = [batches[index] for index in generator.permutation(len(batches))]
    longest = max(range(len(batches)), key=lambda index: int(lengths[batches[index]].max()), default=0)
    if batches:
        batches[0], batches[longest] = batches[longest], batches[0]
    return batches


def _cut(rows: np.ndarray, lengths: np.ndarray, batch_size: int, batch_tokens: int) -> list[np.ndarray]:
    """``rows`` in their order, cut into batches within both limits."""
    if not batch_tokens:
        return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    batches, start, longest = [], 0, 0
    for end, length in enumerate(lengths[rows].tolist()):
        widest = max(longest, length)
        if end > start and (end - start == batch_size or widest * (end - start + 1) > batch_tokens):
            batches.append(rows[start:end])
            start, widest = end, length
        longest = widest
    return [*batches, rows[start:]] if len(rows) else batches


def sorted_batches(lengths: np.ndarray, batch_size: int, batch_tokens: int = 0) -> list[np.ndarray]:
    """Batches for evaluation and prediction, limited as in :func:`epoch_batches`: all rows by length, longest first."""
    import numpy as np

    lengths = np.asarray(lengths)
    return _cut(np.argsort(-lengths, kind="stable"), lengths, batch_size, batch_tokens)


def pad_features(features: Sequence[Mapping[str, Any]], fill: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """Stack features to tensors, int64.

    Sequences become ``[batch, longest]``, filled on the right with ``fill[name]`` (0 where not named); numbers become
    ``[batch]``. An ``attention_mask`` int64 ``[batch, longest]`` is made from the lengths of ``input_ids``.
    """
    import numpy as np
    import torch

    batch: dict[str, torch.Tensor] = {}
    for name, first in features[0].items():
        if not hasattr(first, "__len__"):
            batch[name] = torch.tensor([feature[name] for feature in features])
            continue
        longest = max(len(feature[name]) for feature in features)
        padded = np.full((len(features), longest), fill.get(name, 0), dtype=np.int64)
        for row, feature in enumerate(features):
            padded[row, : len(feature[name])] = feature[name]
        batch[name] = torch.from_numpy(padded)
    if "attention_mask" not in batch and "input_ids" in batch:
        sizes = torch.tensor([len(feature["input_ids"]) for feature in features])
        width = batch["input_ids"].shape[1]
        batch["attention_mask"] = (torch.arange(width)[None, :] < sizes[:, None]).long()
    return batch
