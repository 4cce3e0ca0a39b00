"""The logit lens: its last row is the model's own answer, its others the norm and the head by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.inspection import logit_lens
from lmstudio_app.inspection.attribution_inputs import InputText
from lmstudio_app.inspection.logit_lens import LensRequest, read_lens
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models.loading import LoadedModel
from tests.inspection.conftest import FAMILIES

TEXT = "the film was not very good"
OPT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 64,
    "max_position_embeddings": 64,
}
FAMILIES.setdefault("opt", ("OPTForCausalLM", "OPTConfig", OPT))
FAMILIES.setdefault("mistral", ("MistralForCausalLM", "MistralConfig", FAMILIES["llama"][2]))


def lens(loaded: LoadedModel, text: str = TEXT, top: int = 4, **given: Any) -> Any:
    return read_lens(loaded, LensRequest(InputText(text, **given), top), JobContext())


def check_last_row(found: Any, shares: Any) -> None:
    """``shares`` float64 [places, answers] are the model's own."""
    best = np.sort(shares, -1)[:, ::-1][:, : found.ids.shape[2]]
    assert found.probabilities[-1] == pytest.approx(best, abs=1e-5)
    assert (found.answers == shares.argmax(-1)).all()
    assert found.answer_probabilities[-1] == pytest.approx(shares.max(-1), abs=1e-5)
    assert (found.answer_ranks[-1] == 1).all()
    assert (np.diff(found.probabilities, axis=-1) <= 0).all()
    assert not np.allclose(found.probabilities[0], found.probabilities[-1], atol=1e-4)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gpt2", {}),
        ("gpt2", {"tie_word_embeddings": False}),
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("mistral", {}),
        ("qwen3", {}),
        ("gemma2", {"final_logit_softcapping": 2.0}),
        ("gpt_oss", {}),
        ("opt", {}),
        ("opt", {"word_embed_proj_dim": 16}),
        ("opt", {"do_layer_norm_before": False}),
    ],
)
def test_decoders(make_headed: Callable[..., LoadedModel], family: str, options: dict[str, Any]) -> None:
    import torch

    loaded = make_headed(family, "ForCausalLM", **options)
    found = lens(loaded)
    assert found.kind == "next"
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        own = loaded.model(ids).logits[0].double().softmax(-1).numpy()
    assert found.ids.shape == (3, ids.shape[1], 4)
    check_last_row(found, own)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "albert", "electra", "modernbert"])
