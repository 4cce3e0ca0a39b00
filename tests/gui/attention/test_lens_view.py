"""The view through the logit lens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt

from lmstudio_app.gui.attention.lens_grid import visible_text
from lmstudio_app.gui.attention.lens_view import LensView
from lmstudio_app.gui.attention.studio import AttentionStudio
from lmstudio_app.inspection.attention import AttentionRequest
from lmstudio_app.inspection.attribution_inputs import InputText
from lmstudio_app.inspection.logit_lens import LensRequest, read_lens
from lmstudio_app.inspection.reading import ReadingRequest, read_text
from lmstudio_app.jobs import JobContext
from lmstudio_app.models.loading import LoadRequest, load_model

TEXT = "the film was not very good"


@pytest.fixture
def make_view(qtbot: Any, make_studio: Callable[..., AttentionStudio]) -> Iterator[Callable[..., LensView]]:
    made: list[LensView] = []

    def make(loaded: Any = None, text: str = TEXT) -> LensView:
        studio = make_studio()
        if loaded is not None:
            studio.set_reading(read_text(ReadingRequest(loaded, AttentionRequest(text)), JobContext()))
        view = LensView(studio)
        qtbot.addWidget(view)
        made.append(view)
        view.resize(900, 640)
        view.show()
        qtbot.waitUntil(lambda: not view.asker.busy, timeout=20_000)
        return view

    yield make
    for view in made:
        view.shutdown()


def test_every_layer_of_every_token(qtbot: Any, make_view: Callable[..., LensView], decoder: Any) -> None:
    view = make_view(decoder)
    expected = read_lens(decoder, LensRequest(InputText(TEXT), 10), JobContext())
    model = view.grid.lens_model
    assert (model.rowCount(), model.columnCount()) == expected.ids.shape[:2]
    for row in range(model.rowCount()):
        for column in range(model.columnCount()):
            assert model.index(row, column).data() == visible_text(expected.top(row, column)[0][0])
    assert (view.grid.currentIndex().row(), view.grid.currentIndex().column()) == (2, 7)
    assert [name for name, _ in view.top.rows] == [visible_text(name) for name, _ in expected.top(2, 7)]
    assert view.chart.values_at(2.0)["share"] == pytest.approx(100 * expected.answer_probabilities[2, 7], abs=1e-3)
    last = model.index(2, 7)
    assert last.data(Qt.ItemDataRole.FontRole).bold() or last.data(Qt.ItemDataRole.FontRole).weight() > 500
    assert "number 1 here" in last.data(Qt.ItemDataRole.ToolTipRole)


def test_a_clicked_cell_is_told(qtbot: Any, make_view: Callable[..., LensView], decoder: Any) -> None:
    view = make_view(decoder)
    lens = view.lens
    assert lens is not None
    rect = view.grid.visualRect(view.grid.lens_model.index(1, 2))
    qtbot.mouseClick(view.grid.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert "After layer 1 of 2" in view.cell_title.text()
    assert "film" in view.cell_title.text()
    assert view.top.rows[0][1] == pytest.approx(lens.top(1, 2)[0][1])
    qtbot.keyClick(view.grid, Qt.Key.Key_Up)
    assert "Before the first layer" in view.cell_title.text()
    assert view.chart.values_at(0.0)["share"] == pytest.approx(100 * lens.answer_probabilities[0, 2], abs=1e-3)


def test_labels_of_a_classifier(make_view: Callable[..., LensView], tiny_classifier: Path) -> None:
    loaded = load_model(LoadRequest(str(tiny_classifier), device="cpu", precision="float32"), JobContext())
    view = make_view(loaded)
    model = view.grid.lens_model
    assert (model.rowCount(), model.columnCount()) == (3, 2)
    names = [model.headerData(column, Qt.Orientation.Horizontal) for column in range(2)]
    assert names == ["negative", "positive"]
    assert model.share(0, 0) + model.share(0, 1) == pytest.approx(1, abs=1e-5)
    assert model.share(2, view.grid.currentIndex().column()) >= 0.5


def test_a_model_without_words_is_told(make_view: Callable[..., LensView], encoder: Any) -> None:
    view = make_view(encoder)
    assert view.state.isVisible()
    assert "no words or labels" in view.state.text()
    assert not view.stop.isVisible()
    assert "Type a text" in make_view().state.text()


def test_another_text_is_read_when_it_is_seen(qtbot: Any, make_view: Callable[..., LensView], decoder: Any) -> None:
    view = make_view(decoder)
    view.hide()
    view._studio.set_reading(read_text(ReadingRequest(decoder, AttentionRequest("good film")), JobContext()))
    assert not view.asker.busy
    view.show()
    qtbot.waitUntil(lambda: view.lens is not None and len(view.lens.tokens) == 4, timeout=10_000)
    view.note.set_open(True)
    assert "nostalgebraist 2020" in view.note.text.text()
    assert "Belrose" in view.note.text.text()
