"""Exactly the intended tensors change, bit for bit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmstudio_app.errors import UserError
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.checkpoints import checkpoint_folders
from lmstudio_app.training.layers import fixed_parameters, layer_groups, stacks
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.lora import target_modules
from lmstudio_app.training.plan import plan_training
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.session import make_optimizer
from lmstudio_app.training.strategies import STRATEGIES, find_strategy, train_only
from lmstudio_app.training.strategy_config import StrategyConfig
from tests.training.subjects import SUBJECTS, changed, load, losses, make, tensors, train_until


def groups(model: Any, *titles: str) -> set[str]:
    """Names of all parameters in the groups with these titles."""
    found = {group.title: set(group.names) for group in layer_groups(model)}
    return set().union(*(found.get(title, set()) for title in titles))


def intended(model: Any, strategy: dict[str, Any]) -> set[str]:
    """What is to change, said in other words than the code under test."""
    names = {name for name, _ in model.named_parameters()}
    head = {name for name in names if name.startswith(("classifier.", "score."))}
    match strategy["name"]:
        case "full":
            return names - {name for name in names if "embed_positions" in name and "model." in name}
        case "frozen_backbone":
            return head
        case "lora":
            return head | {f"{path}.weight" for path in target_modules(model, StrategyConfig(**strategy))}
        case "layer_by_layer":
            top = {name for name in names if any(part in name for part in ("pooler", "ln_f", "decoder.final_layer"))}
            return head | top | groups(model, "Layer 1", "Decoder layer 1")
    raise AssertionError


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("name", [strategy.name for strategy in STRATEGIES])
def test_exactly_the_intended_tensors_change(subject: str, name: str, tmp_path: Path) -> None:
    strategy = {"name": name} | ({"layers": 1, "unfreeze_every": 1} if name == "layer_by_layer" else {})
    recipe = make(subject, tmp_path, strategy)
    before = load(recipe)
    if name == "frozen_backbone" and subject in ("t5", "marian"):
        with pytest.raises(UserError, match="nothing to train"):
            train(TrainRequest(recipe, tmp_path / "run"), JobContext())
        return
    result = train(TrainRequest(recipe, tmp_path / "run"), JobContext())
    wanted = intended(before, strategy)
    assert len(wanted) >= 1
    assert changed(tensors(before), tensors(load(recipe, result.model_folder))) == wanted


@pytest.mark.parametrize("name", ["frozen_backbone", "lora"])
def test_a_pooler_that_came_without_weights_is_learned_as_the_head_is(name: str, tmp_path: Path) -> None:
    """A model pretrained on masked words has none; a random one that stays random would spoil what is learned."""
    recipe = make("bert", tmp_path, {"name": name})
    weights = Path(recipe.model) / "model.safetensors"
    kept = {key: tensor for key, tensor in load_file(weights).items() if not key.startswith("pooler.")}
    save_file(kept, weights, metadata={"format": "pt"})
    before = load(recipe)
    result = train(TrainRequest(recipe, tmp_path / "run"), JobContext())
    found = changed(tensors(before), tensors(load(recipe, result.model_folder)))
    new = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert found == intended(before, {"name": name}) | new
    planned = {p.title: p.trained for p in plan_training(recipe, JobContext()).groups}
    assert planned["Above the layers"] == 32 * 32 + 32
    if name == "lora":  # and the adapter brings it along
        import peft

        torch.manual_seed(5)
        plain = load(recipe)
        torch.nn.init.normal_(plain.bert.pooler.dense.weight)
        adapted = peft.PeftModel.from_pretrained(plain, tmp_path / "run" / "adapter").eval()
        ids = torch.tensor([[2, 9, 14, 3]])
        expected = load(recipe, result.model_folder).eval()(input_ids=ids).logits
        assert torch.allclose(adapted(input_ids=ids).logits, expected, atol=1e-5)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_one_more_layer_trains_in_every_stage(subject: str, tmp_path: Path) -> None:
    """Between two checkpoints of a step each, exactly the tensors of that step's stage differ."""
    strategy = {"name": "layer_by_layer", "unfreeze_every": 1}
    count = 8 if subject in ("t5", "marian") else 5
    recipe = make(subject, tmp_path, strategy, checkpoint_every=1, keep_checkpoints=20, epochs=count / 3)
    before = load(recipe)
    stages = find_strategy("layer_by_layer").stages(before, recipe.strategy)
    train(TrainRequest(recipe, tmp_path / "run"), JobContext())
    states = [tensors(before)]
    for folder in checkpoint_folders(tmp_path / "run" / "checkpoints"):
        states.append(tensors(load(recipe, folder)))
    assert len(states) > len(stages) >= 4
    for step, (old, new) in enumerate(itertools.pairwise(states)):
        assert changed(old, new) == stages[min(step, len(stages) - 1)], step
    assert stages[-1] == {name for name, _ in before.named_parameters()} - fixed_parameters(before)


