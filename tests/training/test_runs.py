from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.events import Evaluated, Event, Failed, Finished, Status, StepLogged, to_json
from lmstudio_app.jobs import JobContext
from lmstudio_app.settings import runs_folder
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import create_run, is_running, list_runs, read_events, reopen_run, summarize_run


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


def write_events(folder: Path, events: Iterable[Event]) -> None:
    with (folder / "events.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(to_json(event) + "\n" for event in events)


def step(number: int, time: float = 5.0) -> StepLogged:
    return StepLogged(
        time=time, step=number, total_steps=100_000, epoch=0.1, loss=0.123456789, learning_rate=1e-4, grad_norm=1.5,
        tokens_per_second=12345.678, examples_per_second=123.456, memory=10**9, eta=12.5,
    )  # fmt: skip


def test_a_run_that_cannot_be_read_does_not_hide_the_others(make_recipe: Callable[..., Recipe]) -> None:
    good = create_run(make_recipe())
    for name, content in {
        "broken": b"task: [", "binary": b"\xff\xfe\x00", "list": b"- a", "bare": b"task: sentiment", "odd": b"data: 5",
    }.items():  # fmt: skip
        (runs_folder() / name).mkdir()
        (runs_folder() / name / "recipe.yaml").write_bytes(content)
    (runs_folder() / "no-run").mkdir()
    warnings: list[Event] = []
    assert [run.folder for run in list_runs(ctx=JobContext(warnings.append))] == [good.path]
    assert len(warnings) == 5
    assert all(isinstance(event, Status) and event.warning for event in warnings)


def test_events_that_cannot_be_read_do_not_hide_the_other_runs(make_recipe: Callable[..., Recipe]) -> None:
    good, bad = create_run(make_recipe()), create_run(make_recipe())
    (bad.path / "events.jsonl").mkdir()
    with pytest.raises(UserError, match=r"The events of .* cannot be read"):
        summarize_run(bad.path)
    warnings: list[Event] = []
    assert [run.folder for run in list_runs(ctx=JobContext(warnings.append))] == [good.path]
    assert len(warnings) == 1


def test_the_summary_reads_from_the_end_what_the_whole_file_says(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    path = create_run(make_recipe(), tmp_path / "run").path
    long = {"worst": [{"text": "x" * 200_000}]}  # a line of several blocks
    story: list[Event] = [
        Status(time=1.0, template="first"),
        step(1),
        Evaluated(step=1, epoch=1, metrics={"loss": 0.9}, details=long),
        Finished(state="stopped"),
        step(2),
        Evaluated(step=2, epoch=1, metrics={"loss": 0.5}, details=long),
        Failed(message="Oh."),
        Status(template="again"),
        step(3),
        Finished(state="finished"),
    ]
    expected = [
        ("interrupted", 0, None), ("interrupted", 1, None), ("interrupted", 1, 0.9), ("stopped", 1, 0.9),
        ("interrupted", 2, 0.9), ("interrupted", 2, 0.5), ("failed", 2, 0.5), ("failed", 2, 0.5),
        ("interrupted", 3, 0.5), ("finished", 3, 0.5),
    ]  # fmt: skip
    for count, (state, number, loss) in enumerate(expected, 1):
        write_events(path, story[:count])
        with (path / "events.jsonl").open("a") as file:
            file.write('{"event": "finished", "state": "half')  # a write in progress
        summary = summarize_run(path)
        assert (summary.state, summary.step, summary.metrics.get("loss")) == (state, number, loss)
        assert summary.started == 1.0


def test_a_long_run_is_summed_up_at_once(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    path = create_run(make_recipe(), tmp_path / "run").path
    write_events(path, [Evaluated(step=0, epoch=0, metrics={"loss": 1.0}), *(step(n) for n in range(1, 100_001))])
    times = []  # of this thread: others may have the processor meanwhile
    for _ in range(3):
        start = time.thread_time()
        summary = summarize_run(path)
        times.append(time.thread_time() - start)
    assert (summary.step, summary.metrics) == (100_000, {"loss": 1.0})  # the evaluation is at the far end
    assert min(times) < 0.15
    write_events(path, [*(step(n) for n in range(100_000)), Evaluated(step=9, epoch=0, metrics={}), step(100_000)])
    start = time.thread_time()
    assert summarize_run(path).step == 100_000
    assert time.thread_time() - start < 0.05


def test_an_event_is_written_whole_or_not_at_all(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    run = create_run(make_recipe(), tmp_path / "run")
    run.open()
    run.append(Status(template="first"))
    size = (run.path / "events.jsonl").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))
        with pytest.raises(OSError, match="large"):
            run.append(Status(template="this line does not fit"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)
    assert (run.path / "events.jsonl").stat().st_size == size
    run.append(Finished())
    run.close()
    assert [event.kind for event in read_events(run.path)] == ["status", "finished"]


def test_a_mended_recipe_takes_the_place_of_a_run_that_failed_before_it_began(
    make_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run = create_run(make_recipe(epochs=1), folder)
    write_events(folder, [Status(template="Reading the data"), Failed(message="No such file.")])
    run.open()
    with pytest.raises(UserError, match="already holds a run"):  # somebody is at it
        create_run(make_recipe(epochs=2), folder)
    run.close()
    assert create_run(make_recipe(epochs=2), folder).recipe.training.epochs == 2
    write_events(folder, [step(1), Failed(message="Diverged.")])
    with pytest.raises(UserError, match="already holds a run"):
        create_run(make_recipe(epochs=3), folder)


def test_a_garbled_claim_is_nobodys(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    path = create_run(make_recipe(), tmp_path / "run").path
    for text in ("[]", "5", '{"pid": "x", "started": 1}', "{", '{"pid": 1}'):
        (path / "process.json").write_text(text)
        assert not is_running(path)
