"""Finding, describing, comparing and throwing away past runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lmstudio_app.errors import UserError
from lmstudio_app.events import Evaluated, Event, Failed, Finished, Status, StepLogged, to_json
from lmstudio_app.training.history import compare_runs, search_runs
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.recording import recording
from lmstudio_app.training.runs import create_run, list_runs, read_events, reopen_run, summarize_run
from lmstudio_app.training.summaries import About, read_about, write_about

MakeRecipe = Callable[..., Recipe]
ROOT = Path(__file__).resolve().parents[2]


def write_events(folder: Path, events: Iterable[Event], mode: str = "w") -> None:
    with (folder / "events.jsonl").open(mode, encoding="utf-8") as file:
        file.writelines(to_json(event) + "\n" for event in events)


def step(number: int, time: float) -> StepLogged:
    return StepLogged(
        time=time, step=number, total_steps=30, epoch=number / 10, loss=0.5, learning_rate=1e-4, grad_norm=1.0,
        tokens_per_second=1000.0, examples_per_second=100.0 + number,
    )  # fmt: skip


def evaluated(number: int, time: float, accuracy: float, loss: float) -> Evaluated:
    metrics = {"loss": loss, "accuracy": accuracy}
    return Evaluated(time=time, step=number, epoch=1, metrics=metrics, details={"confusion": [[1, 2], [3, 4]]})


def test_title_notes_and_tags_are_kept_tidily(make_recipe: MakeRecipe) -> None:
    run = create_run(make_recipe())
    assert read_about(run.path) == About()
    kept = write_about(run.path, About(" A  good one ", "line one\nline two\n", (" best", "best", "für  später", " ")))
    assert kept == About("A good one", "line one\nline two", ("best", "für später"))
    assert read_about(run.path) == kept
    summary = summarize_run(run.path)
    assert (summary.title, summary.notes, summary.tags) == (kept.title, kept.notes, kept.tags)
    (run.path / "about.json").write_text('{"tags": 5')
    assert read_about(run.path) == About()
    with pytest.raises(UserError, match="holds no run"):
        write_about(run.path.parent, About("no"))


def test_search_finds_every_word_anywhere(make_recipe: MakeRecipe) -> None:
    first, second = create_run(make_recipe()).path, create_run(make_recipe()).path
    write_about(first, About("Große Läufe", "tried a high rate", ("keep",)))
    write_events(second, [Status(time=1.0, template="x"), Failed(time=2.0, message="Oh.")])
    runs = list_runs()

    def found(text: str) -> set[Path]:
        return {run.folder for run in search_runs(runs, text)}

    assert found("") == found("sentiment") == found("TINY-encoder train.jsonl") == {first, second}
    assert found("KEEP") == found("rate große") == found("interrupted") == {first}
    assert found("failed") == {second}
    assert found("keep failed") == set()


def test_a_summary_has_the_best_and_the_time_at_work(make_recipe: MakeRecipe) -> None:
    path = create_run(make_recipe()).path
    story: list[Event] = [
        Status(time=100.0, template="x"),
        step(10, 110.0),
        evaluated(10, 112.0, 0.9, 0.3),
        Finished(time=113.0, state="interrupted"),
        Status(time=90_000.0, template="the next day"),
        step(20, 90_005.0),
        evaluated(20, 90_006.0, 0.7, 0.2),
    ]
    write_events(path, story)
    summary = summarize_run(path)
    assert (summary.metric, summary.best_value) == ("accuracy", 0.9)
    assert summary.best == {"loss": 0.2, "accuracy": 0.9}
    assert summary.metrics == {"loss": 0.2, "accuracy": 0.7}
    assert summary.duration == pytest.approx(13 + 6)
    assert summary.examples_per_second == 120.0
    # what comes later is added to what is known
    result = {"examples_per_second": 55.5}
    write_events(path, [evaluated(30, 90_010.0, 0.95, 0.4), Finished(time=90_011.0, result=result)], "a")
    summary = summarize_run(path)
    assert (summary.state, summary.best_value, summary.best["loss"]) == ("finished", 0.95, 0.2)
    assert (summary.duration, summary.examples_per_second) == (pytest.approx(13 + 11), 55.5)
    # another file in its place is not taken for more of the same
    write_events(path, [Status(time=5.0, template="other"), *story])
    assert summarize_run(path).started == 5.0
    assert summarize_run(path).best_value == 0.9


def test_a_killed_process_gets_its_last_word_from_the_next_one(make_recipe: MakeRecipe) -> None:
    path = create_run(make_recipe()).path
    write_events(path, [Status(time=100.0, template="x"), step(10, 110.0)])
    from lmstudio_app.jobs import JobContext

    told: list[Event] = []
    with recording(reopen_run(path), JobContext(told.append)) as ctx:
        ctx.status("again")
        ctx.emit(Finished())
    events = list(read_events(path))
    assert [event.kind for event in events] == ["status", "step", "finished", "status", "finished"]
    assert isinstance(events[2], Finished)
    assert (events[2].state, events[2].time) == ("interrupted", 110.0)
    assert [event.kind for event in told] == ["status", "finished"]
    assert summarize_run(path).duration == pytest.approx(10.0, abs=5.0)


def test_a_comparison_names_what_differs(make_recipe: MakeRecipe) -> None:
    first = create_run(make_recipe(learning_rate=1e-3, epochs=3)).path
    second = create_run(make_recipe("frozen_backbone", learning_rate=1e-2, epochs=3)).path
    write_events(first, [step(10, 1.0), evaluated(10, 2.0, 0.9, 0.3), evaluated(20, 3.0, 0.8, 0.2)])
    write_events(second, [step(10, 1.0), Failed(time=4.0, message="Oh.")])
    found = compare_runs([first, second])
    assert found.differences["training.learning_rate"] == (0.001, 0.01)
    assert found.differences["strategy.name"] == ("full", "frozen_backbone")
    assert "training.epochs" not in found.differences
    assert "data.train" not in found.differences
    assert found.last == {"loss": (0.2, None), "accuracy": (0.8, None)}
    assert found.best == {"loss": (0.2, None), "accuracy": (0.9, None)}
    assert found.durations == (2.0, 3.0)
    with pytest.raises(UserError, match="no readable recipe"):
        compare_runs([first, first.parent])


def delete(folder: Path, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as where the trash is, is settled once a process."""
    command = [sys.executable, "-m", "lmstudio_app", "runs", "delete", str(folder), "--yes"]
    environment = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="the trash of other systems cannot be put elsewhere")
def test_a_run_goes_to_the_trash_and_a_running_one_does_not(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    run = create_run(make_recipe())
    run.open()
    done = delete(run.path, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "still running" in done.stderr
    run.close()
    (tmp_path / "file").touch()
    done = delete(run.path, tmp_path, XDG_DATA_HOME=str(tmp_path / "file"))  # no folder, so no trash
    assert done.returncode == 2
    assert "delete the folder yourself" in done.stderr
    assert (run.path / "recipe.yaml").is_file()
    done = delete(run.path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert not run.path.exists()
    assert (tmp_path / "data" / "Trash" / "files" / run.path.name / "recipe.yaml").is_file()
    assert list_runs() == []
    done = delete(tmp_path, tmp_path)  # nothing but a run is ever deleted
    assert "There is no run" in done.stderr
    assert done.returncode == 2
