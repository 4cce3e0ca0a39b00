from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QAbstractButton, QComboBox, QLabel, QPushButton, QSlider

from lmstudio_app.data.splits import DataConfig
from lmstudio_app.errors import UserError
from lmstudio_app.events import StepLogged
from lmstudio_app.gui.metrics import metric_help, metric_text, metric_title
from lmstudio_app.gui.run_texts import run_title
from lmstudio_app.gui.tabs.train import TrainTab
from lmstudio_app.gui.widgets.class_report import ClassReport
from lmstudio_app.gui.widgets.confusion_matrix import ConfusionMatrix
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks.classification import ClassificationMetrics
from lmstudio_app.training.frames import read_frames
from lmstudio_app.training.probe_config import ProbeConfig
from lmstudio_app.training.recipe import TrainingConfig
from lmstudio_app.training.runs import list_runs


@pytest.fixture
def tab(make_train_tab) -> TrainTab:
    return make_train_tab()


@pytest.fixture
def ready(tab: TrainTab, tiny_encoder: Path, reviews: Path) -> TrainTab:
    """A tab with everything a short training needs."""
    give_work(tab, tiny_encoder, reviews)
    return tab


def give_work(tab: TrainTab, model: Path, data: Path, **training: object) -> None:
    tab.set_model(load_model(LoadRequest(str(model), precision="float32"), JobContext()))
    tab.set_data(SimpleNamespace(config=DataConfig(train=str(data)), task="sentiment", title="Reviews"))
    values = {"epochs": 3.0, "batch_size": 8, "learning_rate": 5e-3, "log_every": 1, "device": "cpu", **training}
    tab.panel.form.set_values({f"training.{name}": value for name, value in values.items()})


def train_to_the_end(qtbot, tab: TrainTab) -> None:
    handle = tab.start()
    assert handle is not None
    with qtbot.waitSignal(handle.finished, timeout=60_000):
        pass
    qtbot.waitUntil(lambda: not tab._services.query_runner.busy)


def test_without_a_model_and_data_it_says_what_is_missing_and_goes_there(tab: TrainTab, qtbot) -> None:
    assert not tab.panel.start_button.isEnabled()
    assert tab.panel.requirements.value("model") == "none yet"
    wanted = []
    tab.step_requested.connect(wanted.append)
    for name in ("model", "data"):
        qtbot.mouseClick(tab.panel.requirements.buttons[name], Qt.MouseButton.LeftButton)
    assert wanted == ["model", "data"]
    assert "Choose a model and data first" in tab.view._status.text()
    assert tab.start() is None


def test_with_both_it_can_start(ready: TrainTab) -> None:
    assert ready.panel.start_button.isEnabled()
    assert (ready.panel.requirements.value("model"), ready.panel.requirements.value("data")) == (
        "tiny-encoder",
        "Reviews",
    )
    assert "Start training" in ready.view._status.text()


def test_the_recipe_is_what_the_form_says(ready: TrainTab, tiny_encoder: Path, reviews: Path) -> None:
    ready.panel.form.set_values({"strategy.name": "frozen_backbone", "training.seed": 7})
    recipe = ready.build_request().recipe
    assert recipe is not None
    assert (recipe.task, recipe.model, recipe.data.train) == ("sentiment", str(tiny_encoder), str(reviews))
    assert recipe.strategy.name == "frozen_backbone"
    assert recipe.training == TrainingConfig(
        epochs=3.0, batch_size=8, learning_rate=5e-3, log_every=1, seed=7, device="cpu"
    )


def test_the_form_is_remembered(make_train_tab, qtbot) -> None:
    first = make_train_tab()
    first.panel.form.set_values({"training.epochs": 5.0, "strategy.name": "frozen_backbone"})
    first.panel.form.advanced.set_open(True)
    second = make_train_tab()
    assert second.panel.form.values() == first.panel.form.values()
    assert second.panel.form.advanced.is_open


def test_going_back_to_the_defaults_can_be_undone(tab: TrainTab, qtbot) -> None:
    panel = tab.panel
    assert not panel._reset.isEnabled()  # they are there already
    panel.form.set_values({"training.epochs": 7.0})
    qtbot.mouseClick(panel._reset, Qt.MouseButton.LeftButton)
    assert panel.form.is_default()
    assert panel._reset.text() == "Bring back my values"
    qtbot.mouseClick(panel._reset, Qt.MouseButton.LeftButton)
    assert panel.form.values()["training.epochs"] == 7.0
    qtbot.mouseClick(panel._reset, Qt.MouseButton.LeftButton)
    panel.form.set_values({"training.epochs": 2.0})
    assert panel._reset.text() == "Back to the defaults"


