"""The Runs page: finding, describing, comparing, repeating and deleting real runs, and sweeps of them."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QFocusEvent, QMouseEvent
from PySide6.QtWidgets import QAbstractButton, QApplication, QComboBox, QLineEdit, QSlider

from lmstudio_app.data.splits import DataConfig
from lmstudio_app.events import Evaluated, Finished, StepLogged, to_json
from lmstudio_app.gui.main_window import MainWindow
from lmstudio_app.gui.run_queries import RunsPoller
from lmstudio_app.gui.run_texts import run_title
from lmstudio_app.gui.tabs.runs import RunsTab
from lmstudio_app.gui.widgets.runs_filter import SEARCH_DELAY
from lmstudio_app.gui.widgets.sweep_dialog import RANGE, SweepDialog
from lmstudio_app.jobs import JobContext
from lmstudio_app.settings import HOME_VARIABLE, runs_folder
from lmstudio_app.training.claims import claim, is_running, release
from lmstudio_app.training.control import send_command
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.runs import list_runs, read_events, summarize_run
from lmstudio_app.training.summaries import About, read_about, write_about
from lmstudio_app.training.sweep_config import Range, SweepConfig
from lmstudio_app.training.sweeps import SweepRequest, SweepResult, TrialResult, list_sweeps, read_sweep, run_sweep

pytestmark = pytest.mark.usefixtures("one_thread")
LEFT = Qt.MouseButton.LeftButton


def recipe_of(model: Path, data: Path, **training: Any) -> Recipe:
    values = {"epochs": 2.0, "batch_size": 8, "learning_rate": 5e-3, "log_every": 1, "device": "cpu", **training}
    return Recipe.from_dict(
        {"task": "sentiment", "model": str(model), "data": {"train": str(data)}, "training": values}
    )


@pytest.fixture(scope="module")
def trained(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three real runs with other learning rates, one of them also with another batch size."""
    folder = tmp_path_factory.mktemp("trained")
    data = folder / "reviews.tsv"
    rows = [f"it was {word} {n}\t{label}" for n in range(24) for word, label in (("good", "yes"), ("bad", "no"))]
    data.write_text("\n".join(["text\tlabel", *rows]) + "\n")
    before = os.environ.get(HOME_VARIABLE)
    os.environ[HOME_VARIABLE] = str(folder / "home")
    try:
        for name, rate, size in (("first", 1e-4, 8), ("second", 5e-3, 8), ("third", 2e-3, 16)):
            recipe = recipe_of(tiny_encoder, data, learning_rate=rate, batch_size=size)
            train(TrainRequest(recipe, folder / "runs" / name), JobContext())
    finally:
        os.environ.pop(HOME_VARIABLE) if before is None else os.environ.update({HOME_VARIABLE: before})
    return folder


@pytest.fixture
def runs(trained: Path, app_home: Path) -> dict[str, Path]:
    """The trained runs, copied to where the app keeps its own."""
    shutil.copytree(trained / "runs", runs_folder())
    return {name: runs_folder() / name for name in ("first", "second", "third")}


@pytest.fixture
def make_tab(qtbot: Any, services: Any) -> Callable[[], RunsTab]:
    def _make() -> RunsTab:
        tab = RunsTab(services)
        qtbot.addWidget(tab, before_close_func=lambda widget: widget.shutdown())
        tab.resize(1200, 900)
        tab.show()
        qtbot.waitUntil(lambda: tab.history._found is not None, timeout=20_000)
        qtbot.waitUntil(lambda: not tab.runner.busy, timeout=20_000)
        return tab

    return _make


@pytest.fixture
def tab(runs: dict[str, Path], make_tab: Callable[[], RunsTab]) -> RunsTab:
    return make_tab()


def names(tab: RunsTab) -> list[str]:
    return [run.name for run in tab.history.table.rows.runs]


def cell(tab: RunsTab, name: str, column: str) -> str:
    rows = tab.history.table.rows
    number = next(n for n, item in enumerate(rows.columns) if item.key == column)
    return str(rows.data(rows.index(names(tab).index(name), number)))


def choose(qtbot: Any, tab: RunsTab, *folders: Path) -> None:
    tab.history.table.select(folders)
    tab.history._show_selection()
    qtbot.waitUntil(lambda: not tab.runner.busy, timeout=20_000)