@pytest.mark.parametrize("head", ["ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"])
def test_encoders(make_headed: Callable[..., LoadedModel], family: str, head: str) -> None:
    import torch

    loaded = make_headed(family, head)
    found = lens(loaded)
    with torch.no_grad():
        logits = loaded.model(loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]).logits
    check_last_row(found, logits.reshape(-1, logits.shape[-1]).double().softmax(-1).numpy())
    assert len(found.ids) == 3
    if head == "ForSequenceClassification":
        assert found.kind == "label"
        assert {name for name, _ in found.top(0, 0)} == {"negative", "positive"}
        assert found.probabilities.sum(-1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("family", ["t5", "bart", "marian"])
def test_encoder_decoders(make_headed: Callable[..., LoadedModel], family: str) -> None:
    import torch

    loaded = make_headed(family)
    found = lens(loaded, target="a good movie")
    target = loaded.tokenizer("a good movie", return_tensors="pt")["input_ids"]
    fed = torch.cat([torch.tensor([[2]]), target[:, :-1]], 1)
    with torch.no_grad():
        output = loaded.model(input_ids=loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"], decoder_input_ids=fed)
    check_last_row(found, output.logits[0].double().softmax(-1).numpy())
    assert found.tokens.tokens == ("[CLS]", "[CLS]", "a", "good", "movie")
    written = lens(loaded)  # it writes a target itself
    assert len(written.tokens) >= 1
    assert written.answers[0] == found.answers[0]


def test_rows_between_are_the_norm_and_the_head(make_headed: Callable[..., LoadedModel]) -> None:
    import torch

    loaded = make_headed("llama", "ForCausalLM")
    found = lens(loaded)
    model = loaded.model
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states = model.model(ids, output_hidden_states=True).hidden_states
        for row in (0, 1):
            shares = model.lm_head(model.model.norm(states[row]))[0].double().softmax(-1)
            expected = shares.topk(4)
            assert (found.ids[row] == expected.indices.numpy()).all()
            assert found.probabilities[row] == pytest.approx(expected.values.numpy(), abs=1e-5)
            own = shares[range(8), found.answers.tolist()]
            assert found.answer_probabilities[row] == pytest.approx(own.numpy(), abs=1e-5)
            ranks = 1 + (shares > own[:, None]).sum(-1)
            assert (found.answer_ranks[row] == ranks.numpy()).all()
    name, share = found.top(2, 7)[0]
    assert name == found.names[int(found.answers[7])]
    assert share == pytest.approx(found.answer_probabilities[2, 7])


def test_chunks_of_places_are_the_same(
    make_headed: Callable[..., LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = make_headed("gpt2", "ForCausalLM")
    whole = lens(loaded)
    monkeypatch.setattr(logit_lens, "_CHUNK_BYTES", 3 * 4 * loaded.model.config.vocab_size)
    parts = lens(loaded)
    assert (parts.ids == whole.ids).all()
    assert parts.answer_probabilities == pytest.approx(whole.answer_probabilities, abs=1e-6)


def test_the_model_is_left_as_it_was(make_headed: Callable[..., LoadedModel]) -> None:
    import torch

    loaded = make_headed("bert", "ForMaskedLM")
    modules = list(loaded.model.modules())
    ids = loaded.tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        before = loaded.model(ids).logits
    lens(loaded)
    hooks = [len(module._forward_hooks) for module in modules]  # transformers leaves some of its own
    lens(loaded)
    assert [len(module._forward_hooks) for module in modules] == hooks
    assert all(one is other for one, other in zip(loaded.model.modules(), modules, strict=True))
    with torch.no_grad():
        assert torch.equal(loaded.model(ids).logits, before)


def test_models_without_a_head_are_told(make_headed: Callable[..., LoadedModel]) -> None:
    with pytest.raises(UserError, match="no words or labels") as error:
        lens(make_headed("bert", "Model"))
    assert "writes" in str(error.value.remedy)
    with pytest.raises(UserError, match="no words or labels"):
        lens(make_headed("bert", "ForQuestionAnswering"))


def test_an_unknown_end_is_refused(make_headed: Callable[..., LoadedModel]) -> None:
    """Something between the layers and the head that is no module of its own."""
    loaded = make_headed("gpt2", "ForCausalLM", n_layer=1)

    def double(module: Any, given: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state * 2
        return output

    hook = loaded.model.transformer.register_forward_hook(double)
    try:
        with pytest.raises(UserError, match="after its last layer"):
            lens(loaded)
    finally:
        hook.remove()


def test_it_stops_within_a_moment(make_headed: Callable[..., LoadedModel]) -> None:
    loaded = make_headed("llama", "ForCausalLM")
    control, ended = Control(), []

    def _run() -> None:
        try:
            while True:
                read_lens(loaded, LensRequest(InputText(TEXT)), JobContext(None, control))
        except Cancelled:
            ended.append(time.monotonic())

    thread = threading.Thread(target=_run)
    thread.start()
    time.sleep(0.2)
    begun = time.monotonic()
    control.cancel()
    thread.join(10)
    assert ended
    assert ended[0] - begun < 0.2


def test_row_for_json(make_headed: Callable[..., LoadedModel]) -> None:
    row = lens(make_headed("llama", "ForCausalLM")).to_row()
    assert len(row["layers"]) == 3
    assert row["layers"][-1][0]["rank"] == 1
    assert row["layers"][-1][0]["top"][0]["text"] == row["layers"][-1][0]["answer"]
