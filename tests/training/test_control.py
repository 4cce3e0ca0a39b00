"""A training is steered through its folder, by whoever may write there."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lmstudio_app.errors import Cancelled, UserError
from lmstudio_app.events import Event, Finished, Progress, Status, StepLogged
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.claims import Claim, claim, read_claim, release
from lmstudio_app.training.control import read_live, send_command
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.recording import recording
from lmstudio_app.training.runs import RunFolder, create_run, read_events, reopen_run, summarize_run

MakeRecipe = Callable[..., Recipe]


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@pytest.fixture
def run(make_recipe: MakeRecipe) -> RunFolder:
    return create_run(make_recipe())


def test_only_one_of_many_claims_a_folder(tmp_path: Path) -> None:
    got: list[object] = []
    begin = threading.Barrier(8)

    def attempt() -> None:
        begin.wait()
        try:
            got.append(claim(tmp_path))
        except UserError as error:
            got.append(error.message)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (mine,) = (item for item in got if isinstance(item, Claim))
    assert read_claim(tmp_path) == mine
    assert sum("still running" in str(item) for item in got) == 7
    release(tmp_path, dataclasses.replace(mine, token="another"))  # only who has it can give it back
    assert read_claim(tmp_path) == mine
    release(tmp_path, mine)
    assert read_claim(tmp_path) is None


def test_a_training_is_paused_goes_on_and_is_stopped_from_elsewhere(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    folder, events, results = tmp_path / "run", [], []
    request = TrainRequest(make_recipe(epochs=900), folder)
    ctx = JobContext(events.append)
    thread = threading.Thread(target=lambda: results.append(train(request, ctx)), daemon=True)
    thread.start()
    wait_for(lambda: any(isinstance(event, StepLogged) for event in list(events)))
    send_command(folder, "pause")
    wait_for(lambda: read_live(folder).paused)
    assert summarize_run(folder).paused
    time.sleep(0.3)  # the step that it was in is told
    count = len(events)
    time.sleep(0.4)
    assert len(events) == count
    send_command(folder, "resume")
    wait_for(lambda: len(events) > count + 5)
    assert not read_live(folder).paused
    send_command(folder, "pause")
    send_command(folder, "stop")  # a paused training is stopped as well
    thread.join(30)
    assert not thread.is_alive()
    assert results[0].state == "stopped"
    assert events[-1].kind == "finished"
    words = [event.template for event in events if isinstance(event, Status)]
    assert words.count("Paused") >= 1
    assert words.count("Going on") == 1
    assert [event.kind for event in read_events(folder)] == [e.kind for e in events if not isinstance(e, Progress)]
    assert {path.name for path in folder.glob("*.json")} == set()
    with pytest.raises(UserError, match="is not running"):
        send_command(folder, "pause")


def cancel_from_elsewhere(run: RunFolder) -> str:
    """Returns what was in ``control.json``."""
    with contextlib.suppress(Cancelled), recording(run, JobContext()) as ctx:
        for command in ("pause", "resume", "pause", "resume"):
            send_command(run.path, command)
        time.sleep(0.6)
        assert not ctx.control.paused
        send_command(run.path, "cancel")
        commands = (run.path / "control.json").read_text()
        wait_for(lambda: ctx.control.cancelled)
        ctx.check()
        pytest.fail("it was cancelled")
    return commands


def test_each_command_is_obeyed_once_and_none_of_an_earlier_process(run: RunFolder) -> None:
    stale = cancel_from_elsewhere(run)
    assert summarize_run(run.path).state == "interrupted"
    (run.path / "control.json").write_text(stale)  # as a killed process leaves it
    with recording(reopen_run(run.path), JobContext()) as ctx:
        (run.path / "control.json").write_text(stale)  # and as one does that asked a moment too late
        time.sleep(0.5)
        ctx.check()
        assert not ctx.control.paused
        assert not ctx.control.stopping
        send_command(run.path, "stop")
        wait_for(lambda: ctx.stopping)
        assert json.loads((run.path / "control.json").read_text())["commands"] == ["stop"]
        ctx.emit(Finished(state="stopped"))
    assert summarize_run(run.path).state == "stopped"


def test_progress_is_there_for_others_and_thinned(run: RunFolder) -> None:
    told: list[Event] = []
    with recording(run, JobContext(told.append)) as ctx:
        seen = set()
        for done in range(120):
            ctx.emit(Progress(done=done, total=120, unit="rows"))
            time.sleep(0.01)
            if progress := read_live(run.path).progress:
                seen.add(progress.done)
        wait_for(lambda: read_live(run.path).progress == told[-1])
        ctx.emit(Finished())
    assert 1 <= len(seen) <= 4
    assert [event.kind for event in read_events(run.path)] == ["finished"]
    assert read_live(run.path).progress is None
