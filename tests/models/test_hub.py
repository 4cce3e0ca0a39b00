import threading
import time
from pathlib import Path

import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.models import sources
from lmstudio_app.models.card import read_card
from lmstudio_app.models.hub import HubFile, choose_files
from lmstudio_app.models.sources import FetchRequest, fetch_model
from lmstudio_app.settings import Settings, cache_folder
from tests.hub_server import COMMIT, HubServer
from tests.models.conftest import Recorder

REF = "tests/tiny"


def partial() -> Path:
    return cache_folder() / "downloads" / "tests--tiny" / COMMIT


def test_a_model_comes_whole_and_says_where_it_is_from(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    hub.add(REF, tiny_encoder).files["pytorch_model.bin"] = b"pickle" * 5000
    folder = fetch_model(FetchRequest(REF), recorder.ctx)
    assert (folder / "model.safetensors").read_bytes() == (tiny_encoder / "model.safetensors").read_bytes()
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "provenance.json", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip
    card = read_card(folder)
    assert (card.license, card.source, card.title) == ("apache-2.0", f"hub {REF}", "tiny")
    assert not partial().parent.exists()
    total = sum((folder / name).stat().st_size for name in hub.repositories[REF].files if (folder / name).exists())
    last = recorder.progress[-1]
    assert (last.unit, last.done, last.total) == ("B", total, total)
    assert any("Fetching tests/tiny from the hub" in message for message in recorder.messages)


def test_a_model_that_is_here_is_not_fetched_again(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    hub.add(REF, tiny_encoder)
    first = fetch_model(FetchRequest(REF), recorder.ctx)
    before = len(hub.requests)
    assert fetch_model(FetchRequest(REF), recorder.ctx) == first
    assert len(hub.requests) == before
    assert recorder.messages[-1] == "tests/tiny is already on this computer"


def test_a_folder_needs_no_fetching(tiny_encoder: Path, recorder: Recorder) -> None:
    assert fetch_model(FetchRequest(str(tiny_encoder)), recorder.ctx) == tiny_encoder
    assert "is already on this computer" in recorder.messages[0]


def test_a_cut_connection_is_resumed_where_it_ended(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    hub.add(REF, tiny_encoder)
    hub.cut_after = [20_480, 8_192]
    folder = fetch_model(FetchRequest(REF), recorder.ctx)
    assert (folder / "model.safetensors").read_bytes() == (tiny_encoder / "model.safetensors").read_bytes()
    assert hub.downloads("model.safetensors") == [None, "bytes=20480-", "bytes=28672-"]


def test_a_server_without_ranges_starts_the_file_again(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    hub.add(REF, tiny_encoder)
    hub.cut_after, hub.ignore_ranges = [20_480], True
    folder = fetch_model(FetchRequest(REF), recorder.ctx)
    assert (folder / "model.safetensors").read_bytes() == (tiny_encoder / "model.safetensors").read_bytes()


def test_a_cancelled_download_goes_on_the_next_time(hub: HubServer, tiny_encoder: Path) -> None:
    hub.add(REF, tiny_encoder)
    hub.stall = threading.Event()
    first = Recorder()
    timer = threading.Timer(0.5, first.control.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        fetch_model(FetchRequest(REF), first.ctx)
    timer.join()
    kept = (partial() / "model.safetensors").stat().st_size
    assert 0 < kept < (tiny_encoder / "model.safetensors").stat().st_size
    hub.stall.set()
    hub.stall = None
    second = Recorder()
    folder = fetch_model(FetchRequest(REF), second.ctx)
    assert (folder / "model.safetensors").read_bytes() == (tiny_encoder / "model.safetensors").read_bytes()
    assert hub.downloads("model.safetensors")[-1] == f"bytes={kept}-"
    assert any(message.startswith("Going on with the download of tests/tiny") for message in second.messages)
    assert second.progress[0].done >= kept


def test_a_cancel_does_not_wait_for_a_silent_server(hub: HubServer, tiny_encoder: Path) -> None:
    hub.add(REF, tiny_encoder)
    hub.stall = threading.Event()
    recorder = Recorder()
    cancelled_at: list[float] = []

    def cancel() -> None:
        cancelled_at.append(time.monotonic())
        recorder.control.cancel()

    timer = threading.Timer(0.5, cancel)
    timer.start()
    with pytest.raises(Cancelled):
        fetch_model(FetchRequest(REF), recorder.ctx)
    assert time.monotonic() - cancelled_at[0] < 0.2
    timer.join()
    deadline = time.monotonic() + 2
    while any(thread.name == "transfer" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(thread.name == "transfer" for thread in threading.enumerate())


def test_a_damaged_file_is_thrown_away(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    hub.add(REF, tiny_encoder)
    hub.corrupt = True
    with pytest.raises(UserError, match="arrived damaged") as caught:
        fetch_model(FetchRequest(REF), recorder.ctx)
    assert "Start the download again" in caught.value.remedy
    assert not (partial() / "model.safetensors").exists()
    hub.corrupt = False
    assert fetch_model(FetchRequest(REF), recorder.ctx).is_dir()


def test_another_commit_drops_the_old_part(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    old = partial().parent / ("f" * 40)
    old.mkdir(parents=True)
    (old / "model.safetensors").write_bytes(b"old")
    hub.add(REF, tiny_encoder)
    hub.corrupt = True
    with pytest.raises(UserError, match="arrived damaged"):
        fetch_model(FetchRequest(REF), recorder.ctx)
    assert not old.exists()
    assert partial().exists()


@pytest.mark.parametrize(
    ("status", "message", "remedy"),
    [
        (401, "does not give out tests/tiny to somebody unknown", "models login"),
        (403, "does not give out tests/tiny to this account", "Ask its owners"),
        (404, "has no model tests/tiny", "Check the spelling"),
        (429, "asked too often", "Wait some minutes"),
        (500, "HTTP 500", "Try again later"),
    ],
)
def test_what_the_hub_refuses(
    hub: HubServer, tiny_encoder: Path, recorder: Recorder, status: int, message: str, remedy: str
) -> None:
    hub.add(REF, tiny_encoder, status=status)
    with pytest.raises(UserError, match=message) as caught:
        fetch_model(FetchRequest(REF), recorder.ctx)
    assert remedy in caught.value.remedy


def test_no_network(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"The hub at http://127\.0\.0\.1:9 cannot be reached") as caught:
        fetch_model(FetchRequest(REF), recorder.ctx)
    assert "Check the network" in caught.value.remedy


@pytest.mark.parametrize("how", ["variable", "setting"])
def test_a_network_that_is_not_allowed_is_not_touched(
    hub: HubServer, tiny_encoder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    hub.add(REF, tiny_encoder)
    if how == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    else:
        Settings().set("network.allowed", False)
    with pytest.raises(UserError, match="network is switched off") as caught:
        fetch_model(FetchRequest(REF), recorder.ctx)
    assert "network.allowed" in caught.value.remedy
    assert hub.requests == []


def test_a_full_disk_is_known_before_anything_comes(
    hub: HubServer, tiny_encoder: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    hub.add(REF, tiny_encoder)
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr("lmstudio_app.files.shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"needed in .*models, and 1\.0 kB are free") as caught:
        fetch_model(FetchRequest(REF), recorder.ctx)
    assert "Free some space" in caught.value.remedy
    assert hub.downloads("model.safetensors") == []


def test_one_download_of_a_model_at_a_time(hub: HubServer, tiny_encoder: Path, recorder: Recorder) -> None:
    hub.add(REF, tiny_encoder)
    with sources.only_one("tests--tiny"), pytest.raises(UserError, match="being downloaded already"):
        fetch_model(FetchRequest(REF), recorder.ctx)
    assert fetch_model(FetchRequest(REF), recorder.ctx).is_dir()


def files(*names: str) -> list[HubFile]:
    return [HubFile(name, 1) for name in names]


def test_only_needed_files_are_chosen() -> None:
    chosen = choose_files(
        "a/b",
        files(
            "README.md", "config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "tokenizer.json",
            "vocab.txt", "onnx/model.onnx", "1_Pooling/config.json", "openvino/model.bin", "rust_model.ot", "q4.gguf",
        ),
    )  # fmt: skip
    assert [file.path for file in chosen] == [
        "README.md", "config.json", "tokenizer.json", "vocab.txt", "model.safetensors"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["config.json", "pytorch_model.bin"], ["config.json", "pytorch_model.bin"]),
        (
            ["config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "optimizer.bin"],
            ["config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"],
        ),
        (["config.json", "model-q4.gguf"], ["config.json", "model-q4.gguf"]),
        (["model-q4.gguf", ".gitattributes"], ["model-q4.gguf"]),
        (["adapter_config.json", "adapter_model.safetensors"], ["adapter_config.json", "adapter_model.safetensors"]),
        (["config.json", "model.safetensors", "modeling_x.py"], ["config.json", "modeling_x.py", "model.safetensors"]),
    ],
)
def test_weights_in_one_form_are_chosen(names: list[str], chosen: list[str]) -> None:
    assert [file.path for file in choose_files("a/b", files(*names))] == chosen


def test_one_gguf_file_of_several_is_named() -> None:
    several = files("README.md", "m.Q4_1.gguf", "m.Q8_0.gguf", "split/m.F16.gguf")
    with pytest.raises(UserError, match=r"a/b has 2 GGUF files: m\.Q4_1\.gguf, m\.Q8_0\.gguf") as caught:
        choose_files("a/b", several)
    assert "models fetch a/b --file NAME.gguf" in caught.value.remedy
    assert [file.path for file in choose_files("a/b", several, ["m.Q8_0.gguf"])] == ["README.md", "m.Q8_0.gguf"]
    assert choose_files("a/b", several, ["split/m.F16.gguf"])[-1].path == "split/m.F16.gguf"
    with pytest.raises(UserError, match=r"a/b has no file m\.Q2\.gguf") as caught:
        choose_files("a/b", several, ["m.Q2.gguf"])
    assert "m.Q8_0.gguf" in caught.value.remedy


def test_shards_are_chosen_with_their_index() -> None:
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    chosen = choose_files("a/b", files("config.json", "model.safetensors.index.json", *shards, "pytorch_model.bin"))
    assert [file.path for file in chosen] == ["config.json", "model.safetensors.index.json", *shards]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["config.json", "model.onnx"], "has no weights"),
        (["model.safetensors"], r"has no config\.json"),
    ],
)
def test_repositories_that_cannot_be_used(names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        choose_files("a/b", files(*names))
    assert caught.value.remedy
