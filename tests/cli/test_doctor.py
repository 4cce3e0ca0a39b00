"""``lmstudio-app doctor``, as a process of its own, in healthy and in broken homes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.doctor import DoctorRequest, examine, mask, to_text
from lmstudio_app.errors import Cancelled
from lmstudio_app.jobs import Control, JobContext

ROOT = Path(__file__).resolve().parents[2]
QUICK = DoctorRequest(devices=False, display=False)


def run_doctor(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lmstudio_app", "doctor", *arguments],
        cwd=ROOT,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def report() -> dict[str, dict[str, Any]]:
    return examine(QUICK, JobContext())


def test_whole_report_as_json(app_home: Path) -> None:
    done = run_doctor("--json", HF_TOKEN="hf_verysecret", SOME_PASSWORD="hunter2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    sections = {"app", "system", "packages", "devices", "display", "paths", "models", "network", "environment"}
    assert set(found) == sections
    assert not [name for name, section in found.items() if "error" in section], done.stdout
    assert found["packages"]["torch"].startswith("2.")
    assert "cpu" in [device["name"] for device in found["devices"]["available"]]
    assert found["devices"]["automatic_precision"] in ("float32", "bfloat16")
    assert found["devices"]["threads"] >= 1
    assert found["display"]["platform_plugin"] == "offscreen"
    assert found["paths"]["disk_free_bytes"] > 0
    assert found["system"]["memory_bytes"] > found["system"]["memory_free_bytes"] > 0
    assert "verysecret" not in done.stdout
    assert "hunter2" not in done.stdout


def test_text_has_every_section_and_words_for_numbers() -> None:
    found = report()
    text = to_text(found)
    assert [line for line in text.splitlines() if not line.startswith(" ")] == list(found)
    assert "  memory free   " in text
    assert "GB" in text
    assert "_bytes" not in text


def test_home_and_user_are_masked(tmp_path: Path) -> None:
    alice = tmp_path / "alice"
    (alice / "data").mkdir(parents=True)
    done = run_doctor(
        "--json", HOME=str(alice), USERPROFILE=str(alice), USER="alice", LOGNAME="alice", USERNAME="alice",
        LMSTUDIO_APP_HOME=str(alice / "data"), HF_HOME=str(alice / "cache"),
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert "alice" not in done.stdout
    assert found["paths"]["home"] == str(Path("~") / "data")
    assert found["environment"]["HF_HOME"] == str(Path("~") / "cache")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann", "~"),
        ("/home/ann/models", "~/models"),
        ("/home/anna/models", "/home/anna/models"),
        ("no file '/home/ann/x'", "no file '~/x'"),
        ("/media/ann/disk", "/media/USER/disk"),
        ("annotation", "annotation"),
    ],
)
def test_mask_hides_the_user_and_nothing_else(text: str, expected: str) -> None:
    assert mask({"a": [text, 1, None]}, Path("/home/ann"), "ann") == {"a": [expected, 1, None]}


def test_models_and_runs_are_counted(app_home: Path, tiny_encoder: Path) -> None:
    assert report()["models"] == {}
    shutil.copytree(tiny_encoder, app_home / "models" / "starter-encoder")
    shutil.copytree(tiny_encoder, app_home / "models" / "org--other")
    (app_home / "runs" / "one").mkdir(parents=True)
    (app_home / "runs" / "one" / "recipe.yaml").touch()
    found = report()
    assert set(found["models"]) == {"starter:encoder", "org--other"}
    assert found["models"]["starter:encoder"].endswith("kB")
    assert found["paths"]["run_count"] == 1


def test_network_is_told_with_its_reason(app_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert report()["network"]["allowed"] is True
    (app_home / "settings.json").write_text('{"version": 1, "values": {"network.allowed": false}}', encoding="utf-8")
    assert report()["network"] == {"allowed": False, "because": "the settings forbid it"}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert report()["network"] == {"allowed": False, "because": "HF_HUB_OFFLINE is set"}


def test_broken_settings_are_reported_and_left_alone(app_home: Path) -> None:
    path = app_home / "settings.json"
    path.write_text("{not json", encoding="utf-8")
    assert "unreadable" in report()["paths"]["settings"]
    assert path.read_text(encoding="utf-8") == "{not json"
    assert [entry.name for entry in app_home.iterdir()] == ["settings.json"]


def test_broken_torch_is_part_of_the_report(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')")
    done = run_doctor("--json", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices"] == {"error": "OSError: libtorch_cpu.so: cannot open shared object file"}
    assert found["packages"]["transformers"] != "not installed"


def test_qt_that_cannot_start_is_part_of_the_report() -> None:
    """A platform plugin that does not exist makes Qt abort its process, and not the doctor's."""
    done = run_doctor(QT_QPA_PLATFORM="made-up")
    assert done.returncode == 0, done.stderr
    assert "Qt could not start" in done.stdout
    assert "made-up" in done.stdout


def test_doctor_can_be_cancelled() -> None:
    control = Control()
    control.cancel()
    with pytest.raises(Cancelled):
        examine(QUICK, JobContext(control=control))
