"""The thumbnails of all heads in any order and choice, by mouse and by keys."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QHelpEvent
from PySide6.QtWidgets import QToolTip

from lmstudio_app.gui.attention.head_overview import HeadOverview
from lmstudio_app.gui.attention.overview_choice import HeadChoice, arrange_heads, measured
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.reading import Reading, ReadingRequest, read_text
from lmstudio_app.inspection.statistics import PATTERNS, HeadStatistics
from lmstudio_app.jobs import JobContext

TEXT = "the film was not very good but we loved the acting and the food"
PLAIN = HeadStatistics(
    entropy=1.0, distance=2.0, special_share=0.5, pattern="mixed", pattern_share=0.3, strongest=0.9, query=1, key=2,
    spread=0.4,
)  # fmt: skip
TABLE = (
    (replace(PLAIN, entropy=3.0, pattern="broad", pattern_share=0.9), replace(PLAIN, entropy=0.5, pattern="previous")),
    (replace(PLAIN, entropy=2.0, distance=7.0), replace(PLAIN, entropy=1.0, special_share=0.1)),
)


@pytest.fixture(scope="module")
def uneven(encoder: Any) -> Any:
    """The tiny encoder with queries and keys so large that some heads are broad and some are not."""
    model = copy.deepcopy(encoder.model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and ("query" in name or "key" in name):
                parameter.normal_(0, 0.2, generator=generator)
    return replace(encoder, model=model)


@pytest.fixture
def make_overview(
    qtbot: Any, make_studio: Callable[..., AttentionStudio], uneven: Any
) -> Callable[..., tuple[HeadOverview, AttentionStudio]]:
    def make() -> tuple[HeadOverview, AttentionStudio]:
        studio = make_studio()
        overview = HeadOverview(studio)
        qtbot.addWidget(overview)
        overview.resize(300, 700)
        overview.show()
        studio.set_reading(read_text(ReadingRequest(uneven, AttentionRequest(TEXT)), JobContext()))
        return overview, studio

    return make


def statistics(studio: AttentionStudio, place: tuple[int, int]) -> HeadStatistics:
    reading = studio.reading
    assert reading is not None
    return reading.overview.statistics[place[0]][place[1]]


# --- the choice


def test_heads_come_in_the_order_of_their_numbers() -> None:
    assert arrange_heads(TABLE, HeadChoice()) is None
    assert arrange_heads(TABLE, HeadChoice("entropy")) == [(0, 1), (1, 1), (1, 0), (0, 0)]
    assert arrange_heads(TABLE, HeadChoice("entropy", is_reversed=True)) == [(0, 0), (1, 0), (1, 1), (0, 1)]
    assert arrange_heads(TABLE, HeadChoice("pattern")) == [(0, 1), (0, 0), (1, 0), (1, 1)]
    assert arrange_heads(TABLE, HeadChoice(is_reversed=True)) == [(1, 1), (1, 0), (0, 1), (0, 0)]
    assert arrange_heads(TABLE, HeadChoice(patterns=frozenset({"mixed"}))) == [(1, 0), (1, 1)]
    assert arrange_heads(TABLE, HeadChoice(ranges={"entropy": (1.0, 2.0)})) == [(1, 0), (1, 1)]
    assert arrange_heads(TABLE, HeadChoice(patterns=frozenset({"broad"}), ranges={"distance": (3, None)})) == []


def test_a_choice_that_fits_no_head_of_another_text_is_left_out() -> None:
    wanted = HeadChoice("distance", patterns=frozenset({"next", "mixed"}), ranges={"entropy": (9, None)})
    assert wanted.fitted(TABLE) == HeadChoice("distance", patterns=frozenset({"mixed"}))
    crossing = tuple(tuple(replace(head, distance=None) for head in row) for row in TABLE)
    assert replace(wanted, ranges={"distance": (3, None), "entropy": (1, 2)}).fitted(crossing) == HeadChoice(
        "layer", patterns=frozenset({"mixed"}), ranges={"entropy": (1, 2)}
    )
    assert HeadChoice("special", ranges={"special": (0.2, None)}).fitted(TABLE, has_special=False) == HeadChoice()


@pytest.mark.parametrize(
    "saved", [None, 3, {}, {"order": "size", "patterns": "next", "ranges": {"entropy": [1]}, "reversed": 1}]
)
def test_settings_that_cannot_be_understood_show_all_heads(saved: Any) -> None:
    assert HeadChoice.restored(saved) == HeadChoice()


def test_a_choice_survives_the_settings() -> None:
    choice = HeadChoice(
        "strength", True, frozenset({"next", "first"}), {"entropy": (1.5, None), "special": (None, 0.5)}
    )
    assert HeadChoice.restored(choice.saved()) == choice


# --- the widget


def test_a_thumbnail_tells_all_that_is_known_in_words(make_overview: Callable[..., Any]) -> None:
    overview, studio = make_overview()
    grid = overview.grid
    for row in range(2):
        for column in range(4):
            spot = grid.cell_rect(row, column).center()
            grid.event(QHelpEvent(QEvent.Type.ToolTip, spot, grid.mapToGlobal(spot)))
            found = statistics(studio, (row, column))
            text = QToolTip.text()
            assert f"Layer {row}, head {column}" in text
            assert f"entropy {found.entropy:.2f} bits" in text
            assert f"{found.distance:.1f} tokens away" in text
            assert f"{round(100 * found.special_share)} % goes to special tokens" in text
            assert f"({found.strongest:.2f})" in text
            assert f"{round(100 * found.pattern_share)} %" in text
    QToolTip.hideText()


def test_sorted_heads_are_chosen_by_mouse_and_keys(qtbot: Any, make_overview: Callable[..., Any]) -> None:
    overview, studio = make_overview()
    grid = overview.grid
    assert grid.order is None
    overview.bar.order.setCurrentIndex(overview.bar.order.findData("entropy"))
    order = grid.order
    assert len(order) == 8
    values = [statistics(studio, place).entropy for place in order]
    assert values == sorted(values)
    assert "layer·head" in overview.caption.text()
    for place in (order[3], order[0]):
        qtbot.mouseClick(grid, Qt.MouseButton.LeftButton, pos=grid.cell_rect(*place).center())
        assert (studio.layer, studio.head) == place
        assert f"Layer {place[0]}, head {place[1]}" in overview.summary.text()
    for key, index in (
        (Qt.Key.Key_Right, 1),
        (Qt.Key.Key_Left, 0),
        (Qt.Key.Key_Left, 0),
        (Qt.Key.Key_End, 7),
        (Qt.Key.Key_Right, 7),
        (Qt.Key.Key_Home, 0),
    ):
        qtbot.keyClick(grid, key)
        assert (studio.layer, studio.head) == order[index]
    per_line = sum(grid.cell_rect(*place).top() == grid.cell_rect(*order[0]).top() for place in order)
    assert per_line < 8
    qtbot.keyClick(grid, Qt.Key.Key_Down)
    assert (studio.layer, studio.head) == order[per_line]
    qtbot.keyClick(grid, Qt.Key.Key_Up)
    qtbot.keyClick(grid, Qt.Key.Key_Up)  # there is no line above
    assert (studio.layer, studio.head) == order[0]
    with qtbot.waitSignal(overview.activated):
        qtbot.keyClick(grid, Qt.Key.Key_Return)
    assert grid.cell_at(QPoint(grid.width() - 1, grid.height() - 1)) in (None, order[-1])
    overview.bar.direction.click()
    assert grid.order == list(reversed(order))


def test_patterns_are_counted_and_let_through(qtbot: Any, make_overview: Callable[..., Any]) -> None:
    overview, studio = make_overview()
    grid, chips = overview.grid, overview.bar.chips
    places = [(row, column) for row in range(2) for column in range(4)]
    of = {name: [place for place in places if statistics(studio, place).pattern == name] for name in PATTERNS}
    for name, button in chips.buttons.items():
        assert button.isVisible() == bool(of[name])
        assert not of[name] or button.text().endswith(f" {len(of[name])}")
    name = min((name for name in PATTERNS if of[name]), key=lambda name: len(of[name]))
    assert 0 < len(of[name]) < 8, "the test needs two patterns"
    chips.buttons[name].click()
    assert grid.order == of[name]
    assert f"{len(of[name])} of 8 shown" in overview.caption.text()
    hidden = next(place for place in places if place not in of[name])
    studio.choose_head(*hidden)
    assert grid.cell_rect(*hidden).isEmpty()
    grid.grab()  # with the chosen head out of sight
    qtbot.keyClick(grid, Qt.Key.Key_Right)
    assert (studio.layer, studio.head) == of[name][0]
    overview.bar.all.click()
    assert grid.order is None
    assert not overview.bar.all.isVisible()


def test_limits_let_heads_through_by_their_numbers(qtbot: Any, make_overview: Callable[..., Any]) -> None:
    overview, studio = make_overview()
    low, high = overview.bar.limits.boxes["entropy"]
    assert not low.isVisible()
    overview.bar.more.click()
    assert low.isVisible()
    assert low.text() == high.text() == "any"
    entropies = sorted(statistics(studio, (row, column)).entropy for row in range(2) for column in range(4))
    middle = (entropies[3] + entropies[4]) / 2
    low.lineEdit().selectAll()
    qtbot.keyClicks(low, f"{middle:.1f}")
    qtbot.keyClick(low, Qt.Key.Key_Return)
    assert low.text() == f"{middle:.1f} bits"
    shown = [statistics(studio, place).entropy for place in overview.grid.order]
    assert sorted(shown) == [value for value in entropies if value >= low.value()]
    qtbot.keyClick(high, Qt.Key.Key_Down)  # one step below the largest
    assert high.text().endswith(" bits")
    assert max(statistics(studio, place).entropy for place in overview.grid.order) <= high.value()
    low.lineEdit().selectAll()
    qtbot.keyClicks(low, "any")
    qtbot.keyClick(low, Qt.Key.Key_Return)
    assert overview.bar.limits.ranges.keys() == {"entropy"}
    assert overview.bar.limits.ranges["entropy"][0] is None
    high.setValue(high.maximum())
    assert overview.grid.order is None


def test_when_nothing_is_left_it_says_so(make_overview: Callable[..., Any]) -> None:
    overview, studio = make_overview()
    overview.bar.chips.buttons["mixed"].click()
    assert overview.grid.order
    assert not overview.nothing.isVisible()
    widest = max(statistics(studio, (row, column)).entropy for row in range(2) for column in range(4))
    overview.bar.limits.boxes["entropy"][0].setValue(int(10 * widest) / 10)  # the widest heads are broad
    assert overview.grid.order == []
    assert overview.nothing.isVisible()
    assert "0 of 8" in overview.caption.text()
    overview.grid.grab()


def test_what_was_chosen_is_there_again(make_overview: Callable[..., Any]) -> None:
    overview, _ = make_overview()
    overview.bar.order.setCurrentIndex(overview.bar.order.findData("pattern"))
    overview.bar.direction.click()
    overview.bar.limits.boxes["strength"][0].stepUp()
    again, _ = make_overview()
    assert again.grid.order == overview.grid.order
    assert again.bar.order.currentData() == "pattern"
    assert again.bar.direction.isChecked()
    assert again.bar.more.isChecked()


def test_between_two_texts_there_is_no_distance_to_sort_by(make_overview: Callable[..., Any]) -> None:
    overview, studio = make_overview()
    reading: Reading = studio.reading
    crossing = tuple(tuple(replace(head, distance=None) for head in row) for row in reading.overview.statistics)
    overview.bar.order.setCurrentIndex(overview.bar.order.findData("distance"))
    studio.set_reading(replace(reading, overview=replace(reading.overview, statistics=crossing)))
    assert overview.bar.order.findData("distance") < 0
    assert overview.grid.order is None
    assert not overview.bar.limits.boxes["distance"][0].isVisible()
    assert "tokens away" not in overview.summary.text()
    assert measured(crossing[0][0], "distance") is None
    studio.set_reading(reading)
    assert overview.bar.order.currentData() == "distance"
