"""Counts are checked against plain Python on the bundled data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from lmstudio_app.data.sources import read_table
from lmstudio_app.data.statistics import class_balance, duplicates, leakage, token_lengths
from lmstudio_app.errors import Cancelled
from lmstudio_app.jobs import Control, JobContext


@pytest.fixture
def sentences() -> Any:
    return read_table("uci-sentiment", JobContext()).dataset


def plain(text: str) -> str:
    return " ".join(text.lower().split())


def test_class_balance_counts_rows(sentences: Any) -> None:
    assert class_balance(sentences, "label") == {"0": 1000, "1": 1000}
    assert class_balance(sentences.select([0, 1, 2, 4]), "label") == {"0": 3, "1": 1}


def test_duplicates_are_rows_whose_text_came_before(sentences: Any) -> None:
    counts = Counter(plain(text) for text in sentences["text"])
    found = duplicates(sentences, "text", "label")
    assert found.count == len(sentences) - len(counts)
    assert [times for _, times in found.examples] == [times for _, times in counts.most_common(len(found.examples))]
    assert {plain(text) for text, _ in found.examples} <= {text for text, times in counts.items() if times > 1}
    labels: dict[str, set[int]] = {}
    for text, label in zip(sentences["text"], sentences["label"], strict=True):
        labels.setdefault(plain(text), set()).add(label)
    assert found.conflicting == sum(len(kinds) > 1 for kinds in labels.values())


def test_duplicates_of_pairs_compare_all_columns(sentences: Any) -> None:
    assert duplicates(sentences, ["text", "label"]).count <= duplicates(sentences, "text").count
    assert duplicates(sentences.select(range(0)), "text").count == 0


def test_leakage_counts_evaluation_rows_seen_in_training(sentences: Any) -> None:
    train, evaluation = sentences.select(range(0, 1500)), sentences.select(range(1400, 2000))
    seen = {plain(text) for text in train["text"]}
    expected = [text for text in evaluation["text"] if plain(text) in seen]
    found = leakage(train, evaluation, "text")
    assert found.count == len(expected) >= 100
    assert list(found.examples) == expected[:5]


def test_token_lengths_are_those_of_the_tokenizer(sentences: Any, tiny_encoder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    lengths = token_lengths(sentences, "text", tokenizer, JobContext(), sample=300)
    rows = np.linspace(0, len(sentences) - 1, 300).astype(int)
    expected = [len(tokenizer(sentences[int(row)]["text"])["input_ids"]) for row in rows]
    assert lengths.tolist() == expected
    assert len(token_lengths(sentences, "text", tokenizer, JobContext(), sample=10_000)) == 2000


def test_token_lengths_ignore_the_padding_and_truncation_left_in_a_tokenizer(
    sentences: Any, tiny_encoder: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    before = token_lengths(sentences, "text", tokenizer, JobContext(), sample=100)
    tokenizer(["a", "b c d"], padding="max_length", truncation=True, max_length=8)
    assert token_lengths(sentences, "text", tokenizer, JobContext(), sample=100).tolist() == before.tolist()


def test_token_lengths_can_be_cancelled(sentences: Any, tiny_encoder: Path) -> None:
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        token_lengths(sentences, "text", AutoTokenizer.from_pretrained(tiny_encoder), JobContext(None, control))
