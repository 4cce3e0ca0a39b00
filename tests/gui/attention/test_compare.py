"""The Compare page: two texts, two models, and a model before and after a real training."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QAbstractButton, QApplication, QCheckBox, QComboBox, QLineEdit

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.compare_page import ComparePage
from lmstudio_app.gui.attention.compare_queries import find_comparable
from lmstudio_app.gui.dialogs import ErrorDialog
from lmstudio_app.inspection.attention import AttentionRequest, read_attention
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.settings import models_folder
from lmstudio_app.training.loop import TrainRequest, train
from lmstudio_app.training.recipe import Recipe
from lmstudio_app.training.states import loadable

TEXT = "the movie was great and not boring"
OTHER = "the film was great and not boring"


@pytest.fixture
def make_run(tiny_encoder: Path, app_home: Path, reviews: Path, one_thread: None) -> Callable[[str], Path]:
    """``make_run(strategy)``: a short real training in the app's folder, with a checkpoint in its middle."""

    def make(strategy: str) -> Path:
        recipe = Recipe.from_dict(
            {
                "task": "sentiment",
                "model": str(tiny_encoder),
                "data": {"train": str(reviews), "eval": str(reviews)},
                "strategy": {"name": strategy},
                "training": {
                    "epochs": 1, "batch_size": 8, "learning_rate": 2e-2, "device": "cpu", "checkpoint_every": 6,
                    "evaluate_every": 100, "keep_checkpoints": 5,
                },
            }
        )  # fmt: skip
        return train(TrainRequest(recipe, app_home / "runs" / strategy), JobContext()).run_folder

    return make


@pytest.fixture
def make_page(qtbot: Any, services: Any) -> Iterator[Callable[..., ComparePage]]:
    def make(model: Any = None, mode: str = "texts") -> ComparePage:
        services.settings.set("compare.mode", mode)
        page = ComparePage(services)
        qtbot.addWidget(page, before_close_func=lambda widget: widget.shutdown())
        page.resize(1040, 740)
        page.set_model(model)
        page.show()
        qtbot.waitUntil(lambda: page._choices is not None)
        return page

    yield make
    for runner in services.runners():
        runner.cancel_all()
    services.shelf.clear()
    qtbot.waitUntil(lambda: not any(runner.busy for runner in services.runners()), timeout=10_000)


def compare(qtbot: Any, page: ComparePage, text: str = TEXT, other: str | None = None) -> None:
    """As a person does: type, press Enter, wait."""
    for field, value in ((page.input.text, text), (page.input.other, other)):
        if value is not None:
            field.clear()
            qtbot.keyClicks(field, value)
    qtbot.keyClick(page.input.text, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not page.work.is_busy and page._stack.currentWidget() is page.view, timeout=20_000)
    qtbot.waitUntil(lambda: page.view.maps._head is not None, timeout=10_000)


def weights(loaded: Any, text: str, place: tuple[int, int]) -> np.ndarray:
    return read_attention(loaded, AttentionRequest(text), JobContext()).head(*place)


def drawn(page: ComparePage) -> list[np.ndarray]:
    return [heatmap._weights for heatmap in page.view.maps.maps]


