"""The text, shaded by what one of its tokens looks at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from lmstudio_app.gui import theme
from lmstudio_app.gui.attention import step_bar
from lmstudio_app.gui.attention.shown_head import KEYS, QUERIES
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.gui.attention.text_flow import TextFlow
from lmstudio_app.gui.attention.text_view import TextView
from lmstudio_app.inspection.attention import AttentionMap
from lmstudio_app.inspection.tokens import Tokens

TEXT = "the unlikely film was not very good"


@pytest.fixture
def make_view(show_view: Callable[..., Any]) -> Callable[[AttentionStudio], TextView]:
    return lambda studio: show_view(TextView(studio), 640, 420)


def click(qtbot: Any, flow: TextFlow, index: int) -> None:
    qtbot.mouseClick(flow, Qt.MouseButton.LeftButton, pos=flow.box(index).center().toPoint())


def darkness(flow: TextFlow, index: int) -> int:
    tint = flow.tint(index)
    return 0 if tint is None else 255 - tint.lightness()


def test_a_clicked_token_shades_what_it_looks_at(
    qtbot: Any, make_view: Callable[..., TextView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(TEXT)
    view = make_view(studio)
    weights = studio.weights()
    first = studio.reading.queries.special.index(False)
    assert view.token == first
    click(qtbot, view.written, 4)
    assert studio.cell == (4, int(weights[4].argmax()))
    assert view.written.marked == view.steps.value == 4
    shades = [darkness(view.written, index) for index in range(len(weights))]
    order = np.argsort(-weights[4])
    assert shades[order[0]] == max(shades) > 0
    assert all(shades[a] >= shades[b] for a, b in pairwise(order))
    token = studio.reading.queries.labels[4]
    assert view.readout.text().startswith(f"“{token}” looks most at")
    assert f"{weights[4].max():.2g}" in view.legend.text()
    for index in (3, 2):  # the first move only enters the widget
        QTest.mouseMove(view.written, view.written.box(index).center().toPoint())
    assert f"{weights[4, 2]:.4f}" in view.readout.text()


def test_keys_the_slider_and_other_views_choose_the_token(
    qtbot: Any, make_view: Callable[..., TextView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(TEXT)
    view = make_view(studio)
    start = view.token
    qtbot.keyClick(view.written, Qt.Key.Key_Right)
    assert view.token == start + 1
    qtbot.keyClick(view.written, Qt.Key.Key_End)
    assert view.token == len(studio.reading.queries) - 1
    qtbot.keyClick(view.written, Qt.Key.Key_Home)
    view.steps.forward.click()
    assert view.token == view.written.marked == studio.cell[0] == 1
    studio.choose_cell((6, 2))
    assert view.token == view.written.marked == view.steps.value == 6
    assert studio.cell == (6, 2)


def test_the_other_way_shades_who_looks_at_it(
    qtbot: Any, make_view: Callable[..., TextView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(TEXT)
    view = make_view(studio)
    click(qtbot, view.written, 4)
    view.mode.setCurrentIndex(1)
    weights = studio.weights()
    assert view.side == KEYS
    assert studio.cell == (int(weights[:, 4].argmax()), 4)
    shades = [darkness(view.written, index) for index in range(len(weights))]
    assert shades[int(weights[:, 4].argmax())] == max(shades) > 0
    assert "is looked at most by" in view.readout.text()


def test_play_steps_through_the_tokens(
    qtbot: Any,
    make_view: Callable[..., TextView],
    make_studio: Callable[..., AttentionStudio],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(step_bar, "PACE", 10)
    studio = make_studio(TEXT)
    view = make_view(studio)
    seen: list[int] = []
    studio.cell_changed.connect(lambda cell: seen.append(cell[0]))
    view.steps.play.click()
    qtbot.waitUntil(lambda: not view.steps.is_playing)
    assert seen == list(range(2, len(studio.reading.queries)))


def test_cross_attention_shades_the_source_below_the_target(
    qtbot: Any, make_view: Callable[..., TextView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(TEXT)
    view = make_view(studio)
    assert not view.areas[1].isVisible()
    source = Tokens(("the", "film", "</s>"), ("the", "film", "</s>"), (False, False, True), (0, 0, None))
    target = Tokens(("▁der", "▁Film"), ("der", "Film"), (False, False), (0, 0))
    weights = np.array([[[0.7, 0.2, 0.1], [0.1, 0.85, 0.05]]], dtype=np.float32)
    item = AttentionMap("cross", 0, weights, target, source)
    studio.set_reading(
        replace(
            studio.reading,
            prepared=replace(studio.reading.prepared, kind="cross", queries=target, keys=source),
            layers=(0,),
            heads=1,
            kept={0: item},
        )
    )
    assert view.areas[1].isVisible()
    assert view.written_title.isVisible()
    click(qtbot, view.written, 1)
    assert studio.cell == (1, 1)
    assert view.written.marked == 1
    assert view.source.marked is None
    assert [darkness(view.source, index) > 0 for index in range(3)] == [True, True, True]
    assert darkness(view.source, 1) > darkness(view.source, 0) > darkness(view.source, 2)
    assert all(view.written.tint(index) is None for index in range(2))
    click(qtbot, view.source, 0)  # asks the other way round
    assert view.side == KEYS
    assert studio.cell == (0, 0)
    assert darkness(view.written, 0) > darkness(view.written, 1)


def test_a_decoder_starts_at_the_end_and_greys_what_comes_later(
    make_view: Callable[..., TextView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(TEXT)
    view = make_view(studio)
    reading = studio.reading
    weights = np.tril(np.ones((1, 9, 9), dtype=np.float32)) / np.arange(1, 10, dtype=np.float32)[:, None]
    names = tuple(f"Ġt{index}" for index in range(9))
    tokens = Tokens(names, tuple(name[1:] for name in names), (False,) * 9, (0,) * 9)
    item = AttentionMap("decoder", 0, weights, tokens, tokens)
    studio.set_reading(
        replace(
            reading,
            prepared=replace(reading.prepared, kind="decoder", queries=tokens, keys=tokens),
            layers=(0,),
            heads=1,
            kept={0: item},
        )
    )
    assert view.token == 8
    view._choose(3)
    assert view.written._faded == range(4, 9)
    assert [view.written.tint(index) is not None for index in range(9)] == [True] * 4 + [False] * 5


def test_pieces_of_a_word_stand_together_and_lines_wrap(
    qtbot: Any, make_studio: Callable[..., AttentionStudio]
) -> None:
    flow = TextFlow("The text")
    qtbot.addWidget(flow)
    flow.resize(2000, 100)
    tokens = make_studio(TEXT).reading.queries
    flow.set_tokens(tokens)
    inner = [index for index, token in enumerate(tokens.tokens) if token.startswith("##")]
    assert inner
    for index in range(1, len(tokens)):
        gap = flow.box(index).left() - flow.box(index - 1).right()
        assert (gap == pytest.approx(0)) is (index in inner)
        assert flow.token_at(flow.box(index).center()) == index
    one_line = flow.heightForWidth(2000)
    assert flow.heightForWidth(200) > 1.8 * one_line
    broken = Tokens(("a", "Ċ", "b", "c"), ("a", "⏎", "b", "c"), (False,) * 4, (0, 0, 0, 1))
    flow.set_tokens(broken)
    tops = [flow.box(index).top() for index in range(4)]
    assert tops[0] == tops[1] < tops[2] < tops[3]


def test_a_long_text_is_laid_out_once_and_follows_theme_and_look(
    qtbot: Any, make_view: Callable[..., TextView], make_studio: Callable[..., AttentionStudio]
) -> None:
    studio = make_studio(" ".join([TEXT] * 8))
    view = make_view(studio)
    view.resize(260, 120)
    qtbot.waitUntil(lambda: view.areas[0].verticalScrollBar().maximum() > 0)
    view._choose(100)
    assert view.areas[0].verticalScrollBar().value() > 0
    studio.change_look(scale="difference", merge_words=True, hide_special=True)
    assert "Orange" in view.legend.text()
    text, tints = view.palette(), set()
    for dark in (False, True):
        view.setPalette(theme.build_palette(dark=dark))
        qtbot.wait(1)
        text = view.palette().color(view.palette().ColorRole.Text)
        shown = [view.written.tint(index) for index in range(view.written.count)]
        tints |= {tint.name() for tint in shown if tint is not None}
        assert all(theme.contrast(text, tint) >= 4.5 for tint in shown if tint is not None)
    assert len(tints) > 4
    assert view.side == QUERIES
