"""What is said about a head in numbers is what the definitions say, on every kind of model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lmstudio_app.inspection.attention import AttentionRequest, read_attention
from lmstudio_app.inspection.statistics import PATTERNS, HeadStatistics, StatisticsGatherer
from lmstudio_app.inspection.tokens import Tokens

TEXT = "the film was not very good but we loved the acting and the food"


def tokens(labels: str) -> Tokens:
    """``[X]`` is a special token."""
    names = tuple(labels.split())
    special = tuple(name.startswith("[") for name in names)
    return Tokens(names, names, special, tuple(None if flag else 0 for flag in special))


SENTENCE = tokens("[CLS] , one two three four five six . [SEP]")
PLAIN = tokens("one two three four five six seven eight nine ten")


def head(rows: int, causal: bool, key: Callable[[int], int], share: float = 0.8) -> torch.Tensor:
    """Each row gives ``share`` to one key, and the rest to all that it sees."""
    weights = torch.ones(rows, rows)
    if causal:
        weights = weights.tril()
    weights *= (1 - share) / weights.sum(1, keepdim=True)
    for row in range(rows):
        weights[row, max(0, min(key(row), row if causal else rows - 1))] += share
    return weights


def gather(weights: torch.Tensor, queries: Tokens, keys: Tokens | None = None, **options: Any) -> HeadStatistics:
    gatherer = StatisticsGatherer(queries, keys or queries, **options)
    gatherer.add(0, weights[None])
    return gatherer.result()[0]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("diagonal", lambda row: row),
        ("previous", lambda row: row - 1),
        ("next", lambda row: row + 1),
        ("first", lambda row: 0),
        ("separator", lambda row: 1 if row < 8 else 8),
    ],
)
def test_a_pattern_is_known_by_where_most_of_the_attention_goes(
    pattern: str, key: Callable[[int], int], causal: bool
) -> None:
    found = gather(head(10, causal, key), SENTENCE)
    if causal and pattern == "next":  # which a causal model cannot see: its rows fall back on themselves
        assert found.pattern == "diagonal"
        return
    assert found.pattern == pattern
    assert 0.8 <= found.pattern_share < 0.95


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_even_attention_is_broad_however_few_keys_there_are(causal: bool, count: int) -> None:
    weights = torch.ones(count, count)
    if causal:
        weights = weights.tril()
    found = gather(weights / weights.sum(1, keepdim=True), tokens(" ".join("abcdefghij"[:count])))
    assert found.pattern == "broad"
    assert found.pattern_share == pytest.approx(1, abs=1e-5)
    rows = range(1, count) if causal else range(count)
    seen = [row + 1 if causal else count for row in rows]
    assert found.entropy == pytest.approx(sum(map(math.log2, seen)) / len(seen), abs=1e-5)


def test_a_head_without_a_habit_is_mixed() -> None:
    found = gather(head(10, False, lambda row: (3 * row + 2) % 10), PLAIN)
    assert found.pattern == "mixed"
    assert found.pattern_share < 0.5


def test_the_first_row_of_a_causal_model_counts_for_nothing() -> None:
    """It can only look at itself: without it two of three rows look back, with it the half of four would not."""
    weights = torch.tensor([[1.0, 0, 0], [0.9, 0.1, 0], [0.1, 0.8, 0.1]])
    found = gather(weights, tokens("[BOS] a b"))
    assert found.pattern == "previous"
    assert found.pattern_share == pytest.approx(0.85)
    assert found.distance == pytest.approx((0.9 * 1 + (0.1 * 2 + 0.8 * 1)) / 2)
    assert found.special_share == pytest.approx((0.9 + 0.1) / 2)
    assert (found.query, found.key) == (2, 1)
    assert found.strongest == pytest.approx(0.8)
    entropy = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1) + 2 * 0.1 * math.log2(0.1) + 0.8 * math.log2(0.8)) / 2
    assert found.entropy == pytest.approx(entropy, abs=1e-5)


def test_a_single_token_is_told_about_as_well() -> None:
    found = gather(torch.ones(1, 1), tokens("a"))
    assert (found.entropy, found.distance, found.strongest) == (0, 0, 1)
    assert found.pattern == "diagonal"


def test_between_two_texts_there_is_no_distance_and_no_neighbour() -> None:
    found = gather(torch.eye(10), PLAIN, SENTENCE)
    assert found.distance is None
    assert found.pattern == "mixed"
    assert found.pattern_share == pytest.approx(0.3)  # “,”, “.” and [SEP]
    assert gather(torch.eye(10), PLAIN, PLAIN, crosses=True).pattern == "mixed"
    assert gather(head(10, False, lambda row: 0), PLAIN, SENTENCE).pattern == "first"


def test_a_sink_that_takes_a_part_of_each_row_changes_nothing_about_the_rest() -> None:
    weights = head(10, True, lambda row: row - 1)
    whole, part = gather(weights, SENTENCE), gather(0.3 * weights, SENTENCE)
    for name in ("entropy", "spread", "distance", "special_share", "pattern_share"):
        assert getattr(part, name) == pytest.approx(getattr(whole, name), abs=1e-5)
    assert part.strongest == pytest.approx(0.3 * whole.strongest)


def test_no_rows_have_no_statistics() -> None:
    with pytest.raises(ValueError, match="no rows"):
        StatisticsGatherer(PLAIN, PLAIN).result()


def by_definition(weights: np.ndarray, special: np.ndarray) -> dict[str, float]:
    """One head, row by row in plain float64."""
    entropies, distances, specials = [], [], []
    for i, row in enumerate(weights.astype(np.float64)):
        if (row > 0).sum() > 1:
            row = row / row.sum()
            entropies.append(-sum(a * math.log2(a) for a in row if a > 0))
            distances.append(sum(a * abs(i - j) for j, a in enumerate(row)))
            specials.append(row[special].sum())
    return {
        "entropy": float(np.mean(entropies)),
        "distance": float(np.mean(distances)),
        "special_share": float(np.mean(specials)),
    }


@pytest.mark.parametrize("family", ["bert", "llama", "gpt_oss", "gemma2"])
def test_the_numbers_of_a_model_are_the_definitions_in_chunks_or_whole(
    family: str, make_loaded: Callable[..., Any], heard: Any
) -> None:
    maps = read_attention(make_loaded(family), AttentionRequest(TEXT), heard.ctx)
    special = np.array(maps.keys.special)
    for item in maps.maps:
        whole, chunks = (StatisticsGatherer(item.queries, item.keys) for _ in range(2))
        whole.add(0, torch.from_numpy(item.weights))
        for start in range(0, len(item.queries), 5):
            chunks.add(start, torch.from_numpy(item.weights[:, start : start + 5]))
        for part, found in zip(chunks.result(), whole.result(), strict=True):
            assert (part.pattern, part.query, part.key) == (found.pattern, found.query, found.key)
            assert part.entropy == pytest.approx(found.entropy, abs=1e-6)
            assert part.distance == pytest.approx(found.distance, abs=1e-6)
        for weights, found in zip(item.weights, whole.result(), strict=True):
            for name, value in by_definition(weights, special).items():
                assert getattr(found, name) == pytest.approx(value, abs=1e-4), name
            assert found.pattern in PATTERNS
            assert found.strongest == pytest.approx(weights[found.query, found.key])
            assert not special[found.key]
