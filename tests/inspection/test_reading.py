"""A text is read in one pass; what is kept of it is bounded, and the rest is read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.inspection import attention_store, reading
from lmstudio_app.inspection import capture as capture_module
from lmstudio_app.inspection.attention import AttentionRequest, prepare, read_attention, stream
from lmstudio_app.inspection.reading import LayerRequest, ReadingRequest, read_layer, read_text
from lmstudio_app.jobs import Control, JobContext

TEXT = "the film was not very good but we loved the acting and the food"


def read(loaded: Any, ctx: JobContext, first: tuple[int, ...] = (), **request: Any) -> reading.Reading:
    return read_text(ReadingRequest(loaded, AttentionRequest(TEXT, **request), first), ctx)


def test_a_short_text_is_kept_whole(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("llama", num_hidden_layers=3)
    found = read(loaded, heard.ctx)
    expected = read_attention(loaded, AttentionRequest(TEXT), heard.ctx)
    assert found.is_whole
    assert found.maps is not None
    np.testing.assert_array_equal(found.maps.weights, expected.weights)
    assert (found.kind, found.layers, found.heads, found.head_numbers) == ("decoder", (0, 1, 2), 4, (0, 1, 2, 3))
    assert found.queries == found.keys == expected.queries
    assert (found.written, found.writes, found.dropped) == ("", (), 0)
    count = len(found.queries)
    assert found.overview.thumbnails.shape == (3, 4, count, count)
    np.testing.assert_array_equal(found.overview.thumbnails, expected.weights)


@pytest.mark.parametrize(("layers", "dtype"), [(4.5, "float32"), (2.0, "float16"), (1.0, "float16")])
def test_of_a_long_text_as_many_layers_are_kept_as_fit(
    layers: float, dtype: str, make_loaded: Callable[..., Any], heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = make_loaded("bert", num_hidden_layers=4)
    expected = read_attention(loaded, AttentionRequest(TEXT), heard.ctx)
    monkeypatch.setattr(reading, "KEPT_BYTES", int(layers * expected.maps[0].weights.nbytes))
    found = read(loaded, heard.ctx, first=(3,))
    kept = {4.5: {0, 1, 2, 3}, 2.0: {0, 1, 2, 3}, 1.0: {0, 3}}[layers]
    assert set(found.kept) == kept
    assert found.is_whole == (len(kept) == 4)
    assert (found.maps is None) == (len(kept) < 4)
    for layer in found.layers:
        item = read_layer(LayerRequest(found, layer), heard.ctx)
        assert item.layer == layer
        assert item.weights.dtype == (dtype if layer in kept else "float32")
        np.testing.assert_allclose(item.weights, expected.of_layer(layer).weights, atol=1e-3 if layer in kept else 1e-5)
    assert len(found.overview.statistics) == 4


def test_a_large_layer_is_float16_and_each_of_its_heads_float32(
    make_loaded: Callable[..., Any], heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = make_loaded("gpt2")
    expected = read_attention(loaded, AttentionRequest(TEXT), heard.ctx)
    monkeypatch.setattr(attention_store, "FLOAT32_BYTES", expected.maps[0].weights.nbytes - 1)
    maps = read_attention(loaded, AttentionRequest(TEXT), heard.ctx)
    assert maps.weights.dtype == np.float16
    assert maps.head(1, 2).dtype == np.float32
    np.testing.assert_allclose(maps.head(1, 2), expected.head(1, 2), atol=2**-11)


def test_only_the_heads_asked_for_come(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("bert")
    whole = read_attention(loaded, AttentionRequest(TEXT), heard.ctx)
    some = read_attention(loaded, AttentionRequest(TEXT, layers=(1,), heads=(3, 1)), heard.ctx)
    assert (some.heads, some.head_numbers, some.first_head) == (2, (1, 3), 1)
    np.testing.assert_allclose(some.weights[0], whole.weights[1, [1, 3]], atol=1e-5)
    np.testing.assert_allclose(some.head(1, 3), whole.head(1, 3), atol=1e-5)
    with pytest.raises(UserError, match="no head 2"):
        some.head(1, 2)
    with pytest.raises(UserError, match="no head 4") as caught:
        read_attention(loaded, AttentionRequest(TEXT, heads=(4,)), heard.ctx)
    assert "0 to 3" in caught.value.remedy
    assert whole.head_numbers == (0, 1, 2, 3)
    assert whole.only_head(2).head_numbers == (2,)


def test_a_prepared_text_can_be_streamed_again_and_nothing_is_held(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("gemma3")
    prepared = prepare(loaded, AttentionRequest(TEXT), heard.ctx)
    assert (prepared.kind, prepared.layers, prepared.heads) == ("decoder", (0, 1), (0, 1, 2, 3))
    expected = read_attention(loaded, AttentionRequest(TEXT), heard.ctx)
    for _ in range(2):
        came: list[tuple[int, int]] = []

        def receive(
            layer: int, start: int, queries: int, weights: torch.Tensor, came: list[tuple[int, int]] = came
        ) -> None:
            assert weights.dtype == torch.float32
            assert queries == len(prepared.queries)
            rows = expected.of_layer(layer).weights[:, start : start + weights.shape[1]]
            np.testing.assert_allclose(weights.numpy(), rows, atol=1e-5)
            came.append((layer, start))

        stream(prepared, receive, heard.ctx)
        assert came == [(0, 0), (1, 0)]


def test_a_call_is_told_with_the_mask_that_is_added(make_loaded: Callable[..., Any], heard: Any) -> None:
    """Whatever form of mask the model itself works with."""
    for family in ("llama", "gemma3", "gemma2", "bert"):
        loaded, calls, weights = make_loaded(family), [], []
        prepared = prepare(loaded, AttentionRequest(TEXT, layers=(0,)), heard.ctx)
        stream(prepared, lambda *given, to=weights: to.append(given[3].clone()), heard.ctx, calls.append)
        (call,) = calls
        assert call.layer == 0
        hidden = weights[0].amax(0) == 0
        if family == "bert":
            assert call.mask is None or not call.mask.any()
            assert not hidden.any()
            continue
        assert call.mask.dtype == torch.float32
        assert torch.equal(call.mask[0, 0] < -1e30, hidden)
        assert hidden.any()


def test_a_reading_can_be_cancelled_in_the_middle_of_a_layer(
    make_loaded: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, control, came = make_loaded("gpt2"), Control(), []
    monkeypatch.setattr(capture_module, "CHUNK_BYTES", 4 * 4 * 16)

    def receive(layer: int, start: int, queries: int, weights: torch.Tensor) -> None:
        came.append((layer, start))
        control.cancel()

    ctx = JobContext(control=control)
    prepared = prepare(loaded, AttentionRequest(TEXT), ctx)
    with pytest.raises(Cancelled):
        stream(prepared, receive, ctx)
    assert came == [(0, 0)]
    assert loaded.model.config._attn_implementation == "sdpa"


def test_a_chat_is_laid_out_by_the_models_template(starter_chat: Path, heard: Any) -> None:
    from lmstudio_app.models.loading import LoadRequest, load_model

    loaded = load_model(LoadRequest(str(starter_chat), device="cpu", precision="float32"), heard.ctx)
    messages = ({"role": "user", "content": "What is a token?"},)
    found = read_attention(loaded, AttentionRequest(messages=messages, layers=(0,)), heard.ctx)
    expected = loaded.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    ids = loaded.tokenizer.convert_tokens_to_ids(list(found.queries.tokens))
    assert ids == list(expected["input_ids"])
    marked = [token for token, flag in zip(found.queries.tokens, found.queries.special, strict=True) if flag]
    assert set(marked) == {"<|im_start|>", "<|im_end|>"}
    answered = (*messages, {"role": "assistant", "content": "A piece of text."})
    longer = prepare(loaded, AttentionRequest(messages=answered), heard.ctx)
    assert longer.queries.labels[-6:-2] == ("piece", "of", "text", ".")


def test_messages_that_the_template_refuses_are_said(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("llama")
    before = loaded.tokenizer.chat_template
    loaded.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    try:
        with pytest.raises(UserError, match="roles must alternate"):
            prepare(loaded, AttentionRequest(messages=({"role": "user", "content": "good"},)), heard.ctx)
    finally:
        loaded.tokenizer.chat_template = before
