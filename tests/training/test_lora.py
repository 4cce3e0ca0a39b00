"""Adapters: what they change, what is kept of them, and that others can load it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from safetensors.torch import load_file

from lmstudio_app.errors import UserError
from lmstudio_app.events import Evaluated, Event
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.adapters import ADAPTER_WEIGHTS
from lmstudio_app.models.card import read_card
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.training import lora
from lmstudio_app.training.checkpoints import checkpoint_folders
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.strategies import find_strategy
from lmstudio_app.training.strategy_config import StrategyConfig
from tests.training.subjects import LABELS, changed, load, losses, make, tensors, train_until
from tests.training.test_layers import CONFIGS, HEADS

LORA = {"name": "lora", "rank": 4, "alpha": 32.0}


def logits(model: Any, *, seed: int = 0) -> torch.Tensor:
    ids = torch.randint(3, 50, (2, 7), generator=torch.Generator().manual_seed(seed))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    with torch.inference_mode():
        out = model.eval()(**inputs)
    return out.start_logits if "start_logits" in out else out.logits


@pytest.mark.parametrize("subject", ["bert", "gpt2", "marian"])
def test_the_adapter_on_the_base_says_what_the_merged_model_says(subject: str, tmp_path: Path) -> None:
    import peft

    recipe = make(subject, tmp_path, LORA)
    result = train(TrainRequest(recipe, tmp_path / "run"), JobContext())
    merged = load(recipe, result.model_folder)
    torch.manual_seed(7)  # another head than the training began with: it must come from the adapter
    base = load_model(
        LoadRequest(recipe.model, head="seq2seq-lm", device="cpu")
        if subject == "marian"
        else LoadRequest(recipe.model, head="sequence-classification", device="cpu", labels=LABELS),
        JobContext(),
    ).model
    plain = logits(base)
    adapted = peft.PeftModel.from_pretrained(base, result.run_folder / "adapter")
    assert torch.allclose(logits(adapted), logits(merged), atol=1e-5)
    assert not torch.allclose(plain, logits(merged), atol=1e-3)
    settings = json.loads((result.run_folder / "adapter" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"]) == (4, 32.0)
    assert str(tmp_path) not in (result.run_folder / "adapter" / "adapter_config.json").read_text()


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("bert", "answers"), ("bert", "masked"), ("distilbert", "classification"), ("albert", "classification"),
        ("deberta", "classification"), ("gpt2", "causal"), ("llama", "causal"), ("qwen", "classification"),
        ("t5", "seq2seq"), ("bart", "seq2seq"), ("bart", "answers"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("target_modules", ["auto", "all-linear"])
def test_merging_gives_an_ordinary_model_and_leaves_the_running_one(
    family: str, head: str, target_modules: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = HEADS[head].from_config(CONFIGS[family])
    names = set(model.state_dict())
    before = logits(model)
    config = StrategyConfig(name="lora", rank=2, target_modules=target_modules)
    expected = sum(lora.target_modules(model, config).values())
    adapter = lora.adapt(model, config)
    assert torch.equal(logits(model), before)  # B begins as zeros
    (trained,) = find_strategy("lora").stages(model, config)
    assert trained == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name) == expected
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in trained:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted = logits(model)
    state = lora.merged_weights(model)
    assert set(state) == names
    model.save_pretrained(tmp_path / "merged", state_dict=dict(state))
    assert torch.allclose(logits(type(model).from_pretrained(tmp_path / "merged")), adapted, atol=1e-5)
    assert torch.equal(logits(model), adapted)
    assert not torch.allclose(adapted, before, atol=1e-3)
    lora.save_adapter(tmp_path, adapter)
    assert sum(tensor.nbytes for tensor in load_file(tmp_path / ADAPTER_WEIGHTS).values()) == lora.adapter_size(adapter)


def test_the_attention_alone_is_adapted_unless_more_is_asked_for(tmp_path: Path) -> None:
    model = load(make("bert", tmp_path))

    def names(text: str) -> set[str]:
        found = lora.target_modules(model, StrategyConfig(name="lora", target_modules=text))
        return {path.partition("layer.0.")[2] for path in found if "layer.0." in path}

    attention = {f"attention.{part}" for part in ("self.query", "self.key", "self.value", "output.dense")}
    assert names("auto") == attention
    assert names("all-linear") == attention | {"intermediate.dense", "output.dense"}
    assert names("query, value") == {"attention.self.query", "attention.self.value"}
    with pytest.raises(UserError, match="q_proj") as caught:
        names("q_proj")
    assert "dense, key, query, value" in caught.value.remedy


def test_checkpoints_hold_what_trains_and_nothing_else(tmp_path: Path) -> None:
    recipe = make("bert", tmp_path, LORA)
    train(TrainRequest(recipe, tmp_path / "run"), JobContext())
    (folder,) = checkpoint_folders(tmp_path / "run" / "checkpoints")
    assert {path.name for path in folder.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "config.json", "manifest.json", "optimizer.safetensors",
        "rng.safetensors", "trainer.json",
    }  # fmt: skip
    kept = load_file(folder / "adapter_model.safetensors")
    assert {name.rpartition("model.")[2] for name in kept if "layer." not in name} == {
        "classifier.bias", "classifier.weight",
    }  # fmt: skip
    assert all("lora_" in name for name in kept if "layer." in name)
    moments = load_file(folder / "optimizer.safetensors")
    assert len([name for name in moments if name.startswith("exp_avg.")]) == len(kept)
    whole = sum(tensor.nbytes for tensor in tensors(load(recipe)).values())
    assert sum(tensor.nbytes for tensor in kept.values()) < whole / 10


@pytest.mark.parametrize("step", [2, 4, 5])
def test_a_broken_run_goes_on_to_the_same_bits(step: int, tmp_path: Path) -> None:
    recipe = make("bert", tmp_path, LORA, epochs=2)
    straight = train(TrainRequest(recipe, tmp_path / "straight"), JobContext())
    train_until(recipe, tmp_path / "broken", step)
    torch.manual_seed(999)
    resumed = train(TrainRequest(None, tmp_path / "broken", resume=True), JobContext())
    assert losses(tmp_path / "broken") == losses(tmp_path / "straight")
    first, second = (tensors(load(recipe, item.model_folder)) for item in (straight, resumed))
    assert changed(first, second) == set()


def test_the_best_adapter_is_kept(tmp_path: Path) -> None:
    """A rate that destroys the model later on: the best evaluation is not the last."""
    recipe = make("bert", tmp_path, LORA, epochs=5, keep_best=True, keep_checkpoints=1, schedule="constant")
    events: list[Event] = []
    result = train(TrainRequest(recipe, tmp_path / "run"), JobContext(events.append))
    found = {event.step: event for event in events if isinstance(event, Evaluated)}
    best = max(found, key=lambda step: (found[step].metrics["accuracy"], -step))
    assert best < 20
    names = [folder.name for folder in checkpoint_folders(tmp_path / "run" / "checkpoints")]
    assert names == sorted({f"step-{step:08}" for step in (best, 20)})
    assert result.metrics == found[best].metrics
    kept = load_file(tmp_path / "run" / "checkpoints" / f"step-{best:08}" / "adapter_model.safetensors")
    final = load_file(result.run_folder / "adapter" / "adapter_model.safetensors")
    assert kept.keys() == final.keys()
    assert all(torch.equal(kept[name], final[name]) for name in kept)


def test_another_rank_is_no_damage_but_does_not_fit(tmp_path: Path) -> None:
    recipe = make("bert", tmp_path, LORA)
    train_until(recipe, tmp_path / "run", 2)
    path = tmp_path / "run" / "recipe.yaml"
    path.write_text(path.read_text().replace("rank: 4", "rank: 2"))
    with pytest.raises(UserError, match="does not fit this run's recipe"):
        train(TrainRequest(None, tmp_path / "run", resume=True), JobContext())


def test_the_head_of_a_language_model_is_left_alone() -> None:
    with torch.device("meta"):
        assert lora.trained_heads(HEADS["masked"].from_config(CONFIGS["bert"])) == ()
        assert lora.trained_heads(t.LlamaForCausalLM(CONFIGS["llama"])) == ()
        assert lora.trained_heads(HEADS["answers"].from_config(CONFIGS["llama"])) == ("qa_outputs",)


@pytest.mark.parametrize("subject", ["bert", "marian"])
def test_a_model_that_is_not_merged_needs_its_base_and_says_the_same(subject: str, tmp_path: Path) -> None:
    merged = train(TrainRequest(make(subject, tmp_path, LORA), tmp_path / "merged"), JobContext())
    recipe = make(subject, tmp_path, LORA | {"merge": False})
    result = train(TrainRequest(recipe, tmp_path / "run"), JobContext())
    names = {path.name for path in result.model_folder.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "config.json", "README.md"} <= names
    assert "model.safetensors" not in names
    card, whole = read_card(result.model_folder), read_card(merged.model_folder)
    assert (card.head, card.labels, card.architecture) == (whole.head, whole.labels, whole.architecture)
    events: list[Event] = []
    loaded = load_model(LoadRequest(str(result.model_folder), device="cpu"), JobContext(events.append))
    assert type(loaded.model).__name__ == card.architecture
    assert not any("knows nothing" in getattr(event, "message", "") for event in events)
    assert torch.allclose(logits(loaded.model), logits(load(recipe, merged.model_folder)), atol=1e-5)
    if subject == "bert":
        with pytest.raises(UserError, match="one task and its labels"):
            load_model(LoadRequest(str(result.model_folder), head="masked-lm", device="cpu"), JobContext())
    Path(recipe.model).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="does not exist"):
        read_card(result.model_folder)
