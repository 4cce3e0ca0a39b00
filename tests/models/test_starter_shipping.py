"""``packaging/ship_model.py``: a run's model becomes a part of the app."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from lmstudio_app.assets import resource
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.catalog import BundledSource, parse_catalog
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.models.provenance import write_provenance

ROOT = Path(__file__).resolve().parent.parent.parent
CARD = """---
title: Shipped
task: {task}
license: MIT
description: A model that was shipped.
{more}---

# Shipped

{{metrics}}
"""
MEASURED = {"tables": [{"title": "Accuracy", "note": "by hand", "columns": ["on", "share"], "rows": [["all", 0.5]]}]}


@pytest.fixture
def shipping(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = ROOT / "packaging" / "ship_model.py"
    spec = importlib.util.spec_from_file_location("ship_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class Place:
    """Where things are shipped to, and from what texts."""

    def __init__(self, folder: Path) -> None:
        self.run, self.models, self.texts = folder / "run", folder / "models", folder / "texts"
        self.catalog = folder / "catalog.yaml"
        self.texts.mkdir()
        shutil.copyfile(resource("catalog.yaml"), self.catalog)

    def describe(self, name: str, task: str, more: str = "") -> None:
        (self.texts / f"{name}.md").write_text(CARD.format(task=task, more=more))
        (self.texts / f"{name}.json").write_text(json.dumps(MEASURED))

    def ship(self, shipping: ModuleType, name: str) -> Path:
        folder: Path = shipping.ship(self.run, name, models=self.models, catalog=self.catalog, texts=self.texts)
        return folder


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_whole_weights_are_stored_in_half_and_computed_with_in_full(
    shipping: ModuleType, place: Place, tiny_classifier: Path
) -> None:
    shutil.copytree(tiny_classifier, place.run / "final")
    write_provenance(
        place.run / "final",
        {"task": "sentiment", "recipe": {"model": "/home/me/first", "data": {"train": "a.tsv"}}, "base_model": "/x"},
    )
    place.describe("shipped", "sentiment")
    folder = place.ship(shipping, "shipped")
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float16}
    loaded = load_model(LoadRequest(str(folder), device="cpu"), JobContext())
    whole = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext())
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    inputs = loaded.tokenizer("a good film", return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(**inputs).logits, whole.model(**inputs).logits, atol=2e-3, rtol=2e-3)
    known = json.loads((folder / "provenance.json").read_text())
    assert known["recipe"]["model"] == "first"
    assert "base_model" not in known
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\nlicense: mit\n---\n\n# Shipped\n")
    assert "**Accuracy** by hand\n\n| on | share |\n|---|---|\n| all | 0.5 |\n" in card


def test_the_catalogue_gets_one_entry_and_keeps_the_others(
    shipping: ModuleType, place: Place, tiny_classifier: Path
) -> None:
    shutil.copytree(tiny_classifier, place.run / "final")
    place.describe("shipped", "sentiment", "base: starter:encoder\n")
    before = parse_catalog(place.catalog.read_text())
    for _ in range(2):  # again in its place
        folder = place.ship(shipping, "shipped")
        after = parse_catalog(place.catalog.read_text())
        assert list(after) == [*before, "starter:shipped"]
        assert {name: entry for name, entry in after.items() if name in before} == before
    entry = after["starter:shipped"]
    assert (entry.sources, entry.base) == ((BundledSource("shipped"),), "starter:encoder")
    assert {file.path: file.size for file in entry.files} == {p.name: p.stat().st_size for p in folder.iterdir()}
    assert entry.size == sum(file.size for file in entry.files)
    assert all(file.sha256 and len(file.sha256) == 64 for file in entry.files)
    assert "model.safetensors" in {file.path for file in entry.files}


def test_what_adapters_have_added_is_found_again(
    shipping: ModuleType, place: Place, tiny_encoder: Path, tmp_path: Path
) -> None:
    """Two trainings with merged adapters of rank 2 are adapters of rank 4, and not of rank 3."""
    from transformers import BertForQuestionAnswering

    generator = torch.Generator().manual_seed(3)
    model = BertForQuestionAnswering.from_pretrained(tiny_encoder)
    with torch.no_grad():
        for name, parameter in model.bert.encoder.named_parameters():
            if parameter.ndim == 2:
                out, into = parameter.shape
                for _ in range(2):
                    thin = torch.randn(out, 2, generator=generator) @ torch.randn(2, into, generator=generator)
                    parameter += 0.05 * thin
                assert name.endswith("weight")
        model.qa_outputs.weight.copy_(torch.randn(2, 32, generator=generator))
    shutil.copytree(tiny_encoder, place.run / "final")
    model.save_pretrained(place.run / "final")
    place.describe("reader", "question_answering", f"base: {tiny_encoder}\nrank: 4\n")
    folder = place.ship(shipping, "reader")
    assert not (folder / "model.safetensors").exists()
    adapted = load_model(LoadRequest(str(folder), device="cpu"), JobContext())
    assert adapted.head == "question-answering"
    assert {parameter.dtype for parameter in adapted.model.parameters()} == {torch.float32}
    inputs = adapted.tokenizer("a good film", return_tensors="pt")
    with torch.no_grad():
        found, wanted = adapted.model(**inputs), model.eval()(**inputs)
    torch.testing.assert_close(found.start_logits, wanted.start_logits, atol=2e-2, rtol=2e-2)
    place.describe("reader", "question_answering", f"base: {tiny_encoder}\nrank: 3\n")
    with pytest.raises(ValueError, match="higher rank than 3"):
        place.ship(shipping, "reader")
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight += 0.1
    model.save_pretrained(place.run / "final")
    with pytest.raises(ValueError, match=r"word_embeddings.weight has changed"):
        place.ship(shipping, "reader")


@pytest.mark.parametrize("name", ["sentiment", "qa", "translate"])
def test_the_texts_of_the_cards_are_whole(shipping: ModuleType, name: str) -> None:
    said = shipping.read_description(shipping.TEXTS / f"{name}.md")
    card = shipping.card_text(said, MEASURED)
    assert "{metrics}" not in card
    for heading in ("## Data", "## Recipe and command", "## Measurements", "## Limits"):
        assert heading in card
    assert said.description
    assert said.license
