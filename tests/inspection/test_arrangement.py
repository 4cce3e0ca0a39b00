"""Special tokens hidden and words merged, against sums and means written out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmstudio_app.inspection.arrangement import Arrangement, arrange, arrange_side
from lmstudio_app.inspection.attention import AttentionRequest, read_attention
from lmstudio_app.inspection.tokens import Tokens
from lmstudio_app.jobs import JobContext

# [CLS] un ##like ##ly fun [SEP]
TOKENS = Tokens(
    tokens=("[CLS]", "un", "##like", "##ly", "fun", "[SEP]"),
    labels=("[CLS]", "un", "##like", "##ly", "fun", "[SEP]"),
    special=(True, False, False, False, False, True),
    segments=(None, 0, 0, 0, 0, None),
    words=(None, 0, 0, 0, 1, None),
    spans=(None, (0, 2), (2, 6), (6, 8), (9, 12), None),
)
WEIGHTS = np.random.default_rng(3).dirichlet(np.ones(6), size=6).astype(np.float32)


def test_nothing_to_do_costs_no_copy() -> None:
    arranged = arrange(WEIGHTS, TOKENS, TOKENS, Arrangement())
    assert arranged.weights is WEIGHTS
    assert arranged.queries is TOKENS
    assert arranged.own((3, 5)) == arranged.shown((3, 5)) == (3, 5)
    assert arranged.own(None) is arranged.shown(None) is None


def test_the_pieces_of_a_word_are_summed_as_keys_and_averaged_as_queries() -> None:
    arranged = arrange(WEIGHTS, TOKENS, TOKENS, Arrangement(merge_words=True))
    assert arranged.queries.labels == ("[CLS]", "unlikely", "fun", "[SEP]")
    assert arranged.queries.spans == (None, (0, 8), (9, 12), None)
    assert arranged.queries.special == (True, False, False, True)
    assert arranged.key_groups == arranged.query_groups == ((0,), (1, 2, 3), (4,), (5,))
    w = WEIGHTS.astype(np.float64)
    word = w[:, [0, 1, 4, 5]].copy()
    word[:, 1] = w[:, 1] + w[:, 2] + w[:, 3]
    expected = np.stack([word[0], (word[1] + word[2] + word[3]) / 3, word[4], word[5]])
    np.testing.assert_allclose(arranged.weights, expected, atol=1e-7)
    assert arranged.weights.dtype == np.float32
    np.testing.assert_allclose(arranged.weights.sum(axis=1), 1, atol=1e-6)


def test_special_tokens_are_hidden_and_the_others_keep_their_weights() -> None:
    arranged = arrange(WEIGHTS, TOKENS, TOKENS, Arrangement(hide_special=True))
    assert arranged.keys.labels == ("un", "##like", "##ly", "fun")
    np.testing.assert_array_equal(arranged.weights, WEIGHTS[1:5, 1:5])
    both = arrange(WEIGHTS, TOKENS, TOKENS, Arrangement(hide_special=True, merge_words=True))
    assert both.keys.labels == ("unlikely", "fun")
    assert both.weights[1, 0] == pytest.approx(float(WEIGHTS[4, 1:4].sum()))
    assert both.weights[0, 1] == pytest.approx(float(WEIGHTS[1:4, 4].mean()))


def test_cells_are_found_both_ways() -> None:
    arranged = arrange(WEIGHTS, TOKENS, TOKENS, Arrangement(hide_special=True, merge_words=True))
    assert arranged.shown((3, 4)) == (0, 1)
    assert arranged.shown((2, 2)) == (0, 0)
    assert arranged.shown((0, 4)) is None  # [CLS] is hidden
    assert arranged.shown((4, 99)) is None  # of another text
    assert arranged.own((0, 1)) == (1, 4)
    for query in range(2):
        for key in range(2):
            assert arranged.shown(arranged.own((query, key))) == (query, key)


def test_two_sides_may_differ() -> None:
    """Cross-attention: the rows are of another text than the columns."""
    target = Tokens(("▁ein", "</s>"), ("ein", "</s>"), (False, True), (0, None), (0, None), ((0, 3), None))
    arranged = arrange(WEIGHTS[:2], target, TOKENS, Arrangement(hide_special=True, merge_words=True))
    assert arranged.weights.shape == (1, 2)
    assert arranged.weights[0].tolist() == pytest.approx([float(WEIGHTS[0, 1:4].sum()), float(WEIGHTS[0, 4])])


def test_where_all_tokens_are_special_they_stay() -> None:
    ends = Tokens(("<s>", "</s>"), ("<s>", "</s>"), (True, True), (None, None), (None, None), (None, None))
    assert arrange_side(ends, Arrangement(hide_special=True, merge_words=True)).groups == ((0,), (1,))


def test_words_of_two_texts_and_parts_of_one_character_are_told_apart() -> None:
    pair = Tokens(
        tokens=("a", "b", "ðŁ", "ĺĢ"),
        labels=("a", "b", "😀", "😀"),
        special=(False,) * 4,
        segments=(0, 1, 1, 1),
        words=(0, 0, 1, 1),
        spans=((0, 1), (0, 1), (1, 2), (1, 2)),
    )
    side = arrange_side(pair, Arrangement(merge_words=True))
    assert side.groups == ((0,), (1,), (2, 3))
    assert side.tokens.labels == ("a", "b", "😀")


def test_a_real_tokenizers_pieces_become_the_words_of_the_text(wordpiece: Any, tiny_encoder: Path) -> None:
    from lmstudio_app.models.loading import LoadRequest, load_model

    loaded = load_model(LoadRequest(str(tiny_encoder), precision="float32"), JobContext())
    maps = read_attention(loaded, AttentionRequest("the unlikely film, really good"), JobContext())
    weights = maps.head(1, 2)
    arranged = arrange(weights, maps.queries, maps.keys, Arrangement(hide_special=True, merge_words=True))
    assert arranged.queries.labels == ("the", "unlikely", "film", ",", "really", "good")
    pieces = arranged.query_groups[1]
    assert len(pieces) > 2
    np.testing.assert_allclose(
        arranged.weights[1, 2], weights[list(pieces)][:, arranged.key_groups[2][0]].mean(), atol=1e-6
    )
