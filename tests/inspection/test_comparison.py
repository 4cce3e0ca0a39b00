"""Two readings compared: which tokens match, how far heads have moved, and the files that are made of it."""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.inspection import comparison as module
from lmstudio_app.inspection.arrangement import Arrangement, arrange
from lmstudio_app.inspection.attention import AttentionRequest, read_attention
from lmstudio_app.inspection.comparison import (
    Comparison,
    ComparisonRequest,
    PairRequest,
    Subject,
    pair_layers,
    read_comparison,
    read_pair,
)
from lmstudio_app.inspection.comparison_export import SaveComparison, find_head, head_name, save_comparison
from lmstudio_app.inspection.token_matching import DIFFERS
from lmstudio_app.jobs import Control, JobContext
from tests.inspection.conftest import Loaded

TEXT = "the movie was great and not boring"
OTHER = "the film was great and never so boring"


@pytest.fixture(scope="module")
def bert(make_loaded: Callable[..., Loaded]) -> Loaded:
    return make_loaded("bert")


@pytest.fixture(scope="module")
def trained(bert: Loaded) -> Loaded:
    """The same model, a little further on."""
    model = copy.deepcopy(bert.model)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return Loaded(model, bert.tokenizer)


@pytest.fixture(scope="module")
def speller(make_loaded: Callable[..., Loaded]) -> Loaded:
    """A deeper model whose vocabulary knows letters only."""
    from transformers import BertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = BertTokenizer(vocab={token: index for index, token in enumerate(vocabulary)}, model_max_length=64)
    loaded = make_loaded("bert", vocab_size=len(tokenizer), num_hidden_layers=3)
    return Loaded(loaded.model, tokenizer)


def compare(first: Any, second: Any, text: str = TEXT, other: str | None = None, **options: Any) -> Comparison:
    subjects = (
        Subject(first, AttentionRequest(text, **options)),
        Subject(second, AttentionRequest(text if other is None else other, **options)),
    )
    return read_comparison(ComparisonRequest(*subjects), JobContext())


def weights_of(loaded: Any, text: str = TEXT) -> np.ndarray:
    return read_attention(loaded, AttentionRequest(text), JobContext()).weights.astype(np.float64)


