from __future__ import annotations

import numpy as np
import pytest

from lmstudio_app.data.batching import epoch_batches, pad_features, sorted_batches

LENGTHS = np.random.default_rng(0).integers(1, 60, size=1000)


@pytest.mark.parametrize("grouped", [True, False])
def test_every_row_comes_once_an_epoch(grouped: bool) -> None:
    batches = epoch_batches(LENGTHS, 32, seed=1, epoch=0, group_by_length=grouped)
    assert sorted(np.concatenate(batches)) == list(range(1000))
    assert all(len(batch) <= 32 for batch in batches)
    assert len(batches) == 32


def padding(batches: list[np.ndarray]) -> float:
    padded = sum(LENGTHS[batch].max() * len(batch) for batch in batches)
    return float(padded / LENGTHS.sum()) - 1


def test_grouping_makes_padding_vanish() -> None:
    random = padding(epoch_batches(LENGTHS, 32, seed=1, epoch=0, group_by_length=False))
    grouped = padding(epoch_batches(LENGTHS, 32, seed=1, epoch=0, group_by_length=True))
    assert random > 0.5
    assert grouped < 0.06


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = epoch_batches(LENGTHS, 32, seed=seed, epoch=epoch, group_by_length=True)
        return np.concatenate(batches).tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_the_longest_batch_comes_first() -> None:
    batches = epoch_batches(LENGTHS, 32, seed=3, epoch=2, group_by_length=True)
    assert LENGTHS[batches[0]].max() == LENGTHS.max()
    ordered = np.concatenate(sorted_batches(LENGTHS, 7))
    assert list(LENGTHS[ordered]) == sorted(LENGTHS, reverse=True)


def test_padding_fills_and_masks() -> None:
    batch = pad_features([{"input_ids": [5, 6, 7], "labels": 1}, {"input_ids": [8], "labels": 0}], {"input_ids": 9})
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [1, 0]
