"""Stepping and playing."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import Qt

from lmstudio_app.gui.attention import step_bar
from lmstudio_app.gui.attention.step_bar import StepBar


@pytest.fixture
def bar(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> StepBar:
    monkeypatch.setattr(step_bar, "PACE", 10)
    made = StepBar("Step", "Steps to look at")
    qtbot.addWidget(made)
    made.set_count(4)
    made.show()
    return made


def test_buttons_and_keys_step(qtbot: Any, bar: StepBar) -> None:
    told: list[int] = []
    bar.value_changed.connect(told.append)
    bar.forward.click()
    qtbot.keyClick(bar.slider, Qt.Key.Key_Right)
    bar.back.click()
    assert told == [1, 2, 1]
    bar.set_value(3)
    assert (bar.value, told) == (3, [1, 2, 1])
    bar.forward.click()
    assert bar.value == 3


def test_play_goes_to_the_end_and_starts_anew_from_there(qtbot: Any, bar: StepBar) -> None:
    told: list[int] = []
    bar.value_changed.connect(told.append)
    bar.play.click()
    assert bar.play.text() == "Pause"
    qtbot.waitUntil(lambda: not bar.is_playing)
    assert told == [1, 2, 3]
    assert bar.play.text() == "Play"
    bar.play.click()
    assert bar.value == 0
    bar.play.click()
    assert not bar.is_playing


def test_it_ends_when_it_is_hidden_or_has_something_else_to_step_through(bar: StepBar) -> None:
    bar.play.click()
    bar.hide()
    assert not bar.is_playing
    bar.show()
    bar.play.click()
    bar.set_count(1)
    assert not bar.is_playing
    assert not bar.isEnabled()
