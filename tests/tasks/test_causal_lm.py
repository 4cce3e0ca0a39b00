"""Causal language modelling: blocks of one stream, new GPT-2 and Llama models, and the next token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.architectures import ArchitectureConfig, TokenizerConfig, create_model
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.models.tokenizers import train_tokenizer
from lmstudio_app.tasks.causal_lm import collate, encode
from lmstudio_app.tasks.labelled_loss import count_targets, labelled_loss
from lmstudio_app.tasks.next_token import NEXT_TOKEN, NextTokenOptions
from lmstudio_app.tasks.task import IGNORED, Setup
from tests.tasks.pretraining import SENTENCES, interrupt, recipe, resume, run, write_documents

TEXTS = ["the ship is near the harbour", "the fox is near the stream", "the tram is near the market"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(TokenizerConfig(vocabulary=100), TEXTS * 3, JobContext(), family="gpt2", max_length=32)


def test_documents_become_one_stream_of_blocks(tokenizer: Any) -> None:
    rows = {"text": [*TEXTS, "the ship"], "document": [0, 0, 1, 2]}
    found = encode(rows, Setup(tokenizer, (), 16))
    assert {len(block) for block in found["input_ids"][:-1]} == {16}
    assert 2 <= len(found["input_ids"][-1]) <= 16
    stream = [token for block in found["input_ids"] for token in block]
    text = tokenizer.decode(stream)
    assert text == f"<s> {TEXTS[0]}\n{TEXTS[1]}</s><s> {TEXTS[2]}</s><s> the ship</s>"
    assert found["row"] == sorted(found["row"])
    assert set(found["row"]) <= {0, 2, 3}


def test_the_loss_is_the_models_own_and_counts_its_targets(tokenizer: Any) -> None:
    found = encode({"text": TEXTS, "document": [0, 1, 2]}, Setup(tokenizer, (), 12))
    features = [{"input_ids": block} for block in found["input_ids"]]
    batch = collate(features, Setup(tokenizer, (), 12), None)  # type: ignore[arg-type]
    assert count_targets(batch) == sum(len(block) - 1 for block in found["input_ids"])
    assert ((batch["labels"] == IGNORED) == (batch["attention_mask"] == 0)).all()
    for family in ("gpt2", "llama"):
        config = ArchitectureConfig(family=family, layers=1, heads=2, hidden_size=16, max_length=32)
        model = create_model(config, "causal-lm", tokenizer)
        with torch.inference_mode():
            assert labelled_loss(model, batch).item() == pytest.approx(model(**batch).loss.item(), abs=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_new_model_learns_what_comes_next(family: str, tmp_path: Path) -> None:
    data = write_documents(tmp_path / "text.txt", 60, 2)
    wanted = recipe("causal_lm", data, family, epochs=5, learning_rate=1e-2, dropout=0.0, evaluate_every=40)
    result, _, evaluations = run(wanted, tmp_path / "run")
    last = evaluations[-1]
    assert last["loss"] < 1.0
    assert last["perplexity"] == pytest.approx(math.exp(last["loss"]))
    assert last["accuracy"] > 0.7
    loaded = load_model(LoadRequest(str(result.model_folder), device="cpu"), JobContext())
    assert loaded.head == "causal-lm"

    def ask(*texts: str, **options: Any) -> list[Any]:
        found = NEXT_TOKEN.predict(loaded, [{"text": t} for t in texts], JobContext(), NextTokenOptions(**options))
        return list(found)

    begin = "A small fox follows that"
    near, empty, long = ask(begin, "", f"{SENTENCES[0]} " * 30 + begin, top_k=3)
    first = loaded.tokenizer.convert_ids_to_tokens(loaded.tokenizer(f"{begin} narrow")["input_ids"])
    wanted_piece = first[len(loaded.tokenizer(begin)["input_ids"])].replace("▁", " ")
    assert near.places[0][0].token == long.places[0][0].token == wanted_piece
    assert near.text == f"{begin}{wanted_piece}"
    assert empty.places[0][0].probability > 0
    flat, sharp = (ask(begin, temperature=t, top_k=1)[0].places[0][0].probability for t in (5.0, 0.2))
    assert flat < near.places[0][0].probability <= sharp
    (whole,) = ask("The ship", top_k=1000)
    assert sum(candidate.probability for candidate in whole.places[0]) == pytest.approx(1, abs=1e-4)
    (alone,) = ask(begin, top_k=3)
    assert [c.probability for c in alone.places[0]] == pytest.approx([c.probability for c in near.places[0]], abs=1e-5)


def test_a_run_that_goes_on_has_the_same_losses(tmp_path: Path) -> None:
    wanted = recipe("causal_lm", write_documents(tmp_path / "text.txt"), "gpt2", tokenizer={"kind": "unigram"})
    _, whole, _ = run(wanted, tmp_path / "whole")
    assert interrupt(wanted, tmp_path / "parts", 3) + resume(tmp_path / "parts") == whole


def test_an_encoder_is_not_asked_for_the_next_token(tiny_encoder: Path) -> None:
    loaded = load_model(LoadRequest(str(tiny_encoder), device="cpu"), JobContext())
    with pytest.raises(UserError, match="does not write from left to right"):
        list(NEXT_TOKEN.predict(loaded, [{"text": "a"}], JobContext(), NextTokenOptions()))
