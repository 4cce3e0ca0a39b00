"""Every task begins in the real window: chosen on the Data page with a bundled data set, trained on the Train page."""

from __future__ import annotations

import dataclasses

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from lmstudio_app.gui.dialogs import ErrorDialog
from lmstudio_app.gui.main_window import MainWindow
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.tasks import TASKS, Task
from lmstudio_app.training.runs import list_runs

pytestmark = pytest.mark.usefixtures("one_thread")
LEFT = Qt.MouseButton.LeftButton
PATIENCE = 120_000  # milliseconds
SMALL = {"layers": 1, "heads": 2, "hidden_size": 32, "max_length": 64, "tokenizer.vocabulary": 300}


def wait_until_idle(qtbot: QtBot, window: MainWindow) -> None:
    qtbot.waitUntil(lambda: not any(runner.busy for runner in window.services.runners()), timeout=PATIENCE)
    assert [dialog.error.message for dialog in window.findChildren(ErrorDialog) if dialog.isVisible()] == []


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_chosen_trained_and_leaves_its_model(qtbot: QtBot, window: MainWindow, task: Task) -> None:
    data = window.show_tab("data")
    wait_until_idle(qtbot, window)
    data.set_task(task.name)
    wait_until_idle(qtbot, window)
    data.panel.form.limit.setValue(60)
    qtbot.waitUntil(
        lambda: window.data is not None and window.data.task == task.name and window.data.config.limit == 60,
        timeout=PATIENCE,
    )
    wait_until_idle(qtbot, window)

    train = window.show_tab("train")
    qtbot.waitUntil(lambda: train._view is not None, timeout=PATIENCE)
    train.panel.start_from("new")
    train.panel.new_model.form.set_values({f"architecture.{name}": value for name, value in SMALL.items()})
    values = {"training.epochs": 0.5, "training.batch_size": 16, "training.max_length": 48, "training.device": "cpu"}
    if any(field.name == "generate_rows" for field in dataclasses.fields(task.options)):
        values["options.generate_rows"] = 2
    train.panel.form.set_values(values)
    wait_until_idle(qtbot, window)
    assert train.lack() == ""
    qtbot.mouseClick(train.panel.start_button, LEFT)
    assert train.running.handle is not None
    qtbot.waitUntil(lambda: train.running.handle is None, timeout=PATIENCE)
    wait_until_idle(qtbot, window)

    (run,) = list_runs()
    assert (run.task, run.state) == (task.name, "finished")
    assert task.main_metric in run.metrics
    assert train.view.curves.evaluations[-1].metrics == run.metrics
    assert run.model_folder is not None
    loaded = load_model(LoadRequest(str(run.model_folder), device="cpu"), JobContext())
    assert loaded.head == task.head