def test_a_training_is_shown_live_and_ends_in_results(ready: TrainTab, qtbot) -> None:
    results, summaries = [], []
    ready.view.charts.draw_now()
    loss = ready.view.charts.chart("loss")
    assert loss.is_empty
    assert loss.findChild(QLabel, "hint").isVisibleTo(loss)
    ready.run_finished.connect(results.append)
    ready.summary_changed.connect(lambda: summaries.append(ready.summary()))
    handle = ready.start()
    assert handle is not None
    assert ready.view.selected_run() is None
    assert ready.view._chooser.currentText() == "This training"
    assert not ready.panel.start_button.isEnabled()
    assert not ready.panel.form.isEnabled()
    assert ready.panel.pause_button.isEnabled()
    qtbot.waitUntil(lambda: len(ready.view.curves.steps) > 0, timeout=60_000)
    qtbot.waitUntil(lambda: not handle.running, timeout=60_000)
    qtbot.waitUntil(lambda: not ready._services.query_runner.busy)
    assert ready.view.figures.figures["step"].value() == "42 / 42"
    (result,) = results
    assert result.state == "finished"
    (run,) = list_runs()
    assert ready.view.selected_run().folder == run.folder
    chosen = ready.view._chooser.currentText()
    assert run_title(run) in chosen
    assert f"Accuracy {metric_text(run.best_value, short=True)}" in chosen
    kept = ready.view.curves.outcome.metrics["accuracy"]
    assert ready.view.figures.figures["metric"].value() == metric_text(kept)  # not of the last evaluation
    assert ready.view.curves.x("step").tolist() == list(range(1, run.total_steps + 1))
    ready.view.charts.draw_now()
    assert not loss.is_empty
    assert not loss.findChild(QLabel, "hint").isVisibleTo(loss)
    assert ready.view.results.isVisible()
    assert ready.view.results.matrix._labels == ("negative", "positive")
    assert ready.view.results.worst.rowCount() > 0
    assert any("% done" in text or "Preparing" in text for text in summaries)
    assert summaries[-1].startswith("Accuracy ")
    assert ready.panel.start_button.isEnabled()


def test_the_live_curves_are_those_of_the_run_folder(ready: TrainTab, qtbot) -> None:
    events: list = []
    handle = ready.start()
    assert handle is not None
    handle.event.connect(events.extend)
    with qtbot.waitSignal(handle.finished, timeout=60_000):
        pass
    qtbot.waitUntil(lambda: not ready._services.query_runner.busy)
    live = [event.loss for event in events if isinstance(event, StepLogged)]
    assert ready.view.curves.steps.column("loss").tolist() == live
    ready.view._bar.setCurrentIndex(0)
    ready.view.charts.draw_now()
    assert ready.view.charts.chart("loss").latest("raw") == live[-1]
    assert ready.view.charts.chart("metric").latest("accuracy") == list_runs()[0].metrics["accuracy"]


def test_curves_survive_a_restart_of_the_app(make_train_tab, tiny_encoder: Path, reviews: Path, qtbot) -> None:
    first = make_train_tab()
    give_work(first, tiny_encoder, reviews)
    train_to_the_end(qtbot, first)
    before = first.view.curves.steps.column("loss").tolist()
    second = make_train_tab()
    qtbot.waitUntil(lambda: len(second.view.curves.steps) > 0)
    assert second.view.curves.steps.column("loss").tolist() == before
    assert second.view.selected_run().state == "finished"


