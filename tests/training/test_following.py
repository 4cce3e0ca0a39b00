"""Trainings in processes of their own: followed, steered, let go of, killed, and never two in one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Event, Failed, Finished, Progress, Status, StepLogged, to_json
from lmstudio_app.jobs import Control, JobContext
from lmstudio_app.training.background import train_in_process
from lmstudio_app.training.claims import is_running, read_claim
from lmstudio_app.training.control import send_command
from lmstudio_app.training.event_file import EventTail
from lmstudio_app.training.following import FollowRequest, follow_run
from lmstudio_app.training.loop import TrainRequest
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.recording import recording
from lmstudio_app.training.runs import RunFolder, create_run, read_events, reopen_run, summarize_run

MakeRecipe = Callable[..., Recipe]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(make_recipe: MakeRecipe) -> RunFolder:
    return create_run(make_recipe())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a process trains that does not outlive a test that failed."""
    yield (folder := tmp_path / "a run")
    if (claim := read_claim(folder)) is not None and is_running(folder):
        os.kill(claim.pid, signal.SIGTERM)


def step(number: int) -> StepLogged:
    return StepLogged(
        step=number, total_steps=30, epoch=1.0, loss=0.5, learning_rate=1e-4, grad_norm=1.0,
        tokens_per_second=1.0, examples_per_second=1.0,
    )  # fmt: skip


# --- the file


def test_the_tail_reads_whole_lines_only_and_each_once(run: RunFolder) -> None:
    path = run.path / "events.jsonl"
    tail = EventTail(run.path)
    assert tail.read() == []
    lines = [to_json(Status(template=f"é {number}")).encode() + b"\n" for number in range(3)]
    with path.open("ab", buffering=0) as file:
        file.write(lines[0] + lines[1][:30])
        assert [event.message for event in tail.read() if isinstance(event, Status)] == ["é 0"]
        file.write(lines[1][30:-1])
        assert tail.read() == []
        file.write(b"\n{garbled\n" + lines[2])
        assert [event.message for event in tail.read() if isinstance(event, Status)] == ["é 1", "é 2"]
    assert tail.offset == path.stat().st_size
    assert EventTail(run.path, len(lines[0])).read()[0] == EventTail(run.path).read()[1]
    path.write_bytes(lines[2])  # another run in its place
    assert len(tail.read()) == 1


def test_a_run_that_has_ended_is_told_to_its_end(run: RunFolder) -> None:
    told: list[Event] = []
    with pytest.raises(Cancelled), recording(run, JobContext()):
        raise Cancelled
    assert follow_run(FollowRequest(run.path), JobContext(told.append)).state == "interrupted"
    with recording(reopen_run(run.path), JobContext()) as ctx:
        ctx.emit(step(1))
        ctx.emit(Finished(result={"model_folder": "somewhere", "metrics": {"loss": 0.5}}))
    tail = EventTail(run.path)
    tail.read()
    for offset, count in ((0, 3), (tail.offset, 0)):
        told.clear()
        result = follow_run(FollowRequest(run.path, offset), JobContext(told.append))
        assert (result.state, result.model_folder, result.metrics) == ("finished", Path("somewhere"), {"loss": 0.5})
        assert len(told) == count
    with pytest.raises(ValueError, match=r"Oh \{no\}"), recording(reopen_run(run.path), JobContext()):
        raise ValueError("Oh {no}")
    with pytest.raises(UserError, match=r"Oh \{no\}") as caught:
        follow_run(FollowRequest(run.path, tail.offset), JobContext(told.append))
    assert "Traceback" in caught.value.details
    with pytest.raises(UserError, match="holds no run"):
        follow_run(FollowRequest(run.path.parent), JobContext())


def test_progress_is_followed(run: RunFolder) -> None:
    told: list[Event] = []

    def hear(event: Event) -> None:
        told.append(event)
        if isinstance(event, Progress) and event.done == 5:
            control.cancel()

    control = Control()
    with recording(run, JobContext()) as ctx:
        ctx.emit(Progress(done=5, total=10, unit="rows"))
        with pytest.raises(Cancelled):
            follow_run(FollowRequest(run.path), JobContext(hear, control))
        ctx.emit(Finished())
    assert [event.kind for event in told] == ["progress"]


# --- processes


