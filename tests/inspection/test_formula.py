"""A head worked out again from its own queries, keys and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from lmstudio_app.errors import UserError
from lmstudio_app.inspection import capture, formula
from lmstudio_app.inspection.attention import AttentionRequest, read_attention
from lmstudio_app.inspection.formula import FormulaRequest, HeadFormula, explain_cell, read_formula
from lmstudio_app.jobs import JobContext
from tests.inspection.conftest import FAMILIES
from tests.inspection.test_attention import eager_attentions

TEXT = "the film was not very good but we loved the acting and the food"
OLD = ("mpnet", "deberta_v2")  # families that are older than the attention interface


def read(loaded: Any, layer: int = 1, head: int = 3, text: str = TEXT, **options: Any) -> HeadFormula:
    return read_formula(FormulaRequest(loaded, AttentionRequest(text), layer, head, **options), JobContext())


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in OLD])
def test_our_weights_are_the_models_own(family: str, make_loaded: Callable[..., Any]) -> None:
    loaded = make_loaded(family)
    for layer, heads in enumerate(eager_attentions(loaded, TEXT)):
        for head, eager in enumerate(heads):
            found = read(loaded, layer, head)
            np.testing.assert_allclose(found.weights, eager, atol=1e-5)
            np.testing.assert_allclose(found.own_weights, eager, atol=1e-5)
            assert found.largest_difference == pytest.approx(np.abs(found.weights - found.own_weights).max(), abs=1e-7)
            assert found.largest_difference < 1e-5
            assert found.query.shape == (len(found.queries), found.key.shape[1])
            np.testing.assert_allclose(
                found.scores, found.query @ found.key.T * found.scale, atol=1e-4 * np.abs(found.scores).max()
            )
            np.testing.assert_allclose(found.output, found.weights @ found.value, atol=1e-4)
            assert (found.weights[found.mask] == 0).all()


@pytest.mark.parametrize("family", ["t5", "bart", "marian"])
@pytest.mark.parametrize("kind", ["decoder", "cross"])
def test_a_decoder_with_a_source_too(family: str, kind: str, make_headed: Callable[..., Any]) -> None:
    request = AttentionRequest("the film was good", kind=kind, target="a fine story")
    loaded = make_headed(family)
    maps = read_attention(loaded, request, JobContext())
    found = read_formula(FormulaRequest(loaded, request, maps.layers[-1], 1), JobContext())
    assert (found.kind, found.queries.labels, found.keys.labels) == (kind, maps.queries.labels, maps.keys.labels)
    np.testing.assert_allclose(found.weights, maps.head(maps.layers[-1], 1), atol=1e-5)
    assert found.largest_difference < 1e-5
    assert (found.looks_back_only, found.mask.any()) == ((kind == "decoder",) * 2)


@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen3", "t5", "bart", "gpt_oss"])
def test_the_weighted_sum_is_what_the_model_goes_on_with(family: str, make_loaded: Callable[..., Any]) -> None:
    """What its own eager function makes of the same head."""
    loaded, made = make_loaded(family), []

    def watch(call: capture.AttentionCall) -> None:
        options = {name: value for name, value in call.options.items() if name != "dropout"}
        made.append(capture.own_eager_function(call.module)(
            call.module, call.query, call.key, call.value, call.mask, **options
        )[0])  # fmt: skip

    plain = formula._Gatherer.tell

    def tell(self: Any, call: capture.AttentionCall) -> None:
        watch(call)
        plain(self, call)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formula._Gatherer, "tell", tell)
        found = read(loaded, 1, 2)
    np.testing.assert_allclose(found.output, made[0][0, :, 2].float().numpy(), atol=1e-5)


def test_the_scale_is_the_models_own(make_loaded: Callable[..., Any]) -> None:
    usual = read(make_loaded("bert"))
    assert usual.scale == pytest.approx(8**-0.5)
    assert usual.is_usual_scale
    plain = read(make_loaded("t5"))
    assert plain.scale == 1.0
    assert not plain.is_usual_scale
    assert read(make_loaded("gemma2", query_pre_attn_scalar=100)).scale == pytest.approx(0.1)


def test_what_may_not_be_seen(make_loaded: Callable[..., Any]) -> None:
    everywhere = read(make_loaded("bert"))
    assert not everywhere.mask.any()
    assert (everywhere.looks_back_only, everywhere.reach) == (False, None)
    behind = read(make_loaded("llama"))
    np.testing.assert_array_equal(behind.mask, np.triu(np.ones(behind.mask.shape, dtype=bool), k=1))
    assert (behind.looks_back_only, behind.reach) == (True, None)
    near = read(make_loaded("gemma2"), layer=0)  # a window of four tokens, itself included
    tokens = np.arange(len(near.keys))
    distance = tokens[:, None] - tokens[None]
    np.testing.assert_array_equal(near.mask, (distance < 0) | (distance > 3))
    assert (near.looks_back_only, near.reach) == (True, 3)
    assert read(make_loaded("gemma2"), layer=1).reach is None
    around = read(make_loaded("modernbert"), layer=1)
    assert around.looks_back_only is False
    assert around.reach == 2


def test_grouped_queries_share_keys_and_values(make_loaded: Callable[..., Any]) -> None:
    loaded = make_loaded("llama")
    heads = [read(loaded, head=head) for head in range(4)]
    assert [found.key_head for found in heads] == [0, 0, 1, 1]
    assert [list(found.sharers) for found in heads] == [[0, 1], [0, 1], [2, 3], [2, 3]]
    np.testing.assert_array_equal(heads[0].key, heads[1].key)
    np.testing.assert_array_equal(heads[2].value, heads[3].value)
    assert not np.allclose(heads[1].key, heads[2].key)
    assert not np.allclose(heads[0].query, heads[1].query)
    alone = read(make_loaded("bert"))
    assert (alone.key_head, alone.is_shared) == (3, False)


def test_rotary_embedding_is_in_the_queries_and_not_in_the_values(make_loaded: Callable[..., Any]) -> None:
    """The same word everywhere: the values of the first layer are equal, the queries turn."""
    found = read(make_loaded("llama"), layer=0, text="good good good good")
    np.testing.assert_allclose(found.value[2], found.value[4], atol=1e-5)
    assert not np.allclose(found.query[2], found.query[4], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found.query[2]), np.linalg.norm(found.query[4]), rtol=1e-4)
    assert found.scores[3, 2] == pytest.approx(found.scores[4, 3], abs=1e-4)  # only the distance counts


def test_bias_soft_cap_and_sink_are_told_where_the_model_has_them(make_loaded: Callable[..., Any]) -> None:
    plain = read(make_loaded("bert"))
    assert (plain.bias, plain.softcap, plain.sink) == (None, None, None)
    biased = read(make_loaded("t5"))
    assert biased.bias is not None
    assert biased.bias.shape == biased.scores.shape
    assert biased.bias[3, 4] == pytest.approx(biased.bias[5, 6])  # the distance decides
    assert np.ptp(biased.bias) > 0
    assert read(make_loaded("gemma2")).softcap == 50.0
    loaded = make_loaded("gpt_oss")
    sinking = read(loaded)
    assert sinking.sink == pytest.approx(loaded.model.model.layers[1].self_attn.sinks[3].item())
    shares = sinking.weights.sum(axis=1)
    assert (shares < 0.999).any()


def test_a_dot_product_by_hand() -> None:
    made = formula._work_out(
        FormulaRequest(loaded=None, attention=AttentionRequest("a b"), layer=0, head=0),  # type: ignore[arg-type]
        capture.AttentionCall(
            0,
            torch.nn.Identity(),
            torch.tensor([[[[1.0, 2.0], [0.0, -1.0]]]]),
            torch.tensor([[[[3.0, 0.5], [-1.0, 4.0]]]]),
            torch.tensor([[[[10.0], [20.0]]]]),
            torch.tensor([[[[0.0, torch.finfo(torch.float32).min], [0.0, 0.0]]]]),
            {"scaling": 0.5},
        ),
        range(2),
        np.array([[1.0, 0.0], [0.8, 0.2]], dtype=np.float32),
        ("decoder", None, None),  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(made.scores, [[2.0, 3.5], [-0.25, -2.0]])
    np.testing.assert_array_equal(made.mask, [[False, True], [False, False]])
    share = 1 / (1 + np.exp(-1.75))
    np.testing.assert_allclose(made.weights, [[1.0, 0.0], [share, 1 - share]], atol=1e-7)
    np.testing.assert_allclose(made.output, [[10.0], [10 * share + 20 * (1 - share)]], atol=1e-5)
    assert made.largest_difference == pytest.approx(share - 0.8, abs=1e-6)


@pytest.mark.parametrize("family", ["bert", "t5", "gemma2", "gpt_oss", "llama"])
def test_a_cell_is_explained_from_its_products_to_its_weight(family: str, make_loaded: Callable[..., Any]) -> None:
    found = read(make_loaded(family), layer=0)
    last = len(found.queries) - 1
    for query, key in ((5, 2), (last, last - 1), (4, 4)):
        cell = explain_cell(found, query, key)
        np.testing.assert_allclose(cell.products, found.query[query] * found.key[key], rtol=1e-5)
        assert cell.dot == pytest.approx(cell.products.sum())
        assert cell.scaled == pytest.approx(found.scores[query, key], rel=1e-4, abs=1e-5)
        logit = cell.scaled
        if found.softcap is not None:
            logit = found.softcap * np.tanh(logit / found.softcap)
            assert cell.capped == pytest.approx(logit)
        if found.bias is not None:
            assert cell.bias == found.bias[query, key]
            logit += found.bias[query, key]
        assert cell.logit == pytest.approx(logit)
        assert cell.weight == pytest.approx(found.weights[query, key], abs=1e-6)
        assert cell.weight == pytest.approx(cell.numerator / cell.row_sum)
        assert cell.is_hidden == found.mask[query, key]
        if not cell.is_hidden:
            assert cell.numerator == pytest.approx(np.exp(cell.logit - cell.largest_logit))
    with pytest.raises(IndexError):
        explain_cell(found, last + 1, 0)


def test_a_hidden_cell_has_no_share(make_loaded: Callable[..., Any]) -> None:
    cell = explain_cell(read(make_loaded("llama")), 2, 5)
    assert (cell.is_hidden, cell.numerator, cell.weight) == (True, 0.0, 0.0)
    assert cell.dot != 0


def test_of_a_long_text_some_queries_are_shown_against_all_keys(
    make_loaded: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = make_loaded("llama")
    whole = read(loaded)
    assert whole.is_whole
    keys = len(whole.keys)
    monkeypatch.setattr(formula, "CELLS", 4 * keys + 1)
    monkeypatch.setattr(capture, "CHUNK_BYTES", 4 * 4 * keys * 3)  # three queries at a time
    for around, rows in ((0, range(4)), (6, range(4, 8)), (keys - 1, range(keys - 4, keys))):
        part = read(loaded, around=around)
        assert part.rows == rows
        assert not part.is_whole
        assert part.looks_back_only
        kept = slice(rows.start, rows.stop)
        np.testing.assert_allclose(part.weights, whole.weights[kept], atol=1e-6)
        np.testing.assert_allclose(part.own_weights, whole.own_weights[kept], atol=1e-6)
        np.testing.assert_array_equal(part.mask, whole.mask[kept])
        assert explain_cell(part, rows[1], 1).weight == pytest.approx(whole.weights[rows[1], 1], abs=1e-6)
        with pytest.raises(IndexError):
            explain_cell(part, (rows.stop + 1) % keys if rows.start else rows.stop, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_worked_out_in_full(dtype: torch.dtype, make_loaded: Callable[..., Any]) -> None:
    loaded = make_loaded("llama")
    loaded.model.to(dtype)
    found = read(loaded)
    assert found.query.dtype == np.float32
    assert found.largest_difference < 1e-5
    assert found.bias is None
    np.testing.assert_array_equal(found.mask, np.triu(np.ones(found.mask.shape, dtype=bool), k=1))


@pytest.mark.parametrize("family", OLD)
def test_a_model_that_does_not_say_is_named(family: str, make_loaded: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="queries and keys") as caught:
        read(make_loaded(family))
    assert "BERT" in caught.value.remedy


def test_a_layer_or_head_that_is_not_there_is_said(make_loaded: Callable[..., Any]) -> None:
    loaded = make_loaded("bert")
    with pytest.raises(UserError, match="no head 4") as caught:
        read(loaded, head=4)
    assert "0 to 3" in str(caught.value.remedy.format(**caught.value.parameters))
    with pytest.raises(UserError, match="no layer 7"):
        read(loaded, layer=7)
    with pytest.raises(UserError, match="no text"):
        read(loaded, text=" ")