def test_pause_stop_and_save(ready: TrainTab, qtbot) -> None:
    ready.panel.form.set_values({"training.epochs": 500.0})
    handle = ready.start()
    assert handle is not None
    qtbot.waitUntil(lambda: len(ready.view.curves.steps) > 2, timeout=60_000)
    qtbot.mouseClick(ready.panel.pause_button, Qt.MouseButton.LeftButton)
    assert (ready.panel.pause_button.text(), ready.summary()) == ("Go on", "Paused")
    qtbot.wait(200)
    held = len(ready.view.curves.steps)
    qtbot.wait(200)
    assert len(ready.view.curves.steps) == held
    qtbot.mouseClick(ready.panel.pause_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(ready.view.curves.steps) > held)
    with qtbot.waitSignal(handle.finished, timeout=60_000):
        qtbot.mouseClick(ready.panel.stop_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not ready._services.query_runner.busy)
    (run,) = list_runs()
    assert run.state == "stopped"
    assert run.model_folder is not None
    assert ready.view.results._try.isEnabled()


def test_a_cancelled_run_is_resumed_where_it_was(ready: TrainTab, qtbot) -> None:
    ready.panel.form.set_values({"training.epochs": 20.0})
    handle = ready.start()
    assert handle is not None
    qtbot.waitUntil(lambda: len(ready.view.curves.steps) > 2, timeout=60_000)
    with qtbot.waitSignal(handle.finished, timeout=60_000):
        qtbot.mouseClick(ready.panel.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: ready.view._resume.isEnabled())
    (run,) = list_runs()
    assert run.state == "interrupted"
    assert "resumed" in ready.view._status.text()
    assert not ready.view.results._try.isEnabled()
    before = len(ready.view.curves.steps)
    qtbot.mouseClick(ready.view._resume, Qt.MouseButton.LeftButton)
    again = ready.running.handle
    assert again is not None
    with qtbot.waitSignal(again.finished, timeout=60_000):
        pass
    qtbot.waitUntil(lambda: not ready._services.query_runner.busy)
    (run,) = list_runs()
    assert run.state == "finished"
    assert before < len(ready.view.curves.steps) == run.total_steps
    assert not ready.view._resume.isEnabled()


def test_a_stopped_run_goes_on_when_it_is_resumed(ready: TrainTab, make_train_tab, qtbot) -> None:
    """Also after a restart of the app, and after one more stop; "stop and save" is no end."""
    ready.panel.form.set_values({"training.epochs": 6.0})
    handle = ready.start()
    assert handle is not None
    qtbot.waitUntil(lambda: len(ready.view.curves.steps) > 2, timeout=60_000)
    with qtbot.waitSignal(handle.finished, timeout=60_000):
        qtbot.mouseClick(ready.panel.stop_button, Qt.MouseButton.LeftButton)
    later = make_train_tab()
    qtbot.waitUntil(lambda: later.view._resume.isEnabled())
    (run,) = list_runs()
    assert run.state == "stopped"
    before = len(later.view.curves.steps)
    assert before == run.step
    for is_last in (False, True):
        qtbot.waitUntil(lambda: later.view._resume.isEnabled())
        qtbot.mouseClick(later.view._resume, Qt.MouseButton.LeftButton)
        again = later.running.handle
        assert again is not None
        if not is_last:
            qtbot.waitUntil(lambda: len(later.view.curves.steps) > before + 2, timeout=60_000)
            qtbot.mouseClick(later.panel.stop_button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: later.running.handle is None, timeout=60_000)
        qtbot.waitUntil(lambda: not later._services.query_runner.busy)
    (run,) = list_runs()
    assert run.state == "finished"
    assert len(later.view.curves.steps) == run.total_steps
    assert list(later.view.curves.steps.column("step")) == list(range(1, run.total_steps + 1))
    assert later.view.results._try.isEnabled()


def test_a_recipe_that_fails_leaves_the_tab_ready_for_the_next(ready: TrainTab, tmp_path: Path, qtbot) -> None:
    errors = []
    ready._services.training_runner.job_failed.connect(lambda handle, error: errors.append(error))
    ready.set_data(SimpleNamespace(config=DataConfig(train=str(tmp_path / "gone.csv")), task="sentiment", title="Gone"))
    handle = ready.start()
    assert handle is not None
    with qtbot.waitSignal(handle.finished, timeout=60_000):
        pass
    qtbot.waitUntil(lambda: not ready._services.query_runner.busy)
    assert "gone.csv" in errors[0].message
    assert ready.panel.start_button.isEnabled()
    assert ready.view._status.text() == errors[0].message


