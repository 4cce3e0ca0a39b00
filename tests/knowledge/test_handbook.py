"""The handbook as a knowledge base, built when it is first needed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lmstudio_app.assets import resource
from lmstudio_app.events import Progress
from lmstudio_app.jobs import JobContext
from lmstudio_app.knowledge import handbook
from lmstudio_app.knowledge.building import BuildRequest, build_knowledge_base
from lmstudio_app.knowledge.encoder import Encoder
from lmstudio_app.knowledge.handbook import ensure_handbook, handbook_folder
from lmstudio_app.knowledge.search import KnowledgeBase
from tests.knowledge.conftest import Listener


@pytest.fixture
def short_handbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another installation, with one chapter of the handbook, cut short: the whole takes the tests too long."""
    folder = tmp_path / "installed"
    folder.mkdir()
    text = (resource("handbook", "en") / "01-tokens.md").read_text(encoding="utf-8")
    (folder / "01-tokens.md").write_text(text[:3000], encoding="utf-8")
    monkeypatch.setattr(handbook, "resource", lambda *parts: folder)
    return folder


def test_built_once_and_again_only_when_something_is_amiss(
    app_home: Path, folder: Path, short_handbook: Path, encoder: Encoder, ctx: Listener
) -> None:
    build_knowledge_base(BuildRequest(handbook_folder(), (folder,)), JobContext(), encoder)  # as if it had been there
    found = ensure_handbook(ctx, encoder)
    assert found == handbook_folder()
    assert app_home in found.parents
    with KnowledgeBase(found, encoder) as base:
        assert [file.path for file in base.files()] == [str(short_handbook / "01-tokens.md")]
        assert any(item.heading == "Text and tokens › What a token is" for item in base.search("token", JobContext()))
    again = Listener()
    assert ensure_handbook(again) == found  # without an encoder
    assert not any(isinstance(event, Progress) for event in again.events)
    shutil.copy(folder / "moon.txt", short_handbook / "02-moon.md")
    ensure_handbook(again, encoder)
    assert any(isinstance(event, Progress) for event in again.events)


def test_the_handbook_is_there() -> None:
    assert len(list(resource("handbook", "en").glob("*.md"))) > 10
