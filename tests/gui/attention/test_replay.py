"""The replay of trainings: choosing one, playing it, following one that another process trains."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtWidgets import QAbstractButton, QComboBox, QSlider

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.replay_page import ReplayPage
from lmstudio_app.gui.attention.replay_reading import (
    ReplayReader,
    figures_of,
    find_replays,
    pool_thumbnails,
)
from lmstudio_app.jobs import JobContext
from lmstudio_app.training.frames import frame_path, load_frame, mean_entropy, read_frames
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.probe_config import ProbeConfig
from lmstudio_app.training.recipe import Recipe

TEXT = "the movie was great and not boring"


@pytest.fixture
def recipe(tiny_encoder: Path, tmp_path: Path) -> Recipe:
    lines = ["text\tlabel"]
    for number in range(80):
        label = ("negative", "positive")[number % 2]
        lines.append(f"the movie {number} was {'great' if number % 2 else 'awful'}\t{label}")
    (tmp_path / "reviews.tsv").write_text("\n".join(lines) + "\n")
    return Recipe.from_dict(
        {
            "task": "sentiment",
            "model": str(tiny_encoder),
            "data": {"train": str(tmp_path / "reviews.tsv"), "eval": str(tmp_path / "reviews.tsv")},
            "training": {"epochs": 2, "batch_size": 8, "learning_rate": 5e-3, "log_every": 1, "device": "cpu"},
            "probe": {"text": TEXT, "every": 4},
        }
    )


@pytest.fixture
def watched(recipe: Recipe, app_home: Path) -> Path:
    """A finished run with frames at every fourth step."""
    folder = app_home / "runs" / "watched"
    train(TrainRequest(recipe, folder), JobContext())
    return folder


@pytest.fixture
def unwatched(recipe: Recipe, app_home: Path) -> Path:
    folder = app_home / "runs" / "unwatched"
    plain = dataclasses.replace(recipe, probe=ProbeConfig())
    train(TrainRequest(dataclasses.replace(plain, training=dataclasses.replace(plain.training, epochs=0.2)), folder),
          JobContext())  # fmt: skip
    return folder


@pytest.fixture
def make_page(qtbot: Any, services: Any) -> Iterator[Callable[..., ReplayPage]]:
    def _make(folder: Path | None = None, *, wait: bool = True) -> ReplayPage:
        page = ReplayPage(services)
        qtbot.addWidget(page, before_close_func=lambda widget: widget.shutdown())
        page.resize(1200, 700)
        if folder is not None:
            page.show_run(folder)
        page.show()
        if wait:
            settle(qtbot, page)
        return page

    yield _make
    qtbot.waitUntil(lambda: not any(runner.busy for runner in services.runners()))


def settle(qtbot: Any, page: ReplayPage) -> None:
    """Until nothing more is read."""
    runner = page._services.query_runner
    qtbot.waitUntil(lambda: not runner.busy and page._handle is None and page.view._handle is None, timeout=10_000)
    qtbot.wait(80)  # the charts are drawn a moment later
    qtbot.waitUntil(lambda: not runner.busy, timeout=10_000)


def drawn(page: ReplayPage) -> np.ndarray:
    weights = page.view.heads.heatmap._weights
    assert weights is not None
    return weights


# --- what is read


def test_runs_with_recordings_come_first(watched: Path, unwatched: Path) -> None:
    found = find_replays(None, JobContext())
    assert [(r.run.folder, r.frames > 0, r.text) for r in found.replays] == [
        (watched, True, TEXT),
        (unwatched, False, ""),
    ]
    assert found.chosen is None
    chosen = find_replays(unwatched, JobContext()).chosen
    assert chosen is not None
    assert chosen.run.folder == unwatched


def test_figures_count_what_has_moved(watched: Path) -> None:
    files = read_frames(watched)
    first, last = load_frame(files[0]), load_frame(files[-1])
    figures = figures_of(last, first)
    np.testing.assert_allclose(figures.entropy, mean_entropy(last.weights))
    for layer, head in np.ndindex(figures.moved.shape):
        rows = zip(last.weights[layer, head], first.weights[layer, head], strict=True)
        shares = [sum(max(0.0, float(new - old)) for new, old in zip(a, b, strict=True)) for a, b in rows]
        # what one token gains others lose; float16 leaves a rest
        assert figures.moved[layer, head] == pytest.approx(np.mean(shares), abs=2e-3)
    assert (figures_of(first, first).moved == 0).all()
    assert figures.largest_change.max() == pytest.approx(float(np.abs(last.weights - first.weights).max()))


def test_the_reader_tells_only_what_is_new(watched: Path) -> None:
    reader = ReplayReader(watched)
    news = reader(None, JobContext())
    assert news.curves is not None
    assert len(news.curves.steps) == 20
    assert [file.step for file in news.files] == [0, 4, 8, 12, 16, 20]
    assert set(news.figures) == set(news.files)
    again = reader(None, JobContext())
    assert (again.curves, again.events, again.figures, again.is_running) == (None, [], {}, False)
    news.files[2].path.unlink()  # as a resume does
    assert [file.step for file in reader(None, JobContext()).files] == [0, 4, 12, 16, 20]


def test_thumbnails_keep_the_strongest_of_each_patch() -> None:
    values = np.zeros((2, 1, 100, 30), np.float32)
    values[0, 0, 99, 29], values[1, 0, 50, 3] = -0.5, 0.25
    pooled = pool_thumbnails(values, 20)
    assert pooled.shape == (2, 1, 20, 6)
    assert (pooled.min(), pooled[1].max()) == (-0.5, 0.25)
    assert pool_thumbnails(values[:, :, :20], 48).shape == (2, 1, 20, 30)


# --- the page


def test_without_recordings_it_says_how_to_get_some(make_page: Any, qtbot: Any, app_home: Path) -> None:
    page = make_page()
    assert page._stack.currentWidget() is page.empty
    assert "Watch a sentence while it learns" in page.empty.text.text()
    with qtbot.waitSignal(page.step_requested) as asked:
        qtbot.mouseClick(page.empty.buttons[0], Qt.MouseButton.LeftButton)
    assert asked.args == ["train"]


def test_a_run_without_recordings_is_explained(make_page: Any, watched: Path, unwatched: Path) -> None:
    page = make_page(unwatched)
    assert page.runs.count() == 2
    assert "nothing recorded" in page.runs.currentText()
    assert "No sentence was watched" in page.empty.title.text()


def test_a_finished_run_is_shown_at_its_end_and_played(make_page: Any, qtbot: Any, watched: Path) -> None:
    page = make_page()
    view = page.view
    assert "6 recordings" in page.runs.currentText()
    assert TEXT in view.sentence.text()
    assert (view.step, view.place.text()) == (20, "Step 20 of 20")
    assert view.follow.isHidden()
    row, column = view.heads.head
    last = load_frame(read_frames(watched)[-1])
    np.testing.assert_array_equal(drawn(page), last.weights[row, column])
    # the head that has changed most is chosen, and stands at the top of the list
    moved = figures_of(last, load_frame(read_frames(watched)[0])).moved
    assert (row, column) == np.unravel_index(moved.argmax(), moved.shape)
    assert view.heads.movers.item(0).text().startswith(f"Layer {row}, head {column}:")

    seen: list[int] = []
    view.speed.setCurrentIndex(view.speed.findData(8.0))
    view.steps.value_changed.connect(lambda index: seen.append(index))
    qtbot.mouseClick(view.steps.play, Qt.MouseButton.LeftButton)
    assert view.steps.is_playing
    qtbot.waitUntil(lambda: not view.steps.is_playing, timeout=5000)
    assert seen == [0, 1, 2, 3, 4, 5]
    settle(qtbot, page)
    assert view.step == 20


def test_the_slider_shows_each_step_and_the_cursor_follows(make_page: Any, qtbot: Any, watched: Path) -> None:
    page = make_page()
    view = page.view
    view.steps.slider.setFocus()
    qtbot.keyClick(view.steps.slider, Qt.Key.Key_Left)
    settle(qtbot, page)
    assert view.step == 16
    row, column = view.heads.head
    np.testing.assert_array_equal(drawn(page), load_frame(read_frames(watched)[4]).weights[row, column])
    for chart in (view.charts.loss, view.charts.entropy):
        assert chart._cross.value() == 16
    entropy = [float(mean_entropy(load_frame(file).weights)[row, column]) for file in read_frames(watched)]
    steps, values = view.charts.entropy._data["entropy"]
    assert steps.tolist() == [0, 4, 8, 12, 16, 20]
    np.testing.assert_allclose(values, entropy)
    assert len(view.charts.loss._data["raw"][0]) == 20
    assert len(view.charts.loss._data["eval"][0]) == 2


def test_dragging_on_a_curve_moves_the_slider(make_page: Any, qtbot: Any, watched: Path) -> None:
    page = make_page()
    view = page.view
    plot = view.charts.loss.plot
    box = plot.getPlotItem().getViewBox()

    def place(step: float) -> QPoint:
        return plot.mapFromScene(box.mapViewToScene(QPointF(step, sum(box.viewRange()[1]) / 2)))

    qtbot.mousePress(plot.viewport(), Qt.MouseButton.LeftButton, pos=place(7.2))
    assert view.step == 8
    qtbot.mouseMove(plot.viewport(), place(0.5))
    qtbot.mouseRelease(plot.viewport(), Qt.MouseButton.LeftButton, pos=place(0.5))
    settle(qtbot, page)
    assert view.steps.value in (0, 2)  # a move without a button that Qt knows of is none
    before = box.viewRange()
    qtbot.mousePress(plot.viewport(), Qt.MouseButton.LeftButton, pos=place(0.5))
    settle(qtbot, page)
    assert view.step == 0
    assert box.viewRange() == before  # the chart itself stays


def test_the_change_since_the_start_is_signed(make_page: Any, qtbot: Any, watched: Path, services: Any) -> None:
    page = make_page()
    view = page.view
    qtbot.mouseClick(view.modes.buttons["change"], Qt.MouseButton.LeftButton)
    row, column = view.heads.head
    first, last = (load_frame(read_frames(watched)[index]) for index in (0, -1))
    np.testing.assert_array_equal(drawn(page), (last.weights - first.weights)[row, column])
    assert view.heads.heatmap._is_signed
    view.heads.heatmap.keep((1, 2))
    weight, difference = last.weights[row, column, 1, 2], (last.weights - first.weights)[row, column, 1, 2]
    assert f"with weight {weight:.4f}" in view.heads.readout.text()
    assert f"{abs(difference):.4f} {'more' if difference >= 0 else 'less'} than" in view.heads.readout.text()
    view.steps.slider.setValue(0)
    settle(qtbot, page)
    assert (drawn(page) == 0).all()
    assert services.settings.get("replay.mode") == "change"


def test_another_head_is_chosen_in_the_grid_and_in_the_list(
    make_page: Any, qtbot: Any, watched: Path, services: Any
) -> None:
    page = make_page()
    heads = page.view.heads
    other = (1, 0) if heads.head != (1, 0) else (0, 1)
    qtbot.mouseClick(heads.grid, Qt.MouseButton.LeftButton, pos=heads.grid.cell_rect(*other).center())
    assert heads.head == other
    assert heads.head_title.text() == f"Layer {other[0]}, head {other[1]}"
    frame = load_frame(read_frames(watched)[-1])
    np.testing.assert_array_equal(drawn(page), frame.weights[other])
    assert "bits" in heads.grid.accessibleDescription()
    item = heads.movers.item(0)
    qtbot.mouseClick(heads.movers.viewport(), Qt.MouseButton.LeftButton, pos=heads.movers.visualItemRect(item).center())
    assert item.text().startswith(heads.head_title.text())
    assert (services.settings.get("replay.layer"), services.settings.get("replay.head")) == heads.head


def test_a_damaged_recording_is_told_and_the_others_are_shown(make_page: Any, qtbot: Any, watched: Path) -> None:
    damaged = frame_path(watched, 8)
    damaged.write_bytes(damaged.read_bytes()[:200])
    page = make_page()
    page.view.steps.slider.setValue(2)
    settle(qtbot, page)
    assert "step-00000008.npz cannot be read" in page.view.heads.readout.text()
    page.view.steps.slider.setValue(3)
    settle(qtbot, page)
    assert drawn(page).shape == (9, 9)


def test_a_run_of_another_process_is_followed_until_one_moves_back(
    make_page: Any, qtbot: Any, recipe: Recipe, app_home: Path
) -> None:
    longer = dataclasses.replace(
        recipe,
        training=dataclasses.replace(recipe.training, epochs=400, evaluate_every=1000, checkpoint_every=1000),
        probe=dataclasses.replace(recipe.probe, every=20),
    )
    longer.save(app_home / "recipe.yaml")
    folder = app_home / "runs" / "elsewhere"
    process = subprocess.Popen(
        [sys.executable, "-m", "lmstudio_app", "train", str(app_home / "recipe.yaml"), "--run-dir", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        qtbot.waitUntil(lambda: len(read_frames(folder)) >= 2, timeout=60_000)
        page = make_page(folder, wait=False)
        view = page.view
        qtbot.waitUntil(lambda: view.step is not None, timeout=10_000)
        assert view.follow.isVisible()
        begun = view.step
        qtbot.waitUntil(lambda: view.step > begun + 40, timeout=20_000)
        assert view.steps.value == view.steps.slider.maximum()

        qtbot.keyClick(view.steps.slider, Qt.Key.Key_Home)
        assert not view.follow.isChecked()
        count = view.steps.slider.maximum()
        qtbot.waitUntil(lambda: view.steps.slider.maximum() > count, timeout=20_000)
        assert view.step == 0
        qtbot.mouseClick(view.follow, Qt.MouseButton.LeftButton, pos=QPoint(8, view.follow.height() // 2))
        assert view.steps.value == view.steps.slider.maximum()
    finally:
        process.terminate()
        process.wait()
    qtbot.waitUntil(lambda: not page._is_running, timeout=10_000)
    assert view.follow.isHidden()
    settle(qtbot, page)


def test_a_run_that_is_gone_is_told_and_others_can_be_chosen(
    make_page: Any, qtbot: Any, watched: Path, tmp_path: Path
) -> None:
    page = make_page(tmp_path / "gone")
    settle(qtbot, page)
    assert "holds no readable recipe" in page.empty.title.text()
    assert (page.runs.count(), page.runs.currentIndex()) == (1, -1)
    page.runs.setCurrentIndex(0)
    page.runs.activated.emit(0)
    settle(qtbot, page)
    assert page.view.step == 20
    assert page._stack.currentWidget() is page.view


def test_it_works_only_while_it_is_seen(make_page: Any, qtbot: Any, watched: Path, services: Any) -> None:
    page = make_page()
    page.hide()
    assert not page._timer.isActive()
    page.show_run(watched)
    qtbot.wait(50)
    assert not services.query_runner.busy
    page.show()
    settle(qtbot, page)
    assert page.view.step == 20


def test_it_follows_a_change_of_theme(make_page: Any, qapp: Any, watched: Path) -> None:
    page = make_page()
    grid = page.view.heads.grid
    before = grid._buffer.copy()
    page.setPalette(theme.build_palette(dark=not theme.is_dark(page.palette())))
    assert not np.array_equal(grid._buffer, before)


def test_every_control_has_a_name_and_a_tooltip(make_page: Any, watched: Path) -> None:
    page = make_page()
    for kind in (QAbstractButton, QComboBox, QSlider):
        for widget in page.findChildren(kind):
            if widget.isVisible():
                assert widget.accessibleName() or widget.text(), widget
                assert widget.toolTip(), widget