def test_a_run_that_cannot_be_read_does_not_hide_the_others(
    make_train_tab, tiny_encoder: Path, reviews: Path, qtbot
) -> None:
    first = make_train_tab()
    give_work(first, tiny_encoder, reviews, epochs=0.2)
    train_to_the_end(qtbot, first)
    broken = list_runs()[0].folder.with_name("broken")
    broken.mkdir()
    (broken / "recipe.yaml").write_text("{")
    second = make_train_tab()
    qtbot.waitUntil(lambda: len(second.view.curves.steps) > 0)
    assert second.view._chooser.count() == 1


def test_try_it_and_look_inside_name_the_trained_model(ready: TrainTab, qtbot) -> None:
    train_to_the_end(qtbot, ready)
    (run,) = list_runs()
    tried, inspected = [], []
    ready.try_requested.connect(lambda folder, name: tried.append((folder, name)))
    ready.inspect_requested.connect(lambda folder, text: inspected.append((folder, text)))
    results = ready.view.results
    qtbot.mouseClick(results._try, Qt.MouseButton.LeftButton)
    folder = str(run.folder / "final")
    assert tried == [(folder, "sentiment")]
    results.table.selectRow(1)
    qtbot.mouseClick(results._inspect, Qt.MouseButton.LeftButton)
    results.table.doubleClicked.emit(results.worst.index(0, 0))
    assert inspected == [(folder, results.worst.text(1)), (folder, results.worst.text(0))]
    assert "the movie" in inspected[0][1]


def test_a_sentence_is_watched_while_it_learns(ready: TrainTab, qtbot) -> None:
    form = ready.panel.form
    assert ready.view.attention.isHidden()
    found = []
    for _ in range(2):
        qtbot.mouseClick(ready.panel.sample, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: form.values()["probe.text"] not in ["", *found])
        found.append(form.values()["probe.text"])
        qtbot.waitUntil(lambda: not ready._services.query_runner.busy)
    form.set_values({"probe.text": "a great movie", "probe.every": 5})
    assert ready.build_request().recipe.probe == ProbeConfig(text="a great movie", every=5)
    folders = []
    ready.attention_requested.connect(folders.append)
    handle = ready.start()
    assert handle is not None
    qtbot.waitUntil(ready.view.attention.isVisible, timeout=60_000)
    qtbot.mouseClick(ready.view.attention, Qt.MouseButton.LeftButton)  # while it runs
    qtbot.waitUntil(lambda: ready.running.handle is None, timeout=60_000)
    qtbot.waitUntil(lambda: ready.view.selected_run() is not None and not ready._services.query_runner.busy)
    qtbot.mouseClick(ready.view.attention, Qt.MouseButton.LeftButton)
    (run,) = list_runs()
    assert folders == [run.folder, run.folder]
    assert [frame.step for frame in read_frames(run.folder)][:3] == [0, 5, 10]
    form.set_values({"probe.layers": "first"})
    with pytest.raises(UserError, match=r"probe\.layers cannot be read"):
        ready.build_request()
    ready.set_recipe({"task": "sentiment", "probe": {"text": "of an older run"}})
    assert form.values()["probe.text"] == "of an older run"
    ready.set_recipe({"task": "sentiment"})
    assert form.values()["probe.text"] == ""


def test_the_axis_the_smoothing_and_the_logarithm_are_remembered(tab: TrainTab, make_train_tab, qtbot) -> None:
    charts = tab.view.charts
    axis = charts.findChild(QComboBox)
    assert axis is not None
    axis.setCurrentIndex(1)
    charts.findChild(QSlider).setValue(42)
    charts._log.setChecked(True)
    again = make_train_tab().view.charts
    assert (again._axis.currentData(), again._slider.value(), again._log.isChecked()) == ("epoch", 42, True)
    assert again.chart("loss")._log


def test_hovering_reads_all_charts_at_the_same_place(ready: TrainTab, qtbot) -> None:
    train_to_the_end(qtbot, ready)
    ready.view._bar.setCurrentIndex(0)
    ready.view.charts.draw_now()
    loss = ready.view.charts.chart("loss")
    column = ready.view.curves.steps.column("loss")
    view = loss.plot.getPlotItem().getViewBox()
    scene = view.mapViewToScene(QPointF(5.2, float(column[4])))
    loss.plot.scene().sigMouseMoved.emit(scene)
    assert loss.values_at(5.2)["raw"] == column[4]
    assert f"{column[4]:.4f}" in loss._readout.text()
    norms = ready.view.curves.steps.column("grad_norm")
    assert ready.view.charts.chart("grad_norm").values_at(5.2)["grad_norm"] == norms[4]
    assert ready.view.charts.chart("grad_norm")._cross.isVisible()
    loss.hovered.emit(None)
    assert not ready.view.charts.chart("grad_norm")._cross.isVisible()


