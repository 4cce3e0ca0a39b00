from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.events import Finished, Status
from lmstudio_app.settings import runs_folder
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import create_run, is_running, list_runs, read_events, reopen_run


def test_two_runs_in_one_second_get_two_folders(make_recipe: Callable[..., Recipe]) -> None:
    first, second, third = (create_run(make_recipe()) for _ in range(3))
    assert len({first.path, second.path, third.path}) == 3
    assert {run.folder for run in list_runs()} == {first.path, second.path, third.path}
    assert all(path.parent == runs_folder().resolve() for path in (first.path, second.path))


def test_a_folder_with_a_run_is_not_overwritten(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    create_run(make_recipe(), tmp_path / "run")
    with pytest.raises(UserError, match="already holds a run"):
        create_run(make_recipe(), tmp_path / "run")


def test_half_a_line_left_by_a_crash_is_dropped_on_reopening(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    run = create_run(make_recipe(), tmp_path / "run")
    run.open()
    run.append(Status(template="first"))
    run.close()
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"event": "status", "ti')
    assert [event.template for event in read_events(run.path)] == ["first"]
    again = reopen_run(run.path)
    again.open()
    again.append(Finished())
    again.close()
    assert [event.kind for event in read_events(run.path)] == ["status", "finished"]
    assert [event.kind for event in read_events(run.path, start=1)] == ["finished"]
    for line in (run.path / "events.jsonl").read_text().splitlines():
        json.loads(line)


def test_a_run_is_running_while_its_process_lives(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    run = create_run(make_recipe(), tmp_path / "run")
    run.open()
    assert is_running(run.path)
    with pytest.raises(UserError, match="still running"):
        reopen_run(run.path)
    run.close()
    assert not is_running(run.path)
    # the same number, but another process: one that began at another time
    (run.path / "process.json").write_text(json.dumps({"pid": os.getpid(), "started": 1.0}))
    assert not is_running(run.path)


def test_resuming_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run"):
        reopen_run(tmp_path)