def hover(heatmap: Any, cell: tuple[int, int]) -> None:
    """Move the mouse over a cell."""
    view = heatmap.view
    place = view.mapFromScene(heatmap._box.mapViewToScene(QPointF(cell[1] + 0.5, cell[0] + 0.5)))
    position = QPointF(place.x(), place.y())
    event = QMouseEvent(
        QMouseEvent.Type.MouseMove, position, view.viewport().mapToGlobal(position), Qt.MouseButton.NoButton,
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QApplication.sendEvent(view.viewport(), event)


# --- two texts


def test_without_a_model_it_says_what_to_do(make_page: Any, qtbot: Any) -> None:
    page = make_page()
    assert page.empty.title.text() == "Load a model first"
    assert not page.input.button.isEnabled()
    with qtbot.waitSignal(page.step_requested) as asked:
        qtbot.mouseClick(page.empty.buttons[0], Qt.MouseButton.LeftButton)
    assert asked.args == ["model"]


def test_two_texts_are_compared(make_page: Any, qtbot: Any, encoder: Any) -> None:
    page = make_page(encoder)
    compare(qtbot, page, TEXT, OTHER)
    view, place = page.view, page.view.heads.place
    found = view.comparison
    assert place == found.order()[0]
    assert f"Layer {place[0]}, head {place[1]} changed most" in view.headline.text()
    assert "8 tokens stand in both" in view.notes.text()
    first, second, difference = drawn(page)
    np.testing.assert_allclose(first, weights(encoder, TEXT, place), atol=1e-6)
    np.testing.assert_allclose(second, weights(encoder, OTHER, place), atol=1e-6)
    common = np.ix_(found.keys.common, found.keys.common)
    np.testing.assert_allclose(difference[common], (second - first)[common], atol=1e-6)
    assert not difference[2].any()  # of the word that was replaced
    labels = [heatmap._columns._labels[2] for heatmap in view.maps.maps]
    assert labels == ["movie", "film", "≠"]
    tops = [heatmap._bar.top for heatmap in view.maps.maps]
    assert tops[0] == tops[1] == max(first.max(), second.max())
    assert tops[2] == np.abs(difference).max()


def test_an_example_is_one_click_away(make_page: Any, qtbot: Any, encoder: Any) -> None:
    page = make_page(encoder)
    qtbot.mouseClick(page.empty.buttons[0], Qt.MouseButton.LeftButton)
    assert page.input.text.text().endswith("tired.")
    assert page.input.other.text().endswith("wide.")
    qtbot.waitUntil(lambda: page._stack.currentWidget() is page.view, timeout=10_000)


def test_the_maps_are_pointed_at_and_zoomed_together(make_page: Any, qtbot: Any, encoder: Any) -> None:
    page = make_page(encoder)
    compare(qtbot, page, TEXT, OTHER)
    maps = page.view.maps
    hover(maps.maps[2], (1, 3))
    assert [heatmap.cell for heatmap in maps.maps] == [(1, 3)] * 3
    before, after = (float(drawn(page)[which][1, 3]) for which in (0, 1))
    text = maps.readout.text()
    assert f"A: “the” looks at “was” with {before:.4f}" in text
    assert f"{abs(after - before):.4f}" in text
    hover(maps.maps[0], (1, 2))
    assert "looks at “movie”" in maps.readout.text()
    assert "B − A" not in maps.readout.text()

    maps.maps[0].setFocus()
    qtbot.keyClick(maps.maps[0], Qt.Key.Key_Plus)
    ranges = [heatmap.visible_range() for heatmap in maps.maps]
    assert ranges[0] == ranges[1] == ranges[2] != ((0, 9), (0, 9))
    qtbot.mouseClick(page.view.whole, Qt.MouseButton.LeftButton)
    assert maps.maps[1].visible_range() == ((0, 9), (0, 9))
    qtbot.keyClick(maps.maps[1], Qt.Key.Key_Right)
    assert [heatmap.kept for heatmap in maps.maps] == [(0, 0)] * 3


def test_another_head_is_chosen_and_sorted(make_page: Any, qtbot: Any, encoder: Any, services: Any) -> None:
    page = make_page(encoder)
    compare(qtbot, page, TEXT, OTHER)
    heads = page.view.heads
    order = page.view.comparison.order()
    qtbot.keyClick(heads.grid, Qt.Key.Key_Right)
    assert heads.place == order[1]
    np.testing.assert_allclose(drawn(page)[0], weights(encoder, TEXT, order[1]), atol=1e-6)
    assert page.view.title.text() == f"Layer {order[1][0]}, head {order[1][1]}"
    heads.order.setCurrentIndex(1)
    heads.order.activated.emit(1)
    assert heads.grid.order is None
    qtbot.mouseClick(heads.grid, Qt.MouseButton.LeftButton, pos=heads.grid.cell_rect(1, 3).center())
    assert heads.place == (1, 3)
    assert "divergence" in heads.grid._describe(1, 3)
    assert services.settings.get("compare.order") == "layer"


def test_special_tokens_can_be_hidden(make_page: Any, qtbot: Any, encoder: Any, services: Any) -> None:
    page = make_page(encoder)
    compare(qtbot, page, TEXT, OTHER)
    whole = drawn(page)
    qtbot.mouseClick(page.view.special, Qt.MouseButton.LeftButton, pos=QPoint(8, page.view.special.height() // 2))
    for before, after in zip(whole, drawn(page), strict=True):
        np.testing.assert_array_equal(after, before[1:-1, 1:-1])
    hover(page.view.maps.maps[1], (0, 1))
    assert "B: “the” looks at “film”" in page.view.maps.readout.text()
    assert services.settings.get("compare.hide_special") is True


def test_a_long_text_is_read_layer_by_layer(
    make_page: Any, qtbot: Any, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmstudio_app.inspection.comparison.KEPT_BYTES", 0)
    page = make_page(encoder)
    compare(qtbot, page, TEXT, OTHER)
    assert not page.view.comparison.kept
    for place in ((0, 1), (0, 2), (1, 3)):
        page.view.heads.grid.set_current(*place)
        qtbot.waitUntil(lambda: page.view._reading is None and page.view.maps._head is not None)
        np.testing.assert_allclose(drawn(page)[1], weights(encoder, OTHER, place), atol=1e-6)


def test_it_can_be_stopped(make_page: Any, qtbot: Any, encoder: Any) -> None:
    page = make_page(encoder)
    page.input.set_texts(" ".join([TEXT] * 12), " ".join([OTHER] * 12))
    page.compare()
    page.input.button._timer.stop()
    page.input.button._timer.timeout.emit()
    assert page.input.button.text() == "Stop"
    qtbot.mouseClick(page.input.button, Qt.MouseButton.LeftButton)
    assert page.input.button.text() == "Compare"
    qtbot.waitUntil(lambda: not page._services.inspection_runner.busy)
    qtbot.wait(50)
    assert page._stack.currentWidget() is page.empty


# --- two models


def test_two_models_are_compared(make_page: Any, qtbot: Any, encoder: Any, tiny_classifier: Path) -> None:
    shutil.copytree(tiny_classifier, models_folder() / "other")
    page = make_page(encoder, "models")
    page.input.model.setCurrentText("other")
    assert page.input.first_name.text() == "tiny-encoder"
    compare(qtbot, page)
    place = page.view.heads.place
    other = load_model(LoadRequest(str(tiny_classifier), device="cpu"), JobContext())
    np.testing.assert_allclose(drawn(page)[0], weights(encoder, TEXT, place), atol=1e-6)
    np.testing.assert_allclose(drawn(page)[1], weights(other, TEXT, place), atol=1e-6)
    assert "did not come from the other" in page.view.notes.text()
    page.set_model(other)
    assert page._stack.currentWidget() is page.empty
    assert page.view.comparison is None


def test_models_of_other_sizes_are_compared_by_the_mean_of_heads(
    make_page: Any, qtbot: Any, encoder: Any, decoder: Any
) -> None:
    from transformers import AutoModel

    config = encoder.model.config.__class__(**{**encoder.model.config.to_dict(), "num_hidden_layers": 4})
    AutoModel.from_config(config).save_pretrained(models_folder() / "deeper")
    encoder.tokenizer.save_pretrained(models_folder() / "deeper")
    page = make_page(encoder, "models")
    page.input.model.setCurrentText("deeper")
    compare(qtbot, page)
    assert page.view.comparison.layers == ((0, 1), (1, 3))
    assert "mean of all heads" in page.view.title.text()
    assert "at the same depth" in page.view.notes.text()
    expected = read_attention(encoder, AttentionRequest(TEXT), JobContext()).weights[page.view.heads.place[0]]
    np.testing.assert_allclose(drawn(page)[0], expected.mean(axis=0), atol=1e-6)


def test_a_model_that_cannot_be_loaded_is_told(make_page: Any, qtbot: Any, encoder: Any, tiny_classifier: Path) -> None:
    shutil.copytree(tiny_classifier, models_folder() / "other")
    page = make_page(encoder, "models")
    page.input.model.setCurrentText("other")
    (models_folder() / "other" / "model.safetensors").write_bytes(b"nothing")
    page.input.set_texts(TEXT)
    page.compare()
    qtbot.waitUntil(lambda: bool(page.window().findChildren(ErrorDialog)), timeout=10_000)
    assert page.input.button.text() == "Compare"
    for dialog in page.window().findChildren(ErrorDialog):
        dialog.close()


# --- before and after


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_a_model_is_compared_before_and_after_its_training(
    strategy: str, make_page: Any, make_run: Any, qtbot: Any, tiny_encoder: Path
) -> None:
    folder = make_run(strategy)
    page = make_page(None, "trained")
    assert page.input.chosen_training.key == str(folder)
    titles = [page.input.after.itemText(index) for index in range(page.input.after.count())]
    assert titles == ["tiny-encoder (before)", "Step 6", "Step 12", "Step 15", "After training"]
    compare(qtbot, page)
    place = page.view.heads.place
    for found, path in zip(drawn(page), (tiny_encoder, folder / "final"), strict=False):
        loaded = load_model(LoadRequest(str(path), device="cpu"), JobContext())
        np.testing.assert_allclose(found, weights(loaded, TEXT, place), atol=1e-5)
    assert page.view.comparison.changes[place[0]][place[1]].moved > 1e-3
    assert page.view.maps.names[0].text() == "A: tiny-encoder (before)"

    page.input.before.setCurrentIndex(1)  # a checkpoint: of LoRA it holds adapters alone
    page.compare()
    qtbot.waitUntil(lambda: page.view.maps.names[0].text() == "A: Step 6", timeout=10_000)
    reference = loadable(str(folder / "checkpoints" / "step-00000006"), JobContext())
    early = load_model(LoadRequest(reference, device="cpu"), JobContext())
    place = page.view.heads.place
    np.testing.assert_allclose(drawn(page)[0], weights(early, TEXT, place), atol=1e-5)


def test_the_same_state_twice_is_not_compared(make_page: Any, make_run: Any, qtbot: Any) -> None:
    make_run("full")
    page = make_page(None, "trained")
    page.input.set_texts(TEXT)
    assert page.input.is_ready
    page.input.before.setCurrentIndex(page.input.after.currentIndex())
    assert not page.input.button.isEnabled()


def test_a_run_is_asked_for_from_elsewhere(make_page: Any, make_run: Any, qtbot: Any, services: Any) -> None:
    first, second = make_run("full"), make_run("lora")
    services.settings.set("compare.text", TEXT)
    page = make_page()
    page.show_run(first)
    qtbot.waitUntil(lambda: page._stack.currentWidget() is page.view, timeout=10_000)
    assert page.input.chosen_training.key == str(first)
    assert {trained.key for trained in page._choices.trained} == {str(first), str(second)}


def test_from_the_replay_of_a_run_to_its_comparison(make_run: Any, qtbot: Any, services: Any, encoder: Any) -> None:
    from lmstudio_app.gui.tabs.attention import AttentionTab

    folder = make_run("full")
    services.settings.set("attention.text", TEXT)
    tab = AttentionTab(services)
    qtbot.addWidget(tab, before_close_func=lambda widget: widget.shutdown())
    tab.resize(1040, 740)
    tab.set_model(encoder)
    tab.show()
    tab.show_run(folder)
    qtbot.waitUntil(lambda: tab.replay is not None and tab.replay.compare.isEnabled(), timeout=10_000)
    qtbot.mouseClick(tab.replay.compare, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: tab.compare is not None and tab.compare.view.isVisible(), timeout=10_000)
    assert tab.compare.input.chosen_training.key == str(folder)
    assert tab.compare.view.uses(encoder)  # it is what the run began with, and need not be loaded again
    services.shelf.clear()


def test_without_a_training_it_says_how_to_get_one(make_page: Any, qtbot: Any) -> None:
    page = make_page(None, "trained")
    assert page.empty.title.text() == "Nothing has been trained here yet"
    with qtbot.waitSignal(page.step_requested) as asked:
        qtbot.mouseClick(page.empty.buttons[0], Qt.MouseButton.LeftButton)
    assert asked.args == ["train"]


def test_models_of_the_catalogue_come_with_what_they_were_made_of(tiny_encoder: Path) -> None:
    shutil.copytree(tiny_encoder, models_folder() / "starter-encoder")
    found = find_comparable(None, JobContext())
    trained = next(item for item in found.trained if item.key == "starter:sentiment")
    assert [state.reference for state in trained.states] == ["starter:encoder", "starter:sentiment"]
    assert {"starter:encoder", "starter:sentiment"} <= {choice.reference for choice in found.models}
    assert found.bases[found.partner_of("starter:encoder")] == "starter:encoder"
    assert found.partner_of("starter:sentiment") == "starter:encoder"


# --- the page


@pytest.mark.parametrize(
    ("name", "begins"), [("found.png", b"\x89PNG"), ("found.csv", b"first_layer"), ("x.npz", b"PK")]
)
def test_it_is_saved(name: str, begins: bytes, make_page: Any, qtbot: Any, encoder: Any, tmp_path: Path) -> None:
    page = make_page(encoder)
    compare(qtbot, page, TEXT, OTHER)
    qtbot.mouseClick(page.view.save, Qt.MouseButton.LeftButton)
    dialog = page.view.dialog
    filters = dialog.nameFilters()
    dialog.selectNameFilter(next(item for item in filters if Path(name).suffix in item))
    dialog.fileSelected.emit(str(tmp_path / name))
    dialog.close()
    qtbot.waitUntil(lambda: name in page.view.maps.readout.text(), timeout=10_000)
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_what_was_chosen_is_there_again(make_page: Any, qtbot: Any, encoder: Any) -> None:
    page = make_page(encoder)
    compare(qtbot, page, TEXT, OTHER)
    again = make_page(encoder)
    assert (again.input.text.text(), again.input.other.text()) == (TEXT, OTHER)
    assert again.input.is_ready


def test_models_that_others_need_room_for_are_let_go(make_page: Any, qtbot: Any, encoder: Any, services: Any) -> None:
    page = make_page(encoder)
    compare(qtbot, page, TEXT, OTHER)
    services.shelf.let_go.emit(encoder)
    assert page.view.comparison is not None  # somebody looks at it
    page.hide()
    services.shelf.let_go.emit(encoder)
    assert page.view.comparison is None


def test_it_follows_a_change_of_theme(make_page: Any, qtbot: Any, encoder: Any) -> None:
    page = make_page(encoder)
    compare(qtbot, page, TEXT, OTHER)
    before = [heatmap._lut.copy() for heatmap in page.view.maps.maps]
    thumbnails = page.view.heads.grid._buffer.copy()
    page.setPalette(theme.build_palette(dark=not theme.is_dark(page.palette())))
    assert not any(np.array_equal(a, b._lut) for a, b in zip(before, page.view.maps.maps, strict=True))
    assert not np.array_equal(thumbnails, page.view.heads.grid._buffer)


@pytest.mark.parametrize("mode", ["texts", "models", "trained"])
def test_it_fits_and_every_control_has_a_name(
    mode: str, make_page: Any, qtbot: Any, encoder: Any, tiny_classifier: Path
) -> None:
    shutil.copytree(tiny_classifier, models_folder() / "other")
    page = make_page(encoder)
    compare(qtbot, page, TEXT, OTHER)
    page.input.segments.choose(mode)
    page._stack.setCurrentWidget(page.view)
    needed = page.minimumSizeHint()
    assert needed.width() <= 1040
    assert needed.height() <= 700
    for kind in (QAbstractButton, QComboBox, QLineEdit, QCheckBox):
        for widget in page.findChildren(kind):
            if widget.isVisible() and not isinstance(widget.parent(), QLineEdit):  # whose clear button is Qt's own
                assert widget.accessibleName() or getattr(widget, "text", str)(), widget
                assert widget.toolTip(), widget
