"""The main job, clicked through the whole window: Model, Data, Train, Sentiment, Attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QListView
from pytestqt.qtbot import QtBot

from lmstudio_app.gui.dialogs import ErrorDialog
from lmstudio_app.gui.main_window import MainWindow
from lmstudio_app.models.references import install_folder
from lmstudio_app.training.runs import list_runs

LEFT = Qt.MouseButton.LeftButton
PATIENCE = 120_000  # milliseconds


def wait_until_idle(qtbot: QtBot, window: MainWindow) -> None:
    qtbot.waitUntil(lambda: not any(runner.busy for runner in window.services.runners()), timeout=PATIENCE)
    assert [dialog.error.message for dialog in window.findChildren(ErrorDialog) if dialog.isVisible()] == []


def click_row(qtbot: QtBot, view: QListView, title: str) -> None:
    """Click the row that shows ``title``."""
    for row in range(view.model().rowCount()):
        index = view.model().index(row, 0)
        if title in str(index.data(Qt.ItemDataRole.AccessibleTextRole) or index.data()):
            view.scrollTo(index)
            qtbot.mouseClick(view.viewport(), LEFT, pos=view.visualRect(index).center())
            return
    raise AssertionError(f"no row shows {title!r}")


@pytest.mark.parametrize("which", ["tiny", "starter"])
def test_a_newcomer_clicks_from_the_model_to_its_attention(
    qtbot: QtBot, window: MainWindow, which: str, request: pytest.FixtureRequest
) -> None:
    """The real encoder, or one of random weights in its place; the bundled film reviews."""
    encoder: Path = request.getfixturevalue("tiny_encoder" if which == "tiny" else "starter_encoder")
    install_folder("starter:encoder").parent.mkdir(parents=True, exist_ok=True)
    install_folder("starter:encoder").symlink_to(encoder, target_is_directory=True)
    steps = {button.text(): button for button in window.rail.buttons}

    model = window.tab("model")
    model.chooser.list.select("starter:encoder")
    wait_until_idle(qtbot, window)
    qtbot.mouseClick(model.chooser.load_button, LEFT)
    qtbot.waitUntil(lambda: window.model is not None, timeout=PATIENCE)
    wait_until_idle(qtbot, window)
    assert steps["Model"].done

    qtbot.mouseClick(model.view.banner.continue_button, LEFT)
    assert window.current_tab == "data"
    data = window.tab("data")
    wait_until_idle(qtbot, window)
    click_row(qtbot, data.panel.list, "IMDb")
    qtbot.waitUntil(lambda: window.data is not None, timeout=PATIENCE)
    wait_until_idle(qtbot, window)
    assert window.data.config.train == "uci-imdb"

    qtbot.mouseClick(data.view.continue_button, LEFT)
    assert window.current_tab == "train"
    train = window.tab("train")
    wait_until_idle(qtbot, window)
    learning_rate = 1e-3 if which == "tiny" else 3e-4
    options = {"epochs": 1.0, "batch_size": 32, "max_length": 32, "learning_rate": learning_rate, "log_every": 1}
    train.panel.form.set_values({f"training.{name}": value for name, value in options.items()})
    results: list[Any] = []
    train.run_finished.connect(results.append)
    qtbot.mouseClick(train.panel.start_button, LEFT)
    qtbot.waitUntil(lambda: bool(results), timeout=PATIENCE)
    wait_until_idle(qtbot, window)
    (run,) = list_runs()
    assert run.state == "finished"
    assert len(train.view.curves.steps) == run.total_steps
    if which == "starter":
        assert run.metrics["accuracy"] > 0.75

    qtbot.mouseClick(train.view.results._try, LEFT)
    qtbot.waitUntil(lambda: window.current_tab == "sentiment", timeout=PATIENCE)
    qtbot.waitUntil(lambda: window.model.labels == ("negative", "positive"), timeout=PATIENCE)
    sentiment = window.tab("sentiment")
    qtbot.waitUntil(lambda: bool(sentiment.one.samples), timeout=PATIENCE)
    qtbot.mouseClick(sentiment.one.samples[0], LEFT)
    qtbot.waitUntil(lambda: not sentiment.one.busy, timeout=PATIENCE)
    wait_until_idle(qtbot, window)
    assert sentiment.one.pane.verdict.text() in ("Negative", "Neutral", "Positive")
    if which == "starter":
        assert sentiment.one.pane.verdict.text() == "Positive"

    qtbot.mouseClick(sentiment.one.pane.inspect_button, LEFT)
    qtbot.waitUntil(lambda: window.current_tab == "attention", timeout=PATIENCE)
    attention = window.tab("attention")
    qtbot.waitUntil(lambda: attention.inside.panel is not None, timeout=PATIENCE)
    qtbot.waitUntil(lambda: attention.studio.reading is not None, timeout=PATIENCE)
    wait_until_idle(qtbot, window)
    weights = attention.studio.reading.maps.weights
    layers, heads = (2, 4) if which == "tiny" else (6, 12)
    assert weights.shape[:2] == (layers, heads)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-3)
    done = {button.text(): button.done for button in window.rail.buttons}
    steps_done = [name for name in ("Model", "Data", "Train", "Sentiment", "Attention") if done[name]]
    assert steps_done == ["Model", "Data", "Train"]
