"""The weights are the model's own, and the model does not notice."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.inspection import capture as capture_module
from lmstudio_app.inspection.attention import AttentionRequest, read_attention
from lmstudio_app.jobs import Control, JobContext

TEXT = "the film was not very good but we loved the acting and the food"
FUSED = [
    "bert",
    "roberta",
    "distilbert",
    "albert",
    "electra",
    "modernbert",
    "gpt2",
    "llama",
    "qwen2",
    "qwen3",
    "gemma3",
    "t5",
    "bart",
    "marian",
]
EAGER_ONLY = ["gemma2", "gpt_oss", "mpnet", "deberta_v2"]


def eager_attentions(loaded: Any, text: str, pair: str | None = None) -> np.ndarray:
    """What the model itself gives out: ``[layers, heads, query, key]``."""
    model = loaded.model
    reader = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    before = model.config._attn_implementation
    if model._can_set_attn_implementation():
        model.set_attn_implementation("eager")
    batch = loaded.tokenizer(text, pair, return_tensors="pt")
    if "token_type_ids" not in inspect.signature(reader.forward).parameters or not hasattr(
        model.config, "type_vocab_size"
    ):  # GPT-2 adds words in their place
        batch.pop("token_type_ids")
    with torch.no_grad():
        attentions = reader(**batch, output_attentions=True).attentions
    if model._can_set_attn_implementation():
        model.set_attn_implementation(before)
    return torch.stack([layer[0] for layer in attentions]).float().numpy()


def state(model: torch.nn.Module) -> tuple[Any, ...]:
    return (
        {name: module.training for name, module in model.named_modules()},
        model.config._attn_implementation,
        {name: value.clone() for name, value in model.state_dict().items()},
        [len(module._forward_hooks) for module in model.modules()],
    )


def assert_same_state(left: tuple[Any, ...], right: tuple[Any, ...]) -> None:
    assert left[:2] == right[:2]
    assert left[3] == right[3]
    assert left[2].keys() == right[2].keys()
    assert all(torch.equal(left[2][name], right[2][name]) for name in left[2])


@pytest.mark.parametrize("family", [*FUSED, *EAGER_ONLY])
def test_weights_equal_those_of_the_eager_model(family: str, make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded(family)
    assert loaded.model.config._attn_implementation == ("sdpa" if family in FUSED else "eager")
    before = state(loaded.model)
    maps = read_attention(loaded, AttentionRequest(TEXT), heard.ctx)
    assert_same_state(state(loaded.model), before)
    expected = eager_attentions(loaded, TEXT)
    assert maps.weights.dtype == np.float32
    assert maps.weights.shape == expected.shape
    assert maps.layers == tuple(range(len(expected)))
    np.testing.assert_allclose(maps.weights, expected, atol=1e-5)
    if family != "gpt_oss":  # its attention sink takes a share of every row
        np.testing.assert_allclose(maps.weights.sum(-1), 1.0, atol=1e-3)
    assert maps.weights.std() > 0.01, "the test needs uneven weights"


def test_a_causal_model_looks_back_only_and_is_called_a_decoder(make_loaded: Callable[..., Any], heard: Any) -> None:
    maps = read_attention(make_loaded("llama"), AttentionRequest(TEXT), heard.ctx)
    assert maps.maps[0].kind == "decoder"
    assert np.triu(maps.weights[0, 0], k=1).max() == 0.0
    assert read_attention(make_loaded("bert"), AttentionRequest(TEXT), heard.ctx).maps[0].kind == "encoder"


def test_a_pair_is_read_as_the_model_reads_it(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("bert")
    maps = read_attention(loaded, AttentionRequest("good film", "bad food"), heard.ctx)
    assert maps.tokens == ("[CLS]", "good", "film", "[SEP]", "bad", "food", "[SEP]")
    assert maps.queries.segments == (None, 0, 0, None, 1, 1, None)
    assert maps.queries.special == (True, False, False, True, False, False, True)
    np.testing.assert_allclose(maps.weights, eager_attentions(loaded, "good film", "bad food"), atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "llama", "t5", "gpt_oss", "gemma2", "gemma3"])
def test_chunks_of_queries_give_the_same_weights(
    family: str, make_loaded: Callable[..., Any], heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = make_loaded(family)
    whole = read_attention(loaded, AttentionRequest(TEXT), heard.ctx).weights
    monkeypatch.setattr(capture_module, "CHUNK_BYTES", 4 * 4 * whole.shape[-1] * 3)  # three queries at a time
    np.testing.assert_allclose(read_attention(loaded, AttentionRequest(TEXT), heard.ctx).weights, whole, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", "llama", "gpt_oss", "mpnet"])
def test_only_the_layers_asked_for_are_read(family: str, make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded(family, num_hidden_layers=3)
    everything = read_attention(loaded, AttentionRequest(TEXT), heard.ctx)
    chosen = read_attention(loaded, AttentionRequest(TEXT, layers=(2, 0)), heard.ctx)
    assert chosen.layers == (0, 2)
    assert chosen.weights.shape[0] == 2
    np.testing.assert_allclose(chosen.weights, everything.weights[[0, 2]], atol=1e-5)
    np.testing.assert_array_equal(chosen.head(2, 3), chosen.of_layer(2).weights[3])


def test_the_pass_ends_after_the_last_layer_asked_for(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("bert", num_hidden_layers=3)
    ran: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, layer in enumerate(loaded.model.base_model.encoder.layer)
    ]
    read_attention(loaded, AttentionRequest(TEXT, layers=(1,)), heard.ctx)
    for hook in hooks:
        hook.remove()
    assert ran == [0]


def test_bfloat16_weights_come_as_float32_rows_that_sum_to_one(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("llama")
    exact = read_attention(loaded, AttentionRequest(TEXT), heard.ctx).weights
    loaded.model.to(torch.bfloat16)
    maps = read_attention(loaded, AttentionRequest(TEXT), heard.ctx)
    assert maps.weights.dtype == np.float32
    np.testing.assert_allclose(maps.weights.sum(-1), 1.0, atol=1e-5)
    assert np.abs(maps.weights - exact).mean() < 0.02
    assert next(loaded.model.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("family", ["bert", "gpt2", "roberta"])
def test_a_long_text_is_cut_with_a_warning(family: str, make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded(family)
    room = {"bert": 64, "gpt2": 64, "roberta": 64 - 2}[family]  # RoBERTa counts from the padding index on
    maps = read_attention(loaded, AttentionRequest("good " * 200), heard.ctx)
    assert len(maps.tokens) == room
    assert maps.weights.shape[-2:] == (room, room)
    assert maps.dropped == 202 - room
    assert len(heard.warnings) == 1
    assert str(room) in heard.warnings[0]


def test_the_training_mode_of_every_module_is_kept(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("bert", hidden_dropout_prob=0.9, attention_probs_dropout_prob=0.9)
    exact = read_attention(loaded, AttentionRequest(TEXT), heard.ctx).weights
    loaded.model.train()
    loaded.model.base_model.encoder.layer[0].eval()  # a frozen part
    before = state(loaded.model)
    np.testing.assert_allclose(read_attention(loaded, AttentionRequest(TEXT), heard.ctx).weights, exact, atol=1e-6)
    assert_same_state(state(loaded.model), before)


def test_cancel_unwinds_between_layers_and_restores_the_model(make_loaded: Callable[..., Any]) -> None:
    loaded = make_loaded("bert", num_hidden_layers=8)
    loaded.model.train()
    before = state(loaded.model)
    control = Control()
    ran: list[int] = []

    def cancel_after_three(*_: Any) -> None:
        ran.append(1)
        if len(ran) == 3:
            control.cancel()

    hooks = [layer.register_forward_hook(cancel_after_three) for layer in loaded.model.base_model.encoder.layer]
    with pytest.raises(Cancelled):
        read_attention(loaded, AttentionRequest(TEXT), JobContext(control=control))
    for hook in hooks:
        hook.remove()
    assert len(ran) == 3
    assert_same_state(state(loaded.model), before)
    assert read_attention(loaded, AttentionRequest(TEXT), JobContext()).weights.shape[0] == 8


def test_the_model_can_still_be_trained_afterwards(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("llama")
    read_attention(loaded, AttentionRequest(TEXT), heard.ctx)
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    loaded.model.train()
    loaded.model(input_ids=ids, labels=ids).loss.backward()
    assert all(p.grad is not None for p in loaded.model.parameters() if p.requires_grad)


def test_reading_disturbs_neither_another_model_nor_another_thread(make_loaded: Callable[..., Any], heard: Any) -> None:
    """One model is read while another is trained, and while the same one answers in a third thread."""
    read, trained = make_loaded("llama"), make_loaded("llama")
    ids = read.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected_logits = read.model(ids).logits
    expected = read_attention(read, AttentionRequest(TEXT), heard.ctx).weights
    stop, problems = threading.Event(), []

    def train() -> None:
        while not stop.is_set():
            if trained.model.config._attn_implementation != "sdpa":
                problems.append("the other model was switched")
            trained.model(input_ids=ids, labels=ids).loss.backward()

    def answer() -> None:
        while not stop.is_set():
            with torch.no_grad():
                if not torch.allclose(read.model(ids).logits, expected_logits, atol=1e-4):
                    problems.append("an answer changed")

    threads = [threading.Thread(target=train), threading.Thread(target=answer)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            maps = read_attention(read, AttentionRequest(TEXT), heard.ctx)
            np.testing.assert_allclose(maps.weights, expected, atol=1e-5)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []
    assert read.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("text", ["", "   \n"])
def test_no_text_is_said(text: str, make_loaded: Callable[..., Any], heard: Any) -> None:
    with pytest.raises(UserError, match="no text") as caught:
        read_attention(make_loaded("bert"), AttentionRequest(text), heard.ctx)
    assert caught.value.remedy


@pytest.mark.parametrize("layer", [-1, 2])
def test_a_layer_that_is_not_there_is_said(layer: int, make_loaded: Callable[..., Any], heard: Any) -> None:
    with pytest.raises(UserError, match=f"no layer {layer}") as caught:
        read_attention(make_loaded("bert"), AttentionRequest(TEXT, layers=(layer,)), heard.ctx)
    assert "0 to 1" in caught.value.remedy


def test_a_head_that_is_not_there_is_said(make_loaded: Callable[..., Any], heard: Any) -> None:
    maps = read_attention(make_loaded("bert"), AttentionRequest(TEXT, layers=(1,)), heard.ctx)
    with pytest.raises(UserError, match="no head 4"):
        maps.head(1, 4)
    with pytest.raises(UserError, match="Layer 0 was not read"):
        maps.head(0, 0)


def test_a_tokenizer_of_another_model_is_said(make_loaded: Callable[..., Any], heard: Any) -> None:
    with pytest.raises(UserError, match="does not match"):
        read_attention(make_loaded("bert", vocab_size=20), AttentionRequest(TEXT), heard.ctx)


def test_too_much_for_the_memory_is_said_before_anything_runs(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("llama", max_position_embeddings=200_000)
    with pytest.raises(UserError, match=r"[GT]B of memory") as caught:
        read_attention(loaded, AttentionRequest("good film " * 60_000), heard.ctx)
    assert "one layer" in caught.value.remedy


def test_a_model_without_weights_to_show_is_said(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make_loaded("mpnet")
    kind = type(loaded.model)

    class Mute(kind):  # type: ignore[misc, valid-type]
        def forward(self, input_ids: Any, attention_mask: Any, **options: Any) -> Any:
            return kind.forward(self, input_ids, attention_mask, output_attentions=False, return_dict=True)

    loaded.model.__class__ = Mute
    with pytest.raises(UserError, match="does not show its attention"):
        read_attention(loaded, AttentionRequest(TEXT), heard.ctx)


def test_the_starter_encoder_at_its_full_length(starter_encoder: Path, heard: Any) -> None:
    """Its tokenizer's file cuts and pads to 128, and the model is loaded with fused attention."""
    from lmstudio_app.models.loading import LoadRequest, load_model

    loaded = load_model(LoadRequest(str(starter_encoder), device="cpu", precision="float32"), heard.ctx)
    assert loaded.model.config._attn_implementation == "sdpa"
    text = " ".join(f"word{number} film" for number in range(300))
    maps = read_attention(loaded, AttentionRequest(text), heard.ctx)
    assert maps.weights.shape == (6, 12, 512, 512)
    assert len(heard.warnings) == 1
    np.testing.assert_allclose(maps.weights.sum(-1), 1.0, atol=1e-3)
    kept = loaded.tokenizer(text, truncation=True, max_length=512, padding=False, return_tensors="pt")
    loaded.model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = loaded.model(**kept, output_attentions=True).attentions
    np.testing.assert_allclose(maps.weights, torch.stack(attentions)[:, 0].numpy(), atol=1e-5)
