"""Other families than BERT as classifiers: loaded, trained for some steps, saved, and asked for labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.jobs import JobContext
from lmstudio_app.models.card import read_card
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks.sentiment import JUDGE
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from tests.conftest import build_tiny_bert, build_tiny_tokenizer

TEXTS = ["a great film", "", "   ", "long " * 1000, "好看", "an awful film"]


def byte_tokenizer(*specials: str, **roles: str) -> Any:
    """Every byte a token, and texts framed by nothing, as decoders have it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({token: index for index, token in enumerate([*specials, *alphabet])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.add_special_tokens(list(specials))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles)


def build(family: str, folder: Path) -> Path:
    import torch
    import transformers as t

    encoder = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    bert = {**encoder, "vocab_size": len(build_tiny_tokenizer()), "max_position_embeddings": 128}
    tokenizer = build_tiny_tokenizer()
    torch.manual_seed(0)
    match family:
        case "distilbert":
            sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
            config = t.DistilBertConfig(vocab_size=len(tokenizer), max_position_embeddings=128, **sizes)
            model: Any = t.DistilBertModel(config)
        case "albert":
            model = t.AlbertModel(t.AlbertConfig(**bert, embedding_size=16))
        case "electra":
            model = t.ElectraModel(t.ElectraConfig(**bert, embedding_size=16))
        case "deberta":
            relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
            model = t.DebertaV2Model(t.DebertaV2Config(**bert, **relative))
        case "roberta":
            tokenizer = byte_tokenizer("<s>", "<pad>", "</s>", pad_token="<pad>", bos_token="<s>", eos_token="</s>")
            model = t.RobertaForMaskedLM(
                t.RobertaConfig(**{**bert, "vocab_size": len(tokenizer), "max_position_embeddings": 130})
            )
        case "gpt2":
            tokenizer = byte_tokenizer("<|endoftext|>", bos_token="<|endoftext|>", eos_token="<|endoftext|>")
            sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
            model = t.GPT2LMHeadModel(t.GPT2Config(vocab_size=len(tokenizer), **sizes))
        case "llama":
            tokenizer = byte_tokenizer("<s>", "</s>", bos_token="<s>", eos_token="</s>")
            sizes = {**encoder, "num_key_value_heads": 2, "max_position_embeddings": 128}
            model = t.LlamaForCausalLM(t.LlamaConfig(vocab_size=len(tokenizer), **sizes))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def classify(folder: Path) -> list[Any]:
    loaded = load_model(LoadRequest(str(folder), device="cpu"), JobContext())
    return list(JUDGE.predict(loaded, [{"text": text} for text in TEXTS], JobContext(), JUDGE.options(batch_size=4)))


@pytest.mark.parametrize("family", ["distilbert", "albert", "electra", "deberta", "roberta", "gpt2", "llama"])
@pytest.mark.parametrize("strategy", ["full", "frozen_backbone"])
def test_any_family_becomes_a_classifier(
    family: str, strategy: str, make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    model = build(family, tmp_path / family)
    assert read_card(model).max_length == 128  # RoBERTa has 130 positions, two of which hold no token
    values = make_recipe(strategy, epochs=0.5, max_length=512).to_dict() | {"model": str(model)}
    train_file = Path(values["data"]["train"])
    with train_file.open("a") as file:
        file.write(json.dumps({"text": "long " * 1000, "label": 1}) + "\n")
    result = train(TrainRequest(Recipe.from_dict(values), tmp_path / "run"), JobContext())
    outputs = classify(result.model_folder)
    assert len(outputs) == len(TEXTS)
    for output in outputs:
        assert set(output.scores) == {"negative", "positive"}
        assert sum(output.scores.values()) == pytest.approx(1)


def test_padding_does_not_change_what_a_decoder_says(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    values = make_recipe(epochs=0.5).to_dict() | {"model": str(build("gpt2", tmp_path / "gpt2"))}
    result = train(TrainRequest(Recipe.from_dict(values), tmp_path / "run"), JobContext())
    together = classify(result.model_folder)
    loaded = load_model(LoadRequest(str(result.model_folder), device="cpu"), JobContext())
    for text, output in zip(TEXTS, together, strict=True):
        (alone,) = JUDGE.predict(loaded, [{"text": text}], JobContext(), JUDGE.options(batch_size=1))
        assert alone.scores == pytest.approx(output.scores, abs=1e-5)


@pytest.mark.parametrize(
    ("own", "labels", "expected"),
    [
        (("negative", "positive"), (0, 1), ["negative", "positive"]),
        (("bad", "good"), (0, 1), ["bad", "good"]),
        (("bad", "good"), ("差", "好"), ["好", "差"]),
        (("bad", "good", "mixed"), (0, 1), ["bad", "good", "mixed"]),
        (("bad", "good"), ("bad", "good", "so so"), ["bad", "good", "so so"]),
        (("1", "2", "3"), (0, 1, 2), ["0", "1", "2"]),
    ],
)
def test_a_model_that_has_a_head_learns_the_labels_of_the_data(
    own: tuple[str, ...],
    labels: tuple[Any, ...],
    expected: list[str],
    make_recipe: Callable[..., Recipe],
    tmp_path: Path,
) -> None:
    model = build_tiny_bert(tmp_path / "model", labels=own)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    data = tmp_path / "labelled.jsonl"
    rows = [{"text": f"film {n}", "label": labels[n % len(labels)]} for n in range(40)]
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    values = make_recipe(epochs=0.5).to_dict() | {"model": str(model), "data": {"train": str(data)}}
    result = train(TrainRequest(Recipe.from_dict(values), tmp_path / "run"), JobContext())
    saved = json.loads((result.model_folder / "config.json").read_text(encoding="utf-8"))
    assert sorted(saved["id2label"].values()) == sorted(expected)
    assert 0 < result.metrics["loss"] < 5
