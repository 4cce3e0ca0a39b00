"""A tiny encoder, and studios that views listen to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.reading import ReadingRequest, read_text
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model


@pytest.fixture(scope="session")
def encoder(tiny_encoder: Path) -> Any:
    return load_model(LoadRequest(str(tiny_encoder), precision="float32"), JobContext())


@pytest.fixture
def make_studio(qtbot: Any, services: Any, encoder: Any) -> Iterator[Callable[..., AttentionStudio]]:
    """``make_studio(text=None)``: a studio, with a reading of the text by the tiny encoder."""
    made: list[AttentionStudio] = []

    def make(text: str | None = None) -> AttentionStudio:
        studio = AttentionStudio(services)
        made.append(studio)
        if text is not None:
            studio.set_reading(read_text(ReadingRequest(encoder, AttentionRequest(text)), JobContext()))
        return studio

    yield make
    for studio in made:
        studio.shutdown()