def divergence_of(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over the rows of the mean of two Kullback-Leibler divergences from the mixture, in bits."""

    def kl(p: np.ndarray, q: np.ndarray) -> float:
        return float(sum(a * np.log2(a / b) for a, b in zip(p, q, strict=True) if a > 0))

    rows = list(zip(first, second, strict=True))
    return sum((kl(a, (a + b) / 2) + kl(b, (a + b) / 2)) / 2 for a, b in rows) / len(rows)


# --- one text, two models


def test_heads_are_compared_one_by_one(bert: Loaded, trained: Loaded) -> None:
    found = compare(bert, trained)
    first, second = weights_of(bert), weights_of(trained)
    assert (found.is_paired, found.layers, found.heads) == (True, ((0, 0), (1, 1)), 4)
    np.testing.assert_allclose(found.thumbnails, second - first, atol=1e-6)
    for layer in range(2):
        for head in range(4):
            change = found.changes[layer][head]
            a, b = first[layer, head], second[layer, head]
            assert change.divergence == pytest.approx(divergence_of(a, b), abs=1e-6)
            assert change.moved == pytest.approx(np.abs(b - a).sum(axis=1).mean() / 2, abs=1e-6)
            assert change.difference == pytest.approx(np.abs(b - a).mean(), abs=1e-6)
            place = np.unravel_index(np.abs(b - a).argmax(), a.shape)
            assert (change.query, change.key) == place
            assert (change.before, change.after) == pytest.approx((a[place], b[place]), abs=1e-6)
    divergences = [found.changes[row][head].divergence for row, head in found.order()]
    assert divergences == sorted(divergences, reverse=True)
    assert len(divergences) == 8


def test_the_same_twice_has_not_changed(bert: Loaded) -> None:
    found = compare(bert, bert)
    assert {(c.divergence, c.moved, c.difference) for heads in found.changes for c in heads} == {(0.0, 0.0, 0.0)}
    assert not found.thumbnails.any()


def test_other_vocabularies_are_compared_by_words_and_depth(bert: Loaded, speller: Loaded) -> None:
    found = compare(bert, speller)
    assert not found.is_paired
    assert found.layers == ((0, 1), (1, 2))
    assert found.heads == 1
    assert found.queries.by_words
    assert found.queries.is_same
    labels = ("[CLS]", *TEXT.split(), "[SEP]")
    assert found.queries.labels(0) == labels
    assert [label.replace("##", "") for label in found.keys.labels(1)] == list(labels)
    maps = read_attention(speller, AttentionRequest(TEXT), JobContext())
    spelt = arrange(maps.weights[2].mean(axis=0), maps.queries, maps.keys, Arrangement(merge_words=True)).weights
    head = found.lay_out(read_pair(PairRequest(found, 1), JobContext()), 0)
    np.testing.assert_allclose(head.second, spelt, atol=1e-6)
    np.testing.assert_allclose(head.first, weights_of(bert)[1].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.thumbnails[1, 0], head.difference, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (2, 2, ((0, 0), (1, 1))),
        (2, 6, ((0, 2), (1, 5))),
        (6, 2, ((2, 0), (5, 1))),
        (1, 4, ((0, 3),)),
        (3, 4, ((0, 0), (1, 2), (2, 3))),
    ],
)
def test_layers_are_paired_by_depth(first: int, second: int, expected: Any) -> None:
    assert pair_layers(range(first), range(second)) == expected


# --- two texts


def test_common_tokens_of_two_texts_are_compared(bert: Loaded) -> None:
    found = compare(bert, bert, TEXT, OTHER)
    axis = found.keys
    assert axis.labels(0) == ("[CLS]", "the", "movie", "was", "great", "and", "not", "", "", "boring", "[SEP]")
    assert axis.labels(1) == ("[CLS]", "the", "film", "was", "great", "and", "", "never", "so", "boring", "[SEP]")
    assert [slot for slot, label in enumerate(axis.labels(2)) if label == DIFFERS] == [2, 6, 7, 8]
    assert (axis.is_same, axis.by_words) == (False, False)

    first, second = weights_of(bert), weights_of(bert, OTHER)
    of_first, of_second = [0, 1, 3, 4, 5, 7, 8], [0, 1, 3, 4, 5, 8, 9]
    a, b = first[1, 2][np.ix_(of_first, of_first)], second[1, 2][np.ix_(of_second, of_second)]
    rest_a, rest_b = 1 - a.sum(axis=1, keepdims=True), 1 - b.sum(axis=1, keepdims=True)
    change = found.changes[1][2]
    assert change.divergence == pytest.approx(divergence_of(np.hstack([a, rest_a]), np.hstack([b, rest_b])), abs=1e-6)
    assert change.moved == pytest.approx(
        (np.abs(b - a).sum(axis=1) + np.abs(rest_b - rest_a)[:, 0]).mean() / 2, abs=1e-6
    )
    assert change.difference == pytest.approx(np.abs(b - a).mean(), abs=1e-6)

    head = found.lay_out(read_pair(PairRequest(found, 1), JobContext()), 2)
    common = np.ix_(axis.common, axis.common)
    np.testing.assert_allclose(head.difference[common], b - a, atol=1e-6)
    assert np.isfinite(head.difference).sum() == a.size
    assert np.isfinite(head.first).sum() == first[1, 2].size
    assert np.isnan(head.second[:, 6]).all()
    assert found.thumbnails[1, 2, 2].tolist() == [0.0] * 11  # of a word that was replaced
    assert (change.query, change.key) in set(zip(*np.nonzero(np.isfinite(head.difference)), strict=True))


def test_texts_without_a_common_token_are_refused(make_loaded: Callable[..., Loaded]) -> None:
    llama = make_loaded("llama", **{"bos_token_id": 2})
    llama.tokenizer = copy.deepcopy(llama.tokenizer)
    llama.tokenizer.backend_tokenizer.post_processor = None
    with pytest.raises(UserError, match="no token in common"):
        compare(llama, llama, "great great", "film")


def test_translations_are_compared_on_both_sides(make_loaded: Callable[..., Loaded]) -> None:
    marian = make_loaded("marian")
    subjects = [
        Subject(marian, AttentionRequest(source, target=target))
        for source, target in ((TEXT, "a good film"), (OTHER, "a very good film"))
    ]
    found = read_comparison(ComparisonRequest(*subjects), JobContext())
    assert found.kind == "cross"
    assert found.queries.labels(1) == ("<start>", "[CLS]", "a", "very", "good", "film", "[SEP]")
    assert found.queries.labels(0)[3] == ""
    assert len(found.keys) == 11
    with pytest.raises(UserError, match="of the kind cross cannot be compared with attention of the kind encoder"):
        read_comparison(ComparisonRequest(subjects[0], Subject(marian, AttentionRequest(TEXT))), JobContext())


# --- long texts


def test_what_is_not_kept_is_read_again_with_the_same_numbers(
    bert: Loaded, trained: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, other = " ".join([TEXT] * 7), " ".join([OTHER] * 6)
    whole = compare(bert, trained, text, other)
    assert whole.is_whole
    assert max(whole.thumbnails.shape[2:]) == 48
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    monkeypatch.setattr(module, "ROOM", 1)  # a layer at a time
    monkeypatch.setattr("lmstudio_app.inspection.capture.CHUNK_BYTES", 2000)
    again = compare(bert, trained, text, other)
    assert not again.kept
    np.testing.assert_allclose(again.thumbnails, whole.thumbnails, atol=5e-4)  # in half precision
    for one, two in zip(whole.changes, again.changes, strict=True):
        for before, after in zip(one, two, strict=True):
            assert after.divergence == pytest.approx(before.divergence, abs=1e-4)
            assert abs(after.after - after.before) == pytest.approx(abs(before.after - before.before), abs=5e-4)
    pairs = [read_pair(PairRequest(found, 1), JobContext()) for found in (whole, again)]
    np.testing.assert_allclose(pairs[0].first, pairs[1].first, atol=1e-6)
    np.testing.assert_allclose(pairs[0].second, pairs[1].second, atol=1e-6)


def test_words_of_many_chunks_are_whole(bert: Loaded, speller: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compare(bert, speller)
    monkeypatch.setattr("lmstudio_app.inspection.capture.CHUNK_BYTES", 1)
    torch.testing.assert_close(compare(bert, speller).thumbnails, whole.thumbnails)


def test_it_can_be_cancelled(bert: Loaded, trained: Loaded) -> None:
    control = Control()
    control.cancel()
    request = ComparisonRequest(Subject(bert, AttentionRequest(TEXT)), Subject(trained, AttentionRequest(TEXT)))
    with pytest.raises(Cancelled):
        read_comparison(request, JobContext(control=control))


# --- files


def test_arrays_hold_all_heads_and_the_maps_of_one(bert: Loaded, tmp_path: Path) -> None:
    found = compare(bert, bert, TEXT, OTHER)
    path = save_comparison(SaveComparison(found, tmp_path / "found.npz", ("A", "B"), (1, 2)), JobContext())
    with np.load(path) as arrays:
        assert arrays["divergence"].shape == (2, 4)
        assert arrays["moved"][1, 2] == found.changes[1][2].moved
        assert arrays["place"].tolist() == [1, 2]
        assert arrays["first"].shape == arrays["second_minus_first"].shape == (11, 11)
        assert arrays["second_keys"].tolist()[2] == "film"
        np.testing.assert_array_equal(arrays["second_minus_first"], arrays["second"] - arrays["first"] + np.where(
            np.isfinite(arrays["second_minus_first"]), 0, np.nan))  # fmt: skip


def test_tables_are_of_heads_or_of_cells(bert: Loaded, speller: Loaded, tmp_path: Path) -> None:
    found = compare(bert, bert, TEXT, OTHER)
    heads = save_comparison(SaveComparison(found, tmp_path / "heads.csv", ("A", "B")), JobContext())
    rows = list(csv.DictReader(heads.open(newline="")))
    assert len(rows) == 8
    assert float(rows[6]["divergence_bits"]) == found.changes[1][2].divergence
    cells = SaveComparison(found, tmp_path / "cells.csv", ("A", "B"), (1, 2), head_only=True)
    rows = list(csv.DictReader(save_comparison(cells, JobContext()).open(newline="")))
    assert len(rows) == 121
    assert (rows[2]["first_key"], rows[2]["second_key"], rows[2]["second_minus_first"]) == ("movie", "film", "")
    assert float(rows[0]["second_minus_first"]) == pytest.approx(float(rows[0]["second"]) - float(rows[0]["first"]))
    means = SaveComparison(compare(bert, speller), tmp_path / "means.csv", ("A", "B"))
    rows = list(csv.DictReader(save_comparison(means, JobContext()).open(newline="")))
    assert [(row["first_layer"], row["second_layer"], row["head"]) for row in rows] == [
        ("0", "1", "mean"), ("1", "2", "mean"),
    ]  # fmt: skip


def test_pictures_show_three_maps(bert: Loaded, tmp_path: Path) -> None:
    from PIL import Image

    found = compare(bert, bert, TEXT, OTHER)
    png = save_comparison(SaveComparison(found, tmp_path / "found.png", ("one", "two")), JobContext())
    with Image.open(png) as image:
        assert image.width == 1600
        assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 50
    svg = save_comparison(SaveComparison(found, tmp_path / "found.svg", ("one", "two"), (1, 2)), JobContext())
    text = svg.read_text(encoding="utf-8")
    assert all(part in text for part in ("A: one", "B: two", "B minus A", "Layer 1, head 2", "movie", "film", DIFFERS))
    with pytest.raises(UserError, match=r"ends in \.html"):
        save_comparison(SaveComparison(found, tmp_path / "found.html", ("one", "two")), JobContext())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.png", "found.svg"]


def test_a_head_is_found_by_its_numbers(bert: Loaded, speller: Loaded) -> None:
    found = compare(bert, bert, TEXT, OTHER)
    assert find_head(found, None, None) is None
    assert find_head(found, 1, 2) == (1, 2)
    assert find_head(found, 1, None) == next(place for place in found.order() if place[0] == 1)
    means = compare(bert, speller)
    assert find_head(means, 2, None) == (1, 0)
    assert head_name(means, (1, 0)) == "Layers 1 and 2, mean of their heads"
    with pytest.raises(UserError, match="Layer 0 is not compared"):
        find_head(means, 0, None)
    with pytest.raises(UserError, match="There is no head 7"):
        find_head(found, None, 7)
