from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

from lmstudio_app.errors import UserError
from lmstudio_app.models.card import read_card
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.models.provenance import read_provenance
from lmstudio_app.models.saving import save_model
from tests.models.conftest import Recorder

PROVENANCE = {
    "license": "Apache-2.0", "base_model": "starter:encoder", "task": "sentiment", "data": "uci-sentiment",
    "metrics": {"accuracy": 0.9, "loss": 0.25}, "source": "training",
}  # fmt: skip


@pytest.fixture
def loaded(tiny_classifier: Path, recorder: Recorder) -> LoadedModel:
    return load_model(LoadRequest(str(tiny_classifier), device="cpu"), recorder.ctx)


def test_a_saved_model_comes_back_the_same(loaded: LoadedModel, tmp_path: Path, recorder: Recorder) -> None:
    folder = tmp_path / "saved"
    save_model(folder, loaded.model, loaded.tokenizer, provenance=PROVENANCE)
    again = load_model(LoadRequest(str(folder), device="cpu"), recorder.ctx)
    for (name, before), after in zip(loaded.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(before, after), name
    assert again.labels == ("negative", "positive")
    assert again.tokenizer("a great film")["input_ids"] == loaded.tokenizer("a great film")["input_ids"]
    assert (again.card.license, again.card.source) == ("Apache-2.0", "training")
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_the_readme_is_a_hub_model_card(loaded: LoadedModel, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    save_model(folder, loaded.model, loaded.tokenizer, provenance=PROVENANCE)
    text = (folder / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    base = "sentence-transformers/all-MiniLM-L6-v2"
    assert front == {"base_model": base, "library_name": "transformers", "license": "apache-2.0"}
    assert "| Labels | negative, positive |" in text
    assert "| accuracy | 0.9000 |" in text
    stored = read_provenance(folder)
    assert stored["metrics"] == PROVENANCE["metrics"]
    assert stored["created"].endswith("Z")


def test_nothing_is_printed(loaded: LoadedModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "saved", loaded.model, loaded.tokenizer, provenance={})
    assert capfd.readouterr() == ("", "")


def test_a_failed_save_leaves_the_old_model(loaded: LoadedModel, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "saved"
    save_model(folder, loaded.model, loaded.tokenizer, provenance={"title": "old"})

    class Broken:
        def save_pretrained(self, folder: Path) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        save_model(folder, loaded.model, Broken(), provenance={"title": "new"})
    assert read_card(folder).title == "old"
    assert [path.name for path in folder.parent.iterdir()] == ["saved"]


def test_a_full_disk_is_known_beforehand(loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr("lmstudio_app.files.shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="are needed in"):
        save_model(tmp_path / "saved", loaded.model, loaded.tokenizer, provenance={})
    assert not (tmp_path / "saved").exists()
