"""The Attention page, with real widgets on tiny models."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QGuiApplication, QHelpEvent, QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QDialogButtonBox, QToolTip

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.views import VIEWS
from lmstudio_app.gui.dialogs import ErrorDialog
from lmstudio_app.gui.tabs.attention import AttentionTab
from lmstudio_app.inspection.attention import AttentionRequest, read_attention
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model
from lmstudio_app.settings import Settings

TEXT = "the film was not very good"


@pytest.fixture
def make_tab(qtbot: Any, services: Any) -> Iterator[Callable[..., AttentionTab]]:
    tabs: list[AttentionTab] = []

    def make(loaded: Any = None, *, shown: bool = True) -> AttentionTab:
        tab = AttentionTab(services)
        qtbot.addWidget(tab)
        tabs.append(tab)
        tab.resize(1040, 740)
        if loaded is not None:
            tab.set_model(loaded)
        if shown:
            tab.show()
            qtbot.waitUntil(lambda: tab.inside.panel is not None, timeout=20_000)
        return tab

    yield make
    for tab in tabs:
        tab.shutdown()


def show(qtbot: Any, tab: AttentionTab, text: str = TEXT, pair: str | None = None) -> None:
    tab.show_text(text, pair)
    settle(qtbot, tab)


def settle(qtbot: Any, tab: AttentionTab) -> None:
    qtbot.waitUntil(lambda: not tab.inside.is_reading and tab.studio.reading is not None, timeout=20_000)


def hover(tab: AttentionTab, query: int, key: int) -> None:
    heatmap = tab.inside.panel.view("map").heatmap
    scene = heatmap._box.mapViewToScene(QPointF(key + 0.5, query + 0.5))
    QTest.mouseMove(heatmap.view.viewport(), heatmap.view.mapFromScene(scene))


def test_without_a_model_it_says_what_to_do(qtbot: Any, make_tab: Callable[..., AttentionTab]) -> None:
    tab = make_tab()
    assert "Load a model" in tab.inside.empty.title.text()
    assert tab.inside.empty.isVisible()
    with qtbot.waitSignal(tab.step_requested) as asked:
        tab.inside.empty.buttons[0].click()
    assert asked.args == ["model"]
    tab.show_text(TEXT)  # kept until a model comes
    assert tab.inside.input.text.text() == TEXT
    assert tab.studio.reading is None


def test_enter_shows_the_models_own_weights(qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any) -> None:
    tab = make_tab(encoder)
    assert len(tab.inside.empty.buttons) == 3
    qtbot.keyClicks(tab.inside.input.text, TEXT)
    qtbot.keyClick(tab.inside.input.text, Qt.Key.Key_Return)
    settle(qtbot, tab)
    expected = read_attention(encoder, AttentionRequest(TEXT), JobContext()).weights
    np.testing.assert_allclose(tab.studio.reading.maps.weights, expected, atol=1e-6)
    assert tab.inside.splitter.isVisible()
    hover(tab, 1, 4)
    assert (
        tab.inside.panel.view("map").readout.text()
        == f"“the” (1) looks at “not” (4) with weight {expected[0, 0, 1, 4]:.4f}"
    )
    hover(tab, 6, 0)
    assert f"{expected[0, 0, 6, 0]:.4f}" in tab.inside.panel.view("map").readout.text()


def test_an_example_is_one_click_away(qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any) -> None:
    tab = make_tab(encoder)
    tab.inside.empty.buttons[0].click()
    settle(qtbot, tab)
    assert tab.studio.reading.maps.queries.labels[0] == "[CLS]"


def test_heads_are_chosen_by_mouse_and_keyboard(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any
) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab)
    weights = tab.studio.reading.maps.weights
    panel = tab.inside.panel
    qtbot.mouseClick(
        tab.inside.overview.grid, Qt.MouseButton.LeftButton, pos=tab.inside.overview.grid.cell_rect(1, 2).center()
    )
    assert (panel.layer.value(), panel.head.value()) == (1, 2)
    np.testing.assert_array_equal(tab.studio.weights(), weights[1, 2])
    for key, expected in (
        (Qt.Key.Key_Right, (1, 3)),
        (Qt.Key.Key_Right, (1, 3)),
        (Qt.Key.Key_Up, (0, 3)),
        (Qt.Key.Key_Home, (0, 0)),
        (Qt.Key.Key_PageDown, (1, 0)),
        (Qt.Key.Key_End, (1, 3)),
        (Qt.Key.Key_Left, (1, 2)),
    ):
        qtbot.keyClick(tab.inside.overview.grid, key)
        assert tab.inside.overview.grid.current == (panel.layer.value(), panel.head.value()) == expected
    panel.layer.setFocus()
    qtbot.keyClick(panel.layer, Qt.Key.Key_Down)
    assert tab.inside.overview.grid.current == (0, 2)
    np.testing.assert_array_equal(tab.studio.weights(), weights[0, 2])
    assert "Layer 0, head 2" in tab.inside.overview.summary.text()
    assert "Layer 0, head 2" in tab.inside.overview.grid.accessibleDescription()


def test_the_list_tells_what_each_token_looks_at_and_marks_it(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any
) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab)
    looks, heatmap = tab.inside.overview.looks, tab.inside.panel.view("map").heatmap
    tab.inside.overview.grid.set_current(1, 2)
    weights = tab.studio.reading.maps.head(1, 2)
    assert list(looks.looks.keys) == weights.argmax(1).tolist()
    row = 3
    cells = [looks.looks.index(row, column).data() for column in range(3)]
    key = int(weights[row].argmax())
    assert cells == [
        tab.studio.reading.maps.queries.labels[row],
        tab.studio.reading.maps.keys.labels[key],
        f"{weights[row].max():.2f}",
    ]
    spot = looks.visualRect(looks.looks.index(row, 0)).center()
    qtbot.mouseClick(looks.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    assert heatmap.cell == (row, key)
    qtbot.keyClick(looks, Qt.Key.Key_Down)
    assert heatmap.cell == (row + 1, int(weights[row + 1].argmax()))


def test_the_map_fills_its_room_with_cells_that_are_nearly_square(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any
) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab)
    heatmap, count = tab.inside.panel.view("map").heatmap, len(tab.studio.reading.maps.tokens)
    for width, height in ((600, 700), (600, 2000), (2000, 500)):
        heatmap.resize(width, height)
        across, down = heatmap.view.width() / count, heatmap.view.height() / count
        assert 1 / 1.52 < across / down < 1.52
    heatmap.resize(600, 700)
    assert heatmap.view.geometry().bottom() > 650


@pytest.mark.qt_log_ignore(r"does not support raise\(\)")  # Qt without a display, of every tooltip
def test_a_thumbnail_tells_about_its_head(qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab)
    spot = tab.inside.overview.grid.cell_rect(1, 3).center()
    QGuiApplication.sendEvent(
        tab.inside.overview.grid, QHelpEvent(QEvent.Type.ToolTip, spot, tab.inside.overview.grid.mapToGlobal(spot))
    )
    told = QToolTip.text()
    QToolTip.hideText()
    assert told.startswith("Layer 1, head 3\n")
    assert "looks at" in told
    assert "% goes to special tokens" in told


def test_the_overview_paints_what_the_weights_are(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any
) -> None:
    """The strongest cell of every thumbnail has the last colour of the map."""
    tab = make_tab(encoder)
    tab.studio.change_look(colormap="viridis")
    show(qtbot, tab)
    image = tab.inside.overview.grid.grab().toImage()
    ratio = image.devicePixelRatio()
    for layer, head in ((0, 1), (1, 0), (1, 3)):
        weights = tab.studio.reading.maps.weights[layer, head]
        query, key = np.unravel_index(int(weights.argmax()), weights.shape)
        area = tab.inside.overview.grid.cell_rect(layer, head)
        spot = QPointF(
            area.left() + (key + 0.5) * area.width() / weights.shape[1],
            area.top() + (query + 0.5) * area.height() / weights.shape[0],
        )
        colour = image.pixelColor((spot * ratio).toPoint())
        assert (colour.red(), colour.green(), colour.blue()) == (253, 231, 37), (layer, head)


def test_the_map_zooms_pans_and_keeps_a_cell(qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab, " ".join([TEXT] * 6))
    heatmap, size = tab.inside.panel.view("map").heatmap, len(tab.studio.reading.maps.tokens)
    assert heatmap.visible_range() == ((0, size), (0, size))
    assert len(heatmap._rows.visible_indices()) > 10
    heatmap.setFocus()
    for _ in range(20):
        qtbot.keyClick(heatmap, Qt.Key.Key_Plus)
    (upper, lower), (left, right) = heatmap.visible_range()
    assert right - left == pytest.approx(4, abs=0.01)
    assert heatmap._rows.visible_indices() == list(range(int(np.ceil(upper - 0.5)), int(lower + 0.5)))
    for _ in range(4):
        qtbot.keyClick(heatmap, Qt.Key.Key_Right)
    qtbot.keyClick(heatmap, Qt.Key.Key_Down)
    assert heatmap.cell == (1, 3)
    (upper, lower), (left, right) = heatmap.visible_range()
    assert upper <= 1 <= lower - 1 + 1e-6
    assert left <= 3 <= right - 1 + 1e-6
    assert "(1) looks at" in tab.inside.panel.view("map").readout.text()
    qtbot.keyClick(heatmap, Qt.Key.Key_Escape)
    assert heatmap.cell is None
    heatmap.show_all()
    assert heatmap.visible_range() == ((0, size), (0, size))
    spot = heatmap.view.viewport().rect().center()
    qtbot.mouseClick(heatmap.view.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    qtbot.waitUntil(lambda: heatmap._kept is not None)
    assert abs(heatmap._kept[0] - size / 2) <= 1


def test_labels_thin_out_and_none_touch(qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab, " ".join([TEXT] * 19))
    rows = tab.inside.panel.view("map").heatmap._rows
    shown = rows.visible_indices()
    assert len(tab.studio.reading.maps.tokens) == 116
    assert shown == list(range(0, 116, shown[1]))
    assert 5 <= len(shown) < 116
    assert shown[1] * rows.pixels_per_token() >= rows.fontMetrics().height() * 0.85


def test_many_tokens_are_pooled_so_that_no_strong_weight_vanishes(qtbot: Any) -> None:
    from lmstudio_app.gui.attention.heatmap import Heatmap
    from lmstudio_app.inspection.colormaps import colormap

    heatmap = Heatmap()
    qtbot.addWidget(heatmap)
    heatmap.resize(500, 400)
    heatmap.show()
    weights = np.zeros((1500, 1500), dtype=np.float32)
    weights[701, 333] = 1.0
    names = [f"t{index}" for index in range(1500)]
    heatmap.set_tokens(names, names)
    heatmap.set_weights(weights, colormap("viridis"))
    assert heatmap._shown in (4, 8)
    pooled = heatmap._image.image
    assert pooled[701 // heatmap._shown, 333 // heatmap._shown] == 255
    assert (pooled > 0).sum() == 1
    heatmap._box.setRange(xRange=(320, 340), yRange=(690, 710), padding=0)
    assert heatmap._shown == 1
    assert heatmap._image.image.shape == (1500, 1500)
    heatmap.shutdown()


def test_colours_and_scale_are_remembered(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any, services: Any
) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab)
    own_top = tab.inside.panel.view("map").heatmap._bar.top
    assert own_top == pytest.approx(float(tab.studio.reading.maps.head(0, 0).max()))
    actions = {action.text(): action for action in tab.inside.panel.look_button.menu().actions()}
    actions["Cividis"].trigger()
    tab.studio.change_look(scale="shared")
    assert tab.inside.panel.view("map").heatmap._bar.top == 1.0
    qtbot.keyClick(tab.inside.overview.grid, Qt.Key.Key_Down)
    tab.inside.input.pair_button.setChecked(True)
    kept = Settings(services.settings.path)
    assert kept.get("attention.colormap") == "cividis"
    assert kept.get("attention.scale") == "shared"
    again = make_tab(encoder)
    assert (again.inside.input.text.text(), again.inside.input.pair_button.isChecked()) == (TEXT, True)
    qtbot.keyClick(again.inside.input.text, Qt.Key.Key_Return)
    settle(qtbot, again)
    assert again.studio.look.colormap == "cividis"
    assert again.inside.overview.grid.current == (1, 0)
    services.settings.set("attention.colormap", "a map of another version")
    services.settings.set("attention.layer", 99)
    services.settings.set("attention.splitter", ["wide", None])
    third = make_tab(encoder)
    show(qtbot, third)
    assert third.studio.look.colormap == "ink"
    assert third.inside.overview.grid.current == (0, 0)


def test_a_pair_and_a_long_text(qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab, "good film", "bad food")
    assert tab.inside.input.pair.isVisible()
    assert tab.studio.reading.maps.tokens == ("[CLS]", "good", "film", "[SEP]", "bad", "food", "[SEP]")
    assert not tab.inside._notice.isVisible()
    show(qtbot, tab, "good " * 300)
    assert len(tab.studio.reading.maps.tokens) == 128
    assert "174 are left out" in tab.inside._notice.text()
    assert tab.inside._notice.isVisible()
    show(qtbot, tab)
    assert not tab.inside._notice.isVisible()


def test_another_model_is_shown_the_same_text(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any, tiny_classifier: Path
) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab)
    first = tab.studio.reading
    tab.set_model(load_model(LoadRequest(str(tiny_classifier), precision="float32"), JobContext()))
    qtbot.waitUntil(lambda: tab.studio.reading is not None and tab.studio.reading is not first, timeout=20_000)
    settle(qtbot, tab)
    tab.set_model(None)
    assert tab.studio.reading is None
    assert tab.inside.empty.isVisible()


def test_a_text_that_comes_before_the_page_is_shown(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any
) -> None:
    tab = make_tab(encoder, shown=False)
    tab.show_text(TEXT)
    settle(qtbot, tab)
    assert tab.inside.panel is None
    tab.show()
    qtbot.waitUntil(lambda: tab.inside.panel is not None, timeout=20_000)
    qtbot.waitUntil(lambda: tab.inside.panel.view("map").heatmap._weights is not None, timeout=20_000)


def test_the_newest_text_wins(qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any) -> None:
    tab = make_tab(encoder)
    for text in ("good " * 100, "bad " * 100, "nice film"):
        tab.show_text(text)
    settle(qtbot, tab)
    qtbot.wait(50)
    assert tab.studio.reading.maps.tokens == ("[CLS]", "nice", "film", "[SEP]")


def test_a_long_reading_can_be_cancelled(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any, services: Any
) -> None:
    import threading

    tab = make_tab(encoder)
    gate = threading.Event()
    services.inspection_runner.start(lambda _, ctx: gate.wait(20), None)  # something else keeps the thread busy
    tab.show_text(TEXT)
    qtbot.waitUntil(lambda: tab.inside.input.show_button.text() == "Cancel", timeout=5000)
    tab.inside.input.show_button.click()
    assert tab.inside.input.show_button.text() == "Show"
    gate.set()
    qtbot.waitUntil(lambda: not services.inspection_runner.busy, timeout=20_000)
    assert tab.studio.reading is None
    assert tab.inside.empty.isVisible()


def test_a_failure_is_a_dialog_and_the_page_lives_on(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any, tiny_encoder: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    folder = tmp_path / "copy"
    shutil.copytree(tiny_encoder, folder)
    wrong = load_model(LoadRequest(str(folder), precision="float32"), JobContext())
    larger = AutoTokenizer.from_pretrained(tiny_encoder)
    larger.add_tokens(["unheard"])
    wrong.tokenizer = larger
    tab = make_tab(wrong)
    tab.show_text("unheard film")
    qtbot.waitUntil(lambda: bool(tab.findChildren(ErrorDialog)), timeout=20_000)
    dialog = tab.findChildren(ErrorDialog)[0]
    assert "does not match" in dialog.text()
    dialog.close()
    tab.set_model(encoder)
    show(qtbot, tab)
    assert tab.studio.reading is not None


def test_save_and_copy_what_is_shown(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any, services: Any, tmp_path: Path
) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab)
    tab.inside.overview.grid.set_current(1, 2)
    panel = tab.inside.panel
    panel.save.click()
    dialog = panel.pictures.dialog
    assert "layer1-head2" in Path(dialog.path.text()).name
    dialog.path.setText(str(tmp_path / "head.png"))
    dialog.width_edit.setValue(800)
    with qtbot.waitSignal(panel.pictures.told, timeout=20_000):
        qtbot.mouseClick(dialog.buttons.button(QDialogButtonBox.StandardButton.Save), Qt.MouseButton.LeftButton)
    assert QImage(str(tmp_path / "head.png")).width() == 800
    assert panel.told.text() == f"Saved {tmp_path / 'head.png'}"
    QGuiApplication.clipboard().clear()
    with qtbot.waitSignal(panel.pictures.told, timeout=20_000):
        panel.copy.click()
    assert QGuiApplication.clipboard().image().width() == 800
    assert "clipboard" in panel.told.text()


def test_views_are_built_when_they_are_first_shown_and_follow_the_head(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any, services: Any
) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab)
    panel = tab.inside.panel
    assert set(panel._views) == {"map"}
    for view in VIEWS:
        panel.show_view(view.name)
        assert panel.view(view.name).isVisible()
        assert panel.layer.isVisible() is view.is_of_head
        qtbot.waitUntil(lambda: not services.inspection_runner.busy, timeout=20_000)
    assert services.settings.get("attention.view") == VIEWS[-1].name
    tab.studio.choose_head(1, 3)
    panel.show_view("map")
    np.testing.assert_allclose(panel.view("map").heatmap._weights, tab.studio.reading.maps.head(1, 3), atol=1e-6)
    assert (panel.layer.value(), panel.head.value()) == (1, 3)
    again = make_tab(encoder)
    assert again.inside.panel.bar.currentIndex() == 0


def test_a_translator_is_asked_which_attention_and_which_language(
    qtbot: Any, make_tab: Callable[..., AttentionTab], services: Any
) -> None:
    """With the model that comes with the app."""
    services.settings.set("attention.kind", "cross")
    translator = load_model(LoadRequest("starter:translate", device="cpu", precision="float32"), JobContext())
    tab = make_tab()
    tab.show_text("A dog runs.")
    tab.set_model(translator)
    fields = tab.inside.input
    tab.show_text("A dog runs.")  # before the languages are known
    settle(qtbot, tab)
    assert [fields.target_language.itemData(index) for index in range(3)] == ["zh", "fr", "de"]
    assert not fields.source_language.isVisible()
    assert tab.studio.reading.kind == "cross"
    assert tab.studio.reading.request.target_language == "zh"
    first = tab.studio.reading
    fields.target_language.setCurrentIndex(2)
    fields.target_language.activated.emit(2)
    qtbot.waitUntil(lambda: not tab.inside.is_reading and tab.studio.reading is not first, timeout=20_000)
    assert "Hund" in tab.studio.reading.written
    assert services.settings.get("attention.target_language") == "de"
    german = tab.studio.reading
    fields.kind.setCurrentIndex(fields.kind.findData("encoder"))
    fields.kind.activated.emit(fields.kind.currentIndex())
    qtbot.waitUntil(lambda: not tab.inside.is_reading and tab.studio.reading is not german, timeout=20_000)
    assert tab.studio.reading.kind == "encoder"
    assert not fields.target.isVisible()


def test_a_text_is_laid_out_as_a_chat_where_the_model_knows_one(
    qtbot: Any, make_tab: Callable[..., AttentionTab], decoder: Any, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = "{% for message in messages %}{{ message['role'] }} {{ message['content'] }}{% endfor %}"
    monkeypatch.setattr(decoder.tokenizer, "chat_template", template)
    tab = make_tab(decoder)
    button = tab.inside.input.chat_button
    assert button.isVisible()
    show(qtbot, tab, "good film")
    plain = tab.studio.reading
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not tab.inside.is_reading and tab.studio.reading is not plain, timeout=20_000)
    assert len(tab.studio.reading.queries) > len(plain.queries) - plain.queries.special.count(True)
    assert tab.studio.reading.request.messages == ({"role": "user", "content": "good film"},)
    tab.set_model(encoder)
    assert not button.isVisible()
    settle(qtbot, tab)
    assert tab.studio.reading.request.messages == ()


def test_a_run_is_shown_in_the_other_mode(qtbot: Any, make_tab: Callable[..., AttentionTab], tmp_path: Path) -> None:
    tab = make_tab()
    tab.show_run(tmp_path / "no-run")
    qtbot.waitUntil(lambda: tab.replay is not None and tab.replay.isVisible(), timeout=20_000)
    qtbot.waitUntil(lambda: tab.replay.empty.isVisible() and bool(tab.replay.empty.title.text()), timeout=20_000)
    tab.show_text(TEXT)
    assert tab.inside.isVisible()


def test_both_themes_repaint_everything(qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab)
    seen = []
    for dark in (False, True):
        tab.setPalette(theme.build_palette(dark=dark))
        QGuiApplication.processEvents()
        lut = tab.inside.panel.view("map").heatmap._lut
        seen.append(lut[0].sum())
        corner = tab.inside.panel.view("map").heatmap.view.grab().toImage().pixelColor(0, 0)
        assert (corner.lightness() < 128) is dark
    assert seen[0] > 600
    assert seen[1] < 200


def test_every_control_can_be_named(qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any) -> None:
    from PySide6.QtWidgets import QAbstractButton, QLineEdit, QSpinBox

    tab = make_tab(encoder)
    show(qtbot, tab)
    controls = [
        item
        for kind in (QAbstractButton, QLineEdit, QSpinBox)
        for item in tab.findChildren(kind)
        if item.isVisible() and not item.objectName().startswith("qt_")
    ]
    assert len(controls) > 8
    for item in controls:
        if item.parent().metaObject().className() in ("QSpinBox", "QLineEdit"):
            continue  # parts of the one above them
        assert item.accessibleName(), item
        assert item.toolTip(), item.accessibleName()


def test_leaving_the_map_goes_back_to_the_kept_cell(
    qtbot: Any, make_tab: Callable[..., AttentionTab], encoder: Any
) -> None:
    tab = make_tab(encoder)
    show(qtbot, tab)
    heatmap = tab.inside.panel.view("map").heatmap
    heatmap.keep((2, 3))
    hover(tab, 4, 5)
    assert heatmap.cell == (4, 5)
    QGuiApplication.sendEvent(heatmap.view.viewport(), QEvent(QEvent.Type.Leave))
    assert heatmap.cell == (2, 3)
    assert heatmap._rows._marked == 2
    assert heatmap._columns._marked == 3
    assert tab.inside.overview.grid.cell_at(QPoint(-1, 5)) is None