def test_the_table_says_what_each_run_is_and_sorts(tab: RunsTab, runs: dict[str, Path]) -> None:
    summary = summarize_run(runs["second"])
    assert set(names(tab)) == set(runs)
    assert cell(tab, "second", "model") == "tiny-encoder"
    assert cell(tab, "second", "data") == "reviews.tsv"
    assert cell(tab, "second", "steps") == f"{summary.total_steps} / {summary.total_steps}"
    assert cell(tab, "second", "metric") == f"Accuracy {summary.best['accuracy']:.3f}"
    assert cell(tab, "second", "state") == "finished"
    assert tab.summary() == "3 runs"
    table = tab.history.table
    for direction in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        table.sortByColumn(0, direction)
        assert names(tab) == sorted(runs, reverse=direction == Qt.SortOrder.DescendingOrder)


def test_columns_sorting_and_filters_are_remembered(tab: RunsTab, make_tab: Callable[[], RunsTab]) -> None:
    table = tab.history.table
    table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    table.show_column(2, False)
    table.setColumnWidth(0, 333)
    table.horizontalHeader().moveSection(8, 1)
    tab.history.filter.state_box.setCurrentIndex(tab.history.filter.state_box.findData("finished"))
    again = make_tab().history
    header = again.table.horizontalHeader()
    assert header.isSectionHidden(2)
    assert again.table.columnWidth(0) == 333
    assert header.visualIndex(8) == 1
    assert [run.name for run in again.table.rows.runs] == ["first", "second", "third"]
    assert again.filter.state_box.currentData() == "finished"


def test_search_and_filters_leave_what_fits(tab: RunsTab, runs: dict[str, Path], qtbot: Any) -> None:
    write_about(runs["third"], About("Larger batches", "was slower", ("keep",)))
    tab.history.poll()
    qtbot.waitUntil(lambda: cell(tab, "third", "tags") == "keep")
    qtbot.keyClicks(tab.history.filter.search, "slower KEEP")
    assert len(names(tab)) == 3  # it waits until the last key is pressed
    qtbot.waitUntil(lambda: names(tab) == ["third"], timeout=SEARCH_DELAY + 2000)
    assert tab.history.filter.count.text() == "1 of 3"
    tab.history.filter.search.setText("nothing like it")
    qtbot.waitUntil(lambda: names(tab) == [])
    assert "No run is like that" in tab.history.hint.text.text()
    tab.history.filter.search.clear()
    qtbot.waitUntil(lambda: len(names(tab)) == 3)
    for box, value, left in (
        (tab.history.filter.state_box, "failed", 0),
        (tab.history.filter.task_box, "sentiment", 3),
    ):
        box.setCurrentIndex(box.findData(value))
        assert len(names(tab)) == left
        box.setCurrentIndex(0)


def test_one_run_is_shown_with_its_curves_metrics_and_recipe(tab: RunsTab, runs: dict[str, Path], qtbot: Any) -> None:
    choose(qtbot, tab, runs["second"])
    details = tab.history.details
    assert details is not None
    assert tab.history.stack.currentWidget() is details
    losses = [event.loss for event in read_events(runs["second"]) if isinstance(event, StepLogged)]
    assert details.curves.steps.column("loss").tolist() == losses
    assert details.recipe.toPlainText() == (runs["second"] / "recipe.yaml").read_text()
    assert details.figures.figures["best"].value() == f"{summarize_run(runs['second']).best['accuracy']:.4f}"
    assert details.place.text() == str(runs["second"])
    assert not details.resume.isEnabled()
    wanted: list[Any] = []
    tab.try_requested.connect(lambda *what: wanted.append(what))
    qtbot.mouseClick(details.try_it, LEFT)
    assert wanted == [(str(runs["second"] / "final"), "sentiment")]