def test_a_training_in_its_own_process_is_followed_and_steered_to_its_end(
    make_recipe: MakeRecipe, folder: Path
) -> None:
    """Paused and let go on by the switches of the job that follows it, and stopped by somebody else."""
    control, told = Control(), []
    pauses: list[int] = []

    def hear(event: Event) -> None:
        told.append(event)
        if isinstance(event, StepLogged) and not pauses:
            pauses.append(event.step)
            claim = read_claim(folder)
            assert claim is not None
            assert claim.pid != os.getpid()
            if hasattr(os, "getsid"):
                assert os.getsid(claim.pid) == claim.pid  # it outlives this terminal
            control.pause()
        elif isinstance(event, Status) and event.template == "Paused":
            control.resume()
        elif isinstance(event, Status) and event.template == "Going on":
            send_command(folder, "stop")

    request = TrainRequest(make_recipe(epochs=900), folder)
    result = train_in_process(request, JobContext(hear, control))
    assert result.state == "stopped"
    assert result.model_folder is not None
    assert (result.model_folder / "config.json").is_file()
    assert result.metrics["loss"] > 0
    assert summarize_run(folder).state == "stopped"
    recorded = [to_json(event) for event in read_events(folder)]
    own = [to_json(event) for event in told if not isinstance(event, Progress)]
    assert own[0].find("Starting a process") > 0
    assert own[1:] == recorded
    assert "step 1/" in (folder / "output.log").read_text()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_who_lets_go_leaves_it_running_and_who_follows_hears_of_its_death(
    make_recipe: MakeRecipe, folder: Path
) -> None:
    control = Control()

    def let_go(event: Event) -> None:
        if isinstance(event, StepLogged):
            control.cancel()

    with pytest.raises(Cancelled):
        train_in_process(TrainRequest(make_recipe(epochs=900), folder), JobContext(let_go, control))
    assert is_running(folder)
    claim = read_claim(folder)
    assert claim is not None
    if sys.platform == "linux":
        assert Path(f"/proc/{claim.pid}/oom_score_adj").read_text().strip() == "500"
    offset = (folder / "events.jsonl").stat().st_size

    def kill(event: Event) -> None:
        if is_running(folder):
            os.kill(claim.pid, signal.SIGKILL)

    with pytest.raises(UserError, match="ended without a word") as caught:
        follow_run(FollowRequest(folder, offset), JobContext(kill))
    assert "Resume the run" in caught.value.remedy
    assert summarize_run(folder).state == "interrupted"
    assert summarize_run(folder).resumable


def test_a_process_that_cannot_begin_says_why(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "yaml.py").write_text("raise OSError('libyaml.so.7: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError, match="could not start") as caught:
        train_in_process(TrainRequest(make_recipe(), tmp_path / "run"), JobContext())
    assert "libyaml.so.7" in caught.value.message
    assert "Traceback" in caught.value.details
    assert "output.log" in caught.value.remedy
    summary = summarize_run(tmp_path / "run")
    assert summary.state == "failed"
    assert "libyaml.so.7" in summary.problem
    assert isinstance(list(read_events(tmp_path / "run"))[-1], Failed)
    assert create_run(make_recipe(), tmp_path / "run").path == tmp_path / "run"  # the same command may try again


def test_of_two_resumes_at_once_one_is_refused(make_recipe: MakeRecipe, folder: Path) -> None:
    create_run(make_recipe(epochs=900), folder)
    command = [sys.executable, "-m", "lmstudio_app", "train", "--resume", "--run-dir", str(folder)]
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    deadline = time.monotonic() + 120
    while all(process.poll() is None for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (refused,) = (process for process in processes if process.poll() is not None)
    (other,) = (process for process in processes if process is not refused)
    errors = refused.communicate()[1]
    assert refused.returncode == 2, errors
    assert errors.splitlines()[-1].startswith(f"error: The run in {folder} is still running.")
    claim = read_claim(folder)
    assert claim is not None
    assert claim.pid == other.pid
    while summarize_run(folder).step == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    send_command(folder, "cancel")
    assert other.communicate(timeout=60)[1].splitlines()[-1] == "interrupted"
    assert other.returncode == 130
    steps = [event.step for event in read_events(folder) if isinstance(event, StepLogged)]
    assert steps == list(range(1, len(steps) + 1))  # nobody else has written
