"""A sentence is watched while a model learns: what is recorded, and that the training does not notice."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmstudio_app.errors import UserError
from lmstudio_app.events import AttentionProbed, Event, Status, StepLogged
from lmstudio_app.inspection.attention import AttentionRequest, read_attention
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.training.frames import (
    FrameFile,
    frame_path,
    join_frames,
    load_frame,
    mean_entropy,
    read_frames,
    write_frame,
)
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.probe_config import ProbeConfig
from lmstudio_app.training.probing import interval
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import read_events
from tests.training.subjects import losses, make, train_until

MakeRecipe = Callable[..., Recipe]
TEXT = "the film was great and very boring"


def watched(recipe: Recipe, **probe: Any) -> Recipe:
    return dataclasses.replace(recipe, probe=ProbeConfig(**{"text": TEXT, "every": 3} | probe))


def steps_of(folder: Path) -> list[int]:
    return [frame.step for frame in read_frames(folder)]


def weights_of(folder: Path) -> dict[str, bytes]:
    """The trained model, to the last bit."""
    return {path.name: path.read_bytes() for path in (folder / "final").glob("*.safetensors")}


def run(recipe: Recipe, folder: Path) -> list[Event]:
    events: list[Event] = []
    train(TrainRequest(recipe, folder), JobContext(events.append))
    return events


# --- what is recorded


def test_frames_are_the_attention_of_the_model_at_that_step(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    events = run(watched(make_recipe(epochs=1, keep_best=False)), tmp_path / "run")
    assert steps_of(tmp_path / "run") == [0, 3, 6, 9, 12]
    told = [event for event in events if isinstance(event, AttentionProbed)]
    assert [(e.step, Path(e.file)) for e in told] == [(f.step, f.path) for f in read_frames(tmp_path / "run")]
    assert [e for e in read_events(tmp_path / "run") if isinstance(e, AttentionProbed)] == told

    frame = load_frame(read_frames(tmp_path / "run")[-1])
    loaded = load_model(LoadRequest(str(tmp_path / "run" / "final"), device="cpu", precision="float32"), JobContext())
    maps = read_attention(loaded, AttentionRequest(TEXT), JobContext())
    assert (frame.step, frame.kind, frame.layers, frame.heads) == (12, "encoder", maps.layers, tuple(range(maps.heads)))
    assert (frame.keys.tokens, frame.keys.labels) == (maps.keys.tokens, maps.keys.labels)
    assert (frame.keys.special, frame.keys.words) == (maps.keys.special, maps.keys.words)
    np.testing.assert_allclose(frame.weights, maps.weights, atol=5e-4)  # kept in float16
    first = load_frame(read_frames(tmp_path / "run")[0])
    assert np.abs(first.weights - frame.weights).max() > 1e-2  # it has learned


def test_chosen_layers_and_heads_and_a_pair(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run(watched(make_recipe(epochs=1), layers="1", heads="1", pair="a story", every=100), tmp_path / "run")
    files = read_frames(tmp_path / "run")
    assert [file.step for file in files] == [0, 12]  # the first and the last always
    frame = load_frame(files[0])
    assert (frame.layers, frame.heads) == ((1,), (1,))
    assert frame.weights.shape == (1, 1, len(frame.queries), len(frame.keys))
    assert 1 in frame.keys.segments
    np.testing.assert_allclose(frame.weights.sum(-1), 1, atol=2e-3)


@pytest.mark.parametrize(("field", "value"), [("layers", "7"), ("heads", "0,9")])
def test_what_is_not_there_is_told_before_a_step(
    make_recipe: MakeRecipe, tmp_path: Path, field: str, value: str
) -> None:
    recipe = watched(make_recipe(epochs=1), **{field: value})
    with pytest.raises(UserError, match=rf"There is no {field[:-1]} {value[-1]} to record"):
        run(recipe, tmp_path / "run")
    assert losses(tmp_path / "run") == {}


def test_a_section_that_says_nothing_is_not_written(make_recipe: MakeRecipe) -> None:
    recipe = make_recipe()
    assert "probe" not in recipe.to_dict()
    assert watched(recipe).to_dict()["probe"]["text"] == TEXT
    assert Recipe.from_dict(watched(recipe).to_dict()) == watched(recipe)
    with pytest.raises(UserError, match=r"probe\.layers cannot be read"):
        watched(recipe, layers="one")
    with pytest.raises(UserError, match="no first one"):
        ProbeConfig(target="x")


def test_the_finished_model_does_not_tell_the_sentence(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run(watched(make_recipe(epochs=1), text="a very private sentence"), tmp_path / "run")
    for path in (tmp_path / "run" / "final").rglob("*"):
        assert path.is_dir() or b"very private" not in path.read_bytes(), path


# --- the training does not notice


@pytest.mark.parametrize(
    ("strategy", "training"),
    [
        ({"name": "full"}, {}),
        ({"name": "full"}, {"gradient_accumulation": 2, "precision": "bf16"}),
        ({"name": "frozen_backbone"}, {}),
        ({"name": "layer_by_layer", "unfreeze_every": 1}, {}),
        ({"name": "lora", "dropout": 0.3}, {}),
    ],
    ids=["full", "accumulated-bf16", "frozen", "layer-by-layer", "lora"],
)
def test_losses_and_weights_are_the_same_to_the_last_bit(
    tmp_path: Path, strategy: dict[str, Any], training: dict[str, Any]
) -> None:
    plain = make("bert", tmp_path / "data", strategy, epochs=2, **training)
    run(plain, tmp_path / "plain")
    run(watched(plain, every=1), tmp_path / "watched")
    assert len(steps_of(tmp_path / "watched")) > 3
    assert losses(tmp_path / "watched") == losses(tmp_path / "plain")
    assert weights_of(tmp_path / "watched") == weights_of(tmp_path / "plain")


@pytest.mark.parametrize("subject", ["gpt2", "t5", "marian"])
def test_other_families_do_not_notice_either(tmp_path: Path, subject: str) -> None:
    plain = make(subject, tmp_path / "data")
    run(plain, tmp_path / "plain")
    events = run(watched(plain, every=1), tmp_path / "watched")
    assert not [e.message for e in events if isinstance(e, Status) and "not recorded" in e.message]
    frame = load_frame(read_frames(tmp_path / "watched")[0])
    assert frame.kind == ("decoder" if subject == "gpt2" else "encoder")
    assert losses(tmp_path / "watched") == losses(tmp_path / "plain")
    assert weights_of(tmp_path / "watched") == weights_of(tmp_path / "plain")


def test_modes_implementation_and_generators_stay(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """Looked at from outside, at each step: nothing is left switched."""
    from lmstudio_app.training.checkpoints import Position
    from lmstudio_app.training.probing import Probe
    from lmstudio_app.training.processes import Processes
    from lmstudio_app.training.session import prepare_session

    session = prepare_session(watched(make_recipe(), every=1), JobContext(), Processes())
    model = session.loaded.model
    model.train()
    model.base_model.embeddings.eval()  # a part that is frozen
    before = {name: module.training for name, module in model.named_modules()}
    implementation, random_numbers = model.config._attn_implementation, torch.get_rng_state()
    position = Position()
    probe = Probe(session, tmp_path, position)
    for position.step in (0, 1):
        probe.look(position, JobContext(), is_last=False)
    assert steps_of(tmp_path) == [0, 1]
    assert {name: module.training for name, module in model.named_modules()} == before
    assert model.config._attn_implementation == implementation
    assert torch.equal(torch.get_rng_state(), random_numbers)
    assert all(parameter.grad is None for parameter in model.parameters())


# --- interruptions


def test_a_cancelled_run_goes_on_with_the_same_frames(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = watched(make_recipe(epochs=1, keep_best=False))
    run(recipe, tmp_path / "straight")
    train_until(recipe, tmp_path / "run", 6)
    assert steps_of(tmp_path / "run") == [0, 3]
    train(TrainRequest(None, tmp_path / "run", resume=True), JobContext())
    assert steps_of(tmp_path / "run") == [0, 3, 6, 9, 12]
    assert losses(tmp_path / "run") == losses(tmp_path / "straight")
    for mine, other in zip(read_frames(tmp_path / "run"), read_frames(tmp_path / "straight"), strict=True):
        np.testing.assert_array_equal(load_frame(mine).weights, load_frame(other).weights)
    told = [e.step for e in read_events(tmp_path / "run") if isinstance(e, AttentionProbed)]
    assert told == [0, 3, 6, 9, 12]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums of several threads round otherwise, and a training makes much of little."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_killed_run_drops_what_comes_after_its_checkpoint(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = watched(make_recipe(epochs=8, checkpoint_every=4, keep_best=False), every=1)
    run(recipe, tmp_path / "straight")
    folder = tmp_path / "run"
    recipe.save(tmp_path / "recipe.yaml")
    process = subprocess.Popen(
        [sys.executable, "-m", "lmstudio_app", "train", str(tmp_path / "recipe.yaml"), "--run-dir", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while len(read_frames(folder)) < 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    recorded = steps_of(folder)
    assert len(recorded) >= 7
    assert recorded == list(range(len(recorded)))  # read while it was written, and whole
    load_frame(read_frames(folder)[-1])
    frame_path(folder, 10**6).write_bytes(b"of a step that never came")
    train(TrainRequest(None, folder, resume=True), JobContext())
    assert steps_of(folder) == steps_of(tmp_path / "straight")
    for mine, other in zip(read_frames(folder), read_frames(tmp_path / "straight"), strict=True):
        np.testing.assert_allclose(load_frame(mine).weights, load_frame(other).weights, atol=1e-3)


def test_a_stop_records_the_last_step(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    ctx = JobContext()

    def emit(event: Event) -> None:
        if isinstance(event, StepLogged) and event.step == 5:
            ctx.control.stop()

    train(TrainRequest(watched(make_recipe()), tmp_path / "run"), JobContext(emit, ctx.control))
    assert steps_of(tmp_path / "run") == [0, 3, 5]


# --- trouble


def test_a_model_that_cannot_show_it_is_told_once(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = watched(make_recipe(epochs=1), text="\u200b", every=1)  # of which its tokenizer makes nothing
    plain = run(make_recipe(epochs=1), tmp_path / "plain")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "attention").write_text("a file where the folder is to be")
    events = run(recipe, folder)
    warnings = [e.message for e in events if isinstance(e, Status) and "is not recorded" in e.message]
    assert len(warnings) == 1
    assert warnings[0].endswith("The training goes on.")
    assert losses(folder) == losses(tmp_path / "plain")
    assert plain[-1].kind == events[-1].kind == "finished"
    assert not [e for e in events if isinstance(e, AttentionProbed)]


def test_a_long_sentence_is_cut_with_one_warning(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    events = run(watched(make_recipe(epochs=1), text=f"{TEXT} " * 200, every=2), tmp_path / "run")
    assert len([e for e in events if isinstance(e, Status) and "too long" in e.message]) == 1
    assert len(steps_of(tmp_path / "run")) == 7


def test_a_damaged_frame_is_told(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    run(watched(make_recipe(epochs=1), every=100), tmp_path / "run")
    file = read_frames(tmp_path / "run")[0]
    content = file.path.read_bytes()
    file.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"step-00000000\.npz cannot be read"):
        load_frame(file)
    with pytest.raises(UserError, match="cannot be read"):
        load_frame(FrameFile(5, frame_path(tmp_path, 5)))


# --- how often


def test_the_interval_keeps_the_cost_at_a_hundredth() -> None:
    assert interval(0.004, 0.4, 1000, 1000) == 5  # 1 % at every step, and 200 frames are enough
    assert interval(0.02, 0.4, 1000, 100) == 5
    assert interval(0.03, 0.4, 1000, 100) == 10  # 7.5, rounded up
    assert interval(0.02, 0.01, 1000, 100) == 200
    assert interval(0.02, 0.4, 20 * 2**20, 1000) == 100  # ten of 20 MB
    for seconds in np.geomspace(1e-4, 10, 40):
        assert seconds / (interval(float(seconds), 0.1, 1, 1) * 0.1) <= 0.01 + 1e-9


def test_the_interval_is_found_out_once_and_kept(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train_until(watched(make_recipe(epochs=2), every=0), folder, 9)
    every = found_interval(folder)
    assert every >= 1
    assert steps_of(folder)[:2] == [0, 5]
    train(TrainRequest(None, folder, resume=True), JobContext())
    assert found_interval(folder) == every
    assert steps_of(folder) == [0, 5, *(step for step in range(6, 25) if step % every == 0 or step == 24)]


def found_interval(folder: Path) -> int:
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    return int(json.loads((newest / "trainer.json").read_text())["position"]["probe_every"])


def test_entropy_and_one_file_of_all(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    one, even = np.zeros((4, 4), np.float32), np.full((4, 4), 0.25, np.float32)
    one[:, 2] = 1
    np.testing.assert_allclose(mean_entropy(np.stack([one, even])[None]), [[0, 2]], atol=1e-6)
    run(watched(make_recipe(epochs=1), every=6), tmp_path / "run")
    join_frames(read_frames(tmp_path / "run"), tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as arrays:
        assert arrays["steps"].tolist() == [0, 6, 12]
        assert arrays["weights"].shape[0] == 3
        frame = load_frame(read_frames(tmp_path / "run")[1])
        np.testing.assert_array_equal(arrays["weights"][1], frame.weights)
        assert tuple(arrays["tokens"]) == frame.keys.tokens
    assert mean_entropy(frame.weights).shape == (len(frame.layers), len(frame.heads))


def test_a_frame_keeps_what_is_written_and_what_is_read(tmp_path: Path) -> None:
    """Cross-attention: the queries are other tokens than the keys; a layer with fewer heads is filled up."""
    from lmstudio_app.inspection.attention import AttentionMap, AttentionMaps
    from lmstudio_app.inspection.tokens import Tokens

    def tokens(*words: str) -> Tokens:
        return Tokens(words, words, (False,) * len(words), (0,) * len(words), tuple(range(len(words))))

    queries, keys = tokens("das", "Haus"), tokens("the", "house", "</s>")
    random = np.random.default_rng(1)
    maps = AttentionMaps(
        tuple(
            AttentionMap("cross", layer, random.random((heads, 2, 3), dtype=np.float32), queries, keys)
            for layer, heads in ((0, 2), (3, 1))
        )
    )
    path, size = write_frame(tmp_path, 7, maps)
    assert size == path.stat().st_size
    frame = load_frame(FrameFile(7, path))
    assert (frame.queries.tokens, frame.keys.tokens) == (queries.tokens, keys.tokens)
    assert (frame.layers, frame.heads, frame.kind) == ((0, 3), (0, 1), "cross")
    np.testing.assert_allclose(frame.weights[0], maps.maps[0].weights, atol=1e-3)
    assert np.isnan(frame.weights[1, 1]).all()
    assert not np.isnan(frame.weights[1, 0]).any()
