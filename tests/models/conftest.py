"""A loopback hub, a wheel of a tiny model with a pip that finds it, and a context that remembers its events."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lmstudio_app.events import Event, Progress, Status
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.models import catalog
from lmstudio_app.models.catalog import CatalogEntry, CatalogFile, HubSource, WheelSource
from tests.hub_server import HubServer, serve_hub


@dataclass
class Recorder:
    """A job context together with what was said through it."""

    events: list[Event] = field(default_factory=list)
    control: Control = field(default_factory=Control)

    def __post_init__(self) -> None:
        self.ctx = JobContext(self.events.append, self.control)

    @property
    def messages(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Status)]

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Status) and event.warning]

    @property
    def progress(self) -> list[Progress]:
        return [event for event in self.events if isinstance(event, Progress)]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub, and the environment that makes huggingface_hub use it."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serve_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def model_copy(tiny_encoder: Path, tmp_path: Path) -> Path:
    """A model folder to damage."""
    return Path(shutil.copytree(tiny_encoder, tmp_path / "copy"))


PREFIX = "tiny_model/model/"
PACKAGE = WheelSource("lmstudio-app-tiny-model", "1.0", PREFIX, 0)


def build_wheel(folder: Path, model: Path) -> Path:
    """A minimal wheel that carries the files of ``model``."""
    wheel = folder / "lmstudio_app_tiny_model-1.0-py3-none-any.whl"
    info = "lmstudio_app_tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(model.iterdir()):
            archive.write(path, PREFIX + path.name)
        archive.writestr("tiny_model/data_config.json", "[]")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: lmstudio-app-tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def tiny_wheel(tmp_path: Path, tiny_encoder: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    return build_wheel(folder, tiny_encoder)


@pytest.fixture
def offline_index(tiny_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip's own configuration, set so that it finds the tiny wheel and asks no server."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny_wheel.parent))
    return tiny_wheel.parent


@pytest.fixture
def tiny_entry(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogEntry:
    """A catalogue of one model, ``starter:tiny``, that comes as a wheel or from the hub."""
    files = tuple(
        CatalogFile(
            path.name,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix == ".safetensors" else None,
            path.stat().st_size,
        )
        for path in sorted(tiny_encoder.iterdir())
    )
    entry = CatalogEntry(
        name="starter:tiny",
        title="Tiny encoder",
        task="encoder",
        size=sum(file.size for file in files),
        license="Apache-2.0",
        description="A tiny model.",
        sources=(PACKAGE, HubSource("tests/tiny")),
        files=files,
    )
    monkeypatch.setattr(catalog, "_bundled", lambda: {entry.name: entry})
    return entry