def test_title_tags_and_notes_are_kept_when_the_field_is_left(
    tab: RunsTab, runs: dict[str, Path], qtbot: Any, make_tab: Callable[[], RunsTab]
) -> None:
    choose(qtbot, tab, runs["first"])
    details = tab.history.details
    assert details is not None
    details.title.setText(" A  slow one ")
    details.title.editingFinished.emit()
    details.tags.setText("baseline, slow ,baseline")
    details.tags.editingFinished.emit()
    details.notes.setPlainText("Learns nothing.\nToo low a rate.")
    QApplication.sendEvent(details.notes, QFocusEvent(QEvent.Type.FocusOut))
    qtbot.waitUntil(lambda: read_about(runs["first"]).notes != "")
    assert read_about(runs["first"]) == About("A slow one", "Learns nothing.\nToo low a rate.", ("baseline", "slow"))
    qtbot.waitUntil(lambda: cell(tab, "first", "run") == "A slow one")
    details.notes.setPlainText("Still open when the window closes")
    tab.shutdown()
    assert read_about(runs["first"]).notes == "Still open when the window closes"


def test_a_run_that_another_process_writes_grows_by_itself(tab: RunsTab, runs: dict[str, Path], qtbot: Any) -> None:
    folder = runs["first"]
    events = list(read_events(folder))
    steps = [event for event in events if isinstance(event, StepLogged)]
    (folder / "events.jsonl").write_text("".join(to_json(event) + "\n" for event in steps[:3]))
    mine = claim(folder)
    try:
        choose(qtbot, tab, folder)
        qtbot.waitUntil(lambda: cell(tab, "first", "state") == "running", timeout=5000)
        details = tab.history.details
        assert details is not None
        qtbot.waitUntil(lambda: len(details.curves.steps) == 3, timeout=5000)
        assert details.watch.isVisible()
        assert not details.delete.isEnabled()
        assert tab.summary() == "1 is running"
        with (folder / "events.jsonl").open("a") as file:
            file.writelines(to_json(event) + "\n" for event in steps[3:6])
        qtbot.waitUntil(lambda: len(details.curves.steps) == 6, timeout=5000)
        qtbot.waitUntil(lambda: cell(tab, "first", "steps").startswith("6 / "), timeout=5000)
        assert tab.history.table.selected()[0].folder == folder
        with (folder / "events.jsonl").open("a") as file:
            file.write(to_json(Finished(state="interrupted")) + "\n")
    finally:
        release(folder, mine)
    qtbot.waitUntil(lambda: cell(tab, "first", "state") == "interrupted", timeout=5000)
    assert details.resume.isEnabled()


def test_looking_again_tells_nothing_while_nothing_is_new(runs: dict[str, Path]) -> None:
    poll_runs = RunsPoller()
    found = poll_runs(None, JobContext())
    assert found is not None
    assert len(found.runs) == 3
    assert poll_runs(found, JobContext()) is None
    write_about(runs["first"], About("New"))
    renamed = poll_runs(found, JobContext())
    assert renamed is not None
    assert {run.title for run in renamed.runs} == {"New", ""}
    assert renamed.runs == list_runs()
    (runs_folder() / "broken").mkdir()
    (runs_folder() / "broken" / "recipe.yaml").write_text("{")
    broken = poll_runs(found, JobContext())
    assert broken is not None
    assert len(broken.problems) == 1


