import json
import sys
from pathlib import Path

import pytest
import torch

from lmstudio_app.cli import main
from lmstudio_app.errors import UserError
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.models.remote_code import allow_code, forbid_code, is_allowed, own_code, read_code
from tests.models.conftest import Recorder
from tests.models.test_card import edit_config

CONFIGURATION = """
from transformers import BertConfig

class MineConfig(BertConfig):
    model_type = "mine"
"""
MODELING = """
import pathlib
from transformers import BertModel
from .configuration_mine import MineConfig

(pathlib.Path({folder!r}) / "the-code-ran").touch()

class Mine(BertModel):
    config_class = MineConfig
"""


@pytest.fixture
def with_code(model_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of a family that only its own code knows; that code leaves a file behind when it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
        monkeypatch.delitem(sys.modules, name)  # of another test's folder
    (model_copy / "configuration_mine.py").write_text(CONFIGURATION)
    (model_copy / "modeling_mine.py").write_text(MODELING.format(folder=str(tmp_path)))
    edit_config(
        model_copy,
        model_type="mine",
        architectures=["Mine"],
        auto_map={"AutoConfig": "configuration_mine.MineConfig", "AutoModel": "modeling_mine.Mine"},
    )
    return model_copy


def refused(folder: Path, recorder: Recorder, **options: str) -> UserError:
    with pytest.raises(UserError, match="program code of its own, which is off until you allow it") as caught:
        load_model(LoadRequest(str(folder), device="cpu", **options), recorder.ctx)
    return caught.value


def test_code_runs_only_when_it_is_allowed(with_code: Path, tmp_path: Path, recorder: Recorder) -> None:
    error = refused(with_code, recorder)
    assert "configuration_mine.py (" in error.message
    assert "modeling_mine.py (" in error.message
    assert "models allow-code" in error.remedy
    refused(with_code, recorder, code="0" * 64)
    assert not (tmp_path / "the-code-ran").exists()

    request = LoadRequest(str(with_code), device="cpu", code=str(error.parameters["digest"]))
    loaded = load_model(request, recorder.ctx)
    assert type(loaded.model).__name__ == "Mine"
    assert (tmp_path / "the-code-ran").exists()
    with torch.no_grad():
        states = loaded.model(**loaded.tokenizer("a great film", return_tensors="pt")).last_hidden_state
    assert states.shape[-1] == 32
    refused(with_code, recorder)  # one permission is for one load


def test_changed_code_is_asked_for_again(with_code: Path, recorder: Recorder) -> None:
    code = own_code(with_code)
    assert code is not None
    allow_code(code, str(with_code))
    assert type(load_model(LoadRequest(str(with_code), device="cpu"), recorder.ctx).model).__name__ == "Mine"
    (with_code / "helper.py").write_text("x = 1\n")
    refused(with_code, recorder)
    (with_code / "helper.py").unlink()
    forbid_code(code)
    assert not is_allowed(code)
    refused(with_code, recorder)


def test_the_files_can_be_read_before(with_code: Path, app_home: Path) -> None:
    code = own_code(with_code)
    assert code is not None
    (with_code / "modeling_mine.py").write_bytes(b"\xff" + b"x" * 300_000)
    shown = dict(read_code(own_code(with_code) or code))
    assert shown["configuration_mine.py"] == CONFIGURATION
    assert len(shown["modeling_mine.py"]) < 201_000
    assert shown["modeling_mine.py"].endswith("# … 300.0 kB in all")
    allow_code(code, "mine")
    (app_home / "allowed_code.json").write_text("broken")
    assert not is_allowed(code)


def test_a_known_family_runs_no_code(with_code: Path, tmp_path: Path, recorder: Recorder) -> None:
    edit_config(with_code, model_type="bert")
    assert type(load_model(LoadRequest(str(with_code)), recorder.ctx).model).__name__ == "BertModel"
    assert not (tmp_path / "the-code-ran").exists()


def test_code_of_another_repository_is_never_run(with_code: Path, recorder: Recorder) -> None:
    edit_config(with_code, auto_map={"AutoModel": "someone/else--modeling_mine.Mine"})
    with pytest.raises(UserError, match="program code of another repository"):
        load_model(LoadRequest(str(with_code), code="0" * 64), recorder.ctx)


def test_the_command_shows_the_files_first(
    with_code: Path, tiny_encoder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "allow-code", str(with_code)]) == 2
    out, err = capfd.readouterr()
    assert str(with_code / "modeling_mine.py") in out
    assert "stays off" in err
    assert main(["models", "allow-code", str(with_code), "--yes", "--json"]) == 0
    values = json.loads(capfd.readouterr().out)
    assert (values["files"], values["allowed"]) == (["configuration_mine.py", "modeling_mine.py"], True)
    assert main(["models", "allow-code", str(with_code), "--forbid"]) == 0
    assert "Not allowed" in capfd.readouterr().out
    assert main(["models", "allow-code", str(tiny_encoder)]) == 2
    assert "brings no program code" in capfd.readouterr().err
