"""Weights that are used twice, and those that are not saved, come back from a checkpoint bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lmstudio_app.errors import UserError
from lmstudio_app.training.checkpoints import Position, load_checkpoint, load_weights, save_checkpoint
from lmstudio_app.training.recipe import TrainingConfig
from lmstudio_app.training.session import make_optimizer
from lmstudio_app.training.strategies import find_strategy, train_only
from lmstudio_app.training.strategy_config import StrategyConfig
from tests.conftest import build_tiny_tokenizer
from tests.training.test_layers import CONFIGS, HEADS

MODELS = [
    ("bert", "masked"), ("roberta", "masked"), ("albert", "masked"), ("electra", "masked"), ("distilbert", "masked"),
    ("deberta", "masked"), ("gpt2", "causal"), ("llama", "causal"), ("qwen", "causal"), ("t5", "seq2seq"),
    ("t5", "answers"), ("bart", "seq2seq"), ("marian", "seq2seq"),
]  # fmt: skip


def make(family: str, head: str, seed: int) -> Any:
    torch.manual_seed(seed)
    return HEADS[head].from_config(CONFIGS[family])


def step(model: Any, optimizer: torch.optim.Optimizer) -> None:
    model.eval()  # no dropout: the same step twice
    ids = torch.tensor([[4, 9, 7, 2]])
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})
    out = model(**inputs)
    (out.start_logits if "start_logits" in out else out.logits).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def prepared(family: str, head: str, seed: int) -> tuple[Any, torch.optim.AdamW]:
    model, strategy = make(family, head, seed), find_strategy("full")
    train_only(model, strategy.stages(model, StrategyConfig())[0], strategy)
    return model, make_optimizer(model, TrainingConfig())


def shared(model: Any) -> set[frozenset[str]]:
    """Which names stand for the same memory."""
    names: dict[int, set[str]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        names.setdefault(tensor.data_ptr(), set()).add(name)
    return {frozenset(found) for found in names.values() if len(found) > 1}


def equal(first: Any, second: Any) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("family", "head"), MODELS)
def test_a_checkpoint_restores_every_bit_and_every_tie(family: str, head: str, tmp_path: Path) -> None:
    model, optimizer = prepared(family, head, 1)
    ties = shared(model)
    assert ties or family in ("llama", "qwen")
    step(model, optimizer)
    folder = save_checkpoint(tmp_path, Position(step=1), model, build_tiny_tokenizer(), optimizer, keep=1)
    stored = load_file(folder / "model.safetensors")
    assert all(len(names & stored.keys()) == 1 for names in ties)  # each stored once

    other, other_optimizer = prepared(family, head, 2)
    assert not equal(model, other)
    load_checkpoint(folder, other, other_optimizer)
    assert equal(model, other)
    assert shared(other) == ties
    step(model, optimizer)
    step(other, other_optimizer)
    assert equal(model, other)

    third = make(family, head, 3)
    load_weights(folder, third)
    assert shared(third) == ties
    loaded = type(model).from_pretrained(folder)  # as anybody would
    assert equal(third, loaded)
    assert shared(loaded) == ties


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    model, optimizer = prepared("bert", "masked", 1)
    folder = save_checkpoint(tmp_path, Position(step=1), model, build_tiny_tokenizer(), optimizer, keep=1)
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(folder, make("bert", "answers", 1))
    (folder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights(folder, model)