def test_three_runs_are_laid_over_each_other_and_told_apart_by_what_differs(
    tab: RunsTab, runs: dict[str, Path], qtbot: Any
) -> None:
    choose(qtbot, tab, *runs.values())
    view = tab.history.comparison
    assert view is not None
    assert tab.history.stack.currentWidget() is view
    view.smoothing.setValue(0)
    chosen = tab.history.table.selected()
    for line, run in zip(view.lines(), chosen, strict=True):
        logged = [event for event in read_events(run.folder) if isinstance(event, StepLogged)]
        assert line.x.tolist() == [event.step for event in logged]
        assert line.y.tolist() == [event.loss for event in logged]
        size, rate = {"first": (8, "1e-4"), "second": (8, "0.005"), "third": (16, "0.002")}[run.name]
        assert line.title == f"batch_size {size}, learning_rate {rate}"
    assert len({line.number for line in view.lines()}) == 3
    view.metric_box.setCurrentIndex(view.metric_box.findData("accuracy"))
    accuracies = [[e.metrics["accuracy"] for e in read_events(r.folder) if isinstance(e, Evaluated)] for r in chosen]
    assert [line.y.tolist() for line in view.chart.lines] == accuracies
    view.axis.setCurrentIndex(view.axis.findData("epoch"))
    assert view.chart.lines[0].x.tolist() == [1.0, 2.0]
    view.axis.setCurrentIndex(view.axis.findData("minutes"))
    assert all(0 < line.x[0] < line.x[1] < 2 for line in view.chart.lines)
    view.chart.hover(float(view.chart.lines[0].x[1]))
    assert f"{accuracies[0][1]:.4f}" in view.chart.tip.text()
    rows = {row.title: row for row in view.table.differences.rows}
    assert {row.tip for row in rows.values() if row.differs} == {"training.learning_rate", "training.batch_size"}
    best = rows["Accuracy, best"]
    top = max(run.best["accuracy"] for run in chosen)
    expected = {n for n, run in enumerate(chosen) if run.best["accuracy"] == top}
    assert set(best.best) in (expected, set())  # nothing is marked where all are the same
    lowest = min(run.best["loss"] for run in chosen)
    assert rows["Evaluation loss, best"].best == {n for n, run in enumerate(chosen) if run.best["loss"] == lowest}
    view.all_keys.setChecked(True)
    assert len(view.table.differences.rows) > len(rows) + 10
    view.log.setChecked(True)
    view.smoothing.setValue(80)
    view.metric_box.setCurrentIndex(0)
    assert view.chart.lines[0].raw is not None
    assert view.chart._log


