import pytest

from lmstudio_app.models.hub import HubFile, choose_files
from lmstudio_app.models.hub_weights import WeightChoice, quantisation_of, weight_choices


def choices(*sizes: tuple[str, int]) -> list[WeightChoice]:
    return weight_choices([HubFile(name, size) for name, size in sizes])


def test_each_form_of_the_weights_is_offered_once() -> None:
    found = choices(
        ("config.json", 10),
        ("model.safetensors", 400),
        ("pytorch_model.bin", 401),
        ("tiny.Q8_0.gguf", 110),
        ("gguf/tiny-q4_k_m.gguf", 60),
        ("tiny-00001-of-00002.gguf", 50),
        ("mmproj-tiny.gguf", 50),
        ("onnx/model.onnx", 400),
    )
    assert [(choice.kind, choice.names, choice.size, choice.quantisation, choice.bits) for choice in found] == [
        ("safetensors", ("model.safetensors",), 400, "", 0),
        ("gguf", ("gguf/tiny-q4_k_m.gguf",), 60, "Q4_K_M", 4),
        ("gguf", ("tiny.Q8_0.gguf",), 110, "Q8_0", 8),
    ]


def test_shards_pickles_and_adapters() -> None:
    shards = [("model-00001-of-00002.safetensors", 5), ("model-00002-of-00002.safetensors", 6)]
    (sharded,) = choices(("config.json", 1), ("model.safetensors.index.json", 2), *shards)
    assert sharded.size == 13
    (pickle,) = choices(("config.json", 1), ("pytorch_model.bin", 7), ("optimizer.bin", 9))
    assert (pickle.kind, pickle.names) == ("pickle", ("pytorch_model.bin",))
    (adapter,) = choices(("adapter_config.json", 1), ("adapter_model.safetensors", 3))
    assert (adapter.kind, adapter.size) == ("adapter", 4)
    assert choices(("model.onnx", 5), ("README.md", 1)) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("llama-3.2-1b-instruct-iq3_xs.gguf", "IQ3_XS"),
        ("qwen2.5-0.5b-fp16.gguf", "FP16"),
        ("model-BF16.gguf", "BF16"),
        ("Qwen3.gguf", ""),
    ],
)
def test_what_the_name_says_of_the_quantisation(name: str, expected: str) -> None:
    assert quantisation_of(name) == expected


def test_what_is_offered_can_be_fetched_by_its_names() -> None:
    files = [HubFile(name, 1) for name in ("config.json", "model.safetensors", "a.Q4_0.gguf", "b.Q8_0.gguf")]
    for choice in weight_choices(files):
        assert [file.path for file in choose_files("a/b", files, choice.names)] == ["config.json", *choice.names]
