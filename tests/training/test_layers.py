"""Groups of layers in every family, and the plan that is drawn from them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as t
from torch import nn

from lmstudio_app.errors import UserError
from lmstudio_app.models.architectures import FAMILIES_BY_HEAD, ArchitectureConfig, skeleton
from lmstudio_app.training.layers import fixed_parameters, head_modules, layer_groups

ENCODER = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64,
}  # fmt: skip
BOTH = {
    "vocab_size": 50, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64,
    "pad_token_id": 0, "decoder_start_token_id": 0,
}  # fmt: skip
CONFIGS: dict[str, Any] = {
    "bert": t.BertConfig(**ENCODER),
    "roberta": t.RobertaConfig(**ENCODER),
    "distilbert": t.DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=4, hidden_dim=64),
    "albert": t.AlbertConfig(**ENCODER, embedding_size=16),
    "electra": t.ElectraConfig(**ENCODER, embedding_size=16),
    "deberta": t.DebertaV2Config(**ENCODER, relative_attention=True, norm_rel_ebd="layer_norm"),
    "gpt2": t.GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "llama": t.LlamaConfig(**ENCODER, num_key_value_heads=2),
    "qwen": t.Qwen2Config(**ENCODER, num_key_value_heads=2, pad_token_id=0),
    "t5": t.T5Config(vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=3, num_heads=4),
    "bart": t.BartConfig(**BOTH),
    "marian": t.MarianConfig(**BOTH),
}
HEADS = {
    "classification": t.AutoModelForSequenceClassification,
    "answers": t.AutoModelForQuestionAnswering,
    "masked": t.AutoModelForMaskedLM,
    "causal": t.AutoModelForCausalLM,
    "seq2seq": t.AutoModelForSeq2SeqLM,
    "none": t.AutoModel,
}
TWO = ["Embeddings", "Layer 0", "Layer 1"]
TOP, HEAD = "Above the layers", "Task head"
ENCODER_LAYERS = ["Encoder layer 0", "Encoder layer 1"]
DECODER_LAYERS = ["Decoder layer 0", "Decoder layer 1", "Decoder layer 2"]
SEQ2SEQ = ["Embeddings", *ENCODER_LAYERS, *DECODER_LAYERS]
T5 = ["Embeddings", *ENCODER_LAYERS, "Above the encoder layers", *DECODER_LAYERS, "Above the decoder layers"]


def make(family: str, head: str) -> Any:
    with torch.device("meta"):
        return HEADS[head].from_config(CONFIGS[family])


@pytest.mark.parametrize(
    ("family", "head", "titles", "own"),
    [
        ("bert", "classification", [*TWO, TOP, HEAD], ("classifier",)),
        ("bert", "masked", [*TWO, HEAD], ("cls",)),
        ("bert", "none", [*TWO, TOP], ()),
        ("roberta", "answers", [*TWO, HEAD], ("qa_outputs",)),
        ("distilbert", "classification", [*TWO, HEAD], ("pre_classifier", "classifier")),
        ("albert", "classification", ["Embeddings", "Layer 0", TOP, HEAD], ("classifier",)),
        ("electra", "classification", [*TWO, HEAD], ("classifier",)),
        ("deberta", "classification", [*TWO, HEAD], ("pooler", "classifier")),
        ("gpt2", "classification", [*TWO, TOP, HEAD], ("score",)),
        ("gpt2", "causal", [*TWO, TOP], ()),
        ("llama", "causal", [*TWO, TOP, HEAD], ("lm_head",)),
        ("qwen", "answers", [*TWO, TOP, HEAD], ("qa_outputs",)),
        ("t5", "seq2seq", T5, ()),
        ("t5", "answers", [*T5, HEAD], ("qa_outputs",)),
        ("t5", "classification", [*T5, HEAD], ("classification_head",)),
        ("bart", "classification", [*SEQ2SEQ, HEAD], ("classification_head",)),
        ("bart", "seq2seq", SEQ2SEQ, ()),
        ("marian", "seq2seq", SEQ2SEQ, ()),
    ],
)
def test_a_model_is_understood_from_the_bottom_to_the_top(
    family: str, head: str, titles: list[str], own: tuple[str, ...]
) -> None:
    model = make(family, head)
    groups = layer_groups(model)
    assert [group.title for group in groups] == titles
    assert head_modules(model) == own
    # every parameter once, and what is tied counted once
    assert sorted(name for group in groups for name in group.names) == sorted(n for n, _ in model.named_parameters())
    assert sum(group.count for group in groups) == sum(parameter.numel() for parameter in model.parameters())


def test_positions_that_are_a_formula_never_train() -> None:
    assert fixed_parameters(make("marian", "seq2seq")) == {
        "model.encoder.embed_positions.weight",
        "model.decoder.embed_positions.weight",
    }
    assert fixed_parameters(make("bart", "seq2seq")) == frozenset()


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be told apart"):
        layer_groups(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("family", "head"), [(family, head) for head, families in FAMILIES_BY_HEAD.items() for family in families]
)
def test_every_new_model_has_its_layers(family: str, head: str) -> None:
    model = skeleton(ArchitectureConfig(family=family, layers=2, heads=2, hidden_size=16, max_length=32), 100, head, 3)
    groups = layer_groups(model)
    layers = [group for group in groups if group.kind == "layer"]
    wanted = [*ENCODER_LAYERS, *DECODER_LAYERS[:2]] if family == "marian" else TWO[1:]
    assert [group.title for group in layers] == wanted
    assert groups[0].title == "Embeddings"
    assert layers[0].count == layers[1].count > 0
    assert sum(group.count for group in groups) == sum(parameter.numel() for parameter in model.parameters())
