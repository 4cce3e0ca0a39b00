"""A download's bad days: killed, paused, refused, sent elsewhere, out of room."""

import json
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmstudio_app.cli import main
from lmstudio_app.errors import UserError, as_user_error
from lmstudio_app.events import to_json
from lmstudio_app.models.card import read_card
from lmstudio_app.models.conversion import gguf_of
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.models.names import install_folder
from lmstudio_app.models.sources import FetchRequest, fetch_model
from lmstudio_app.settings import cache_folder
from tests.hub_server import COMMIT, HubServer, serve_hub
from tests.models.conftest import Recorder
from tests.tiny_gguf import write_tiny_gguf

REF = "tests/tiny"
TOKEN = "hf_aVerySecretTokenOfTheTests"


def partial() -> Path:
    return cache_folder() / "downloads" / "tests--tiny" / COMMIT


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_download_goes_on_where_it_ended(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    hub.add(REF, tiny_encoder)
    hub.stall = threading.Event()
    command = [sys.executable, "-m", "lmstudio_app", "models", "fetch", REF]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part = partial() / "model.safetensors"
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size > 10_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = part.stat().st_size
    hub.stall.set()
    hub.stall = None
    folder = fetch_model(FetchRequest(REF), recorder.ctx)
    assert weights(folder) == weights(tiny_encoder)
    assert hub.downloads("model.safetensors")[-1] == f"bytes={kept}-"


def test_a_paused_download_takes_nothing_of_the_line(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    hub.add(REF, tiny_encoder)
    hub.delay = 0.02
    threading.Timer(0.4, recorder.control.pause).start()
    sizes: list[int] = []

    def watch() -> None:
        part = partial() / "model.safetensors"
        while not recorder.control.paused:
            time.sleep(0.01)
        time.sleep(0.3)
        sizes.append(part.stat().st_size if part.exists() else 0)
        time.sleep(0.4)
        sizes.append(part.stat().st_size if part.exists() else 0)
        recorder.control.resume()

    thread = threading.Thread(target=watch)
    thread.start()
    folder = fetch_model(FetchRequest(REF), recorder.ctx)
    thread.join()
    assert sizes[0] == sizes[1] < len(weights(tiny_encoder))
    assert weights(folder) == weights(tiny_encoder)


@pytest.fixture
def other_host(hub: HubServer) -> Iterator[HubServer]:
    """A second server with the same files, to which the hub sends for large ones."""
    with serve_hub() as other:
        other.repositories = hub.repositories
        hub.files_at = other.url.replace("127.0.0.1", "localhost")
        yield other


def test_the_token_does_not_follow_to_another_host(
    hub: HubServer, other_host: HubServer, tiny_encoder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REF, tiny_encoder, gated="manual")
    hub.token = TOKEN
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = fetch_model(FetchRequest(REF), recorder.ctx)
    assert weights(folder) == weights(tiny_encoder)
    assert {authorization for _, _, authorization in hub.sent} == {f"Bearer {TOKEN}"}
    assert other_host.downloads("model.safetensors") == [None]
    assert [authorization for _, _, authorization in other_host.sent] == [None] * len(other_host.sent)


@pytest.mark.parametrize(
    ("options", "token", "message", "remedy"),
    [
        ({"gated": "auto"}, "", "tests/tiny is gated", "Accept the terms at http"),
        ({"gated": "auto"}, "hf_wrong", "tests/tiny is gated", "models login"),
        ({"private": True}, "", "to somebody unknown: it is private", "log in with an access token"),
        ({"private": True}, "hf_wrong", "does not accept the access token", "make a new token"),
        ({"status": 403, "error": ""}, "hf_wrong", "to this account", "Ask its owners"),
        ({"status": 404, "error": "RevisionNotFound"}, "", "version of tests/tiny is not on the hub", "again"),
    ],
)
def test_what_needs_a_token(
    hub: HubServer,
    tiny_encoder: Path,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, object],
    token: str,
    message: str,
    remedy: str,
) -> None:
    hub.add(REF, tiny_encoder, **options)
    hub.token = TOKEN
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with caplog.at_level(logging.DEBUG), pytest.raises(UserError, match=message) as caught:
        fetch_model(FetchRequest(REF), recorder.ctx)
    assert remedy in caught.value.remedy
    error = as_user_error(caught.value)
    said = error.one_line() + error.details + caplog.text + "".join(to_json(event) for event in recorder.events)
    assert "hf_wrong" not in said


@pytest.mark.parametrize("where", ["refusals", "file_refusals"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_hub_is_waited_for(
    hub: HubServer, tiny_encoder: Path, recorder: Recorder, where: str, status: int
) -> None:
    hub.add(REF, tiny_encoder)
    setattr(hub, where, [(status, {"Retry-After": "1"})])
    start = time.monotonic()
    assert weights(fetch_model(FetchRequest(REF), recorder.ctx)) == weights(tiny_encoder)
    assert 1.0 <= time.monotonic() - start < 5.0


@pytest.mark.parametrize(
    ("header", "remedy"),
    [
        ({"Retry-After": "300"}, r"Wait 300 s"),
        ({}, "Wait some minutes"),
        ({"Retry-After": "soon"}, "Wait some minutes"),
    ],
)
def test_a_hub_that_is_busy_for_long_says_so(
    hub: HubServer, tiny_encoder: Path, recorder: Recorder, header: dict[str, str], remedy: str
) -> None:
    hub.add(REF, tiny_encoder)
    hub.refusals = [(429, header)]
    with pytest.raises(UserError, match="asked too often") as caught:
        fetch_model(FetchRequest(REF), recorder.ctx)
    assert re.search(remedy, caught.value.remedy)


def test_a_server_that_stumbles_once_is_asked_again(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    hub.add(REF, tiny_encoder)
    hub.file_refusals = [(502, {})]
    assert weights(fetch_model(FetchRequest(REF), recorder.ctx)) == weights(tiny_encoder)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_a_disk_that_fills_up_in_the_middle(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    """The limit of a file's size stands for the disk's end; the system tells both in the same way."""
    hub.add(REF, tiny_encoder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(weights(tiny_encoder)) // 2, hard))
    try:
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its sentence is looked at below
            fetch_model(FetchRequest(REF), recorder.ctx)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert as_user_error(caught.value).one_line().startswith("The disk is full. Free some space")
    assert weights(fetch_model(FetchRequest(REF), recorder.ctx)) == weights(tiny_encoder)
    assert any(message.startswith("Going on with the download") for message in recorder.messages)


# --- what comes from the hub


def test_a_gguf_repository_is_installed_ready_to_load(hub: HubServer, tmp_path: Path, recorder: Recorder) -> None:
    source = tmp_path / "repository"
    source.mkdir()
    write_tiny_gguf(source / "tiny.Q8_0.gguf")
    (source / "tiny.Q4_0.gguf").write_bytes(b"GGUF" * 5000)
    hub.add("tests/tiny-gguf", source)
    with pytest.raises(UserError, match="has 2 GGUF files"):
        fetch_model(FetchRequest("tests/tiny-gguf"), recorder.ctx)
    assert main(["models", "fetch", "tests/tiny-gguf", "--file", "tiny.Q8_0.gguf"]) == 0
    folder = install_folder("tests/tiny-gguf")
    card = read_card(folder, "tests/tiny-gguf")
    assert (card.source, card.title, card.head) == ("hub tests/tiny-gguf", "tiny-gguf", "causal-lm")
    assert gguf_of(folder) == folder / "tiny.Q8_0.gguf"
    assert hub.downloads("tiny.Q4_0.gguf") == []


def test_a_pickle_of_the_hub_is_kept_as_safetensors(hub: HubServer, model_copy: Path, recorder: Recorder) -> None:
    kept = load_file(model_copy / "model.safetensors")
    torch.save(kept, model_copy / "pytorch_model.bin")
    (model_copy / "model.safetensors").unlink()
    hub.add(REF, model_copy)
    folder = fetch_model(FetchRequest(REF), recorder.ctx)
    assert not (folder / "pytorch_model.bin").exists()
    assert load_file(folder / "model.safetensors").keys() == kept.keys()
    assert "are a pickle (pytorch_model.bin)" in recorder.warnings[0]


def test_adapters_of_the_hub_come_with_their_model(
    hub: HubServer, tiny_encoder: Path, tmp_path: Path, recorder: Recorder
) -> None:
    import peft
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_encoder, num_labels=3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = peft.LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS", init_lora_weights=False)
        adapted = peft.get_peft_model(model, config)
    adapted.save_pretrained(tmp_path / "adapters")
    settings = tmp_path / "adapters" / "adapter_config.json"
    values = {**json.loads(settings.read_text()), "base_model_name_or_path": "tests/base"}
    settings.write_text(json.dumps(values))
    assert not (tmp_path / "adapters" / "config.json").exists()
    hub.add("tests/base", tiny_encoder)
    hub.add("tests/adapters", tmp_path / "adapters")
    fetch_model(FetchRequest("tests/adapters"), recorder.ctx)
    loaded = load_model(LoadRequest("tests/adapters", device="cpu"), recorder.ctx)
    assert (loaded.head, loaded.labels) == ("sequence-classification", ("LABEL_0", "LABEL_1", "LABEL_2"))
    expected = adapted.merge_and_unload().eval()
    batch = loaded.tokenizer(["a great film"], return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(loaded.model(**batch).logits, expected(**batch).logits, atol=1e-5)

    local = load_model(LoadRequest(str(tmp_path / "adapters"), device="cpu"), recorder.ctx)
    assert local.labels == loaded.labels


def test_sharded_weights_come_with_all_shards(hub: HubServer, model_copy: Path, recorder: Recorder) -> None:
    kept = load_file(model_copy / "model.safetensors")
    (model_copy / "model.safetensors").unlink()
    names = {}
    for number in (1, 2):
        file = f"model-{number:05}-of-00002.safetensors"
        part = {key: kept[key] for key in sorted(kept)[number - 1 :: 2]}
        save_file(part, model_copy / file, metadata={"format": "pt"})
        names |= dict.fromkeys(part, file)
    (model_copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    hub.add(REF, model_copy)
    folder = fetch_model(FetchRequest(REF), recorder.ctx)
    loaded = load_model(LoadRequest(str(folder), device="cpu"), recorder.ctx)
    assert torch.equal(loaded.model.pooler.dense.weight, kept["pooler.dense.weight"])
