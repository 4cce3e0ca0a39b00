import json
from pathlib import Path

import pytest

from lmstudio_app.settings import VERSION, Settings, cache_folder, home, models_folder, network_allowed, runs_folder


def test_everything_lives_below_the_home_folder(app_home: Path) -> None:
    assert home() == app_home
    for folder in (models_folder(), runs_folder(), cache_folder(), Settings().path):
        assert folder.is_relative_to(app_home)


def test_without_the_variable_the_systems_own_place_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LMSTUDIO_APP_HOME")
    assert home().name == "lmstudio-app"


def test_a_change_is_on_the_disk_at_once() -> None:
    settings = Settings()
    assert settings.get("window.theme", "system") == "system"
    settings.set("window.theme", "dark")
    assert Settings().get("window.theme") == "dark"
    assert json.loads(settings.path.read_text())["version"] == VERSION


def test_setting_the_same_value_writes_nothing() -> None:
    settings = Settings()
    settings.set("a", [1, 2])
    settings.path.unlink()
    settings.set("a", [1, 2])
    assert not settings.path.exists()


def test_none_is_a_value_of_its_own() -> None:
    settings = Settings()
    settings.set("a", None)
    assert Settings().get("a", "default") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "x"}', '{"values": 3}', '{"version": -1}', "\x00"])
def test_an_unreadable_file_is_set_aside(content: str) -> None:
    path = Settings().path
    path.write_text(content)
    settings = Settings()
    assert settings.get("a") is None
    assert path.with_name("settings.json.bad").read_text() == content
    settings.set("a", 1)
    assert Settings().get("a") == 1


def test_an_old_file_is_migrated() -> None:
    path = Settings().path
    path.write_text(json.dumps({"values": {"a": 1}}))
    settings = Settings()
    assert settings.get("a") == 1
    settings.set("b", 2)
    assert json.loads(path.read_text()) == {"version": VERSION, "values": {"a": 1, "b": 2}}


def test_a_newer_file_is_read_and_never_written() -> None:
    path = Settings().path
    text = json.dumps({"version": VERSION + 1, "values": {"a": 1}})
    path.write_text(text)
    settings = Settings()
    settings.set("a", 2)
    assert settings.get("a") == 2
    assert path.read_text() == text


def test_the_network_is_allowed_until_somebody_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert network_allowed()
    Settings().set("network.allowed", False)
    assert not network_allowed()
    Settings().set("network.allowed", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not network_allowed()
