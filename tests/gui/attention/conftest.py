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


@pytest.fixture(scope="session")
def decoder(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny Llama that writes, with the encoder's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=128, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        initializer_range=0.3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("models") / "tiny-decoder"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(LoadRequest(str(folder), device="cpu", precision="float32"), JobContext())


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


@pytest.fixture
def show_view(qtbot: Any) -> Iterator[Callable[..., Any]]:
    """``show_view(view, width, height)``: the view of a studio on the screen; it is shut down afterwards."""
    shown: list[Any] = []

    def show(view: Any, width: int, height: int) -> Any:
        qtbot.addWidget(view)
        shown.append(view)
        view.resize(width, height)
        view.show()
        qtbot.waitExposed(view)
        return view

    yield show
    for view in shown:
        view.shutdown()
