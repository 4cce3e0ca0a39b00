from pathlib import Path

import pytest

from lmstudio_app import assets


def test_the_checkouts_resources_are_found() -> None:
    assert assets.resource("catalog.yaml").is_file()
    assert assets.resource("icons", "tick.svg").is_file()


def test_what_is_missing_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"resources/icons/none\.svg"):
        assets.resource("icons", "none.svg")


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_resources_are_inside_a_wheel_and_beside_a_checkout(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lmstudio_app"
    root = (package if place == "inside" else tmp_path) / "resources"
    root.mkdir(parents=True)
    package.mkdir(exist_ok=True)
    (root / "catalog.yaml").touch()
    monkeypatch.setattr(assets.resources, "files", lambda name: package)
    assert assets.resource_root() == root


def test_a_broken_installation_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets.resources, "files", lambda name: tmp_path / "lmstudio_app")
    with pytest.raises(FileNotFoundError, match="neither in"):
        assets.resource_root()
