"""New models of every family and head: shapes, ids, parameter counts without memory, and wrong shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.architectures import (
    FAMILIES,
    FAMILIES_BY_HEAD,
    ArchitectureConfig,
    TokenizerConfig,
    create_model,
    new_model_title,
    skeleton,
)
from lmstudio_app.models.tokenizers import train_tokenizer

TEXTS = [f"the {a} {b} number {n}" for n, a in enumerate(("small", "old", "green")) for b in ("house", "river", "tree")]
SHAPE: dict[str, Any] = {"layers": 2, "heads": 2, "hidden_size": 16, "max_length": 32}
PAIRS = [(family, head) for head, families in FAMILIES_BY_HEAD.items() for family in families]


def count_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    config = TokenizerConfig(vocabulary=100)
    return {family: train_tokenizer(config, TEXTS, JobContext(), family=family, max_length=32) for family in FAMILIES}


@pytest.mark.parametrize(("family", "head"), PAIRS)
def test_every_family_and_head(family: str, head: str, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[family]
    config = ArchitectureConfig(family=family, **SHAPE)
    labels = ("a", "b", "c") if head == "sequence-classification" else ()
    model = create_model(config, head, tokenizer, labels)
    assert count_parameters(skeleton(config, len(tokenizer), head, 3)) == count_parameters(model)
    inputs = tokenizer(["the old river"], return_tensors="pt")
    extra = {"decoder_input_ids": inputs["input_ids"]} if family == "marian" else {}
    with torch.inference_mode():
        output = model(input_ids=inputs["input_ids"], **extra)
    length = inputs["input_ids"].shape[1]
    if head == "sequence-classification":
        assert output.logits.shape == (1, 3)
        assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    elif head == "pretraining":
        assert output.prediction_logits.shape == (1, length, len(tokenizer))
        assert output.seq_relationship_logits.shape == (1, 2)
    elif head.endswith("-lm"):
        assert output.logits.shape == (1, length, len(tokenizer))


def test_the_ids_are_those_of_the_tokenizer(tokenizers: dict[str, Any]) -> None:
    for family, head in (
        ("bert", "masked-lm"),
        ("gpt2", "causal-lm"),
        ("llama", "causal-lm"),
        ("marian", "seq2seq-lm"),
    ):
        tokenizer = tokenizers[family]
        model = create_model(ArchitectureConfig(family=family, **SHAPE), head, tokenizer)
        assert model.config.pad_token_id == tokenizer.pad_token_id
        if family != "bert":
            assert model.config.eos_token_id == tokenizer.eos_token_id
            assert model.generation_config.eos_token_id == tokenizer.eos_token_id
        output, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        assert output is embedding or output.data_ptr() == embedding.data_ptr()  # tied
    assert model.config.decoder_start_token_id == tokenizer.pad_token_id


def test_weights_depend_on_the_seed_alone(tokenizers: dict[str, Any]) -> None:
    config = ArchitectureConfig(**SHAPE)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = create_model(config, "masked-lm", tokenizers["bert"], seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = create_model(config, "masked-lm", tokenizers["bert"], seed=3).state_dict()
    other = create_model(config, "masked-lm", tokenizers["bert"], seed=4).state_dict()
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first[name], other[name])


def test_a_large_model_is_counted_without_memory() -> None:
    config = ArchitectureConfig(family="llama", layers=32, heads=32, hidden_size=4096, feed_forward=11008)
    count = count_parameters(skeleton(config, 32_000, "causal-lm"))
    assert count == 32_000 * 4096 + 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096) + 4096


def test_wrong_shapes_are_one_sentence(tokenizers: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="3 heads cannot share a hidden size of 16"):
        ArchitectureConfig(heads=3, hidden_size=16)
    with pytest.raises(UserError, match="A bert model has no head causal-lm"):
        create_model(ArchitectureConfig(**SHAPE), "causal-lm", tokenizers["bert"])
    with pytest.raises(UserError, match=r"architecture\.layers is 0"):
        ArchitectureConfig(layers=0)
    with pytest.raises(UserError, match="a marian model could not write"):
        ArchitectureConfig(family="marian", tokenizer=TokenizerConfig(kind="wordpiece"))


def test_a_new_model_is_called_by_its_family_and_depth() -> None:
    assert ArchitectureConfig(family="bert", layers=4).title == "New BERT, 4 layers"
    assert ArchitectureConfig(family="gpt2", layers=1).title == "New GPT-2, 1 layer"
    assert new_model_title("marian") == "New Marian"
