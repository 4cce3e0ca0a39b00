import json
import struct
from pathlib import Path

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.models.card import head_of, read_card
from lmstudio_app.models.provenance import write_provenance
from lmstudio_app.models.weights import TensorInfo, parameters_by_part


def edit_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_card_of_a_classifier(tiny_classifier: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    card = read_card(tiny_classifier, "tiny")
    model = AutoModelForSequenceClassification.from_pretrained(tiny_classifier)
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (card.memory_float32, card.memory_bf16) == (4 * card.parameters, 2 * card.parameters)
    assert (card.architecture, card.model_type) == ("BertForSequenceClassification", "bert")
    assert (card.layers, card.heads, card.key_value_heads, card.hidden_size) == (2, 4, 4, 32)
    assert (card.vocabulary, card.max_length) == (model.config.vocab_size, 128)
    assert (card.head, card.labels) == ("sequence-classification", ("negative", "positive"))
    assert (card.reference, card.folder, card.stored_type, card.license) == ("tiny", tiny_classifier, "F32", "")


@pytest.mark.starter
def test_the_card_of_the_starter_encoder(starter_encoder: Path) -> None:
    card = read_card(starter_encoder)
    assert (card.layers, card.heads, card.hidden_size, card.vocabulary) == (6, 12, 384, 30522)
    assert (card.parameters, card.max_length) == (22_713_216, 512)
    assert (card.head, card.labels) == ("base", ())
    assert dict(card.parts) == {
        "norm": 9_984, "pooler": 147_840, "embedding": 11_917_824, "attention": 3_548_160, "feed-forward": 7_089_408
    }  # fmt: skip


def test_every_parameter_belongs_to_a_part(tiny_classifier: Path) -> None:
    card = read_card(tiny_classifier)
    assert sum(count for _, count in card.parts) == card.parameters
    assert dict(card.parts)["head"] == 2 * 32 + 2
    assert "other" not in dict(card.parts)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("transformer.h.0.attn.c_attn.weight", "attention"),
        ("transformer.h.0.mlp.c_fc.weight", "feed-forward"),
        ("transformer.wte.weight", "embedding"),
        ("transformer.h.3.ln_1.weight", "norm"),
        ("model.layers.0.self_attn.q_proj.weight", "attention"),
        ("model.layers.0.mlp.gate_proj.weight", "feed-forward"),
        ("model.layers.0.input_layernorm.weight", "norm"),
        ("lm_head.weight", "head"),
        ("distilbert.transformer.layer.0.ffn.lin1.weight", "feed-forward"),
        ("distilbert.transformer.layer.0.attention.q_lin.weight", "attention"),
        ("pre_classifier.weight", "head"),
        ("encoder.block.0.layer.0.SelfAttention.q.weight", "attention"),
        ("encoder.block.0.layer.1.DenseReluDense.wi.weight", "feed-forward"),
        ("shared.weight", "embedding"),
        ("model.encoder.layers.0.fc1.weight", "feed-forward"),
        ("bert.encoder.layer.0.output.dense.weight", "feed-forward"),
        ("bert.encoder.layer.0.attention.output.dense.weight", "attention"),
        ("something.else", "other"),
    ],
)
def test_parts_are_known_by_the_names_of_many_families(name: str, part: str) -> None:
    assert parameters_by_part({name: TensorInfo("F32", (2, 3))}) == {part: 6}


def test_gpt2_calls_its_numbers_otherwise(model_copy: Path) -> None:
    (model_copy / "config.json").write_text(
        json.dumps({"model_type": "gpt2", "n_layer": 3, "n_head": 6, "n_embd": 48, "vocab_size": 9, "n_positions": 77})
    )
    card = read_card(model_copy)
    assert (card.layers, card.heads, card.hidden_size, card.max_length) == (3, 6, 48, 77)


