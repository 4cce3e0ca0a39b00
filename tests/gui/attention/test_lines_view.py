"""Lines between tokens: which are drawn, of whom, and how long texts scroll."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention.lines_canvas import MOST_LINES, LinesCanvas
from lmstudio_app.gui.attention.lines_choice import FAINTEST, LayerShares, strongest_lines
from lmstudio_app.gui.attention.lines_view import LinesView
from lmstudio_app.gui.attention.shown_head import KEYS, QUERIES
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.inspection.arrangement import Arrangement, arrange
from lmstudio_app.inspection.attention import AttentionMap
from lmstudio_app.inspection.tokens import Tokens

TEXT = "the unlikely film was not very good"


@pytest.fixture
def make_view(show_view: Callable[..., Any]) -> Callable[[AttentionStudio], LinesView]:
    return lambda studio: show_view(LinesView(studio), 640, 560)


def spot(canvas: LinesCanvas, side: int, index: int) -> QPoint:
    return QPointF(canvas._columns()[side].center().x(), canvas.centre(side, index)).toPoint()


def test_the_lines_are_the_weights_of_the_head(
    make_view: Callable[..., LinesView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(TEXT)
    view = make_view(studio)
    studio.choose_head(1, 2)
    weights = studio.weights()
    lines = view.canvas.lines()
    seen = np.floor(255 * weights / weights.max() + 0.5) / 255 >= FAINTEST
    assert lines.total == seen.sum()
    found = {(query, key): share for query, key, share in zip(lines.queries, lines.keys, lines.shares, strict=True)}
    for (query, key), share in found.items():
        assert share == pytest.approx(float(weights[query, key] / weights.max()), abs=0.003)
    assert lines.shares == sorted(lines.shares, reverse=True)
    assert "lines" in view.counted.text()


def test_pointing_at_a_token_leaves_its_lines_only(
    qtbot: Any, make_view: Callable[..., LinesView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(TEXT)
    view = make_view(studio)
    canvas, weights = view.canvas, studio.weights()
    QTest.mouseMove(canvas, spot(canvas, QUERIES, 3))
    assert canvas.active == (QUERIES, 3)
    assert set(canvas.lines().queries) == {3}
    strongest = int(weights[3].argmax())
    token, key = studio.reading.queries.labels[3], studio.reading.keys.labels[strongest]
    assert view.readout.text().startswith(f"“{token}” looks most at “{key}” {weights[3, strongest]:.2f}")
    QTest.mouseMove(canvas, spot(canvas, KEYS, 2))
    assert set(canvas.lines().keys) == {2}
    assert "is looked at most by" in view.readout.text()
    QTest.mouseMove(canvas, QPoint(canvas.width() // 2, 5))
    assert canvas.active is None
    assert len(set(canvas.lines().queries)) > 3


def test_a_click_keeps_a_token_for_all_views(
    qtbot: Any, make_view: Callable[..., LinesView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(TEXT)
    view = make_view(studio)
    canvas, weights = view.canvas, studio.weights()
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=spot(canvas, QUERIES, 3))
    assert studio.cell == (3, int(weights[3].argmax()))
    qtbot.keyClick(canvas, Qt.Key.Key_Down)
    assert studio.cell == (4, int(weights[4].argmax()))
    qtbot.keyClick(canvas, Qt.Key.Key_Right)
    assert canvas.kept == (KEYS, int(weights[4].argmax()))
    assert studio.cell[1] == canvas.kept[1]
    studio.choose_cell((1, 1))
    assert canvas.kept == (QUERIES, 1)
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=spot(canvas, QUERIES, 1))
    assert studio.cell is None
    assert canvas.kept is None
    qtbot.keyClick(canvas, Qt.Key.Key_Down)
    assert canvas.kept == (QUERIES, 0)
    qtbot.keyClick(canvas, Qt.Key.Key_Escape)
    assert studio.cell is None


def test_all_heads_of_a_layer_have_lines_in_their_colours(
    qtbot: Any, make_view: Callable[..., LinesView], make_studio: Callable[..., AttentionStudio], services: Any
) -> None:
    studio = make_studio(TEXT)
    view = make_view(studio)
    assert not view.chips.isVisible()
    view.mode.setCurrentIndex(1)
    assert services.settings.get("attention.lines_of_layer") is True
    canvas, heads = view.canvas, studio.layer_map().weights
    assert set(canvas.lines().heads) == {0, 1, 2, 3}
    assert len({colour.name() for colour in canvas._colours}) == 4
    canvas.keep((QUERIES, 2))
    assert canvas.shares_of((QUERIES, 2)) == pytest.approx(heads[:, 2].max(axis=0).tolist())
    qtbot.mouseClick(view.chips, Qt.MouseButton.LeftButton, pos=view.chips.chip(1).center().toPoint())
    assert view.chips.shown == [0, 2, 3]
    assert set(canvas.lines().heads) <= {0, 2, 3}
    view.chips.setFocus()
    qtbot.keyClick(view.chips, Qt.Key.Key_Right)
    qtbot.keyClick(view.chips, Qt.Key.Key_Return)
    assert view.chips.shown == [2]
    qtbot.keyClick(view.chips, Qt.Key.Key_Return)
    assert view.chips.shown == [0, 1, 2, 3]
    qtbot.mouseDClick(view.chips, Qt.MouseButton.LeftButton, pos=view.chips.chip(3).center().toPoint())
    assert 3 in view.chips.shown


@pytest.mark.parametrize("merge", [False, True])
def test_the_rows_in_view_are_arranged_as_the_whole_is(
    make_studio: Callable[..., AttentionStudio], merge: bool
) -> None:
    item = make_studio(TEXT).layer_map(1)
    for hide in (False, True):
        arrangement = Arrangement(hide, merge)
        whole = [arrange(weights, item.queries, item.keys, arrangement) for weights in item.weights]
        shares = LayerShares(item, whole[0].rows, whole[0].columns)
        rows = shares.rows(1, 4)
        assert rows.shape == (4, 3, len(whole[0].keys))
        for head, arranged in enumerate(whole):
            np.testing.assert_allclose(rows[head], arranged.weights[1:4], atol=1e-6)
            np.testing.assert_allclose(shares.column(2)[head, :, 0], arranged.weights[:, 2], atol=1e-6)


def test_the_strongest_lines_are_chosen() -> None:
    shares = np.random.default_rng(0).random((3, 20, 30), dtype=np.float32)
    lines = strongest_lines(shares, 100, 7, [0, 2], 50)
    assert len(lines.shares) == 50
    assert lines.total == int((shares[[0, 2]] >= FAINTEST).sum())
    assert lines.shares == pytest.approx(np.sort(shares[[0, 2]].ravel())[:-51:-1].tolist())
    for head, query, key, share in zip(lines.heads, lines.queries, lines.keys, lines.shares, strict=True):
        assert shares[head, query - 100, key - 7] == pytest.approx(share)
    assert strongest_lines(shares, 0, 0, [], 50).total == 0


def test_a_difference_has_two_colours(
    make_view: Callable[..., LinesView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(TEXT)
    view = make_view(studio)
    studio.change_look(scale="difference", hide_special=True, merge_words=True)
    assert view.canvas._labels[QUERIES][1] == "unlikely"
    heads = studio.layer_map().weights
    difference = arrange(heads[0] - heads.mean(axis=0), *[studio.reading.queries] * 2, view.shown.arrangement).weights
    lines = view.canvas.lines()
    assert set(lines.heads) == {0, 1}
    for head, query, key in zip(lines.heads, lines.queries, lines.keys, strict=True):
        assert (difference[query, key] > 0) == (head == 0)


def test_two_sides_differ_and_a_long_text_scrolls(
    qtbot: Any, make_view: Callable[..., LinesView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(TEXT)
    view = make_view(studio)
    source, target = (
        Tokens(names, names, (False,) * len(names), (0,) * len(names))
        for names in (tuple(f"s{index}" for index in range(900)), tuple(f"t{index}" for index in range(300)))
    )
    weights = np.random.default_rng(1).random((2, 300, 900), dtype=np.float32)
    weights[0, 40, 850] = 20
    item = AttentionMap("cross", 0, weights / 20, target, source)
    studio.set_reading(
        replace(
            studio.reading,
            prepared=replace(studio.reading.prepared, kind="cross", queries=target, keys=source),
            layers=(0,),
            heads=2,
            kept={0: item},
        )
    )
    canvas = view.canvas
    assert (len(canvas._labels[QUERIES]), len(canvas._labels[KEYS])) == (300, 900)
    assert canvas.visible(QUERIES).stop < 60
    assert len(canvas.lines().shares) == MOST_LINES
    assert view.counted.text() == f"the {MOST_LINES} strongest of {canvas.lines().total:,} lines"
    assert set(canvas.lines().queries) <= set(canvas.visible(QUERIES))
    for x, moved in ((spot(canvas, QUERIES, 0).x(), (True, False)), (canvas.width() // 2, (True, True))):
        before = [bar.value() for bar in canvas.bars]
        place = QPointF(x, 40)
        down = QPoint(0, -240)
        QApplication.sendEvent(
            canvas,
            QWheelEvent(
                place,
                canvas.mapToGlobal(place),
                QPoint(),
                down,
                Qt.MouseButton.NoButton,
                Qt.KeyboardModifier.NoModifier,
                Qt.ScrollPhase.NoScrollPhase,
                False,
            ),
        )
        assert tuple(bar.value() > was for bar, was in zip(canvas.bars, before, strict=True)) == moved
    canvas.choose((QUERIES, 40))
    assert studio.cell == (40, 850)
    assert 40 in canvas.visible(QUERIES)
    assert 850 in canvas.visible(KEYS)
    times = []
    canvas.choose(None)
    for step in range(5):
        start = time.perf_counter()
        canvas.bars[QUERIES].setValue(300 * step)
        canvas.repaint()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.15


def test_it_waits_for_a_layer_and_follows_the_theme(
    qtbot: Any, make_view: Callable[..., LinesView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(TEXT)
    reading = studio.reading
    view = make_view(studio)
    studio.set_reading(replace(reading, kept={0: reading.kept[0]}))
    studio.choose_head(1, 2)
    assert "layer 1" in view.state.text()
    assert not view.canvas.isVisible()
    qtbot.waitUntil(view.canvas.isVisible, timeout=20_000)
    view.mode.setCurrentIndex(1)
    colours = []
    for dark in (False, True):
        view.setPalette(theme.build_palette(dark=dark))
        qtbot.wait(1)
        colours.append(view.canvas._colours[0].lightness())
    assert colours[0] < colours[1]
