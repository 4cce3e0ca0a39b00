"""A device that finds no memory above so many rows: the training goes on in smaller parts, to the same result."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from lmstudio_app.errors import UserError
from lmstudio_app.events import Evaluated, Event, Status, StepLogged
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.checkpoints import checkpoint_folders
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import summarize_run
from tests.training.subjects import make, train_until


def without_dropout(subject: str, folder: Path, **options: Any) -> Recipe:
    # exact arithmetic, and steps so small that AdamW does not make much of a rounding error
    recipe = make(subject, folder, **{"precision": "float32", "learning_rate": 1e-4} | options)
    path = Path(recipe.model) / "config.json"
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} if subject == "bert" else {}
    path.write_text(json.dumps(json.loads(path.read_text()) | rates))
    return recipe


@contextmanager
def room_for(rows: int, *, evaluation: int = 10_000) -> Iterator[list[int]]:
    """Within, any model that is given more rows at once finds no memory; yields the sizes that were tried."""
    tried: list[int] = []

    def refuse(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Embedding) and isinstance(arguments[0], torch.Tensor) and arguments[0].dim() == 2:
            count, most = len(arguments[0]), rows if torch.is_grad_enabled() else evaluation
            tried.append(count)
            if count > most:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {count} rows.")

    handle = register_module_forward_pre_hook(refuse)
    try:
        yield tried
    finally:
        handle.remove()


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepLogged)]


def norms(events: list[Event]) -> list[float]:
    return [event.grad_norm for event in events if isinstance(event, StepLogged)]


def warnings(events: list[Event]) -> list[str]:
    """Those about memory."""
    found = [event.message for event in events if isinstance(event, Status) and event.warning]
    return [message for message in found if "memory" in message]


def run(recipe: Recipe, folder: Path) -> list[Event]:
    events: list[Event] = []
    train(TrainRequest(recipe, folder), JobContext(events.append))
    return events


@pytest.mark.parametrize(("rows", "parts", "accumulation"), [(4, 2, 1), (3, 4, 2), (1, 8, 1)])
def test_a_step_that_does_not_fit_is_done_in_parts_with_the_same_result(
    rows: int, parts: int, accumulation: int, tmp_path: Path
) -> None:
    recipe = without_dropout("bert", tmp_path, gradient_accumulation=accumulation, batch_size=8)
    whole = run(recipe, tmp_path / "whole")
    with room_for(rows):
        halved = run(recipe, tmp_path / "halved")
    assert losses(halved) == pytest.approx(losses(whole), abs=1e-6)
    assert norms(halved) == pytest.approx(norms(whole), rel=1e-4)
    assert f"{parts} parts" in warnings(halved)[-1]
    assert len(warnings(halved)) == parts.bit_length() - 1  # said each time it is halved, and never again


def test_the_loss_of_a_seq2seq_model_is_weighted_by_its_tokens(tmp_path: Path) -> None:
    """The parts of a batch hold different numbers of target tokens."""
    recipe = without_dropout("marian", tmp_path)
    whole = run(recipe, tmp_path / "whole")
    with room_for(3):
        halved = run(recipe, tmp_path / "halved")
    assert len(warnings(halved)) == 2
    assert losses(halved) == pytest.approx(losses(whole), abs=2e-6)


def test_a_resumed_run_remembers_what_fits(tmp_path: Path) -> None:
    recipe = without_dropout("bert", tmp_path)
    with room_for(2):
        train_until(recipe, tmp_path / "run", 2)
    state = json.loads((checkpoint_folders(tmp_path / "run" / "checkpoints")[-1] / "trainer.json").read_text())
    assert state["position"]["parts"] == 4
    events: list[Event] = []
    with room_for(2) as tried:
        train(TrainRequest(None, tmp_path / "run", resume=True), JobContext(events.append))
    assert warnings(events) == []
    assert tried[0] == 2
    whole = losses(run(recipe, tmp_path / "whole"))
    assert losses(events) == pytest.approx(whole[2:], abs=1e-6)


def test_stopping_is_told_in_a_sentence(tmp_path: Path) -> None:
    recipe = without_dropout("bert", tmp_path, on_out_of_memory="stop")
    with room_for(4), pytest.raises(UserError, match="not enough for 8 rows at once") as caught:
        run(recipe, tmp_path / "run")
    assert "gradient_accumulation" in caught.value.remedy
    assert summarize_run(tmp_path / "run").state == "failed"


def test_a_single_row_that_does_not_fit_is_told_in_a_sentence(tmp_path: Path) -> None:
    recipe = without_dropout("bert", tmp_path)
    with room_for(0), pytest.raises(UserError, match="not enough for a single row") as caught:
        run(recipe, tmp_path / "run")
    assert "max_length" in caught.value.remedy


def test_another_error_is_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    def break_it(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Embedding):
            raise RuntimeError("a shape is wrong")

    handle = register_module_forward_pre_hook(break_it)
    try:
        with pytest.raises(RuntimeError, match="a shape is wrong"):
            run(without_dropout("bert", tmp_path), tmp_path / "run")
    finally:
        handle.remove()


def test_an_evaluation_that_does_not_fit_is_done_in_parts(tmp_path: Path) -> None:
    recipe = without_dropout("bert", tmp_path)
    whole = run(recipe, tmp_path / "whole")
    with room_for(8, evaluation=10) as tried:
        halved = run(recipe, tmp_path / "halved")
    assert "evaluate 32 rows" in warnings(halved)[0]
    assert "evaluate 16 rows" in warnings(halved)[1]
    assert tried[-1] <= 8
    first, second = ([e.metrics for e in events if isinstance(e, Evaluated)] for events in (whole, halved))
    assert second[0] == pytest.approx(first[0], abs=1e-6)
    stop = without_dropout("bert", tmp_path, on_out_of_memory="stop")
    with room_for(8, evaluation=10), pytest.raises(UserError, match="evaluate 32 rows at once"):
        run(stop, tmp_path / "stop")


def test_what_a_failed_step_held_is_let_go_before_it_is_tried_again(tmp_path: Path) -> None:
    """Its activations would else take the room that the smaller batch needs."""
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def refuse(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if not torch.is_grad_enabled():
            return
        if isinstance(module, nn.Embedding) and held:
            alive.append(held[0]() is not None)
        if type(module).__name__ == "BertPooler" and len(arguments[0]) > 4:
            held.append(weakref.ref(arguments[0]))
            raise torch.OutOfMemoryError("CUDA out of memory.")

    recipe = without_dropout("bert", tmp_path, epochs=0.25)
    gc.collect()
    gc.disable()  # without the collector's help
    handle = register_module_forward_pre_hook(refuse)
    try:
        events = run(recipe, tmp_path / "run")
    finally:
        handle.remove()
        gc.enable()
    assert len(warnings(events)) == len(held) == 1
    assert set(alive) == {False}
