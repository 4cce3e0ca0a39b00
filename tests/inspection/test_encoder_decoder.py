"""The decoder's own attention and its attention to the source, along a target that is given or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmstudio_app.errors import UserError
from lmstudio_app.inspection import capture as capture_module
from lmstudio_app.inspection.attention import AttentionRequest, kinds_of, prepare, read_attention
from lmstudio_app.inspection.reading import LayerRequest, ReadingRequest, read_layer, read_text
from lmstudio_app.inspection.targets import LONGEST_WRITTEN, START
from lmstudio_app.inspection.tokens import position_limit

SOURCE = "the film was not very good but we loved the acting"
TARGET = "good acting and the food"
FAMILIES = ["t5", "bart", "marian"]
LAYERS = {
    "t5": {"num_layers": 2, "num_decoder_layers": 3},
    "bart": {"decoder_layers": 3},
    "marian": {"decoder_layers": 3},
}
STARTS = {"decoder_start_token_id": 2}


def make(make_loaded: Callable[..., Any], family: str, **options: Any) -> Any:
    return make_loaded(family, **{**LAYERS[family], **STARTS, "eos_token_id": 3, **options})


def eager(loaded: Any, target: str, kind: str) -> np.ndarray:
    """What the model itself gives out, ``[layers, heads, query, key]``; queries are the start token and the target."""
    model, tokenizer = loaded.model, loaded.tokenizer
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    inputs = tokenizer(SOURCE, return_tensors="pt")
    written = tokenizer(text_target=target, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        output = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            decoder_input_ids=torch.cat([torch.tensor([[2]]), written], dim=1),
            output_attentions=True,
        )
    model.set_attn_implementation(before)
    return torch.stack([layer[0] for layer in output[f"{kind}_attentions"]]).float().numpy()


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_kind_equals_the_eager_model_also_under_fused_attention(
    family: str, kind: str, make_loaded: Callable[..., Any], heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = make(make_loaded, family)
    assert loaded.model.config._attn_implementation == "sdpa"
    assert kinds_of(loaded.model) == ("encoder", "decoder", "cross")
    expected = eager(loaded, TARGET, kind)
    for size in (2**22, 4 * 4 * 10 * 3):  # at once, and in chunks
        monkeypatch.setattr(capture_module, "CHUNK_BYTES", size)
        maps = read_attention(loaded, AttentionRequest(SOURCE, kind=kind, target=TARGET), heard.ctx)
        assert maps.maps[0].kind == kind
        assert maps.weights.shape == expected.shape
        np.testing.assert_allclose(maps.weights, expected, atol=1e-5)
        assert maps.weights.std() > 0.01, "the test needs uneven weights"
    assert loaded.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("family", FAMILIES)
def test_one_layer_and_some_heads_are_those_of_all(family: str, make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make(make_loaded, family)
    request = {"kind": "cross", "target": TARGET}
    whole = read_attention(loaded, AttentionRequest(SOURCE, **request), heard.ctx)
    some = read_attention(loaded, AttentionRequest(SOURCE, layers=(2,), heads=(1,), **request), heard.ctx)
    assert some.layers == (2,)
    np.testing.assert_allclose(some.weights[0, 0], whole.weights[2, 1], atol=1e-5)
    with pytest.raises(UserError, match="no layer 3"):
        read_attention(loaded, AttentionRequest(SOURCE, layers=(3,), **request), heard.ctx)
    with pytest.raises(UserError, match="no layer 2"):
        read_attention(loaded, AttentionRequest(SOURCE, layers=(2,)), heard.ctx)  # the encoder has two


def test_a_decoder_looks_back_only(make_loaded: Callable[..., Any], heard: Any) -> None:
    maps = read_attention(make(make_loaded, "t5"), AttentionRequest(SOURCE, kind="decoder", target=TARGET), heard.ctx)
    assert np.triu(maps.weights[0, 0], k=1).max() == 0.0
    assert maps.queries == maps.keys


def test_the_axes_of_cross_attention_are_target_and_source(make_loaded: Callable[..., Any], heard: Any) -> None:
    prepared = prepare(make(make_loaded, "bart"), AttentionRequest(SOURCE, target="good films"), heard.ctx)
    assert prepared.kind == "cross", "a target was given"
    assert prepared.queries.tokens == ("[CLS]", "[CLS]", "good", "film", "##s", "[SEP]")
    assert prepared.queries.labels == (START, "[CLS]", "good", "film", "##s", "[SEP]")
    assert prepared.queries.special == (True, True, False, False, False, True)
    assert prepared.queries.segments == (None, None, 0, 0, 0, None)
    assert prepared.queries.spans == (None, None, (0, 4), (5, 9), (9, 10), None)
    assert prepared.queries.words == (None, None, 0, 1, 1, None)
    assert prepared.keys.tokens[:3] == ("[CLS]", "the", "film")
    assert prepared.written == "good films"
    assert prepared.writes[:5] == prepared.queries.labels[1:], "a row looks while the next token is written"


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_target_the_model_writes_one(family: str, make_loaded: Callable[..., Any], heard: Any) -> None:
    # generate of this transformers counts the encoder's layers of a T5
    loaded = make(make_loaded, family, **({"num_decoder_layers": 2} if family == "t5" else {}))
    loaded.model.train()
    prepared = prepare(loaded, AttentionRequest(SOURCE, kind="cross"), heard.ctx)
    assert loaded.model.training
    loaded.model.eval()
    inputs = loaded.tokenizer(SOURCE, return_tensors="pt")
    with torch.no_grad():
        written = loaded.model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=False,
            num_beams=1,
            max_new_tokens=min(LONGEST_WRITTEN, (position_limit(loaded.model, loaded.tokenizer) or 0) - 1),
        )[0].tolist()
    assert prepared.inputs["decoder_input_ids"][0].tolist() == written[:-1]
    assert prepared.queries.labels[0] == START
    assert len(prepared.writes) == len(prepared.queries) == len(written) - 1
    assert prepared.written == loaded.tokenizer.decode(written[1:], skip_special_tokens=True).strip()


def test_a_reading_of_what_it_has_written_need_not_write_again(
    make_loaded: Callable[..., Any], heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = make(make_loaded, "marian")
    reading = read_text(ReadingRequest(loaded, AttentionRequest(SOURCE, kind="cross")), heard.ctx)
    assert reading.request.target == reading.written
    assert reading.request.kind == "cross"

    def write(*_: Any, **__: Any) -> None:
        raise AssertionError("it has been written already")

    monkeypatch.setattr(loaded.model, "generate", write)
    reading.kept.clear()  # type: ignore[attr-defined]
    item = read_layer(LayerRequest(reading, 1), heard.ctx)
    assert item.weights.shape == (2, len(reading.queries), len(reading.keys))
    assert reading.overview.statistics[0][0].distance is None, "there is no distance between two texts"


def test_a_target_that_is_too_long_is_cut_with_a_warning(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make(make_loaded, "bart")
    maps = read_attention(loaded, AttentionRequest(SOURCE, kind="decoder", target="good " * 200), heard.ctx)
    assert len(maps.queries) == 64
    assert maps.dropped == 202 - 63
    assert len(heard.warnings) == 1


def test_a_kind_that_the_model_does_not_have_is_said(make_loaded: Callable[..., Any], heard: Any) -> None:
    for family, kinds in (("bert", ("encoder",)), ("llama", ("decoder",))):
        loaded = make_loaded(family)
        assert kinds_of(loaded.model) == kinds
        with pytest.raises(UserError, match="no attention of the kind cross") as caught:
            prepare(loaded, AttentionRequest(SOURCE, kind="cross"), heard.ctx)
        assert kinds[0] in caught.value.remedy
    # a target means nothing to a model that has one text
    assert prepare(make_loaded("bert"), AttentionRequest(SOURCE, target=TARGET), heard.ctx).kind == "encoder"


def test_a_model_without_a_head_to_write_with_is_said(make_loaded: Callable[..., Any], heard: Any) -> None:
    loaded = make(make_loaded, "bart")
    loaded.model = loaded.model.model
    with pytest.raises(UserError, match="does not write"):
        prepare(loaded, AttentionRequest(SOURCE, kind="cross"), heard.ctx)
    assert read_attention(loaded, AttentionRequest(SOURCE, kind="cross", target=TARGET), heard.ctx).heads == 2


def test_the_starter_translator_writes_and_looks_where_its_words_come_from(heard: Any) -> None:
    from lmstudio_app.assets import resource
    from lmstudio_app.models.loading import LoadRequest, load_model

    folder = Path(str(resource("models", "translate")))
    loaded = load_model(LoadRequest(str(folder), head="seq2seq-lm", device="cpu", precision="float32"), heard.ctx)
    asked = AttentionRequest("The house is small.", kind="cross", target_language="de")
    reading = read_text(ReadingRequest(loaded, asked), heard.ctx)
    assert "Haus" in reading.written
    assert reading.maps is not None
    np.testing.assert_allclose(reading.maps.weights.sum(-1), 1.0, atol=1e-3)
    labels, keys = reading.queries.labels, reading.keys
    assert keys.labels[0] == ">>deu<<"
    assert keys.special == (True, *[False] * (len(keys) - 2), True), "what the app puts there is not of the text"
    assert keys.spans[1] == (0, 3)
    text = "".join(reading.written[start:end] for start, end in filter(None, reading.queries.spans))
    assert text == reading.written.replace(" ", "")
    again = read_text(ReadingRequest(loaded, reading.request), heard.ctx)
    assert again.queries == reading.queries
    assert again.writes == reading.writes
    # the source word that a target word is made of, in the layer that aligns best
    row = labels.index("Haus") - 1
    weights = reading.maps.of_layer(reading.layers[-2]).weights[:, row].mean(0)
    assert keys.labels[1 + int(weights[1:-1].argmax())] == "house"
    assert not heard.warnings
    prepare(loaded, AttentionRequest("The house is small.", kind="encoder"), heard.ctx)
    assert "de is taken" in heard.warnings[0]
    with pytest.raises(UserError, match="does not know the language sv"):
        prepare(loaded, AttentionRequest("The house is small.", kind="cross", target_language="sv"), heard.ctx)
