"""The starter pack as the catalogue has it: small, whole, and each model with a card."""

import gzip
import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lmstudio_app.assets import resource, resource_root
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.card_texts import read_card_text
from lmstudio_app.models.catalog import load_catalog
from lmstudio_app.models.names import install_folder
from lmstudio_app.models.sources import STARTER
from lmstudio_app.models.starter_pack import download_size
from lmstudio_app.training.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent.parent
PACK = {name: entry for name, entry in load_catalog().items() if name.startswith(STARTER)}
BUNDLED = [name for name, entry in PACK.items() if entry.bundled is not None]
LARGEST = {"starter:sentiment": 4_000_000, "starter:qa": 8_000_000, "starter:translate": 30_000_000}  # bytes


def test_all_of_it_is_little_to_download() -> None:
    assert sum(map(download_size, PACK.values())) + sum(PACK[name].size for name in BUNDLED) <= 250_000_000
    assert all(download_size(PACK[name]) == 0 for name in BUNDLED)


def test_what_comes_with_the_app_is_there() -> None:
    folders = {path.name for path in (resource_root() / "models").iterdir()}
    assert folders == {name.removeprefix(STARTER) for name in BUNDLED}
    assert {"starter:sentiment", "starter:qa"} <= set(BUNDLED)


@pytest.mark.parametrize("name", BUNDLED)
def test_each_folder_holds_what_the_catalogue_says(name: str) -> None:
    entry, folder = PACK[name], install_folder(name)
    assert {path.name for path in folder.iterdir()} == {file.path for file in entry.files}
    for file in entry.files:
        data = (folder / file.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256), file.path
    assert entry.size <= LARGEST[name]


@pytest.mark.parametrize("name", BUNDLED)
def test_each_has_a_card_with_figures_and_tells_of_no_machine(name: str) -> None:
    text = read_card_text(name, JobContext()).text
    for heading in ("## Data", "## Recipe and command", "## Measurements", "## Limits"):
        assert heading in text
    assert text.count("|---|") >= 1
    known = (install_folder(name) / "provenance.json").read_text(encoding="utf-8")
    assert json.loads(known)["recipe"]["task"] == PACK[name].task
    assert not any(place in known for place in ("/tmp", "/home", "/work"))


@pytest.mark.parametrize("name", ["starter-sentiment", "starter-qa-cloze", "starter-qa"])
def test_its_recipes_name_no_machine(name: str) -> None:
    path = resource("recipes", f"{name}.yaml")
    assert Recipe.load(path).model == "starter:encoder"
    assert "data/" not in path.read_text(encoding="utf-8")


def load_script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "packaging" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_cloze_questions_are_what_the_texts_give_now(monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = json.loads(gzip.decompress(resource("datasets", "cloze-questions", "questions.json.gz").read_bytes()))
    made = load_script("derive_questions", monkeypatch).derive()
    assert made == bundled, "run packaging/derive_questions.py"
    for article in made["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                (answer,) = question["answers"]
                assert paragraph["context"][answer["answer_start"] :].startswith(answer["text"])


def test_whole_articles_are_kept_for_measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = load_script("split_questions", monkeypatch).split(tmp_path)
    assert counts["train"] + counts["test"] == 632
    titles = {
        path.stem: {article["title"] for article in json.loads(path.read_text(encoding="utf-8"))["data"]}
        for path in tmp_path.iterdir()
    }
    assert len(titles["train"] | titles["test"]) == len(titles["train"]) + len(titles["test"]) == 24
    for number in range(3):
        parts = [titles[f"fold-{number}-{side}"] for side in ("train", "eval")]
        assert parts[0] | parts[1] == titles["train"]
        assert not parts[0] & parts[1]