def test_integer_tensors_are_no_parameters(model_copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    before = read_card(model_copy).parameters
    weights = load_file(model_copy / "model.safetensors")
    weights["embeddings.position_ids"] = __import__("torch").arange(128)
    save_file(weights, model_copy / "model.safetensors")
    assert read_card(model_copy).parameters == before


def test_shards_count_together(model_copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    before = read_card(model_copy).parameters
    weights = load_file(model_copy / "model.safetensors")
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for file, keys in parts.items():
        save_file({key: weights[key] for key in keys}, model_copy / file)
    index = {"weight_map": {key: file for file, keys in parts.items() for key in keys}}
    (model_copy / "model.safetensors.index.json").write_text(json.dumps(index))
    (model_copy / "model.safetensors").unlink()
    assert read_card(model_copy).parameters == before
    (model_copy / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"model-00002-of-00002\.safetensors is missing"):
        read_card(model_copy)


def test_labels_that_transformers_leaves_out_of_the_file(model_copy: Path) -> None:
    edit_config(model_copy, architectures=["BertForSequenceClassification"])
    assert read_card(model_copy).labels == ("LABEL_0", "LABEL_1")


def test_licence_and_source_come_from_the_provenance(model_copy: Path) -> None:
    write_provenance(model_copy, {"license": "MIT", "source": "hub a/b", "title": "A model"})
    card = read_card(model_copy)
    assert (card.license, card.source, card.title) == ("MIT", "hub a/b", "A model")


@pytest.mark.parametrize(
    ("front", "license_name"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: other\nlicense_name: my-terms", "my-terms"),
        ("license: [broken", ""),
        ("just: text", ""),
    ],
)
def test_the_licence_of_a_hub_readme(model_copy: Path, front: str, license_name: str) -> None:
    (model_copy / "README.md").write_text(f"---\n{front}\n---\n# A model\n")
    assert read_card(model_copy).license == license_name


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        ("BertModel", "base"),
        ("RobertaForSequenceClassification", "sequence-classification"),
        ("BertForMaskedLM", "masked-lm"),
        ("GPT2LMHeadModel", "causal-lm"),
        ("LlamaForCausalLM", "causal-lm"),
        ("T5ForConditionalGeneration", "seq2seq-lm"),
        ("MarianMTModel", "seq2seq-lm"),
        ("", "base"),
    ],
)
def test_heads(architecture: str, head: str) -> None:
    assert head_of(architecture) == head


# --- what may be wrong with a folder


def assert_fails(folder: Path, message: str, remedy: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_card(folder)
    assert remedy in caught.value.remedy


def test_a_missing_folder(tmp_path: Path) -> None:
    assert_fails(tmp_path / "nowhere", "does not exist", "Check the path")


def test_a_missing_configuration(model_copy: Path) -> None:
    (model_copy / "config.json").unlink()
    assert_fails(model_copy, r"config\.json is missing", "Choose the folder that holds config.json")


@pytest.mark.parametrize("text", ["{broken", "", "[1, 2]", "\ufeff{}"])
def test_a_configuration_that_is_none(model_copy: Path, text: str) -> None:
    (model_copy / "config.json").write_text(text, encoding="utf-8")
    assert_fails(model_copy, r"config\.json", "Download or copy the model again")


def test_missing_weights(model_copy: Path) -> None:
    (model_copy / "model.safetensors").unlink()
    assert_fails(model_copy, "no weights", "download the model again")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "weights.pt"])
def test_a_pickle_is_never_opened(model_copy: Path, name: str) -> None:
    (model_copy / "model.safetensors").rename(model_copy / name)
    assert_fails(model_copy, "are a pickle", "Choose a model that has model.safetensors")


def test_a_gguf_file_is_converted_before_it_is_described(model_copy: Path) -> None:
    (model_copy / "model.safetensors").rename(model_copy / "q4.gguf")
    assert_fails(model_copy, r"q4\.gguf is a GGUF file", "Open the file")
    (model_copy / "config.json").unlink()
    assert_fails(model_copy, r"q4\.gguf is a GGUF file", "Open the file")


def test_an_adapter_is_no_model(model_copy: Path) -> None:
    (model_copy / "model.safetensors").rename(model_copy / "adapter_model.safetensors")
    assert_fails(model_copy, "holds an adapter", "whole model")


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_weights(model_copy: Path, keep: int) -> None:
    path = model_copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert_fails(model_copy, r"model\.safetensors is damaged", "Download or copy the model again")


def test_a_git_lfs_pointer_is_no_weight_file(model_copy: Path) -> None:
    (model_copy / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert_fails(model_copy, "is no safetensors file", "git lfs pull")


@pytest.mark.parametrize("header", [b"not json", b'{"a": 1}', b'{"a": {"dtype": "F32"}}'])
def test_an_unreadable_header(model_copy: Path, header: bytes) -> None:
    (model_copy / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert_fails(model_copy, "header of the weight file", "Download or copy")


def test_an_index_must_not_lead_outside(model_copy: Path) -> None:
    (model_copy / "model.safetensors").unlink()
    (model_copy / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../etc/passwd"}}')
    assert_fails(model_copy, "outside its folder", "Do not use this model")