def test_a_run_goes_to_the_trash_after_a_question(
    tab: RunsTab, runs: dict[str, Path], qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform != "linux":
        pytest.skip("the trash of other systems cannot be put elsewhere")
    for name in [name for name in sys.modules if name.startswith("send2trash")]:  # it looks for the trash once
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    choose(qtbot, tab, runs["first"])
    details = tab.history.details
    assert details is not None
    qtbot.mouseClick(details.delete, LEFT)
    qtbot.mouseClick(tab.history.question.no_button, LEFT)
    assert runs["first"].is_dir()
    qtbot.mouseClick(details.delete, LEFT)
    qtbot.mouseClick(tab.history.question.yes_button, LEFT)
    qtbot.waitUntil(lambda: len(names(tab)) == 2, timeout=10_000)
    assert not runs["first"].exists()
    assert (tmp_path / "data" / "Trash" / "files" / "first" / "recipe.yaml").is_file()
    choose(qtbot, tab, runs["second"], runs["third"])
    assert tab.history.filter.delete_button.isVisible()
    tab.history.delete_selected()
    assert "2 runs" in tab.history.question.text()
    qtbot.mouseClick(tab.history.question.yes_button, LEFT)
    qtbot.waitUntil(lambda: names(tab) == [], timeout=10_000)
    assert tab.history.hint.title.text() == "No runs yet"


def test_every_control_has_a_name_and_a_tooltip(tab: RunsTab, runs: dict[str, Path], qtbot: Any) -> None:
    choose(qtbot, tab, runs["first"])
    choose(qtbot, tab, *runs.values())
    for view in (tab.history, tab.sweeps):
        for kind in (QAbstractButton, QComboBox, QSlider, QLineEdit):
            for control in view.findChildren(kind):
                if not control.objectName().startswith(("qt_", "_q_", "Scroll")) and control.parent() is not None:
                    if isinstance(control.parent(), QLineEdit):  # its own clear button
                        continue
                    text = control.text() if isinstance(control, QAbstractButton) else ""
                    if isinstance(control, QAbstractButton) and not text and not control.isVisibleTo(view):
                        continue
                    if type(control).__module__.startswith("PySide6") and not text and not control.accessibleName():
                        continue  # corner and scroll buttons of Qt's own
                    assert control.accessibleName() or text, control
                    assert control.toolTip() or control.accessibleDescription(), control.accessibleName() or text


# --- with the whole window


@pytest.fixture
def make_window(qtbot: Any) -> Iterator[Callable[[], MainWindow]]:
    made: list[MainWindow] = []

    def _make() -> MainWindow:
        window = MainWindow()
        made.append(window)
        window.show()
        return window

    yield _make
    for run in list_runs():  # of a test that has failed half-way
        if is_running(run.folder):
            send_command(run.folder, "cancel")
    for window in made:
        if not window._closed:
            window._shut_down()
        window.close()
        window.deleteLater()


def give_work(window: MainWindow, model: Path, data: Path, qtbot: Any, **training: Any) -> Any:
    """A model and data for the Train page, which is shown."""
    window.open_model(str(model), then="train")
    qtbot.waitUntil(lambda: window.model is not None, timeout=60_000)
    page = window.show_tab("train")
    page.set_data(SimpleNamespace(config=DataConfig(train=str(data)), task="sentiment", title="Reviews"))
    values = {"epochs": 2.0, "batch_size": 8, "learning_rate": 5e-3, "log_every": 1, "device": "cpu", **training}
    page.panel.form.set_values({f"training.{name}": value for name, value in values.items()})
    qtbot.waitUntil(lambda: not window.services.query_runner.busy, timeout=20_000)
    return page


def test_a_training_outlives_its_window_and_the_next_one_attaches_and_steers_it(
    make_window: Callable[[], MainWindow], tiny_encoder: Path, reviews: Path, qtbot: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    first = make_window()
    page = give_work(first, tiny_encoder, reviews, qtbot, epochs=900.0)
    qtbot.mouseClick(page.apart, LEFT, pos=QPoint(8, page.apart.height() // 2))
    assert first.settings.get("train.apart")
    handle = page.start()
    assert handle is not None
    qtbot.waitUntil(lambda: len(page.view.curves.steps) > 3, timeout=60_000)
    assert page.attached.isVisible()
    assert first.close()  # it asks nothing
    assert "goes on" in first.farewell.text()
    first.farewell.close()
    (run,) = list_runs()
    assert is_running(run.folder)

    second = make_window()
    second.offer_running()
    qtbot.waitUntil(second.running_bar.isVisible, timeout=20_000)
    assert run_title(run) in second.running_bar.label.text()
    qtbot.mouseClick(second.running_bar.buttons["show"], LEFT)
    assert second.current_tab == "train"
    page = second.tab("train")
    qtbot.waitUntil(lambda: len(page.view.curves.steps) > 3, timeout=20_000)
    assert page.view.curves.x("step")[0] == 1
    qtbot.mouseClick(page.panel.pause_button, LEFT)
    qtbot.waitUntil(lambda: page.summary() == "Paused", timeout=20_000)
    assert page.panel.pause_button.text() == "Go on"
    qtbot.wait(400)
    held = len(page.view.curves.steps)
    qtbot.wait(300)
    assert len(page.view.curves.steps) == held
    qtbot.mouseClick(page.panel.pause_button, LEFT)
    qtbot.waitUntil(lambda: len(page.view.curves.steps) > held, timeout=20_000)
    qtbot.mouseClick(page.attached.buttons["let_go"], LEFT)
    qtbot.waitUntil(lambda: page.running.handle is None, timeout=20_000)
    assert is_running(run.folder)
    qtbot.waitUntil(lambda: not second.services.query_runner.busy, timeout=20_000)
    assert page.running.handle is None  # it shows the run, but watches it only when it is chosen
    page.view.select_run(run.folder)
    again = page.running.handle
    assert again is not None
    qtbot.waitUntil(lambda: page.attached.isVisible() and len(page.view.curves.steps) > held, timeout=20_000)
    with qtbot.waitSignal(again.finished, timeout=60_000):
        qtbot.mouseClick(page.panel.stop_button, LEFT)
    assert not is_running(run.folder)
    (run,) = list_runs()
    assert run.state == "stopped"
    assert run.model_folder is not None
    assert [event.step for event in read_events(run.folder) if isinstance(event, StepLogged)][-1] == run.step
    qtbot.waitUntil(lambda: not second.services.query_runner.busy, timeout=20_000)


def test_a_followed_run_can_be_cancelled(
    make_window: Callable[[], MainWindow], tiny_encoder: Path, reviews: Path, qtbot: Any
) -> None:
    """The process of the test itself stands for the other one: what is sent to its run is what counts."""
    window = make_window()
    recipe_of(tiny_encoder, reviews).save(runs_folder().joinpath("mine", "recipe.yaml").absolute())
    folder = runs_folder() / "mine"
    mine = claim(folder)
    try:
        page = window.show_tab("train")
        handle = page.follow(folder, "sentiment")
        assert handle is not None
        qtbot.waitUntil(lambda: page.running.is_apart, timeout=20_000)
        page.cancel()
        assert not page.panel.cancel_button.isEnabled()
        qtbot.waitUntil((folder / "control.json").is_file, timeout=20_000)
        assert '"cancel"' in (folder / "control.json").read_text()
        assert handle.running
        (folder / "events.jsonl").write_text(to_json(Finished(state="interrupted")) + "\n")
    finally:
        release(folder, mine)
    qtbot.waitUntil(lambda: not handle.running, timeout=20_000)
    qtbot.waitUntil(lambda: not window.services.query_runner.busy, timeout=20_000)
    with pytest.raises(Exception, match="not running"):
        send_command(folder, "pause")


def test_repeating_brings_task_data_recipe_and_model_back(
    make_window: Callable[[], MainWindow], runs: dict[str, Path], trained: Path, tiny_encoder: Path, qtbot: Any
) -> None:
    window = make_window()
    page = window.show_tab("runs")
    page.history.select([runs["third"]])
    qtbot.waitUntil(lambda: page.history.details is not None and page.history.details.run is not None, timeout=20_000)
    qtbot.mouseClick(page.history.details.repeat, LEFT)
    qtbot.waitUntil(lambda: window.current_tab == "train", timeout=20_000)
    form = window.tab("train").panel.form
    qtbot.waitUntil(lambda: window.model is not None and window.data is not None, timeout=60_000)
    assert window.model.reference == str(tiny_encoder)
    assert window.data.config.train == str(trained / "reviews.tsv")
    assert window.data.task == "sentiment"
    values = form.values()
    assert (values["training.batch_size"], values["training.learning_rate"]) == (16, 2e-3)
    recipe = window.tab("train").build_request().recipe
    original = Recipe.load(runs["third"] / "recipe.yaml")
    assert recipe.training == original.training
    assert recipe.options == original.options
    assert not window.services.training_runner.busy
    qtbot.waitUntil(lambda: not any(runner.busy for runner in window.services.runners()), timeout=20_000)


def test_the_code_of_a_run_is_shown(make_window: Callable[[], MainWindow], runs: dict[str, Path], qtbot: Any) -> None:
    window = make_window()
    page = window.show_tab("runs")
    page.history.select([runs["first"]])
    qtbot.waitUntil(lambda: page.history.details is not None and page.history.details.run is not None, timeout=20_000)
    for _ in range(2):  # the second time it is there already
        qtbot.mouseClick(page.history.details.code, LEFT)
        qtbot.waitUntil(lambda: window._runs_wiring.code_dialog is not None, timeout=60_000)
        dialog = window._runs_wiring.code_dialog
        assert dialog.text.toPlainText() == (runs["first"] / "script" / "train.py").read_text()
        qtbot.mouseClick(dialog.copy_button, LEFT)
        assert "import torch" in QApplication.clipboard().text()
        dialog.close()
        window._runs_wiring.code_dialog = None
    qtbot.waitUntil(lambda: not any(runner.busy for runner in window.services.runners()), timeout=20_000)


def test_the_sweep_dialog_starts_a_grid_of_two(
    make_window: Callable[[], MainWindow], tiny_encoder: Path, reviews: Path, qtbot: Any
) -> None:
    window = make_window()
    give_work(window, tiny_encoder, reviews, qtbot, epochs=0.4)
    runs = window.show_tab("runs")
    runs.show_sweeps()
    qtbot.mouseClick(runs.sweeps.new_button, LEFT)
    dialog = window._runs_wiring.sweep_dialog
    assert isinstance(dialog, SweepDialog)
    (rate,) = dialog.dimensions
    assert rate.field.key == "training.learning_rate"
    rate.values.setText("1e-4, oops")
    assert not dialog.start_button.isEnabled()
    assert "oops" in dialog.notice.text()
    rate.values.setText("1e-4, 5e-3")
    assert "2 trainings" in dialog.summary.text()
    size = dialog.add_key("training.batch_size")
    assert size is not None
    size.values.setText("8, 16, 24")
    assert "6 trainings" in dialog.summary.text()
    size.removed.emit()
    rate.kind.setCurrentIndex(rate.kind.findData(RANGE))
    assert "grid needs single values" in dialog.notice.text()
    dialog.method.setCurrentIndex(dialog.method.findData("random"))
    assert dialog.config is not None
    assert isinstance(dialog.config.space["training.learning_rate"], Range)
    rate.kind.setCurrentIndex(0)
    dialog.method.setCurrentIndex(dialog.method.findData("grid"))
    qtbot.mouseClick(dialog.start_button, LEFT)
    train_page = window.tab("train")
    assert window.current_tab == "train"
    assert train_page.is_sweeping
    assert not runs.sweeps.new_button.isEnabled()
    handle = train_page.running.handle
    qtbot.waitUntil(lambda: not handle.running, timeout=90_000)
    (folder,) = list_sweeps()
    result = read_sweep(folder)
    assert sorted(trial.values["training.learning_rate"] for trial in result.trials) == [1e-4, 5e-3]
    assert all(trial.state == "finished" for trial in result.trials)
    last = result.trials[-1]
    steps = [event for event in read_events(Path(last.run_folder)) if isinstance(event, StepLogged)]
    assert len(train_page.running.curves.steps) == len(steps)  # the curves of one training are not those of two
    window.show_tab("runs")
    qtbot.waitUntil(lambda: runs.sweeps.trials.rowCount() == 2, timeout=20_000)
    assert "Best so far" in runs.sweeps._line.text()
    runs.sweeps.plot.trial_chosen.emit(last.number)
    qtbot.waitUntil(lambda: [run.folder for run in runs.history.table.selected()] == [Path(last.run_folder)])
    qtbot.waitUntil(lambda: not any(runner.busy for runner in window.services.runners()), timeout=20_000)


def test_a_sweep_stops_after_the_training_that_runs_and_is_resumed(
    make_window: Callable[[], MainWindow], tiny_encoder: Path, reviews: Path, qtbot: Any
) -> None:
    window = make_window()
    config = SweepConfig(
        recipe=recipe_of(tiny_encoder, reviews, epochs=1.0).to_dict(),
        space={"training.seed": [1, 2]},
        method="grid",
    )
    page, runs = window.show_tab("train"), window.tab("runs")
    page.run_sweep(SweepRequest(config))
    qtbot.waitUntil(lambda: len(page.view.curves.steps) > 0, timeout=60_000)
    runs.sweeps.last_button.click()
    qtbot.waitUntil(lambda: page.running.handle is None, timeout=60_000)
    (folder,) = list_sweeps()
    assert [trial.state for trial in read_sweep(folder).trials] == ["finished"]
    window.show_tab("runs")
    runs.show_sweeps()
    qtbot.waitUntil(runs.sweeps.resume_button.isEnabled, timeout=20_000)
    qtbot.mouseClick(runs.sweeps.resume_button, LEFT)
    qtbot.waitUntil(lambda: page.running.handle is None and not page.is_sweeping, timeout=60_000)
    assert [trial.state for trial in read_sweep(folder).trials] == ["finished", "finished"]
    qtbot.waitUntil(lambda: not any(runner.busy for runner in window.services.runners()), timeout=20_000)


# --- the plot


@pytest.fixture
def sweep(tmp_path: Path, tiny_encoder: Path, reviews: Path) -> SweepResult:
    """Five trials that nobody trained, one of them failed."""
    config = SweepConfig(
        recipe=recipe_of(tiny_encoder, reviews).to_dict(),
        space={"training.learning_rate": Range(1e-5, 1e-1, log=True), "strategy.name": ["full", "frozen_backbone"]},
        method="random",
        trials=5,
    )
    trials = [
        TrialResult(n, {"training.learning_rate": 10.0 ** (n - 5), "strategy.name": ("full", "frozen_backbone")[n % 2]},
                    None if n == 4 else 0.5 + n / 10, "failed" if n == 4 else "finished", str(tmp_path / str(n)))
        for n in range(5)
    ]  # fmt: skip
    return SweepResult(tmp_path, config, "accuracy", True, tuple(trials))


def drag(plot: Any, start: QPointF, end: QPointF) -> None:
    for kind, place, buttons in (
        (QEvent.Type.MouseButtonPress, start, LEFT),
        (QEvent.Type.MouseMove, end, LEFT),
        (QEvent.Type.MouseButtonRelease, end, Qt.MouseButton.NoButton),
    ):
        button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else LEFT
        event = QMouseEvent(kind, place, plot.mapToGlobal(place), button, buttons, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(plot, event)


def test_the_parallel_plot_brushes_names_and_opens_trials(tab: RunsTab, sweep: SweepResult, qtbot: Any) -> None:
    tab.show_sweeps()
    plot = tab.sweeps.plot
    plot.set_result(sweep)
    rate, strategy, metric = plot.axes
    assert rate.log
    assert rate.place(1e-3) == pytest.approx(0.5)
    assert (strategy.place("full"), strategy.place("frozen_backbone"), strategy.place("lora")) == (0.0, 1.0, None)
    assert (metric.low, metric.high) == (0.5, 0.8)
    assert plot.highlighted() == [0, 1, 2, 3, 4]
    x = plot.axis_x(0)
    drag(plot, QPointF(x, plot.place_y(0.2)), QPointF(x, plot.place_y(0.6)))  # 1e-4 and 1e-3
    assert plot.highlighted() == [1, 2]
    drag(plot, QPointF(plot.axis_x(2), plot.place_y(0.55)), QPointF(plot.axis_x(2), plot.place_y(0.9)))
    assert plot.highlighted() == [2]
    for number in (0, 2):
        place = QPointF(plot.axis_x(number), plot.place_y(0.3))
        drag(plot, place, place)
    assert plot.highlighted() == [0, 1, 2, 3, 4]
    middle = (plot._points(sweep.trials[3])[1] + plot._points(sweep.trials[3])[2]) / 2
    assert plot.trial_at(middle) == 3
    assert plot.trial_text(3).splitlines() == [
        "Trial 4", "Learning rate: 0.01", "Strategy: frozen_backbone", "Accuracy: 0.8000",
    ]  # fmt: skip
    with qtbot.waitSignal(plot.trial_chosen) as chosen:
        qtbot.mouseClick(plot, LEFT, pos=middle.toPoint())
    assert chosen.args == [3]
    worst, best = plot.colour(sweep.trials[0]), plot.colour(sweep.trials[3])
    reversed_result = dataclasses.replace(sweep, greater_is_better=False)
    plot.set_result(reversed_result)
    assert (plot.colour(sweep.trials[0]), plot.colour(sweep.trials[3])) == (best, worst)
    assert not plot.grab().isNull()


def test_trials_sort_by_number_and_not_by_word(tab: RunsTab, sweep: SweepResult) -> None:
    view = tab.sweeps
    view.trials.set_result(sweep)
    view.table.sortByColumn(3, Qt.SortOrder.DescendingOrder)
    order = [view._order.mapToSource(view._order.index(row, 0)).row() for row in range(5)]
    assert [row for row in order if row != 4] == [3, 2, 1, 0]


def test_an_estimate_comes_from_a_finished_run_of_the_same_kind(tab: RunsTab, runs: dict[str, Path]) -> None:
    recipe = Recipe.load(runs["first"] / "recipe.yaml").to_dict()
    newest = list_runs()[0]
    assert tab.estimate(recipe) == newest.duration > 0
    assert tab.estimate({**recipe, "task": "classification"}) is None


def test_a_sweep_that_others_ran_is_listed(tab: RunsTab, tiny_encoder: Path, trained: Path, qtbot: Any) -> None:
    recipe = recipe_of(tiny_encoder, trained / "reviews.tsv", epochs=0.3).to_dict()
    run_sweep(SweepRequest(SweepConfig(recipe=recipe, space={"training.seed": [3]}, method="grid")), JobContext())
    tab.show_sweeps()
    qtbot.waitUntil(lambda: tab.sweeps.sweeps.rowCount() == 1, timeout=20_000)
    model = tab.sweeps.sweeps
    assert [model.data(model.index(0, column)) for column in (1, 2, 4)] == ["Sentiment", "1 / 1", "finished"]
    deadline = time.monotonic() + 5
    while tab._polling is not None and time.monotonic() < deadline:
        qtbot.wait(20)
