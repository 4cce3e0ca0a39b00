"""Runs that are killed, damaged, moved or starved, and go on to the same bits."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.events import Event, Failed, Status, StepLogged
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.checkpoints import checkpoint_folders, find_damage
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import is_running, summarize_run
from tests.training.conftest import write_reviews
from tests.training.subjects import losses, train_until

MakeRecipe = Callable[..., Recipe]


def resume(folder: Path) -> list[str]:
    """Go on to the end; returns the warnings."""
    events: list[Event] = []
    train(TrainRequest(None, folder, resume=True), JobContext(events.append))
    return [event.message for event in events if isinstance(event, Status) and event.warning]


def damage(folder: Path, how: str) -> None:
    path = folder / {"state": "trainer.json", "manifest": "manifest.json"}.get(how, "model.safetensors")
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content if how == "bit" else b"{")


@pytest.mark.parametrize("how", ["bit", "cut", "missing", "state", "manifest"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(make_recipe: MakeRecipe, tmp_path: Path, how: str) -> None:
    recipe = make_recipe(epochs=1, checkpoint_every=3)
    train(TrainRequest(recipe, tmp_path / "straight"), JobContext())
    run = tmp_path / "run"
    train_until(recipe, run, 7)
    older, newest = checkpoint_folders(run / "checkpoints")
    assert (older.name, newest.name) == ("step-00000006", "step-00000007")
    damage(newest, how)
    (warning,) = resume(run)
    assert "step-00000007 is damaged" in warning
    assert "step-00000006 is used" in warning
    assert losses(run) == losses(tmp_path / "straight")
    assert [folder.name for folder in checkpoint_folders(run / "checkpoints")] == ["step-00000009", "step-00000012"]
    assert (run / "checkpoints" / "damaged-step-00000007").is_dir()


def test_a_damaged_checkpoint_does_not_crowd_out_the_new_ones(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """With one checkpoint kept, the damaged one must not count as the newest."""
    recipe, run = make_recipe(epochs=1, checkpoint_every=3, keep_checkpoints=2), tmp_path / "run"
    train_until(recipe, run, 10)
    damage(checkpoint_folders(run / "checkpoints")[-1], "bit")
    values = recipe.to_dict()
    values["training"]["keep_checkpoints"] = 1
    Recipe.from_dict(values).save(run / "recipe.yaml")
    train_until(recipe, run, 10, resume=True)
    assert [folder.name for folder in checkpoint_folders(run / "checkpoints")] == ["step-00000010"]


def test_without_a_whole_checkpoint_nothing_is_touched(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_until(make_recipe(epochs=1), run, 5)
    (folder,) = checkpoint_folders(run / "checkpoints")
    damage(folder, "bit")
    for _ in range(2):  # the second time as the first: it does not begin anew in silence
        with pytest.raises(UserError, match=r"No checkpoint of .* can be read"):
            train(TrainRequest(None, run, resume=True), JobContext())
    assert checkpoint_folders(run / "checkpoints") == [folder]


def test_checkpoints_without_a_manifest_are_of_an_older_version(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_until(make_recipe(epochs=1), run, 5)
    (folder,) = checkpoint_folders(run / "checkpoints")
    names = set(json.loads((folder / "manifest.json").read_text())["files"])
    assert names == {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert find_damage(folder) == ""
    state = json.loads((folder / "trainer.json").read_text())
    state["version"] = 1
    del state["position"]["data"]
    (folder / "trainer.json").write_text(json.dumps(state))
    (folder / "manifest.json").unlink()
    assert resume(run) == []
    assert summarize_run(run).state == "finished"


# --- other data than before


def test_a_resume_on_shorter_data_ends_and_says_so(
    make_recipe: MakeRecipe, reviews: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_until(make_recipe(epochs=3), run, 11)
    write_reviews(reviews["train"], 16, 5)  # 2 batches an epoch, and the run stood before the 12th
    assert any("no longer what this run began with" in warning for warning in resume(run))
    assert summarize_run(run).state == "finished"


def test_a_resume_without_the_data_names_it_and_can_be_made_good(
    make_recipe: MakeRecipe, reviews: dict[str, Path], tmp_path: Path
) -> None:
    recipe, run = make_recipe(epochs=1), tmp_path / "run"
    train(TrainRequest(recipe, tmp_path / "straight"), JobContext())
    train_until(recipe, run, 5)
    away = reviews["train"].rename(tmp_path / "away.jsonl")
    with pytest.raises(UserError, match=r"train\.jsonl"):
        train(TrainRequest(None, run, resume=True), JobContext())
    assert summarize_run(run).resumable
    away.rename(reviews["train"])
    assert resume(run) == []
    assert losses(run) == losses(tmp_path / "straight")


def test_a_checkpoint_of_other_classes_is_no_damage(
    make_recipe: MakeRecipe, reviews: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train_until(make_recipe(epochs=1), run, 5)
    lines = reviews["train"].read_text().splitlines()
    reviews["train"].write_text("\n".join([*lines, '{"text": "so so", "label": 2}', '{"text": "meh", "label": 2}']))
    with pytest.raises(UserError, match="does not fit this run's recipe"):
        train(TrainRequest(None, run, resume=True), JobContext())
    assert len(checkpoint_folders(run / "checkpoints")) == 1


# --- killed, starved


def train_in_process(folder: Path, recipe: Recipe | None) -> None:
    train(TrainRequest(recipe, folder, resume=recipe is None), JobContext())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_training_killed_at_any_moment_goes_on_to_the_same_bits(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """Three times at random, and twice while a checkpoint is being written."""
    recipe = make_recipe(epochs=10, checkpoint_every=5, evaluate_every=9)
    train(TrainRequest(recipe, tmp_path / "straight"), JobContext())
    run, generator = tmp_path / "run", random.Random(4)
    context = multiprocessing.get_context("forkserver")  # each process begins with the libraries imported
    context.set_forkserver_preload(["torch", "transformers", "datasets", "accelerate", "tests.training.conftest"])
    for attempt in range(5):
        process = context.Process(target=train_in_process, args=(run, None if attempt else recipe))
        process.start()
        before = summarize_run(run).step if attempt else 0
        deadline = time.monotonic() + 60
        while process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.001)
            if attempt % 2:
                if any((run / "checkpoints").glob(".*.part")):
                    break
            elif (run / "events.jsonl").exists() and summarize_run(run).step > before:
                time.sleep(generator.random() * 0.2)
                break
        process.kill()
        process.join(10)
        assert process.exitcode == -signal.SIGKILL
        assert not is_running(run)
    assert summarize_run(run).state == "interrupted"
    resume(run)
    assert summarize_run(run).state == "finished"
    assert losses(run) == losses(tmp_path / "straight")
    assert not list(run.rglob(".*.part"))
    assert not (run / "process.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk")
def test_a_disk_that_fills_during_a_checkpoint_leaves_the_one_before(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(epochs=1, checkpoint_every=3)
    train(TrainRequest(recipe, tmp_path / "straight"), JobContext())
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("only root mounts a disk")
    try:
        run = disk / "run"
        events: list[Event] = []

        def emit(event: Event) -> None:
            events.append(event)
            if isinstance(event, StepLogged) and event.step == 5:  # something else fills the disk
                with contextlib.suppress(OSError), (disk / "other").open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))

        with pytest.raises((UserError, OSError)) as caught:
            train(TrainRequest(recipe, run), JobContext(emit))
        assert isinstance(events[-1], Failed)
        assert "free" in events[-1].message + events[-1].remedy, caught.value
        assert [folder.name for folder in checkpoint_folders(run / "checkpoints")] == ["step-00000003"]
        assert not (run / "process.json").exists()
        (disk / "other").unlink()
        assert summarize_run(run).resumable
        assert resume(run) == []
        assert losses(run) == losses(tmp_path / "straight")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_file_size_limit_during_a_checkpoint_is_told_as_a_full_disk(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    make_recipe(epochs=1).save(tmp_path / "recipe.yaml")
    code = (
        "import resource, signal, sys; from lmstudio_app.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["train", str(tmp_path / "recipe.yaml"), "--run-dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: The disk is full.")
    assert "Traceback" not in done.stderr
    assert summarize_run(tmp_path / "run").state == "failed"
    assert not list((tmp_path / "run").rglob(".*.part"))
