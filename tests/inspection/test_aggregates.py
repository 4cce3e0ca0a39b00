"""Many heads as one map, against plain references made from the papers' formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.inspection import aggregates, flow, rollout
from lmstudio_app.inspection import capture as capture_module
from lmstudio_app.inspection.aggregates import AGGREGATES, AggregateRequest, read_aggregate
from lmstudio_app.inspection.attention import AttentionRequest, read_attention
from lmstudio_app.jobs import JobContext

TEXT = "the film was not very good but we loved the acting"


def matrices(weights: np.ndarray) -> list[np.ndarray]:
    """A of each layer, ``weights [layers, heads, query, key]`` (Abnar and Zuidema 2020, section 3)."""
    found = []
    for layer in weights.astype(np.float64):
        mixed = 0.5 * layer.mean(axis=0) + 0.5 * np.eye(layer.shape[-1])
        found.append(mixed / mixed.sum(axis=1, keepdims=True))
    return found


def reference_rollout(weights: np.ndarray) -> np.ndarray:
    first, *others = matrices(weights)
    found = first
    for matrix in others:
        found = matrix @ found
    return found


def reference_flow(weights: np.ndarray) -> np.ndarray:
    """Maximum flows by another library, on a graph that is written down edge by edge."""
    graph = nx.DiGraph()
    layers = matrices(weights)
    count = len(layers[0])
    for level, matrix in enumerate(layers):
        for i in range(count):
            for j in range(count):
                if matrix[i, j] > 0:
                    graph.add_edge((level + 1, i), (level, j), capacity=matrix[i, j])
    flows = np.array(
        [[nx.maximum_flow_value(graph, (len(layers), i), (0, j)) for j in range(count)] for i in range(count)]
    )
    return flows / flows.sum(axis=1, keepdims=True)


def aggregate(loaded: Any, method: str, ctx: JobContext | None = None, **options: Any) -> aggregates.Aggregate:
    attention = options.pop("attention", AttentionRequest(TEXT))
    return read_aggregate(AggregateRequest(loaded, attention, method, **options), ctx or JobContext())


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "gpt_oss", "modernbert", "t5", "mpnet"])
def test_rollout_is_the_product_of_the_papers_formula(family: str, make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded(family)
    weights = read_attention(loaded, AttentionRequest(TEXT), heard.ctx).weights
    found = aggregate(loaded, "rollout")
    assert found.weights.dtype == np.float32
    np.testing.assert_allclose(found.weights, reference_rollout(weights), atol=1e-5)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, atol=1e-5)
    assert found.layers == (0, 1)
    assert found.queries.labels == found.keys.labels


def test_rollout_goes_up_to_a_layer_and_does_not_run_the_others(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("bert", num_hidden_layers=3)
    weights = read_attention(loaded, AttentionRequest(TEXT), heard.ctx).weights
    ran: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, layer in enumerate(loaded.model.base_model.encoder.layer)
    ]
    for layer in range(3):
        found = aggregate(loaded, "rollout", layer=layer)
        np.testing.assert_allclose(found.weights, reference_rollout(weights[: layer + 1]), atol=1e-5)
        assert found.layers == tuple(range(layer + 1))
    for hook in hooks:
        hook.remove()
    assert ran == [0, 0, 1]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_chunks_of_rows_give_the_same_aggregates(
    family: str, make_loaded: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = make_loaded(family)
    whole = {method: aggregate(loaded, method).weights for method in AGGREGATES}
    monkeypatch.setattr(capture_module, "CHUNK_BYTES", 4 * 4 * len(whole["mean"]) * 3)  # three queries at a time
    monkeypatch.setattr(rollout, "_MULTIPLICATIONS", 2 * len(whole["mean"]) ** 2)
    for method, weights in whole.items():
        np.testing.assert_allclose(aggregate(loaded, method).weights, weights, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_flow_is_the_maximum_flow_between_any_two_tokens(
    family: str, make_loaded: Callable[..., Any], heard: Any
) -> None:
    loaded = make_loaded(family, num_hidden_layers=3)
    weights = read_attention(loaded, AttentionRequest(TEXT), heard.ctx).weights
    expected = reference_flow(weights)
    np.testing.assert_allclose(aggregate(loaded, "flow").weights, expected, atol=1e-5)
    one = aggregate(loaded, "flow", token=4)
    np.testing.assert_allclose(one.weights, expected[4:5], atol=1e-5)
    assert one.queries.tokens == one.keys.tokens[4:5]
    lower = aggregate(loaded, "flow", layer=0, token=4)  # through one layer it is that layer
    np.testing.assert_allclose(lower.weights[0], matrices(weights)[0][4], atol=1e-5)


def test_mean_and_max_are_over_all_heads_or_those_of_one_layer(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("bert")
    weights = read_attention(loaded, AttentionRequest(TEXT), heard.ctx).weights
    np.testing.assert_allclose(aggregate(loaded, "mean").weights, weights.mean(axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(aggregate(loaded, "max").weights, weights.max(axis=(0, 1)), atol=1e-6)
    for layer in range(2):
        mean = aggregate(loaded, "mean", layer=layer)
        assert mean.layers == (layer,)
        np.testing.assert_allclose(mean.weights, weights[layer].mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(aggregate(loaded, "max", layer=layer).weights, weights[layer].max(axis=0), atol=1e-6)
    chosen = aggregate(loaded, "mean", attention=AttentionRequest(TEXT, heads=(1, 3)))
    np.testing.assert_allclose(chosen.weights, weights[:, [1, 3]].mean(axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(aggregate(loaded, "mean", token=2).weights, weights.mean(axis=(0, 1))[2:3], atol=1e-6)


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_each_kind_of_an_encoder_decoder_has_its_mean(kind: str, make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("bart")
    request = AttentionRequest(TEXT, kind=kind, target=None if kind == "encoder" else "good film")
    weights = read_attention(loaded, request, heard.ctx).weights
    found = aggregate(loaded, "mean", attention=request)
    np.testing.assert_allclose(found.weights, weights.mean(axis=(0, 1)), atol=1e-6)
    assert found.kind == kind
    assert found.weights.shape == (len(found.queries), len(found.keys))
    for method in ("rollout", "flow"):
        if kind == "cross":
            with pytest.raises(UserError, match="cannot be followed through the layers"):
                aggregate(loaded, method, attention=request)
        else:
            reference = {"rollout": reference_rollout, "flow": reference_flow}[method](weights)
            np.testing.assert_allclose(aggregate(loaded, method, attention=request).weights, reference, atol=1e-5)


def test_a_flow_that_takes_too_long_is_refused_with_its_limit(
    make_loaded: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = make_loaded("bert")
    count = len(aggregate(loaded, "mean").queries)
    monkeypatch.setattr(flow, "WORK_LIMIT", 2 * (count - 1) ** 4)
    with pytest.raises(UserError) as refusal:
        aggregate(loaded, "flow")
    assert f"the limit is {count - 1}" in refusal.value.message
    assert "one token" in refusal.value.remedy
    assert aggregate(loaded, "flow", token=0).weights.shape == (1, count)
    assert aggregate(loaded, "flow", layer=0).weights.shape == (count, count)
    monkeypatch.setattr(flow, "WORK_LIMIT", 2 * (count - 2) ** 3)
    with pytest.raises(UserError) as refusal:
        aggregate(loaded, "flow", token=0)
    assert f"the limit is {count - 2}" in refusal.value.message
    with pytest.raises(UserError, match="too long") as refusal:
        aggregate(loaded, "flow")
    assert "one token" not in refusal.value.remedy


class Stopped(JobContext):
    """Somebody cancels after some checks."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.control.cancel()
        super().check()


@pytest.mark.parametrize("method", AGGREGATES)
def test_it_can_be_stopped_and_tells_how_far_it_is(method: str, make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("bert")
    for checks in range(1, 6):
        with pytest.raises(Cancelled):
            aggregate(loaded, method, Stopped(checks))
    aggregate(loaded, method, heard.ctx)
    last = heard.events[-1]
    assert (last.done, last.unit) == (last.total, "flows" if method == "flow" else "rows")


def test_what_is_not_there_is_said(make_loaded: Callable[..., Any]) -> None:
    loaded = make_loaded("bert")
    with pytest.raises(UserError, match="no token 99"):
        aggregate(loaded, "mean", token=99)
    for method in AGGREGATES:
        with pytest.raises(UserError, match="no layer 7"):
            aggregate(loaded, method, layer=7)
        with pytest.raises(UserError, match="no layer -1"):
            aggregate(loaded, method, layer=-1)
    with pytest.raises(ValueError, match="unknown aggregate"):
        aggregate(loaded, "median")
