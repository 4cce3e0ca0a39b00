"""The view of reasons: three methods side by side, other answers and tokens, Stop, and what cannot be explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt

from lmstudio_app.gui.attention.reasons_view import ReasonsView
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.attribution import ATTENTION, GRADIENT, INTEGRATED, METHODS, AttributionRequest, attribute
from lmstudio_app.inspection.attribution_inputs import InputText
from lmstudio_app.inspection.reading import ReadingRequest, read_text
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model

TEXT = "the film was not very good"


@pytest.fixture(scope="module")
def classifier(tiny_classifier: Path) -> Any:
    return load_model(LoadRequest(str(tiny_classifier), device="cpu", precision="float32"), JobContext())


@pytest.fixture
def make_view(qtbot: Any, make_studio: Callable[..., AttentionStudio]) -> Iterator[Callable[..., ReasonsView]]:
    """``make_view(loaded, text)``: the view of a reading, shown, when all its methods are through."""
    made: list[ReasonsView] = []

    def make(loaded: Any = None, text: str = TEXT, *, done: bool = True) -> ReasonsView:
        studio = make_studio()
        if loaded is not None:
            studio.set_reading(read_text(ReadingRequest(loaded, AttentionRequest(text)), JobContext()))
        view = ReasonsView(studio)
        qtbot.addWidget(view, before_close_func=lambda widget: widget.shutdown())
        made.append(view)
        view.resize(900, 640)
        view.show()
        if done:
            wait(qtbot, view)
        return view

    yield make
    for view in made:
        view.shutdown()


def wait(qtbot: Any, view: ReasonsView) -> None:
    qtbot.waitUntil(lambda: not view.asker.busy and not view._todo, timeout=20_000)


def click(qtbot: Any, view: ReasonsView, token: int) -> None:
    qtbot.mouseClick(view.flow, Qt.MouseButton.LeftButton, pos=view.flow.box(token).center().toPoint())


def test_three_methods_are_shown(qtbot: Any, make_view: Callable[..., ReasonsView], classifier: Any) -> None:
    view = make_view(classifier)
    found = view.attribution
    assert found is not None
    assert set(found.scores) == set(METHODS)
    expected = attribute(classifier, AttributionRequest(InputText(TEXT)), JobContext())
    for method in METHODS:
        assert found.scores[method] == pytest.approx(expected.scores[method], abs=1e-4)
    assert found.answer in view.question.text()
    assert f"{found.steps} points" in view.sum.text()
    model = view.table.scores
    assert model.order[0] == int(abs(expected.scores[INTEGRATED]).argmax())
    assert model.rowCount() == len(found.tokens)
    strongest = model.index(0, 1)
    assert abs(model.share(strongest)) == pytest.approx(1)
    tint = view.flow.tint(model.order[0])
    assert tint is not None
    side = 0 if expected.scores[INTEGRATED][model.order[0]] > 0 else 1
    assert (tint.blueF() > tint.redF()) == (side == 0)


def test_another_method_orders_and_tints_anew(
    qtbot: Any, make_view: Callable[..., ReasonsView], classifier: Any
) -> None:
    view = make_view(classifier)
    assert view.attribution is not None
    bar = view.mode.tabRect(2).center()
    qtbot.mouseClick(view.mode, Qt.MouseButton.LeftButton, pos=bar)
    scores = view.attribution.scores[ATTENTION]
    assert view.method == ATTENTION
    assert view.table.scores.order[0] == int(scores.argmax())
    assert "against" not in view.legend.text()
    assert "no sum" in view.sum.text()
    view.shutdown()
    again = ReasonsView(view._studio)
    qtbot.addWidget(again)
    assert again.method == ATTENTION  # as it was left
    again.shutdown()


def test_another_answer_is_explained(qtbot: Any, make_view: Callable[..., ReasonsView], classifier: Any) -> None:
    view = make_view(classifier)
    first = view.attribution
    assert first is not None
    other = 1 - view.answers.currentIndex()
    view.answers.setCurrentIndex(other)
    view.answers.activated.emit(other)
    wait(qtbot, view)
    assert view.attribution is not None
    assert view.attribution.answer != first.answer
    assert view.attribution.scores[GRADIENT] == pytest.approx(-first.scores[GRADIENT], abs=1e-4)


def test_rows_and_tokens_know_each_other(qtbot: Any, make_view: Callable[..., ReasonsView], classifier: Any) -> None:
    view = make_view(classifier)
    click(qtbot, view, 4)
    assert view.table.scores.order[view.table.currentIndex().row()] == 4
    assert "“not”" in view.readout.text()
    rect = view.table.visualRect(view.table.scores.index(2, 0))
    qtbot.mouseClick(view.table.viewport(), Qt.MouseButton.LeftButton, pos=rect.center() + QPoint(1, 0))
    assert view.attribution is not None
    label = view.attribution.tokens.labels[view.table.scores.order[2]]
    assert f"“{label}”" in view.readout.text()


def test_a_clicked_token_of_a_decoder_is_explained(
    qtbot: Any, make_view: Callable[..., ReasonsView], decoder: Any
) -> None:
    view = make_view(decoder)
    assert view.attribution is not None
    assert view.attribution.kind == "next"
    assert not view.next.isVisible()
    click(qtbot, view, 3)
    wait(qtbot, view)
    found = view.attribution
    assert (found.explained, found.answer) == (3, "was")
    assert view.flow.marked == 3
    assert (found.scores[INTEGRATED][3:] == 0).all()
    assert view.next.isVisible()
    qtbot.mouseClick(view.next, Qt.MouseButton.LeftButton)
    wait(qtbot, view)
    assert view.attribution.kind == "next"


def test_a_typed_word_is_explained(qtbot: Any, make_view: Callable[..., ReasonsView], decoder: Any) -> None:
    view = make_view(decoder)
    line = view.answers.lineEdit()
    line.selectAll()
    qtbot.keyClicks(line, "movie")
    qtbot.keyClick(line, Qt.Key.Key_Return)
    wait(qtbot, view)
    assert view.attribution is not None
    assert view.attribution.answer == "movie"
    before = view.attribution
    line = view.answers.lineEdit()
    line.selectAll()
    qtbot.keyClicks(line, "moviefilm")
    qtbot.keyClick(line, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "no single token" in view.progress.text(), timeout=10_000)
    assert view.attribution is before


def test_stop_keeps_what_there_is(qtbot: Any, make_view: Callable[..., ReasonsView], classifier: Any) -> None:
    view = make_view(classifier, done=False)
    pressed: list[bool] = []

    def _press(found: object) -> None:
        if not pressed:
            pressed.append(view.stop.isVisible())
            qtbot.mouseClick(view.stop, Qt.MouseButton.LeftButton)

    view.asker.succeeded.connect(_press)
    wait(qtbot, view)
    assert pressed == [True]
    assert view.attribution is not None
    assert GRADIENT in view.attribution.scores
    assert INTEGRATED not in view.attribution.scores
    assert not view.stop.isVisible()
    assert "Not worked out" in view.sum.text()


def test_hidden_it_rests_and_goes_on_when_shown(
    qtbot: Any, make_view: Callable[..., ReasonsView], classifier: Any
) -> None:
    view = make_view(classifier, "good film " * 60, done=False)
    qtbot.waitUntil(lambda: view.attribution is not None, timeout=20_000)
    view.hide()
    assert not view.asker.busy
    view.show()
    wait(qtbot, view)
    assert view.attribution is not None
    assert set(view.attribution.scores) == set(METHODS)


def test_what_cannot_be_explained_is_said(qtbot: Any, make_view: Callable[..., ReasonsView], encoder: Any) -> None:
    view = make_view(encoder)
    assert view.attribution is None
    assert view.state.isVisible()
    assert "second text" in view.state.text()
    nothing = make_view()
    assert "Type a text" in nothing.state.text()


def test_the_note_folds_and_is_remembered(qtbot: Any, make_view: Callable[..., ReasonsView], classifier: Any) -> None:
    view = make_view(classifier)
    assert not view.note.body.isVisible()
    qtbot.mouseClick(view.note.button, Qt.MouseButton.LeftButton)
    assert view.note.body.isVisible()
    for source in ("Sundararajan", "Jain and Wallace 2019", "Wiegreffe and Pinter 2019", "Chefer"):
        assert source in view.note.text.text()
    assert view._studio.services.settings.get("attention.reasons.note", False) is True


def test_numbers_of_nothing(make_view: Callable[..., ReasonsView], classifier: Any) -> None:
    from lmstudio_app.gui.attention.reasons_table import signed_text

    assert [signed_text(value) for value in (0.0, 1.234, -0.0123, np.float32(-2))] == ["0", "+1.23", "−0.012", "−2.00"]
