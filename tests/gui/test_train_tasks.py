"""The Train page for every strategy, for other tasks, and for models that begin with random weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox
from pytestqt.qtbot import QtBot
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from lmstudio_app.data.config import DataConfig, DataSelection
from lmstudio_app.events import Evaluated, Event, Status
from lmstudio_app.gui.dialogs import ErrorDialog
from lmstudio_app.gui.main_window import MainWindow
from lmstudio_app.gui.tabs.train import TrainTab
from lmstudio_app.gui.text import number_text
from lmstudio_app.gui.widgets.layer_plan import ADAPTED, FROZEN, LATER, TRAINS, UNREACHED
from lmstudio_app.gui.widgets.results_view import ResultsView
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.architectures import skeleton
from lmstudio_app.models.loading import LoadedModel, LoadRequest, load_model
from lmstudio_app.training.runs import list_runs
from lmstudio_app.training.summaries import read_recipe

pytestmark = pytest.mark.usefixtures("one_thread")
LEFT = Qt.MouseButton.LeftButton
SENTENCES = (
    "The captain steers the old ship home.",
    "A small fox follows that narrow path.",
    "Our baker opens his shop at dawn.",
)
SMALL = {"layers": 1, "heads": 2, "hidden_size": 32, "max_length": 48, "tokenizer.vocabulary": 150}


@pytest.fixture
def tab(make_train_tab: Callable[[], TrainTab]) -> TrainTab:
    return make_train_tab()


@pytest.fixture
def encoder(tiny_encoder: Path) -> LoadedModel:
    return load_model(LoadRequest(str(tiny_encoder), precision="float32"), JobContext())


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.txt"
    path.write_text("\n".join(f"{SENTENCES[number % 3]}\n" * 4 for number in range(24)), encoding="utf-8")
    return path


def choose(form: Any, **values: Any) -> None:
    form.set_values({f"training.{name}": value for name, value in {"device": "cpu", "log_every": 1, **values}.items()})


def select(data: Path, task: str) -> DataSelection:
    return DataSelection(DataConfig(train=str(data)), task, data.name)


def wait_for_plan(qtbot: QtBot, tab: TrainTab) -> None:
    qtbot.waitUntil(lambda: tab._plan.is_idle and tab._plan.answer is not None, timeout=20_000)


def states(tab: TrainTab) -> list[str]:
    """Of the parts, from the input to the output."""
    return [row.state for row in reversed(tab.panel.plan.bars.rows)]


@pytest.mark.parametrize("name", ["frozen_backbone", "layer_by_layer", "full", "lora"])
def test_each_strategy_is_started_in_the_window_and_trains_what_it_showed(
    qtbot: QtBot, window: MainWindow, encoder: LoadedModel, reviews: Path, name: str
) -> None:
    window._on_model_loaded(encoder)
    window._on_data_chosen(select(reviews, "sentiment"))
    tab = window.show_tab("train")
    qtbot.waitUntil(lambda: tab._view is not None)
    combo = tab.panel.form.editor("strategy.name")
    assert isinstance(combo, QComboBox)
    combo.setCurrentIndex(combo.findData(name))
    choose(tab.panel.form, epochs=2.0, batch_size=16, learning_rate=5e-3)
    wait_for_plan(qtbot, tab)
    expected = {
        "frozen_backbone": [FROZEN, FROZEN, FROZEN, TRAINS, TRAINS],  # the pooler came without weights
        "layer_by_layer": [UNREACHED, UNREACHED, LATER, TRAINS, TRAINS],
        "full": [TRAINS] * 5,
        "lora": [FROZEN, ADAPTED, ADAPTED, TRAINS, TRAINS],
    }
    trained = tab._plan.answer.plan.trained_in(1 if name == "layer_by_layer" else 0)
    shown = states(tab)
    assert (shown[:3], shown[-1]) == (expected[name][:3], TRAINS)
    events: list[Event] = []
    qtbot.mouseClick(tab.panel.start_button, LEFT)
    tab.running.handle.event.connect(events.extend)
    qtbot.waitUntil(lambda: tab.running.handle is None, timeout=60_000)
    qtbot.waitUntil(lambda: not window.services.query_runner.busy)
    assert [dialog.error.message for dialog in window.findChildren(ErrorDialog)] == []
    (run,) = list_runs()
    assert (run.state, read_recipe(run.folder)["strategy"]["name"]) == ("finished", name)
    counts = [e.parameters["count"] for e in events if isinstance(e, Status) and "count" in e.parameters]
    assert trained in counts


def test_a_change_of_the_strategy_shows_its_fields_and_its_plan(
    qtbot: QtBot, tab: TrainTab, encoder: LoadedModel
) -> None:
    assert "Load a model" in tab.panel.plan.text
    tab.set_model(encoder)
    wait_for_plan(qtbot, tab)
    total = sum(parameter.numel() for parameter in encoder.model.parameters()) + 2 * 32 + 2
    assert tab._plan.answer.parameters == total
    form = tab.panel.form
    assert not form.editor("strategy.rank").isVisibleTo(tab)
    form.set_values({"strategy.name": "lora", "strategy.rank": 4})
    assert form.editor("strategy.rank").isVisibleTo(tab)
    assert not form.editor("strategy.layers").isVisibleTo(tab)
    wait_for_plan(qtbot, tab)
    assert tab._plan.answer.plan.groups[1].adapter == 4 * 4 * (32 + 32)  # query, key, value, output
    assert f"an adapter of {number_text(1024)} trains" in tab.panel.plan.bars.accessibleDescription()
    form.set_values({"strategy.name": "layer_by_layer", "strategy.unfreeze_every": 5})
    wait_for_plan(qtbot, tab)
    assert "from step 6" in tab.panel.plan.bars.accessibleDescription()
    form.set_values({"strategy.unfreeze_every": 0, "training.epochs": 1.0})
    wait_for_plan(qtbot, tab)
    few = tab.panel.plan.text
    assert UNREACHED in states(tab)
    form.set_values({"training.epochs": 9.0})
    assert UNREACHED not in states(tab)
    assert tab.panel.plan.text != few


def test_each_task_has_its_own_form_and_keeps_its_values(
    qtbot: QtBot, make_train_tab: Callable[[], TrainTab], reviews: Path, documents: Path
) -> None:
    tab = make_train_tab()
    tab.set_data(select(reviews, "sentiment"))
    tab.panel.form.set_values({"training.epochs": 7.0})
    assert "options.mlm_probability" not in tab.panel.form.values()
    tab.set_data(select(documents, "masked_lm"))
    values = tab.panel.form.values()
    assert values["training.learning_rate"] == 5e-4  # recommended by the task
    assert tab.panel.form.is_default()
    assert "options.mlm_probability" in values
    tab.panel.form.set_values({"options.mlm_probability": 0.4})
    tab.set_data(select(reviews, "sentiment"))
    assert tab.panel.form.values()["training.epochs"] == 7.0
    again = make_train_tab()
    assert again.panel.task.name == "sentiment"
    again.set_data(select(documents, "masked_lm"))
    assert again.panel.form.values()["options.mlm_probability"] == 0.4
    qtbot.mouseClick(again.panel._reset, LEFT)
    assert again.panel.form.values()["options.mlm_probability"] == 0.15


def test_a_model_that_does_not_fit_the_task_is_told_of_before_the_start(
    qtbot: QtBot, tab: TrainTab, encoder: LoadedModel, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("en\tde\n" + "good morning\tguten Morgen\n" * 30)
    tab.set_model(encoder)
    tab.set_data(select(pairs, "translation"))
    assert "Translation needs an encoder-decoder" in tab.panel.notice.text()
    assert "start from a new one" in tab.panel.notice.text()
    assert not tab.panel.start_button.isEnabled()
    assert tab.lack() == "Needs another model"
    tab.panel.start_from("new")
    assert tab.panel.notice.isHidden()
    assert tab.panel.start_button.isEnabled()
    assert tab.lack() == ""


def test_a_new_model_is_counted_while_its_form_is_filled_in(qtbot: QtBot, tab: TrainTab, documents: Path) -> None:
    tab.set_data(select(documents, "masked_lm"))
    tab.panel.start_from("new")
    new = tab.panel.new_model
    assert new is not None
    for layers in (1, 3):
        new.form.set_values({f"architecture.{name}": value for name, value in {**SMALL, "layers": layers}.items()})
        wait_for_plan(qtbot, tab)
        wanted = sum(parameter.numel() for parameter in skeleton(new.config(), 150, "masked-lm").parameters())
        assert new.count.text() == f"{number_text(wanted)} parameters"
    assert [row.title for row in tab.panel.plan.bars.rows][-2:] == ["Layer 0", "Embeddings"]
    new.form.set_values({"architecture.heads": 5})
    assert "5 heads cannot share" in new.count.text()
    assert not tab.panel.start_button.isEnabled()
    new.form.set_values({"architecture.heads": 2})
    assert tab.panel.start_button.isEnabled()


def test_every_control_of_a_new_model_has_a_name_and_a_tooltip(tab: TrainTab, documents: Path) -> None:
    tab.set_data(select(documents, "bert_pretraining"))
    tab.panel.start_from("new")
    tab.panel.form.advanced.set_open(True)
    tab.panel.new_model.form.advanced.set_open(True)
    for kind in (QAbstractButton, QAbstractSpinBox, QComboBox):
        for control in tab.panel.findChildren(kind):
            if control.isVisibleTo(tab) and not control.objectName().startswith(("qt_", "Scroll")):
                assert control.accessibleName() or control.text(), control
                assert control.toolTip() or control.accessibleDescription(), control
    assert tab.panel.plan.bars.accessibleName()


def test_many_classes_are_listed_and_not_drawn(qtbot: QtBot) -> None:
    """A thousand by a thousand squares would say nothing, and stop the window."""
    view = ResultsView()
    qtbot.addWidget(view)
    count = 1000
    confusion = [[2 * (row == column) for column in range(count)] for row in range(count)]
    details = {"labels": [f"class {number}" for number in range(count)], "confusion": confusion, "worst": []}
    began = time.perf_counter()
    view.set_result(Evaluated(step=1, epoch=1.0, metrics={"loss": 0.1}, details=details), has_model=True)
    assert time.perf_counter() - began < 1.0
    assert view.matrix.isHidden()
    assert view.report.item(999, 4).text() == "1.000"
    few = {"labels": ["a", "b"], "confusion": [[1, 0], [1, 1]], "worst": []}
    view.set_result(Evaluated(step=2, epoch=1.0, metrics={"loss": 0.1}, details=few), has_model=True)
    assert not view.matrix.isHidden()


def test_a_vocabulary_is_tried_and_shows_how_it_cuts_the_texts(qtbot: QtBot, tab: TrainTab, documents: Path) -> None:
    tab.set_data(select(documents, "masked_lm"))
    tab.panel.start_from("new")
    new = tab.panel.new_model
    assert new is not None
    new.form.set_values({f"architecture.{name}": value for name, value in SMALL.items()})
    qtbot.mouseClick(new.trial.button, LEFT)
    assert not new.trial.button.isEnabled()
    qtbot.waitUntil(lambda: new.trial.report is not None, timeout=60_000)
    qtbot.waitUntil(lambda: new.trial.button.isEnabled())
    report = new.trial.report
    assert report.coverage == 1.0
    assert new.trial.figures.figures["coverage"].value() == "100.0 %"
    strip = new.trial.strips[0]
    assert strip.tokens == report.samples[0][1]
    assert strip.accessibleDescription().startswith("[CLS], ")
    assert strip.heightForWidth(120) > strip.heightForWidth(2000)
    new.form.set_values({"architecture.layers": 2})
    assert new.trial.report is report  # it does not depend on the layers
    new.form.set_values({"architecture.tokenizer.vocabulary": 160})
    assert new.trial.report is None


def test_a_model_is_pretrained_from_nothing_and_shows_what_it_guesses(
    qtbot: QtBot, window: MainWindow, documents: Path
) -> None:
    window._on_data_chosen(select(documents, "masked_lm"))
    tab = window.show_tab("train")
    qtbot.waitUntil(lambda: tab._view is not None)
    assert tab.lack() == "Needs a model"
    tab.panel.start_from("new")
    tab.panel.new_model.form.set_values({f"architecture.{name}": value for name, value in SMALL.items()})
    choose(tab.panel.form, epochs=8.0, batch_size=8, max_length=32, learning_rate=5e-3, evaluate_every=5)
    qtbot.mouseClick(tab.panel.start_button, LEFT)
    assert tab.running.handle is not None
    qtbot.waitUntil(lambda: tab.running.handle is None, timeout=60_000)
    qtbot.waitUntil(lambda: not window.services.query_runner.busy)
    assert [dialog.error.message for dialog in window.findChildren(ErrorDialog)] == []
    (run,) = list_runs()
    assert run.state == "finished"
    results = tab.view.results
    assert results._matrix_card.isHidden()
    assert results._worst_card.isHidden()
    samples = results.samples
    assert len(samples._steps) > 2
    last = samples.samples.sample(0)
    assert "[MASK]" in last.input
    samples.show_step(samples._steps[0])
    assert samples.step == samples._steps[0]
    assert samples.details[2].toPlainText() == samples.samples.sample(0).output
    tab.view._bar.setCurrentIndex(0)
    tab.view.charts.draw_now()
    curves = tab.view.curves
    assert tab.view.charts.chart("metric").latest("mlm_accuracy") == curves.evaluations[-1].metrics["mlm_accuracy"]
    assert tab.view.charts.chart("metric_2").isVisible()
    asked: list[tuple[str, str]] = []
    tab.try_requested.disconnect()
    tab.try_requested.connect(lambda folder, name: asked.append((folder, name)))
    tab.view._bar.setCurrentIndex(1)
    qtbot.mouseClick(results._try, LEFT)
    assert asked == [(str(run.folder / "final"), "fill_mask")]


def test_a_batch_that_found_no_memory_is_halved_at_the_push_of_a_button(
    qtbot: QtBot, window: MainWindow, encoder: LoadedModel, reviews: Path
) -> None:
    """A device without room for more than four rows at once."""
    tried: list[int] = []

    def refuse(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Embedding) and torch.is_grad_enabled() and arguments[0].dim() == 2:
            tried.append(len(arguments[0]))
            if tried[-1] > 4:
                raise torch.OutOfMemoryError("CUDA out of memory.")

    window._on_model_loaded(encoder)
    window._on_data_chosen(select(reviews, "sentiment"))
    tab = window.show_tab("train")
    qtbot.waitUntil(lambda: tab._view is not None)
    choose(tab.panel.form, epochs=0.3, batch_size=8, on_out_of_memory="stop")
    hook = register_module_forward_pre_hook(refuse)
    try:
        qtbot.mouseClick(tab.panel.start_button, LEFT)
        qtbot.waitUntil(lambda: tab.running.handle is None, timeout=60_000)
        qtbot.waitUntil(lambda: not window.services.query_runner.busy)
        (dialog,) = [found for found in window.findChildren(ErrorDialog) if found.isVisible()]
        assert dialog.way_button is not None
        assert "8 rows at once" in dialog.error.message
        qtbot.mouseClick(dialog.way_button, LEFT)
        assert tab.running.handle is not None
        qtbot.waitUntil(lambda: tab.running.handle is None, timeout=60_000)
        qtbot.waitUntil(lambda: not window.services.query_runner.busy)
    finally:
        hook.remove()
    (run,) = list_runs()
    assert run.state == "finished"
    assert max(tried[1:]) == 4
    assert [found for found in window.findChildren(ErrorDialog) if found.isVisible()] == []
