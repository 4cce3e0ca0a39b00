import io
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from lmstudio_app.cli import main
from lmstudio_app.errors import UserError
from lmstudio_app.models.begun import begun_weights
from lmstudio_app.models.conversion import conversions_folder
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.models.local_models import DeleteRequest, delete_local, list_local
from lmstudio_app.models.names import install_folder
from lmstudio_app.models.provenance import write_provenance
from lmstudio_app.models.sources import FetchRequest, fetch_model, only_one
from lmstudio_app.settings import cache_folder
from tests.hub_server import HubServer
from tests.models.conftest import Recorder


@pytest.fixture
def kept(tiny_encoder: Path) -> None:
    """A model of the hub, one that is half here, and a conversion of a file elsewhere."""
    folder = Path(shutil.copytree(tiny_encoder, install_folder("org/model")))
    write_provenance(folder, {"reference": "org/model", "title": "model"})
    part = cache_folder() / "downloads" / "org--part" / "0123"
    part.mkdir(parents=True)
    (part / "model.safetensors").write_bytes(b"x" * 1000)
    made = Path(shutil.copytree(tiny_encoder, conversions_folder() / "other-0123456789ab"))
    write_provenance(made, {"reference": "/elsewhere/other.gguf", "title": "other"})


@pytest.mark.usefixtures("kept")
def test_what_takes_up_room() -> None:
    found = {item.kind: item for item in list_local()}
    assert [item.reference for item in list_local()] == ["org/model", "/elsewhere/other.gguf", "org/part"]
    assert found["download"].size == 1000
    folder = install_folder("org/model")
    assert found["model"].size == sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.usefixtures("kept")
def test_when_a_model_was_used_last(tiny_encoder: Path, recorder: Recorder) -> None:
    before = time.time()
    load_model(LoadRequest("org/model", device="cpu"), recorder.ctx)
    load_model(LoadRequest(str(tiny_encoder), device="cpu"), recorder.ctx)
    used = {item.reference: item.used for item in list_local()}
    assert before - 2 < used["org/model"] <= time.time()
    assert used["/elsewhere/other.gguf"] == 0.0
    assert not (tiny_encoder / ".last-used").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_folder_elsewhere_stays_untouched_behind_a_link(
    tiny_encoder: Path, tmp_path: Path, recorder: Recorder
) -> None:
    elsewhere = Path(shutil.copytree(tiny_encoder, tmp_path / "elsewhere"))
    before = sorted(elsewhere.iterdir())
    install_folder("org/model").parent.mkdir(parents=True, exist_ok=True)
    install_folder("org/model").symlink_to(elsewhere, target_is_directory=True)
    load_model(LoadRequest("org/model", device="cpu"), recorder.ctx)
    assert sorted(elsewhere.iterdir()) == before


def test_a_begun_download_knows_what_it_is_to_become(
    hub: HubServer, tiny_encoder: Path, tmp_path: Path, recorder: Recorder
) -> None:
    repository = hub.add("tests/tiny", tiny_encoder)
    repository.files["other.safetensors"] = repository.files.pop("model.safetensors")
    hub.corrupt = True
    with pytest.raises(UserError, match="arrived damaged"):
        fetch_model(FetchRequest("tests/tiny", weights=("other.safetensors",)), recorder.ctx)
    (item,) = list_local()
    assert (item.kind, item.reference, item.weights) == ("download", "tests/tiny", ("other.safetensors",))
    assert 0 < item.size < item.total == sum(map(len, repository.files.values()))
    assert begun_weights("tests/tiny") == ("other.safetensors",)
    assert begun_weights("tests/other") == ()
    (item.folder / "download.json").write_text("{")
    (item,) = list_local()
    assert (item.reference, item.weights, item.total) == ("tests/tiny", (), 0)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("reference", ["org/model", "/elsewhere/other.gguf", "org/part"])
def test_each_kind_is_deleted(reference: str, recorder: Recorder) -> None:
    (item,) = (item for item in list_local() if item.reference == reference)
    assert delete_local(DeleteRequest(reference, for_good=True), recorder.ctx) == item.size
    assert not item.folder.exists()
    assert len(list_local()) == 2
    assert recorder.messages[-1].startswith(f"{reference} is deleted, ")


@pytest.mark.usefixtures("kept")
@pytest.mark.skipif(sys.platform != "linux", reason="where the trash is on Linux")
def test_a_model_goes_to_the_trash(tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    import send2trash.plat_other

    trash = tmp_path / "Trash"
    monkeypatch.setattr(send2trash.plat_other, "HOMETRASH", str(trash))
    monkeypatch.setattr(send2trash.plat_other, "HOMETRASH_B", os.fsencode(trash))
    delete_local(DeleteRequest("org/model"), recorder.ctx)
    assert not install_folder("org/model").exists()
    assert (trash / "files" / "org--model" / "config.json").is_file()


@pytest.mark.usefixtures("kept")
def test_what_is_not_the_apps_own_is_never_deleted(tiny_encoder: Path, recorder: Recorder) -> None:
    for reference in (str(tiny_encoder), "org/none", "", ".", str(install_folder("org/model").parent)):
        with pytest.raises(UserError, match="takes up room here"):
            delete_local(DeleteRequest(reference, for_good=True), recorder.ctx)
    assert (tiny_encoder / "config.json").is_file()
    assert len(list_local()) == 3


@pytest.mark.usefixtures("kept")
def test_a_model_that_is_being_fetched_stays(recorder: Recorder) -> None:
    with only_one("org--part"), pytest.raises(UserError, match="being downloaded already"):
        delete_local(DeleteRequest("org/part", for_good=True), recorder.ctx)
    assert len(list_local()) == 3


@pytest.mark.usefixtures("kept")
def test_adapters_that_need_it_are_named(tiny_encoder: Path, recorder: Recorder) -> None:
    folder = Path(shutil.copytree(tiny_encoder, install_folder("org/adapters")))
    write_provenance(folder, {"reference": "org/adapters", "base_model": "org/model"})
    delete_local(DeleteRequest("org/model", for_good=True), recorder.ctx)
    assert recorder.warnings == ["These need it, and cannot be loaded without: org/adapters"]


@pytest.mark.usefixtures("kept")
def test_the_commands(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["models", "list"]) == 0
    out = capfd.readouterr().out
    assert "org/part" in out
    assert "conversion" in out
    assert "On this disk: " in out
    assert main(["models", "list", "--json"]) == 0
    rows = {row["reference"]: row for row in json.loads(capfd.readouterr().out)}
    assert rows["org/model"]["size"] > 10_000
    assert (rows["org/model"]["kind"], rows["org/model"]["used"]) == ("model", 0.0)
    assert (rows["org/part"]["kind"], rows["org/part"]["size"]) == ("download", 1000)
    assert rows["/elsewhere/other.gguf"]["kind"] == "conversion"
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["models", "delete", "org/model", "--for-good"]) == 2
    assert "would be gone for good. Say so with --yes." in capfd.readouterr().err
    assert main(["models", "delete", "org/model", "--for-good", "--yes"]) == 0
    assert not install_folder("org/model").exists()
    assert main(["models", "delete", "org/model"]) == 2
    assert "No model org/model takes up room here" in capfd.readouterr().err
