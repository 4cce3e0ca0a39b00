from pathlib import Path

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.models.names import hub_id, install_folder, is_hub_id
from lmstudio_app.models.references import is_present, resolve
from tests.models.conftest import Recorder


def test_a_folder_is_a_reference(tiny_encoder: Path, recorder: Recorder) -> None:
    assert resolve(str(tiny_encoder), recorder.ctx) == tiny_encoder
    assert is_present(str(tiny_encoder))


def test_a_file_of_the_model_means_its_folder(tiny_encoder: Path, recorder: Recorder) -> None:
    assert resolve(str(tiny_encoder / "model.safetensors"), recorder.ctx) == tiny_encoder


@pytest.mark.parametrize("ref", ["starter:encoder", "sentence-transformers/all-MiniLM-L6-v2"])
def test_a_model_that_is_not_here_names_the_command_that_fetches_it(ref: str, recorder: Recorder) -> None:
    assert not is_present(ref)
    with pytest.raises(UserError, match="is not on this computer yet") as caught:
        resolve(ref, recorder.ctx)
    assert f"lmstudio-app models fetch {ref}" in caught.value.remedy


@pytest.mark.parametrize("ref", ["starter:encoder", "org/name"])
def test_an_installed_model_is_found_by_its_name(ref: str, recorder: Recorder) -> None:
    folder = install_folder(ref)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert is_present(ref)
    assert resolve(ref, recorder.ctx) == folder


@pytest.mark.parametrize(
    ("ref", "message", "remedy"),
    [
        ("starter:encodr", "no model called starter:encodr", "Did you mean starter:encoder?"),
        ("nonsense", "no model called nonsense", "a hub id such as"),
        ("./missing/model", "folder ./missing/model does not exist", "Check the path"),
        ("  ", "No model is chosen", "Choose a model"),
    ],
)
def test_a_reference_that_means_nothing(ref: str, message: str, remedy: str, recorder: Recorder) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve(ref, recorder.ctx)
    assert remedy in caught.value.remedy


def test_hub_ids() -> None:
    assert is_hub_id("sentence-transformers/all-MiniLM-L6-v2")
    assert not any(is_hub_id(ref) for ref in ("name", "a/b/c", "../x", "/abs", "a/..", "org/", "~/model", "C:\\m"))


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        ("starter:encoder", "sentence-transformers/all-MiniLM-L6-v2"),
        ("org/name", "org/name"),
        ("/home/someone/models/mine", ""),
        ("runs/final", ""),
        ("", ""),
    ],
)
def test_only_what_the_hub_has_is_called_by_a_hub_id(
    ref: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``runs/final`` is a folder here, though it looks like a hub id."""
    (tmp_path / "runs" / "final").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert hub_id(ref) == found