def test_zooming_one_chart_zooms_all_and_show_all_undoes_it(ready: TrainTab, qtbot) -> None:
    train_to_the_end(qtbot, ready)
    charts = ready.view.charts
    charts.chart("grad_norm").zoomed.emit(3.0, 8.0)
    charts.draw_now()
    shown = charts.chart("loss").plot.getPlotItem().getViewBox().viewRange()[0]
    assert shown == pytest.approx([3.0, 8.0])
    charts._all.click()
    charts.draw_now()
    shown = charts.chart("loss").plot.getPlotItem().getViewBox().viewRange()[0]
    assert shown[1] >= len(ready.view.curves.steps)


def test_charts_follow_a_change_of_theme(tab: TrainTab, qapp, qtbot) -> None:
    from lmstudio_app.gui import theme

    look = theme.Theme(qapp, tab._settings)
    try:
        for name in ("dark", "light"):
            look.set_name(name)
            qtbot.wait(20)
            palette = theme.build_palette(dark=name == "dark")
            chart = tab.view.charts.chart("loss")
            assert chart.plot.backgroundBrush().color() == theme.chart_colours(palette).background
            pen = chart._items["smooth"].opts["pen"]
            assert QColor(pen.color()) == theme.chart_colours(palette).series[0]
    finally:
        look.set_name("system")


def test_charts_stop_their_timer_when_nothing_is_new(tab: TrainTab, qtbot) -> None:
    tab.view.charts.mark_dirty()
    assert tab.view.charts._timer.isActive()
    qtbot.waitUntil(lambda: not tab.view.charts._timer.isActive())


def test_every_control_has_a_name_and_a_tooltip(tab: TrainTab) -> None:
    for kind in (QAbstractButton, QComboBox, QSlider):
        for control in tab.findChildren(kind):
            if control.isVisibleTo(tab) and not control.objectName().startswith(("qt_", "Scroll")):
                described = control.accessibleName() or (isinstance(control, QPushButton) and control.text())
                assert described, control
                assert control.toolTip() or control.accessibleDescription(), control


def test_the_confusion_matrix_speaks(qtbot) -> None:
    matrix = ConfusionMatrix()
    qtbot.addWidget(matrix)
    matrix.resize(400, 300)
    matrix.set_matrix(["bad", "good"], [[3, 1], [0, 6]])
    assert "1 of bad taken for good" in matrix.accessibleDescription()
    matrix.show()
    image = matrix.grab().toImage()
    grid, width, height = matrix._grid()
    ratio = image.devicePixelRatio()

    def colour(row: int, column: int) -> QColor:
        x, y = grid.left() + (column + 0.15) * width, grid.top() + (row + 0.15) * height
        return image.pixelColor(round(x * ratio), round(y * ratio))

    assert colour(1, 1).lightness() < colour(0, 1).lightness()
    assert colour(0, 0).lightness() < colour(0, 1).lightness() < colour(1, 0).lightness()


def test_the_report_of_the_classes_is_their_recall_precision_and_f1(qtbot) -> None:
    report = ClassReport()
    qtbot.addWidget(report)
    report.set_matrix(["bad", "good", "rare"], [[3, 1, 0], [0, 6, 0], [0, 0, 0]])
    rows = [[report.item(row, column).text() for column in range(5)] for row in range(3)]
    assert rows[0] == ["bad", "4", "75.0 %", "100.0 %", "0.857"]
    assert rows[1] == ["good", "6", "100.0 %", "85.7 %", "0.923"]
    assert rows[2] == ["rare", "0", "–", "–", "–"]
    assert all(report.horizontalHeaderItem(column).toolTip() for column in range(5))


def test_every_metric_of_a_classifier_is_explained() -> None:
    import torch

    metrics = ClassificationMetrics(["bad", "good"])
    metrics.add(torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 1]))
    for name in metrics.compute()[0]:
        assert metric_help(name) != metric_title(name)
