"""Models that come with the app: loaded where they are, checked, never deleted."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lmstudio_app.cli import main
from lmstudio_app.errors import UserError
from lmstudio_app.models import catalog, names
from lmstudio_app.models.card_texts import read_card_text
from lmstudio_app.models.catalog import BundledSource, CatalogEntry, CatalogFile, parse_catalog
from lmstudio_app.models.installed import list_models
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.models.local_models import DeleteRequest, delete_local, list_local
from lmstudio_app.models.names import install_folder
from lmstudio_app.models.references import is_present, resolve
from lmstudio_app.models.sources import FetchRequest, fetch_model
from tests.models.conftest import Recorder

NAME = "starter:adapted"
CARD = "---\nlicense: apache-2.0\n---\n\n# Adapted\n\nIt was trained on films.\n"


@pytest.fixture(scope="module")
def adapters(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Adapters and a classification head on the tiny encoder, as a training saves them."""
    import peft
    import torch
    from transformers import BertForSequenceClassification, BertTokenizer

    folder = tmp_path_factory.mktemp("adapters")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = BertForSequenceClassification.from_pretrained(tiny_encoder, num_labels=2)
        model.config.id2label, model.config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
        model.config.architectures = ["BertForSequenceClassification"]
        model.config.save_pretrained(folder)
        settings = peft.LoraConfig(
            r=2, target_modules=["query"], modules_to_save=["classifier"], task_type="SEQ_CLS", init_lora_weights=False
        )
        peft.get_peft_model(model, settings).save_pretrained(folder, safe_serialization=True)
    BertTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder)
    (folder / "provenance.json").write_text(json.dumps({"base_model": "starter:tiny", "license": "Apache-2.0"}))
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def bundled(
    adapters: Path, tiny_entry: CatalogEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Path]:
    """A catalogue of an encoder that can be fetched and of adapters on it that are among the app's own files."""
    root = tmp_path / "resources"
    shutil.copytree(adapters, root / "models" / "adapted")
    files = tuple(
        CatalogFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
        for path in sorted(adapters.iterdir())
    )
    entry = dataclasses.replace(
        tiny_entry,
        name=NAME,
        title="Adapted",
        size=sum(file.size for file in files),
        sources=(BundledSource("adapted"),),
        files=files,
        base=tiny_entry.name,
    )
    monkeypatch.setattr(names, "resource_root", lambda: root)
    monkeypatch.setattr(catalog, "_bundled", lambda: {tiny_entry.name: tiny_entry, NAME: entry})
    return lambda: root / "models" / "adapted"


def put_base(tiny_encoder: Path) -> None:
    shutil.copytree(tiny_encoder, install_folder("starter:tiny"))


def test_the_catalogue_says_it_in_one_line() -> None:
    text = """
version: 1
models:
  - {name: "starter:x", title: X, task: sentiment, license: MIT, size: 3, description: d, base: "starter:encoder",
     sources: [{bundled: x}], files: [{path: config.json, size: 3}]}
"""
    (entry,) = parse_catalog(text).values()
    assert entry.bundled == BundledSource("x")
    assert entry.base == "starter:encoder"


def test_it_is_loaded_in_place_and_finds_its_base_by_name(
    bundled: Callable[[], Path], tiny_encoder: Path, recorder: Recorder
) -> None:
    put_base(tiny_encoder)
    before = {path.name: path.stat().st_mtime_ns for path in bundled().iterdir()}
    loaded = load_model(LoadRequest(NAME, device="cpu"), recorder.ctx)
    assert loaded.folder == bundled() == resolve(NAME, recorder.ctx)
    assert loaded.labels == ("negative", "positive")
    assert loaded.card.license == "Apache-2.0"
    assert {path.name: path.stat().st_mtime_ns for path in bundled().iterdir()} == before


def test_it_is_present_when_its_base_is(bundled: Callable[[], Path], tiny_encoder: Path, recorder: Recorder) -> None:
    assert not is_present(NAME)
    assert [model.present for model in list_models()] == [False, False]
    with pytest.raises(UserError, match="is not on this computer yet") as caught:
        resolve(NAME, recorder.ctx)
    assert f"lmstudio-app models fetch {NAME}" in caught.value.remedy
    put_base(tiny_encoder)
    assert is_present(NAME)
    (model,) = (model for model in list_models() if model.reference == NAME)
    assert (model.present, model.bundled, model.title, model.license) == (True, True, "Adapted", "Apache-2.0")
    assert model.size == sum(path.stat().st_size for path in bundled().iterdir())


@pytest.mark.usefixtures("offline_index", "bundled")
def test_a_fetch_checks_it_and_brings_its_base(recorder: Recorder) -> None:
    folder = fetch_model(FetchRequest(NAME), recorder.ctx)
    assert folder == install_folder(NAME)
    assert is_present("starter:tiny")
    assert f"{NAME} comes with the app, and its files are whole" in recorder.messages
    recorder.events.clear()
    fetch_model(FetchRequest(NAME), recorder.ctx)
    assert recorder.messages == [f"{NAME} comes with the app, and its files are whole"]


@pytest.mark.usefixtures("offline_index", "bundled")
def test_the_whole_pack_says_what_is_there(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["models", "fetch", "starter"]) == 0
        captured = capfd.readouterr()
        assert captured.out.splitlines() == [str(install_folder("starter:tiny")), str(install_folder(NAME))]
    assert captured.err.splitlines() == [
        "starter:tiny is already on this computer",
        f"{NAME} comes with the app, and its files are whole",
    ]


def test_a_damaged_file_is_named(bundled: Callable[[], Path], tiny_encoder: Path, recorder: Recorder) -> None:
    put_base(tiny_encoder)
    path = bundled() / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=r"adapter_model.safetensors of starter:adapted.* damaged"):
        fetch_model(FetchRequest(NAME), recorder.ctx)
    path.unlink()
    with pytest.raises(UserError, match="missing or damaged"):
        fetch_model(FetchRequest(NAME), recorder.ctx)


def test_it_cannot_be_deleted(bundled: Callable[[], Path], tiny_encoder: Path, recorder: Recorder) -> None:
    put_base(tiny_encoder)
    for for_good in (False, True):
        with pytest.raises(UserError, match="is a part of the app"):
            delete_local(DeleteRequest(NAME, for_good), recorder.ctx)
    assert (bundled() / "config.json").is_file()
    assert [item.reference for item in list_local()] == ["starter:tiny"]
    delete_local(DeleteRequest("starter:tiny", for_good=True), recorder.ctx)
    assert recorder.warnings == [f"These need it, and cannot be loaded without: {NAME}"]
    assert not is_present(NAME)


@pytest.mark.usefixtures("bundled")
def test_the_list_and_the_card_by_command(tiny_encoder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", NAME]) == 0  # also before its base is here
    assert capfd.readouterr().out == "# Adapted\n\nIt was trained on films.\n"
    assert main(["models", "show", NAME, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["text"].startswith("# Adapted")
    put_base(tiny_encoder)
    assert main(["models", "list"]) == 0
    (line,) = (line for line in capfd.readouterr().out.splitlines() if line.startswith(NAME))
    assert "with the app" in line
    assert "Apache-2.0" in line
    assert main(["models", "show", "starter:tiny"]) == 2
    assert "starter:tiny came without a model card" in capfd.readouterr().err


def test_a_card_without_front_matter_is_shown_whole(model_copy: Path, recorder: Recorder) -> None:
    (model_copy / "README.md").write_text("# A model\n\n---\n\nIts text.\n")
    assert read_card_text(str(model_copy), recorder.ctx).text == "# A model\n\n---\n\nIts text.\n"
