"""What cannot be trained is told in one sentence with a way out, before anything is lost by it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmstudio_app.errors import UserError
from lmstudio_app.events import Failed
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.checkpoints import checkpoint_folders, find_damage
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import read_events
from tests.conftest import build_tiny_bert, build_tiny_tokenizer
from tests.tiny_seq2seq import build_t5
from tests.training.conftest import write_reviews
from tests.training.subjects import losses, train_until
from tests.training.test_families import build

MakeRecipe = Callable[..., Recipe]


def refusal(recipe: Recipe, folder: Path, *, resume: bool = False) -> UserError:
    """Train, and return why that was not possible; the run's events tell the same."""
    with pytest.raises(UserError) as caught:
        train(TrainRequest(None if resume else recipe, folder, resume=resume), JobContext())
    *_, last = read_events(folder)
    assert isinstance(last, Failed)
    assert last.message == caught.value.message
    assert caught.value.remedy
    return caught.value


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    made = {name: build(name, folder / name) for name in ("gpt2", "roberta")}
    return {**made, "t5": build_t5(folder / "t5"), "bert": build_tiny_bert(folder / "bert")}


@pytest.mark.parametrize(
    ("task", "model", "words"),
    [
        ("masked_lm", "gpt2", "needs an encoder, which reads in both directions, such as BERT; gpt2 (gpt2) is none"),
        ("masked_lm", "t5", "needs an encoder, which reads in both directions"),
        ("bert_pretraining", "roberta", "also judges pairs of sentences"),
        ("causal_lm", "bert", "needs a decoder, which writes from left to right"),
        ("causal_lm", "t5", "needs a decoder"),
        ("chat", "roberta", "needs a decoder"),
        ("translation", "gpt2", "needs an encoder-decoder, which reads one text and writes another"),
        ("summarization", "bert", "needs an encoder-decoder"),
    ],
)
def test_a_model_of_another_kind_is_refused_before_the_data_is_read(
    models: dict[str, Path], task: str, model: str, words: str, tmp_path: Path
) -> None:
    values = {"task": task, "model": str(models[model]), "data": {"train": "nowhere.txt"}}
    found = refusal(Recipe.from_dict({**values, "training": {"device": "cpu"}}), tmp_path / "run")
    assert words in found.message
    assert "Choose such a model" in found.remedy


def test_chats_that_are_all_too_long_say_that_they_are(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "good film " * 40}, {"role": "assistant", "content": "nice"}]
    data = tmp_path / "chats.jsonl"
    data.write_text("".join(json.dumps({"messages": chat, "n": n}) + "\n" for n in range(8)), encoding="utf-8")
    shape = {"family": "gpt2", "layers": 1, "heads": 1, "hidden_size": 8, "tokenizer": {"vocabulary": 300}}
    values = {"task": "chat", "architecture": shape, "data": {"train": str(data), "eval": str(data)}}
    found = refusal(Recipe.from_dict({**values, "training": {"max_length": 4, "device": "cpu"}}), tmp_path / "run")
    assert found.message.startswith("Of 8 rows none can be used: ")
    assert "training.max_length" in found.message


def test_a_run_goes_on_only_with_the_classes_that_it_began_with(
    make_recipe: MakeRecipe, reviews: dict[str, Path], tmp_path: Path
) -> None:
    recipe = make_recipe(checkpoint_every=1)
    train_until(recipe, tmp_path / "run", 2)
    text = reviews["train"].read_text(encoding="utf-8")
    reviews["train"].write_text(text + json.dumps({"text": "neither", "label": 2}) + "\n", encoding="utf-8")
    found = refusal(recipe, tmp_path / "run", resume=True)
    assert "size mismatch for classifier." in found.message
    reviews["train"].write_text(text, encoding="utf-8")
    train(TrainRequest(None, tmp_path / "run", resume=True), JobContext())
    whole = train(TrainRequest(recipe, tmp_path / "whole"), JobContext())
    assert losses(tmp_path / "run") == losses(whole.run_folder)


def test_weights_that_are_no_numbers_never_become_a_checkpoint(tmp_path: Path) -> None:
    """The loss is looked at when it is logged, and checkpoints are written in between."""
    model = build_tiny_bert(tmp_path / "bert")
    weights = load_file(model / "model.safetensors")
    word = build_tiny_tokenizer().convert_tokens_to_ids("never")
    weights["embeddings.word_embeddings.weight"][word] = 3e38  # a number, until it is added up
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    data = {name: write_reviews(tmp_path / f"{name}.jsonl", 64, seed) for name, seed in (("train", 1), ("eval", 2))}
    with data["train"].open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "never", "label": 1}) + "\n")
    training = {"epochs": 1, "batch_size": 4, "log_every": 100, "checkpoint_every": 1, "keep_checkpoints": 1,
                "keep_best": False, "evaluate_every": 100, "group_by_length": False, "device": "cpu"}  # fmt: skip
    values = {"task": "sentiment", "model": str(model), "data": {name: str(path) for name, path in data.items()}}
    found = refusal(Recipe.from_dict({**values, "training": training}), tmp_path / "run")
    assert "The weights are no longer numbers after step" in found.message
    [kept] = checkpoint_folders(tmp_path / "run" / "checkpoints")
    assert kept.name == f"step-{found.parameters['step'] - 1:08}"
    assert not find_damage(kept)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in load_file(kept / "model.safetensors").values())


_FIRST_WORD = """
import os, sys
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe

def listen(event):
    print(event.message, "torch" in sys.modules, flush=True)
    os._exit(0)

recipe = Recipe.from_dict({"task": "sentiment", "model": sys.argv[1], "data": {"train": "uci-imdb"}})
train(TrainRequest(recipe, None), JobContext(listen))
"""


def test_the_first_word_does_not_wait_for_torch(models: dict[str, Path]) -> None:
    command = [sys.executable, "-c", _FIRST_WORD, str(models["bert"])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "Loading the libraries False"