def test_the_decoder_comes_before_the_encoder_and_the_embeddings_last(tmp_path: Path) -> None:
    model = load(make("t5", tmp_path))
    strategy = find_strategy("layer_by_layer")
    stages = strategy.stages(model, StrategyConfig(name="layer_by_layer"))
    begins = [new - old for old, new in zip([frozenset(), *stages], stages, strict=False)]
    assert begins == [
        groups(model, "Above the decoder layers"),
        groups(model, "Decoder layer 1"),
        groups(model, "Decoder layer 0"),
        groups(model, "Encoder layer 1", "Above the encoder layers"),
        groups(model, "Encoder layer 0"),
        {"shared.weight"},
    ]
    two = strategy.stages(model, StrategyConfig(name="layer_by_layer", layers=2))
    assert two == stages[:3]


def test_each_layer_learns_more_slowly_than_the_one_above(tmp_path: Path) -> None:
    recipe = make("bert", tmp_path)
    model = load(recipe)
    config = StrategyConfig(name="layer_by_layer", layer_decay=0.5)
    strategy = find_strategy("layer_by_layer")
    train_only(model, strategy.stages(model, config)[-1], strategy)
    rates = strategy.rates(model, config)
    names = {parameter: name for name, parameter in model.named_parameters()}
    found: dict[str, float] = {}
    for group in make_optimizer(model, recipe.training, rates).param_groups:
        found |= {names[parameter]: group["rate"] for parameter in group["params"]}
    expected = {"Task head": 1.0, "Above the layers": 1.0, "Layer 1": 0.5, "Layer 0": 0.25, "Embeddings": 0.125}
    assert found == {name: rate for title, rate in expected.items() for name in groups(model, title)}


def test_what_is_frozen_below_costs_no_backward_pass_and_drops_nothing(tmp_path: Path) -> None:
    model = load(make("bert", tmp_path))
    strategy = find_strategy("layer_by_layer")
    stages = strategy.stages(model, StrategyConfig(name="layer_by_layer"))
    (stack,) = stacks(model)
    needs: dict[int, bool] = {}
    for number, layer in enumerate(stack.layers):
        layer.register_forward_hook(lambda module, args, out, n=number: needs.update({n: out.requires_grad}))
    expected = [{0: False, 1: False}, {0: False, 1: True}, {0: True, 1: True}, {0: True, 1: True}]
    for names, needed in zip(stages, expected, strict=True):
        train_only(model, names, strategy)
        model(input_ids=torch.tensor([[2, 9, 3]]))
        assert needs == needed
        modes = {n: {module.training for module in layer.modules()} for n, layer in enumerate(stack.layers)}
        assert modes == {n: {value} for n, value in needed.items()}
        assert model.bert.embeddings.dropout.training == (names == stages[-1])
        assert model.dropout.training


def test_dropout_on_the_embeddings_of_a_decoder_begins_with_its_lowest_layer(tmp_path: Path) -> None:
    model = load(make("gpt2", tmp_path))
    strategy = find_strategy("layer_by_layer")
    modes = []
    for names in strategy.stages(model, StrategyConfig(name="layer_by_layer")):
        train_only(model, names, strategy)
        modes.append(model.transformer.drop.training)
    assert modes == [False, False, True, True]


@pytest.mark.parametrize("step", [2, 3, 4, 6])
def test_a_run_broken_off_at_a_stage_goes_on_to_the_same_bits(step: int, tmp_path: Path) -> None:
    """Stages begin after 3 and 6 steps; the moments of what begins to train begin there too."""
    recipe = make("bert", tmp_path, {"name": "layer_by_layer", "unfreeze_every": 3}, epochs=2)
    straight = train(TrainRequest(recipe, tmp_path / "straight"), JobContext())
    train_until(recipe, tmp_path / "broken", step)
    (folder,) = checkpoint_folders(tmp_path / "broken" / "checkpoints")[-1:]
    held = {name.split(".", 1)[1] for name in load_file(folder / "optimizer.safetensors")}
    stages = find_strategy("layer_by_layer").stages(load(recipe), recipe.strategy)
    assert held == stages[(step - 1) // 3]
    torch.manual_seed(999)
    resumed = train(TrainRequest(None, tmp_path / "broken", resume=True), JobContext())
    assert losses(tmp_path / "broken") == losses(tmp_path / "straight")
    first, second = (tensors(load(recipe, item.model_folder)) for item in (straight, resumed))
    assert changed(first, second) == set()


def test_a_frozen_backbone_keeps_its_dropout_off(tmp_path: Path) -> None:
    recipe = make("bert", tmp_path)
    for name, is_on in (("frozen_backbone", False), ("full", True)):
        model, strategy = load(recipe), find_strategy(name)
        count = train_only(model, strategy.stages(model, StrategyConfig(name=name))[0], strategy)
        part = model.num_parameters() if is_on else sum(p.numel() for p in model.classifier.parameters())
        assert count == part
        assert model.training
        assert {module.training for module in model.bert.modules()} == {is_on}


def test_a_model_without_a_head_of_its_own_is_refused(tiny_encoder: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(tiny_encoder)
    with pytest.raises(UserError, match="nothing to train"):
        find_strategy("frozen_backbone").stages(model, StrategyConfig(name="frozen_backbone"))


@pytest.mark.parametrize("name", ["frozen_backbone", "lora"])
def test_a_new_model_has_nothing_to_be_kept(name: str, tmp_path: Path) -> None:
    values = make("bert", tmp_path, {"name": name}).to_dict() | {"architecture": {"family": "bert"}}
    del values["model"]
    with pytest.raises(UserError, match="knows nothing yet"):
        Recipe.from_dict(values)
